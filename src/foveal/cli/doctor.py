"""``foveal doctor``: broken videos found before they break something."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from foveal.cli.guard import FAILED, OK, USAGE, complain, stop_at_once
from foveal.cli.text import clean, count

if TYPE_CHECKING:
    from foveal.cli.names import Names
    from foveal.video import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal doctor --help``."""

    full: bool = False
    jsonl: str = "bad.jsonl"
    workers: int | None = None
    json: bool = False


def run(paths: list[str], options: Options) -> int:
    """Examine what ``paths`` name and return the exit code."""
    from foveal.cli.names import Names
    from foveal.video import doctor

    with stop_at_once():
        names = Names(paths)
        if names.nothing:
            complain("no input", hint="name a file, a folder or a pattern")
            return USAGE
        tally = Tally(Path(options.jsonl))
        found = tally.of(doctor(names, workers=options.workers, full=options.full))
        if options.json:
            for finding in found:
                print(json.dumps(finding.to_json(), allow_nan=False), flush=True)
        else:
            show(found, names, tally)
        return FAILED if tally.num_bad else OK


class Tally:
    """Counts findings as they pass and lists the bad ones in a file, made for the first of them."""

    def __init__(self, jsonl: Path) -> None:
        self.jsonl = jsonl
        self.num_files = self.num_bad = self.num_warned = 0

    def of(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Yield ``findings``, each written down before it is shown."""
        with ExitStack() as stack:
            file: TextIO | None = None
            for finding in findings:
                self.num_files += 1
                self.num_warned += bool(finding.ok and finding.warnings)
                if not finding.ok:
                    self.num_bad += 1
                    if file is None:
                        file = stack.enter_context(self.jsonl.open("w", encoding="utf-8"))
                    file.write(json.dumps(finding.to_json(), allow_nan=False) + "\n")
                    file.flush()
                yield finding

    def lines(self) -> Iterator[str]:
        """Yield the summary."""
        warned = f", {self.num_warned:,} usable with a warning" if self.num_warned else ""
        yield f"{count(self.num_files, 'file')} examined, {self.num_bad:,} broken{warned}."
        listed = clean(str(self.jsonl))
        if self.num_bad:
            yield f"The broken ones are listed in {listed}."
        elif self.jsonl.exists():
            yield f"{listed} is of an earlier run."


def show(findings: Iterable[Finding], names: Names, tally: Tally) -> None:
    """Print a row for each file that is broken or has a warning, then the summary."""
    from rich.text import Text

    from foveal.cli.progress import tracked
    from foveal.cli.terminal import Rows, console_on, trouble

    out = console_on(sys.stdout)
    rows = Rows(out, longest_name=names.longest(), last="what is wrong")
    for finding in tracked(findings, names.total, beside=out):
        name = Text(clean(finding.path))
        if not finding.ok:
            rows.show(name, trouble(finding.path, finding.message, finding.hint))
        for warning in finding.warnings:
            rows.show(name, Text(f"warning: {clean(warning)}", style="yellow"))
    if tally.num_bad or tally.num_warned:
        out.print()
    for line in tally.lines():
        out.print(Text(line))
