"""The nouns of Foveal: what a protocol yields, what was looked at, what it cost, what came out.

Frozen and validated; NumPy and the standard library only. Axis letters used everywhere:
B batch (rows), T frames, C channels, H height, W width, K classes, D features.

A *protocol* is one generator per sample (see :mod:`foveal.sampling.protocol`). It yields a
:class:`Plan`, then any number of :class:`Look`, :class:`Call`, :class:`Note` and
:class:`Answer`; the executor alone touches sources and parts, so :class:`Trace` and
:class:`Cost` cannot lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Number = TypeVar("Number", int, float)
Box: TypeAlias = tuple[float, float, float, float]
"""Crop box on the canvas: x0, y0, x1, y1 in [0, 1], x to the right and y downwards."""


def check_box(box: Box) -> Box:
    """Return ``box`` unchanged if it is a rectangle of positive area inside the canvas.

    Raises:
        ValueError: a coordinate is outside [0, 1] or the rectangle is empty.
    """
    x0, y0, x1, y1 = box
    if not (0.0 <= x0 < x1 <= 1.0 and 0.0 <= y0 < y1 <= 1.0):
        raise ValueError(f"box must satisfy 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, got {box}")
    return box


# --- what may be looked at ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The picture every pixel is cut from: one geometry, one kernel, stored in the bundle.

    A frame (rotation applied) is scaled so that its short side is ``short_side`` and the
    centre ``height`` x ``width`` is kept; with ``short_side=None`` the whole frame is
    stretched to ``height`` x ``width`` instead. Pixels are RGB, full range, uint8.

    Raises:
        ValueError: a size is not positive, or the crop does not fit the short side.
    """

    height: int
    width: int
    short_side: int | None = None
    kernel: Literal["area", "bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"canvas must be at least 1x1, got {self.height}x{self.width}")
        if self.short_side is not None and self.short_side < max(self.height, self.width):
            raise ValueError(
                f"canvas {self.height}x{self.width} does not fit a short side of {self.short_side}"
            )
        if self.kernel not in ("area", "bilinear", "bicubic"):
            raise ValueError(f"kernel must be area, bilinear or bicubic, got {self.kernel!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A box cut from the native frame and scaled to ``height`` x ``width`` (not from the canvas).

    ``box`` is in canvas coordinates; the native rectangle is the one the canvas shows there.
    """

    canvas: Canvas
    box: Box
    height: int
    width: int

    def __post_init__(self) -> None:
        check_box(self.box)
        if self.height < 1 or self.width < 1:
            raise ValueError(f"crop must be at least 1x1, got {self.height}x{self.width}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A window of the audio track: mono float32 in [-1, 1], ``rate`` Hz, ``seconds`` long.

    The window starts ``lead_seconds`` before the look's time, so that sound and picture of one
    moment are asked for by one time; samples outside the track are zero.
    """

    rate: int
    seconds: float
    lead_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.rate < 1 or not self.seconds > 0:
            raise ValueError(f"sound needs a positive rate and length, got {self}")
        if not 0 <= self.lead_seconds <= self.seconds:
            raise ValueError(f"a window leads by at most its length, got {self}")

    @property
    def num_samples(self) -> int:
        """Samples in one window."""
        return round(self.rate * self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Stored features: the vector of a named array whose time is nearest."""

    name: str


View: TypeAlias = Canvas | Crop | Sound | Features


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInfo:
    """What is known of a sample before anything is decoded.

    Args:
        name: path, URL or label of the sample.
        duration_seconds: length of the picture stream.
        num_frames: frames in the stream; ``None`` when the container does not say.
        fps: average frames per second; 0 when unknown.
        height: displayed height in px, rotation applied; 0 when there is no picture.
        width: displayed width in px, rotation applied; 0 when there is no picture.
        keyframe_seconds: times of the keyframes, ascending; ``None`` when the container has
            no index. Times count from the first frame shown.
        has_sound: whether there is a decodable audio track.
        warnings: one line each, for the user.
    """

    name: str
    duration_seconds: float
    num_frames: int | None = None
    fps: float = 0.0
    height: int = 0
    width: int = 0
    rotation_degrees: int = 0
    keyframe_seconds: tuple[float, ...] | None = None
    has_sound: bool = False
    codec: str = ""
    container: str = ""
    size_bytes: int | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_seconds) and self.duration_seconds >= 0):
            raise ValueError(f"duration must be finite and >= 0, got {self.duration_seconds}")


# --- what a protocol yields -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The times a sample may look at from now on; it replaces the plan before it.

    The source keeps what lies between looks inside the plan and forgets the rest, so a long
    video is walked in constant memory with one plan a stretch.

    Args:
        times: seconds from the first frame, any order, duplicates allowed.
        keyframes: look at the nearest keyframe instead of the exact frame; no other packet
            is decoded.
    """

    times: tuple[float, ...]
    keyframes: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(t) and t >= 0 for t in self.times):
            raise ValueError("planned times must be finite and >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Fetch what the sample shows at ``times`` through ``view``.

    The answer is one array whose rows follow ``times``: uint8 (T,C,H,W) for a canvas or a
    crop, float32 (T, samples) for sound, float32 (T,D) for features. The picture at time t is
    the frame on display then: the last one whose timestamp is not after t.
    """

    times: tuple[float, ...]
    view: View
    role: Literal["glance", "focus"] = "focus"

    def __post_init__(self) -> None:
        if not self.times:
            raise ValueError("a look needs at least one time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run a part on ``rows`` rows; every input has its rows first.

    The executor joins rows of many samples into one batch and gives each its own back.
    The answer is a tuple of arrays, rows first, in the order of the part's outputs.
    """

    part: str
    inputs: tuple[Array, ...]
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"call of {self.part!r} needs at least one row")
        for array in self.inputs:
            if array.ndim < 1 or array.shape[0] != self.rows:
                raise ValueError(
                    f"call of {self.part!r}: every input needs {self.rows} rows first, "
                    f"got shape {array.shape}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the protocol decided, for the trace; it changes nothing.

    Args:
        time: the second it is about, if any.
        box: where it looked on the canvas.
        saliency: a score per planned time or per candidate.
        chosen: indices it kept, ascending (frames, tokens, clips).
        gates: which gates opened, by name.
        heat: shares of attention over the canvas, cell by cell, the top row first; not negative.
        text: one line for a reader.
        warning: one line for the user; it stands among the record's ``warnings`` once, however
            often it is given, and not in the trace.
    """

    time: float | None = None
    box: Box | None = None
    saliency: tuple[float, ...] | None = None
    chosen: tuple[int, ...] | None = None
    gates: Mapping[str, bool] | None = None
    heat: tuple[tuple[float, ...], ...] | None = None
    text: str | None = None
    warning: str | None = None

    def __post_init__(self) -> None:
        if self.box is not None:
            check_box(self.box)
        if self.heat is not None:
            widths = {len(row) for row in self.heat}
            if len(widths) != 1 or 0 in widths:
                raise ValueError("heat needs rows of one length, and at least one cell")
            if not all(math.isfinite(v) and v >= 0 for row in self.heat for v in row):
                raise ValueError("heat must be finite and not negative")


@dataclass(frozen=True, slots=True)
class ActionSegments:
    """Intervals [start, end) in seconds with a label index and a score each, equally long.

    Raises:
        ValueError: lengths differ, or a segment ends before it starts.
    """

    start_seconds: tuple[float, ...]
    end_seconds: tuple[float, ...]
    labels: tuple[int, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.start_seconds), len(self.end_seconds), len(self.labels)}
        if lengths != {len(self.scores)}:
            raise ValueError("segments need as many starts, ends, labels and scores")
        if any(e < s for s, e in zip(self.start_seconds, self.end_seconds, strict=True)):
            raise ValueError("a segment must not end before it starts")

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the sample is, as far as is known; the executor may stop here.

    Args:
        probs: float (K,), for a classifier.
        segments: for a detector or a tagger; the last answer holds all of them.
        logits: float (K,), what ``probs`` were made from, for an exit rule that reads them.
        sure: how sure the system itself is, for an exit rule that goes by that; larger is surer.
    """

    probs: Array | None = None
    segments: ActionSegments | None = None
    logits: Array | None = None
    sure: float | None = None

    def __post_init__(self) -> None:
        if (self.probs is None) == (self.segments is None):
            raise ValueError("an answer holds either probs or segments")
        if self.probs is not None and self.probs.ndim != 1:
            raise ValueError(f"probs must be (K,), got shape {self.probs.shape}")
        if self.probs is not None and not math.isfinite(self.probs.sum()):
            raise ValueError("probs must be finite")
        if self.logits is not None and (
            self.probs is None or self.logits.shape != self.probs.shape
        ):
            raise ValueError("logits come with probs, one for each class")
        if self.sure is not None and not math.isfinite(self.sure):
            raise ValueError(f"sure must be finite, got {self.sure}")


Step: TypeAlias = Plan | Look | Call | Note | Answer


# --- parts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a part, without its row axis.

    Args:
        name: as in the exported graph.
        shape: sizes; a string names a symbolic axis of the part.
        dtype: NumPy name.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: Literal["uint8", "int64", "float32"] = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSpec:
    """A static graph, declared once; model, exporter, MAC table and tests iterate over these.

    Args:
        name: what :class:`Call` names.
        inputs: in the order of the call; rows come first in every one.
        outputs: in the order of the answer.
        axes: each symbolic axis with the values it is tested and counted at.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        used = {a for t in self.inputs for a in t.shape if isinstance(a, str)}
        if used != set(self.axes):
            raise ValueError(f"part {self.name!r}: axes {sorted(self.axes)} but inputs use {used}")

    def bind(self, shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
        """Return the value of each symbolic axis for input ``shapes`` (rows first).

        Raises:
            ValueError: the number of inputs, a fixed size or a repeated axis does not match.
        """
        if len(shapes) != len(self.inputs):
            raise ValueError(
                f"part {self.name!r} takes {len(self.inputs)} inputs, got {len(shapes)}"
            )
        bound: dict[str, int] = {}
        for spec, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != len(spec.shape) + 1:
                raise ValueError(
                    f"{self.name}.{spec.name}: expected rows + {spec.shape}, got {shape}"
                )
            for want, got in zip(spec.shape, shape[1:], strict=True):
                size = bound.setdefault(want, got) if isinstance(want, str) else want
                if size != got:
                    raise ValueError(
                        f"{self.name}.{spec.name}: expected rows + {spec.shape}, got {shape}"
                    )
        return bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What looking at everything means for a system: the dense run it is compared with.

    Args:
        part: a frame classifier among its parts: uint8 (C,H,W) to probabilities (K,).
        canvas: what that part sees.
        num_frames: at the centres of as many equal parts of the clip.
    """

    part: str
    canvas: Canvas
    num_frames: int


# --- what was looked at, and what it cost ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a trace.

    Args:
        kind: what the protocol yielded.
        detail: its JSON data without pixels, e.g. the true timestamps of a look, the part and
            rows of a call, the confidence of an answer.
    """

    kind: Literal["plan", "look", "call", "note", "answer"]
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """What one sample looked at and decided, in order; ``exit_index`` counts its answers."""

    events: tuple[Event, ...]
    exit_index: int
    stopped_early: bool

    def frame_seconds(self) -> tuple[float, ...]:
        """Return the distinct timestamps of all frames looked at, ascending."""
        seen: set[float] = set()
        for event in self.events:
            if event.kind == "look" and event.detail["view"] in ("canvas", "crop"):
                seen.update(event.detail["seconds"])
        return tuple(sorted(seen))

    def to_json(self) -> dict[str, Any]:
        """Return the trace as plain JSON data."""
        return {
            "frames_seconds": [round(t, 6) for t in self.frame_seconds()],
            "exit_index": self.exit_index,
            "stopped_early": self.stopped_early,
            "events": [{"kind": e.kind, **e.detail} for e in self.events],
        }


STAGES = ("decode", "render", "decide", "compute")
"""Where the milliseconds of a sample go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The bill of one sample.

    Args:
        macs: multiply-accumulates by part (1 MAC = 2 FLOPs; papers' "GFLOPs" are nearly
            always GMACs).
        frames_decoded: frames the codec produced.
        frames_used: distinct frames that were converted and looked at.
        packets_read: compressed packets taken from the container.
        bytes_read: their size.
        ms: milliseconds by stage (:data:`STAGES`); a batch is shared by its rows.
    """

    macs: Mapping[str, int]
    frames_decoded: int = 0
    frames_used: int = 0
    packets_read: int = 0
    bytes_read: int = 0
    ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def total_macs(self) -> int:
        """MACs of all parts."""
        return sum(self.macs.values())

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates."""
        return self.total_macs / 1e9

    @property
    def total_ms(self) -> float:
        """Milliseconds of all stages; stages of one sample may have run side by side."""
        return sum(self.ms.values())

    def __add__(self, other: Cost) -> Cost:
        """Return the bill of both."""
        return Cost(
            macs=_added(self.macs, other.macs),
            frames_decoded=self.frames_decoded + other.frames_decoded,
            frames_used=self.frames_used + other.frames_used,
            packets_read=self.packets_read + other.packets_read,
            bytes_read=self.bytes_read + other.bytes_read,
            ms=_added(self.ms, other.ms),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the bill as plain JSON data."""
        return {
            "macs": self.total_macs,
            "macs_by_part": dict(self.macs),
            "frames_decoded": self.frames_decoded,
            "frames_used": self.frames_used,
            "packets_read": self.packets_read,
            "bytes": self.bytes_read,
            "ms": {stage: round(self.ms.get(stage, 0.0), 3) for stage in STAGES},
        }


def _added(a: Mapping[str, Number], b: Mapping[str, Number]) -> dict[str, Number]:
    """Return the sum of two tables, key by key."""
    return {key: a.get(key, 0) + b.get(key, 0) for key in (*a, *b)}


# --- what a user can act on ------------------------------------------------------------------


class FovealError(Exception):
    """An error a user can act on: one line saying what, which file, and what to do.

    Args:
        message: what is wrong, naming the file.
        hint: what to do about it.
    """

    kind = "error"

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


# --- the two interfaces the executor drives --------------------------------------------------


@dataclass(slots=True)
class Meter:
    """Counters a source raises as it works; the executor reads them into the bill."""

    packets_read: int = 0
    bytes_read: int = 0
    frames_decoded: int = 0
    frames_converted: int = 0
    decode_ms: float = 0.0
    render_ms: float = 0.0


@runtime_checkable
class Source(Protocol):
    """A file, an in-memory array or stored features, opened for one sample."""

    @property
    def info(self) -> ClipInfo:
        """What is known without decoding."""

    @property
    def meter(self) -> Meter:
        """What has been spent so far."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know of it so far, one line each, those of ``info`` included."""

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at."""

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return the rows asked for and the true timestamp of each.

        Raises:
            ValueError: a time is not in the plan.
            FovealError: the source is broken there.
        """

    def close(self) -> None:
        """Let go of files and memory; safe to call twice."""
