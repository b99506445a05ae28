"""``foveal demo``: a clip whose content is known, the answer beside the truth, and the bill."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from foveal.cli.guard import FAILED, OK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from foveal.api import Comparison
    from foveal.demo import DemoObject, Needle, Task
    from foveal.records import Label, Prediction

STRIP_COLUMNS = 60
FOUND_SHARE = 0.5
"""An object counts as found if its name stands over at least this share of its time."""


def run(*, keep: str | None, explain: str | None) -> int:
    """Draw the clip, recognise it, show both, and return the exit code."""
    from foveal.api import load
    from foveal.cli.recognize import page_path, write_explanation
    from foveal.demo import make_demo_clip, working_tasks

    page = None if explain is None else page_path(explain)
    with TemporaryDirectory(prefix="foveal-") as temporary:
        folder = Path(temporary if keep is None else keep)
        folder.mkdir(parents=True, exist_ok=True)
        clip = folder / "demo.mp4"
        print("Drawing a clip of one minute ...", file=sys.stderr, flush=True)
        model = load()
        model.preload()
        drawn = make_demo_clip(clip)
        comparison = model.compare(clip)
        code = show(drawn, comparison, kept=None if keep is None else clip)
        searches = [search(task, folder) for task in working_tasks()]
        code = max([code, *(show_search(found) for found in searches)])
        if page is not None:
            write_explanation([comparison, *(found.prediction for found in searches)], page)
    return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A clip of Haystack and what was made of it."""

    task: Task
    needle: Needle
    prediction: Prediction


def search(task: Task, folder: Path) -> Search:
    """Write the clip of ``task`` into ``folder`` and recognise it."""
    from foveal.api import Model
    from foveal.bundle import Bundle
    from foveal.demo import make_needle_clip

    clip = folder / f"{task.preset}.mp4"
    needle = make_needle_clip(task, clip)
    prediction = Model(Bundle.open(task.bundle)).recognize(clip)
    return Search(task=task, needle=needle, prediction=prediction)


def show_search(found: Search) -> int:
    """Print where the evidence was, where the system looked, and return the exit code."""
    from rich.text import Text

    from foveal.cli.terminal import console_on
    from foveal.cli.text import clean, count, percent

    needle, trace = found.needle, found.prediction.trace
    focused, hits = needle.focused(trace), needle.found(trace)
    (answer,) = found.prediction.predictions
    right = answer.label == needle.label
    out = console_on(sys.stdout)
    out.print(
        Text(
            f"\nHaystack {found.task.preset}: {count(needle.num_frames, 'frame')}, of which "
            f"{len(needle.frames)} show {clean(needle.label)!r}; searched by {found.task.system}"
        )
    )
    for name, frames, mark in (("evidence", needle.frames, "#"), ("focused on", focused, "^")):
        cells = "".join(mark if i in frames else "." for i in range(needle.num_frames))
        out.print(Text(f" {name:<10}|{cells}|"))
    out.print(
        Text(
            f"Seen closely: {len(hits)} of {len(needle.frames)}, with "
            f"{count(len(focused), 'frame')}. Answer: {clean(answer.label)!r} "
            f"({percent(answer.prob)}), {'right' if right else 'wrong'}.",
            style="green" if right else "red",
        )
    )
    return OK if right else FAILED


def show(drawn: Sequence[DemoObject], comparison: Comparison, *, kept: Path | None) -> int:
    """Print truth beside answer, where it looked and the bill, and return the exit code."""
    from rich.text import Text

    from foveal.cli.show import what_it_names
    from foveal.cli.terminal import console_on
    from foveal.cli.text import clean, count, percent

    out = console_on(sys.stdout)
    prediction = comparison.prediction
    answers = [best_match(thing, prediction.predictions) for thing in drawn]
    out.print(truth_table(drawn, answers))
    for line in strip(drawn, comparison):
        out.print(Text(line))
    out.print(bill_table(comparison))
    if comparison.agreement is not None:
        share = percent(comparison.agreement)
        out.print(Text(f"Both runs agree on {share} of the frames the dense run is sure of."))
    missed = answers.count(None)
    found = f"{len(drawn) - missed} of {count(len(drawn), 'drawn object')} found."
    out.print(Text(found, style="red" if missed else "green"))
    if (sentence := what_it_names(prediction.model)) is not None:
        out.print(Text(sentence, style="dim"))
    if kept is not None:
        out.print(Text(f"The clip is {clean(str(kept))}."))
    return FAILED if missed else OK


def best_match(thing: DemoObject, labels: Sequence[Label]) -> Label | None:
    """Return the label of ``thing`` that covers most of its time, or ``None`` if it was missed."""
    covers = [
        (min(label.end_seconds, thing.end_seconds) - max(label.start_seconds, thing.start_seconds))
        if label.known and label.label == thing.label
        else 0.0
        for label in labels
    ]
    longest = max(covers, default=0.0)
    if longest < FOUND_SHARE * (thing.end_seconds - thing.start_seconds):
        return None
    return labels[covers.index(longest)]


def truth_table(drawn: Sequence[DemoObject], answers: Sequence[Label | None]) -> Table:
    """Return what was drawn when, beside what was seen when."""
    from rich.text import Text

    from foveal.cli.terminal import table
    from foveal.cli.text import clock, percent

    shown = table("", "drawn", "on from - to", "seen from - to", "probability", right=(2, 3, 4))
    for number, (thing, answer) in enumerate(zip(drawn, answers, strict=True), start=1):
        seen = (Text("missed", style="red"), Text())
        if answer is not None:
            seen = (
                Text(f"{clock(answer.start_seconds)} - {clock(answer.end_seconds)}"),
                Text(percent(answer.prob)),
            )
        on = Text(f"{clock(thing.start_seconds)} - {clock(thing.end_seconds)}")
        shown.add_row(Text(str(number)), Text(thing.label), on, *seen)
    return shown


def strip(drawn: Sequence[DemoObject], comparison: Comparison) -> list[str]:
    """Return the minute as three lines: what was drawn, what was seen, where it looked."""
    prediction = comparison.prediction
    per_column = prediction.clip.duration_seconds / STRIP_COLUMNS
    names = {thing.label: str(number) for number, thing in enumerate(drawn, start=1)}
    rows = {name: [" "] * STRIP_COLUMNS for name in ("drawn", "seen", "looked at")}
    for column in range(STRIP_COLUMNS):
        time = (column + 0.5) * per_column
        for thing in drawn:
            if thing.start_seconds <= time < thing.end_seconds:
                rows["drawn"][column] = names[thing.label]
        for label in prediction.predictions:
            if label.known and label.start_seconds <= time < label.end_seconds:
                rows["seen"][column] = names.get(label.label, "?")
    for seconds in prediction.trace.frame_seconds():
        rows["looked at"][min(int(seconds / per_column), STRIP_COLUMNS - 1)] = "^"
    return [f" {name:<10}|{''.join(cells)}|" for name, cells in rows.items()]


def bill_table(comparison: Comparison) -> Table:
    """Return the bill beside that of the dense run, and the share of it that was saved."""
    from rich.text import Text

    from foveal.cli.terminal import table
    from foveal.cli.text import gmacs, milliseconds, percent
    from foveal.types import STAGES

    ours, dense = comparison.prediction.cost, comparison.dense.cost
    sums = (
        ("frames looked at", ours.frames_used, dense.frames_used, "{:,}".format),
        ("frames decoded", ours.frames_decoded, dense.frames_decoded, "{:,}".format),
        ("GMACs", ours.total_macs, dense.total_macs, gmacs),
        ("time", ours.total_ms, dense.total_ms, milliseconds),
    )
    shown = table("the bill", "this run", "dense run", "saved", right=(1, 2, 3))
    for name, a, b, write in sums:
        shown.add_row(*map(Text, (name, write(a), write(b), percent(1 - a / b) if b else "-")))
    for stage in STAGES:
        times = (milliseconds(cost.ms.get(stage, 0.0)) for cost in (ours, dense))
        shown.add_row(Text(f"  {stage}"), *map(Text, times), style="dim")
    return shown
