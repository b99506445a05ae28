"""What ``foveal recognize`` shows for one file, and the sentences that every bill is written in."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from foveal.api import SURE, Comparison
from foveal.cli import STARTED
from foveal.cli.guard import FAILED, OK, complain
from foveal.cli.recognize import prediction_of
from foveal.cli.terminal import console_on, table
from foveal.cli.text import clean, clock, gmacs, milliseconds, percent
from foveal.records import Failure, Label, Prediction
from foveal.systems import index
from foveal.types import STAGES, ClipInfo, Cost, Trace

if TYPE_CHECKING:
    from foveal.cli.recognize import Result

MAX_GUESSES = 3
"""Guesses named for a stretch in which nothing is known."""


def one(result: Result) -> int:
    """Show the only file asked for and return the exit code."""
    if isinstance(result, Failure):
        complain(result.message, hint=result.hint)
        return FAILED
    out = console_on(sys.stdout)
    prediction = prediction_of(result)
    out.print(heading(prediction.path, prediction.clip))
    out.print(label_table(prediction))
    for warning in prediction.warnings:
        out.print(Text(f"Note: {clean(warning)}", style="yellow"))
    roles = frames_by_role(prediction.trace)
    out.print(Text(looked_at(prediction.cost, prediction.clip.num_frames, roles)))
    out.print(Text(time_taken(result)))
    if isinstance(result, Comparison):
        checked = Checked()
        checked.add(result)
        out.print(Text(checked.sentence()))
    if (sentence := what_it_names(prediction.model)) is not None:
        out.print(Text(sentence, style="dim"))
    return OK


def heading(path: str, clip: ClipInfo) -> Text:
    """Return the name of a file and what is known of it."""
    facts = [clock(clip.duration_seconds)]
    if clip.width:
        facts.append(f"{clip.width}x{clip.height}")
    if clip.fps:
        facts.append(f"{clip.fps:.4g} frames/s")
    return Text.assemble((clean(path), "bold"), ("  " + ", ".join(facts), "dim"))


def label_table(prediction: Prediction) -> Table:
    """Return the labels of a file in time order."""
    named = "tag" if is_tagger(prediction.model) else "label"
    shown = table("when", named, "probability", right=(0, 2))
    before = ""
    for labels in stretches(prediction.predictions):
        when = f"{clock(labels[0].start_seconds)} - {clock(labels[-1].end_seconds)}"
        also = when == before
        cells = ("" if also else when, name_of(labels, also=also), probability_of(labels))
        style = "" if labels[0].known else "dim"
        shown.add_row(*(Text(cell, style=style) for cell in cells))
        before = when
    return shown


def stretches(labels: Sequence[Label]) -> Iterator[tuple[Label, ...]]:
    """Yield what shares a row: one label, or all of neighbouring stretches where none is known.

    Where a stretch has several labels each keeps its row.
    """
    several = len({(x.start_seconds, x.end_seconds) for x in labels}) < len(labels)
    for known, group in groupby(labels, key=lambda label: label.known):
        if known or several:
            yield from ((label,) for label in group)
        else:
            yield tuple(group)


def name_of(labels: Sequence[Label], *, also: bool = False) -> str:
    """Return one label, or ``nothing it knows`` with the best guesses in brackets.

    Args:
        labels: what shares a row.
        also: the row belongs to the stretch of the row above.
    """
    if labels[0].known:
        return clean(labels[0].label)
    surest = sorted(labels, key=lambda label: -label.prob)
    guesses = list(dict.fromkeys(clean(label.guess or "") for label in surest))
    more = ", ..." if len(guesses) > MAX_GUESSES else ""
    listed = f"({', '.join(guesses[:MAX_GUESSES])}{more})"
    return listed if also else f"{labels[0].label} {listed}"


def probability_of(labels: Sequence[Label]) -> str:
    """Return the probability of one label, or the highest of several."""
    highest = percent(max(label.prob for label in labels))
    return highest if len(labels) == 1 else f"at most {highest}"


def frames_by_role(trace: Trace) -> Counter[str]:
    """Return how many frames were glanced at and how many looked at closely (``focus``)."""
    seen: dict[str, set[float]] = {}
    for event in trace.events:
        if event.kind == "look" and event.detail["view"] in ("canvas", "crop"):
            seen.setdefault(event.detail["role"], set()).update(event.detail["seconds"])
    return Counter({role: len(seconds) for role, seconds in seen.items()})


def looked_at(cost: Cost, num_frames: int | None, roles: Mapping[str, int]) -> str:
    """Return how little was looked at, as a sentence.

    Args:
        cost: the bill.
        num_frames: how many there are, if that is known.
        roles: frames glanced at and looked at closely, see :func:`frames_by_role`.
    """
    of = f"of {num_frames:,} frames" if num_frames else "frames (how many there are is not known)"
    if len(roles) > 1:
        looked = f"Glanced at {roles['glance']:,} {of}, looked closely at {roles['focus']:,}"
    else:
        looked = f"Looked at {cost.frames_used:,} {of}"
    return f"{looked}, {cost.frames_decoded:,} decoded, {gmacs(cost.total_macs)} GMACs."


def stages(cost: Cost) -> str:
    """Return where the time went."""
    return ", ".join(f"{stage} {milliseconds(cost.ms.get(stage, 0.0))}" for stage in STAGES)


def wall() -> float:
    """Return the seconds since the process started."""
    return time.perf_counter() - STARTED


def time_taken(result: Prediction | Comparison) -> str:
    """Return the time since the process started, and where it went, as a sentence.

    What no stage of the file took is the start: loading code and network.
    """
    seconds = wall()
    if isinstance(result, Comparison):
        seconds -= result.dense.cost.total_ms / 1e3
    cost = prediction_of(result).cost
    start = max(0.0, 1e3 * seconds - cost.total_ms)
    return f"{seconds:.2f} s in all: start {milliseconds(start)}, {stages(cost)}."


@dataclass(slots=True)
class Checked:
    """What looking at everything would have cost, and whether it would have said more."""

    ours: Cost = field(default_factory=lambda: Cost(macs={}))
    dense: Cost = field(default_factory=lambda: Cost(macs={}))
    agreements: float = 0.0
    num_agreements: int = 0
    of_clips: bool = False

    def add(self, result: Comparison) -> None:
        """Count one file."""
        self.of_clips = result.prediction.answer.segments is None
        self.ours = self.ours + result.prediction.cost
        self.dense = self.dense + result.dense.cost
        if result.agreement is not None:
            self.agreements += result.agreement
            self.num_agreements += 1

    def sentence(self) -> str:
        """Return it in words; the agreement of several files is their mean."""
        macs, ms = self.dense.total_macs, self.dense.total_ms
        alone = ", each on its own," if self.of_clips else ""
        return (
            f"Check: the dense run looks at {self.dense.frames_used:,} frames{alone} for "
            f"{gmacs(macs)} GMACs and {milliseconds(ms)}; this run took "
            f"{less(self.ours.total_macs, macs, word='fewer')} MACs and "
            f"{less(self.ours.total_ms, ms)} time. {self._verdict()}"
        )

    def _verdict(self) -> str:
        sure = f"(from {100 * SURE:.0f} %)"
        if not self.num_agreements:
            return f"The dense run is sure of no frame {sure}, so there is nothing to agree on."
        share = percent(self.agreements / self.num_agreements)
        if self.of_clips:
            return (
                f"Of the frames that the dense run is sure of {sure}, {share} show the class that "
                "this run gives the clip."
            )
        return f"Both agree on {share} of the frames that the dense run is sure of {sure}."


def less(ours: float, dense: float, *, word: str = "less") -> str:
    """Return how much less than ``dense`` something is, or how much more.

    >>> less(40, 100), less(110, 100, word="fewer")
    ('60.0 % less', '10.0 % more')
    """
    saved = 1 - ours / dense if dense else 0.0
    return f"{percent(abs(saved))} {word if saved >= 0 else 'more'}"


def is_tagger(model: str) -> bool:
    """Return whether a system names things in a picture rather than what a clip shows."""
    return index.find(model).kind == "tagger"


def what_it_names(model: str) -> str | None:
    """Return what must be known to read the answers of the embedded tagger."""
    if not is_tagger(model):
        return None
    return "The embedded tagger names things (objects), not actions."
