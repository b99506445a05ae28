"""What a trace says, in the form a page draws: frames, boxes, scores, gates and answers.

Boxes in a trace are on the canvas; here they are on the whole displayed frame, x0, y0, x1, y1
in [0, 1], so that a picture of the frame can carry them whatever the canvas left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

from foveal.records import Prediction
from foveal.types import Box, Canvas, ClipInfo
from foveal.video.geometry import displayed_box

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

Rows: TypeAlias = Sequence[Sequence[float]]
"""A map over the canvas, the top row first."""


MAX_CELLS = 100
"""Cells of a heat that are kept, the heaviest; a fine map would fill the page."""
FAINT = 0.05
"""Share of the heaviest cell below which nothing would be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Where attention lay on one frame, as one map says.

    Args:
        cells: rectangles of the frame and how heavy they are, in (0, 1], the heaviest 1; faint
            ones are left out.
    """

    cells: tuple[tuple[Box, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFrame:
    """One frame that was looked at, however often.

    Args:
        seconds: its true timestamp.
        seen: the parts of the frame that became pixels; the rest was never looked at.
        boxes: where it looked closely, in the order it decided to.
        heats: where its attention lay, one a map, in the order they were noted.
        chosen: a score picked this frame out of others.
        score: that score, scaled to [0, 1] over its candidates.
    """

    seconds: float
    glanced: bool
    focused: bool
    seen: tuple[Box, ...]
    boxes: tuple[Box, ...]
    heats: tuple[Heat, ...]
    chosen: bool
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Candidates that were weighed against each other.

    Args:
        seconds: the time of each candidate; ``None`` where the trace ties them to no frame
            (tokens, clips).
        values: scaled to [0, 1]; empty when only the choice was noted.
        chosen: indices kept.
    """

    seconds: tuple[float, ...] | None
    values: tuple[float, ...]
    chosen: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStep:
    """One answer on the way: ``label`` is a class index, ``None`` for a list of segments."""

    confidence: float
    label: int | None
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything a trace holds that has a place in a picture; frames ascend in time.

    Args:
        sounds: windows listened to, start and end in seconds.
        features: times of stored features.
        gates: by name, each decision's time and whether it opened; the time is ``None`` where
            none was noted.
        remarks: what the system said of its own choices, each line once.
    """

    frames: tuple[SeenFrame, ...]
    sounds: tuple[tuple[float, float], ...]
    features: tuple[float, ...]
    gates: Mapping[str, tuple[tuple[float | None, bool], ...]]
    scores: tuple[Scores, ...]
    answers: tuple[AnswerStep, ...]
    remarks: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    """A frame while the trace is read; ``boxes`` maps a canvas box to its place on the frame."""

    glanced: bool = False
    focused: bool = False
    seen: list[Box] = field(default_factory=list)
    boxes: dict[Box, Box] = field(default_factory=dict)
    heats: list[Heat] = field(default_factory=list)
    chosen: bool = False
    score: float | None = None


@dataclass(slots=True)
class _Reader:
    """Walks the events of one trace in order."""

    clip: ClipInfo
    frames: dict[float, _Draft] = field(default_factory=dict)
    sounds: list[tuple[float, float]] = field(default_factory=list)
    features: list[float] = field(default_factory=list)
    gates: dict[str, list[tuple[float | None, bool]]] = field(default_factory=dict)
    scores: list[Scores] = field(default_factory=list)
    answers: list[AnswerStep] = field(default_factory=list)
    remarks: dict[str, None] = field(default_factory=dict)
    canvas: Canvas | None = None
    last_pictures: tuple[float, ...] = ()
    shown_at: dict[float, float] = field(default_factory=dict)
    early_boxes: list[tuple[float, Box]] = field(default_factory=list)
    early_heats: list[tuple[float, Rows]] = field(default_factory=list)
    last_look: list[float] = field(default_factory=list)
    since_plan: list[float] = field(default_factory=list)
    glances: list[float] = field(default_factory=list)

    def looked(self, detail: Mapping[str, Any]) -> None:
        seconds = [float(t) for t in detail["seconds"]]
        self.last_look = seconds
        self.since_plan += seconds
        if detail["role"] == "glance":
            self.glances += seconds
        match detail["view"]:
            case "canvas":
                self.canvas = _canvas(detail["size"], detail["short_side"])
                self._pictures(detail, seconds, seen=self.on_frame(WHOLE))
            case "crop":
                self.canvas = _canvas(detail["canvas_size"], detail["short_side"])
                box = _box(detail["box"])
                self._pictures(detail, seconds, seen=self.on_frame(box))
                for t in seconds:
                    # The crop's own canvas places the box, even if a note named it before.
                    self.frames[t].boxes[box] = self.on_frame(box)
            case "sound":
                lead, length = float(detail.get("lead_seconds", 0)), float(detail["window_seconds"])
                self.sounds += [(t - lead, t - lead + length) for t in seconds]
            case "features":
                self.features += seconds

    def _pictures(self, detail: Mapping[str, Any], seconds: list[float], *, seen: Box) -> None:
        self.last_pictures = tuple(seconds)
        self.shown_at.update(zip((float(t) for t in detail["asked"]), seconds, strict=True))
        for t in seconds:
            frame = self.frames.setdefault(t, _Draft())
            frame.glanced |= detail["role"] == "glance"
            frame.focused |= detail["role"] == "focus"
            if seen not in frame.seen:
                frame.seen.append(seen)

    def noted(self, detail: Mapping[str, Any]) -> None:
        time = None if "time" not in detail else float(detail["time"])
        if "text" in detail:
            self.remarks[detail["text"]] = None
        if "box" in detail:
            self._boxed(_box(detail["box"]), time)
        if "heat" in detail:
            self._heated(detail["heat"], time)
        for name, is_open in detail.get("gates", {}).items():
            at = time if time is not None or not self.last_look else self.last_look[0]
            self.gates.setdefault(name, []).append((at, bool(is_open)))
        if "saliency" in detail or "chosen" in detail:
            self._weighed(_unit_range(detail.get("saliency", ())), tuple(detail.get("chosen", ())))

    def _boxed(self, box: Box, time: float | None) -> None:
        if time is not None and time not in self.shown_at:
            self.early_boxes.append((time, box))
            return
        for t in self.last_pictures if time is None else (self.shown_at[time],):
            self.frames[t].boxes.setdefault(box, self.on_frame(box))

    def _heated(self, rows: Rows, time: float | None) -> None:
        if time is not None and time not in self.shown_at:
            self.early_heats.append((time, rows))
            return
        for t in self.last_pictures if time is None else (self.shown_at[time],):
            self.frames[t].heats.append(self._heat(rows))

    def _heat(self, rows: Rows) -> Heat:
        height, width = len(rows), len(rows[0])
        heaviest = max(map(max, rows))
        cells = [
            (self.on_frame((x / width, y / height, (x + 1) / width, (y + 1) / height)), value)
            for y, row in enumerate(rows)
            for x, value in enumerate(row)
            if value > FAINT * heaviest
        ]
        cells.sort(key=lambda cell: -cell[1])
        return Heat(cells=tuple((box, value / heaviest) for box, value in cells[:MAX_CELLS]))

    def _weighed(self, values: tuple[float, ...], chosen: tuple[int, ...]) -> None:
        # Scores belong to frames only where the trace proves it: one score for each row looked at.
        groups = (self.last_look, self.since_plan, self.glances)
        seconds = next((tuple(g) for g in groups if g and len(g) == len(values)), None)
        self.scores.append(Scores(seconds=seconds, values=values, chosen=chosen))
        if seconds is None:
            return
        for index, (t, value) in enumerate(zip(seconds, values, strict=True)):
            if t in self.frames:
                self.frames[t].score = value
                self.frames[t].chosen |= index in chosen

    def answered(self, detail: Mapping[str, Any]) -> None:
        self.answers.append(
            AnswerStep(
                confidence=float(detail["confidence"]),
                label=detail.get("label"),
                num_frames=len(self.frames),
            )
        )

    def on_frame(self, box: Box) -> Box:
        """Return where a box of the canvas in use lies on the displayed frame."""
        if self.canvas is None or not (self.clip.width and self.clip.height):
            return box
        return displayed_box(self.canvas, self.clip.width, self.clip.height, box)

    def story(self) -> Story:
        for time, box in self.early_boxes:  # noted before the frame was looked at
            if time in self.shown_at:
                self.frames[self.shown_at[time]].boxes.setdefault(box, self.on_frame(box))
        for time, rows in self.early_heats:
            if time in self.shown_at:
                self.frames[self.shown_at[time]].heats.append(self._heat(rows))
        return Story(
            frames=tuple(_frame(t, self.frames[t]) for t in sorted(self.frames)),
            sounds=tuple(sorted(set(self.sounds))),
            features=tuple(sorted(set(self.features))),
            gates={name: tuple(made) for name, made in self.gates.items()},
            scores=tuple(self.scores),
            answers=tuple(self.answers),
            remarks=tuple(self.remarks),
        )


def read(prediction: Prediction) -> Story:
    """Return what the trace of ``prediction`` says."""
    reader = _Reader(prediction.clip)
    for event in prediction.trace.events:
        match event.kind:
            case "plan":
                reader.since_plan = []
            case "look":
                reader.looked(event.detail)
            case "note":
                reader.noted(event.detail)
            case "answer":
                reader.answered(event.detail)
            case "call":
                pass  # on the bill, and in the list of decisions
    return reader.story()


def unseen(seen: Sequence[Box]) -> tuple[Box, ...]:
    """Return rectangles that cover what ``seen`` leaves of the frame, without overlap.

    >>> unseen([(0.25, 0.0, 0.75, 1.0)])
    ((0.0, 0.0, 0.25, 1.0), (0.75, 0.0, 1.0, 1.0))
    """
    xs = sorted({0.0, 1.0, *(x for box in seen for x in (box[0], box[2]))})
    ys = sorted({0.0, 1.0, *(y for box in seen for y in (box[1], box[3]))})
    left: list[Box] = []
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if any(b[0] < x < b[2] and b[1] < y < b[3] for b in seen):
                continue
            if left and left[-1][2:] == (x0, y1) and left[-1][1] == y0:
                left[-1] = (left[-1][0], y0, x1, y1)
            else:
                left.append((x0, y0, x1, y1))
    return tuple(left)


def _frame(seconds: float, draft: _Draft) -> SeenFrame:
    return SeenFrame(
        seconds=seconds,
        glanced=draft.glanced,
        focused=draft.focused,
        seen=tuple(draft.seen),
        boxes=tuple(draft.boxes.values()),
        heats=tuple(draft.heats),
        chosen=draft.chosen,
        score=draft.score,
    )


def _canvas(size: Sequence[int], short_side: int | None) -> Canvas:
    return Canvas(height=size[0], width=size[1], short_side=short_side)


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (float(v) for v in values)
    return (x0, y0, x1, y1)


def _unit_range(values: Sequence[float]) -> tuple[float, ...]:
    """Return scores scaled so that the highest is 1; negative ones are shifted up first."""
    low = min(0.0, *values) if values else 0.0
    high = max(values, default=0.0) - low
    return tuple((v - low) / high if high > 0 else 0.0 for v in values)
