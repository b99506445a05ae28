"""``foveal doctor``: broken videos found before they break something."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.guard import FAILED, OK, USAGE, Finished, complain, stop_at_once
from foveal.cli.output import output_path, write_whole
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

    finished = Finished()
    with stop_at_once(finished):
        names = Names(paths)
        if names.nothing:
            complain("no input", hint="name a file, a folder or a pattern")
            return USAGE
        jsonl = output_path(options.jsonl, suffixes=(".jsonl", ".json"), inputs=names.known())
        tally = Tally(jsonl)
        found = tally.of(doctor(names, workers=options.workers, full=options.full))
        try:
            if options.json:
                for finding in found:
                    print(json.dumps(finding.to_json(), allow_nan=False), flush=True)
            else:
                found = finished.counted(found, names.total)
                show(found, names, tally)
        except BaseException:
            tally.write()  # what was found until then
            raise
        written = tally.write()
        if not options.json:
            for line in tally.lines(written=written, full=options.full):
                print(line)
        return FAILED if tally.bad else OK


class Tally:
    """Counts findings as they pass and keeps the bad ones, to be listed in a file."""

    def __init__(self, jsonl: Path) -> None:
        self.jsonl = jsonl
        self.bad: list[Finding] = []
        self.num_files = self.num_warned = 0

    def of(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Yield ``findings``."""
        for finding in findings:
            self.num_files += 1
            self.num_warned += bool(finding.ok and finding.warnings)
            if not finding.ok:
                self.bad.append(finding)
            yield finding

    def write(self) -> bool:
        """Write the list if there is anything to list; return whether that did not fail."""
        if not self.bad:
            return True
        records = [json.dumps(finding.to_json(), allow_nan=False) for finding in self.bad]
        try:
            write_whole(self.jsonl, "\n".join(records) + "\n")
        except OSError as error:
            why = f"the list of the broken ones cannot be written ({error.strerror})"
            complain(f"{self.jsonl}: {why}", hint="name another place with --jsonl FILE")
            return False
        return True

    def lines(self, *, written: bool, full: bool) -> Iterator[str]:
        """Yield the summary."""
        warned = f", {self.num_warned:,} usable with a warning" if self.num_warned else ""
        yield f"{count(self.num_files, 'file')} examined, {len(self.bad):,} broken{warned}."
        listed = clean(str(self.jsonl))
        if self.bad:
            if written:
                yield f"The broken ones are listed in {listed}."
        elif self.jsonl.exists():
            yield f"{listed} is of an earlier run."
        if self.num_warned and not full:
            yield "Only a few pictures of each file were decoded; --full decodes all of them."


def show(findings: Iterable[Finding], names: Names, tally: Tally) -> None:
    """Print a row for each file that is broken or has a warning."""
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
    if tally.bad or tally.num_warned:
        out.print()
