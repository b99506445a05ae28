"""What ``foveal recognize`` shows for many files: a row each as it is done, then the totals."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.text import Text

from foveal.api import Comparison
from foveal.cli.guard import FAILED, OK
from foveal.cli.progress import tracked
from foveal.cli.recognize import prediction_of
from foveal.cli.show import (
    Checked,
    frames_by_role,
    less,
    looked_at,
    name_of,
    stages,
    wall,
    what_it_names,
)
from foveal.cli.terminal import Rows, console_on, trouble
from foveal.cli.text import clean, count, gmacs, milliseconds, percent
from foveal.records import Failure, Label
from foveal.types import Cost

if TYPE_CHECKING:
    from foveal.cli.names import Names
    from foveal.cli.recognize import Result

MAX_LABELS = 3
"""Labels named for one of many files."""


def many(results: Iterable[Result], names: Names) -> int:
    """Show each result as it comes, then the totals, and return the exit code."""
    out = console_on(sys.stdout)
    rows = Rows(
        out,
        longest_name=names.longest(),
        figures=(("looked at", 12), ("GMACs", 6), ("work", 7)),
        last="what it sees",
    )
    totals = Totals()
    for result in tracked(results, names.total, beside=out):
        totals.add(result)
        show_row(rows, result)
    out.print()
    for line in totals.lines():
        out.print(Text(line))
    return FAILED if totals.num_failed else OK


def show_row(rows: Rows, result: Result) -> None:
    """Print the row of one result."""
    if isinstance(result, Failure):
        what = trouble(result.path, result.message, result.hint)
        rows.show(Text(clean(result.path)), Text.assemble(("failed: ", "red"), what))
        return
    prediction = prediction_of(result)
    cost, num_frames = prediction.cost, prediction.clip.num_frames
    sees = seen(prediction.predictions)
    if isinstance(result, Comparison):
        agrees = "-" if result.agreement is None else percent(result.agreement)
        macs = less(cost.total_macs, result.dense.cost.total_macs, word="fewer")
        sees.append(f"; dense agrees {agrees}, {macs} MACs", style="dim")
    for warning in prediction.warnings:
        sees.append(f"; note: {clean(warning)}", style="yellow")
    rows.show(
        Text(clean(prediction.path)),
        Text(f"{cost.frames_used:,}/{f'{num_frames:,}' if num_frames else '?'}"),
        Text(gmacs(cost.total_macs)),
        Text(milliseconds(cost.total_ms)),
        sees,
    )


def seen(labels: tuple[Label, ...]) -> Text:
    """Return the labels of a file, those seen longest first, each with its highest probability."""
    seconds: dict[str, float] = {}
    highest: dict[str, float] = {}
    for label in labels:
        if label.known:
            length = label.end_seconds - label.start_seconds
            seconds[label.label] = seconds.get(label.label, 0.0) + length
            highest[label.label] = max(highest.get(label.label, 0.0), label.prob)
    if not seconds:
        return Text(name_of(labels) if labels else "nothing", style="dim")
    longest = sorted(seconds, key=lambda name: -seconds[name])
    named = [f"{clean(name)} {percent(highest[name])}" for name in longest[:MAX_LABELS]]
    rest = len(longest) - MAX_LABELS
    return Text(", ".join(named) + (f", and {rest} more" if rest > 0 else ""))


@dataclass(slots=True)
class Totals:
    """What all files together took."""

    num_files: int = 0
    num_failed: int = 0
    num_frames: int | None = 0
    cost: Cost = field(default_factory=lambda: Cost(macs={}))
    roles: Counter[str] = field(default_factory=Counter)
    model: str = ""
    checked: Checked | None = None

    def add(self, result: Result) -> None:
        """Count one result."""
        self.num_files += 1
        if isinstance(result, Failure):
            self.num_failed += 1
            return
        if isinstance(result, Comparison):
            self.checked = self.checked or Checked()
            self.checked.add(result)
        prediction = prediction_of(result)
        self.model = prediction.model
        self.cost = self.cost + prediction.cost
        self.roles.update(frames_by_role(prediction.trace))
        if self.num_frames is not None and prediction.clip.num_frames is not None:
            self.num_frames += prediction.clip.num_frames
        else:
            self.num_frames = None

    def lines(self) -> list[str]:
        """Return the sentences below the rows."""
        failed = f"{self.num_failed:,} failed" if self.num_failed else "none failed"
        lines = [f"{count(self.num_files, 'file')}, {failed}."]
        if self.num_failed < self.num_files:
            lines.append(looked_at(self.cost, self.num_frames, self.roles))
        lines.append(f"{wall():.2f} s in all. Work: {stages(self.cost)}.")
        if self.checked is not None:
            lines.append(self.checked.sentence())
        if (sentence := what_it_names(self.model)) is not None:
            lines.append(sentence)
        return lines
