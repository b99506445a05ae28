"""ResKD: look at every frame, but small; what that loses, a teacher at full size has given back.

Source: Ma et al., "Rethinking Resolution in the Context of Efficient Video Recognition",
NeurIPS 2022, arXiv 2209.12797. Nothing is decided at test time: one plan, one look, one call,
one answer. The teacher exists only while training (``model.py``, ``recipe.py``).
Letters: T frames, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from foveal.sampling.choose import segment_centres
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call, look, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

PART = "student"

Backbone: TypeAlias = Literal[
    "conv4",
    "conv4_shift",
    "conv4_3d",
    "swin_toy",
    "resnet18",
    "resnet50",
    "resnet152",
    "resnet50_shift",
    "slowonly50",
    "swin_s",
    "swin_b",
]
"""What can teach and be taught: any network with a map over the picture at its end.

``conv4`` is the sheet's four stages of convolution; ``_shift`` moves channels between frames
(TSM), ``_3d`` and ``slowonly50`` convolve over time, ``swin`` is Video Swin.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which network, at which sizes.

    Args:
        canvas: what the student sees: the small picture. ``area`` averages blocks of pixels,
            which for an exact half is the resize of the paper.
        train_canvas: what the teacher sees; the student's pictures are made from these while
            training, so that both see one augmented crop. It shows the same part of the frame.
        num_frames: T, at the centres of as many equal parts of the clip.
        num_classes: K.
        student: kept for the test.
        teacher: thrown away after training. Its last map has as many channels as the
            student's, unless class maps are compared (``distil="logits"``).
        width: channels of the first stage of ``conv4`` and ``swin_toy``.
        distil: compare feature maps, or maps of class logits (the paper's choice for Swin).
        dropout: before the last layer, while training.

    Raises:
        ValueError: a number is out of range, or a choice unknown.
    """

    canvas: Canvas
    train_canvas: Canvas
    num_frames: int
    num_classes: int
    student: Backbone = "resnet50"
    teacher: Backbone = "resnet50"
    width: int = 16
    distil: Literal["features", "logits"] = "features"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if min(self.num_frames, self.num_classes, self.width) < 1:
            raise ValueError(f"frames, classes and width must be >= 1, got {self}")
        for name in (self.student, self.teacher):
            if name not in get_args(Backbone):
                raise ValueError(f"a backbone is one of {get_args(Backbone)}, got {name!r}")
        if self.distil not in ("features", "logits"):
            raise ValueError(f"distil must be features or logits, got {self.distil!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        small, large = self.canvas, self.train_canvas
        if small.height > large.height or small.width > large.width:
            raise ValueError("the student's canvas must not be larger than the teacher's")


def _half(side: int, short_side: int) -> tuple[Canvas, Canvas]:
    """Return the student's and the teacher's canvas: ``side`` px and twice as many, one view."""
    small = Canvas(height=side, width=side, short_side=short_side, kernel="area")
    large = Canvas(height=2 * side, width=2 * side, short_side=2 * short_side)
    return small, large


def paper() -> Config:
    """Return the ActivityNet pair: TSN ResNet-152 at 224 teaches TSN ResNet-50 at 112."""
    small, large = _half(112, 128)
    return Config(
        canvas=small,
        train_canvas=large,
        num_frames=16,
        num_classes=200,
        student="resnet50",
        teacher="resnet152",
    )


def mini_kinetics() -> Config:
    """Return the Mini-Kinetics pair: as ActivityNet, with eight frames."""
    small, large = _half(112, 128)
    return Config(
        canvas=small,
        train_canvas=large,
        num_frames=8,
        num_classes=200,
        student="resnet50",
        teacher="resnet152",
    )


def something_something() -> Config:
    """Return the Something-Something V2 pair: TSM ResNet-50 teaches itself."""
    small, large = _half(112, 128)
    return Config(
        canvas=small,
        train_canvas=large,
        num_frames=8,
        num_classes=174,
        student="resnet50_shift",
        teacher="resnet50_shift",
    )


def kinetics_slowonly() -> Config:
    """Return the Kinetics-400 pair of SlowOnly ResNet-50, eight frames."""
    small, large = _half(112, 128)
    return Config(
        canvas=small,
        train_canvas=large,
        num_frames=8,
        num_classes=400,
        student="slowonly50",
        teacher="slowonly50",
    )


def kinetics_swin() -> Config:
    """Return the Kinetics-400 pair of Video Swin, B teaches S through maps of class logits."""
    small, large = _half(112, 112)
    return Config(
        canvas=small,
        train_canvas=large,
        num_frames=32,
        num_classes=400,
        student="swin_s",
        teacher="swin_b",
        distil="logits",
    )


def tiny(*, num_classes: int = 8) -> Config:
    """Return four frames of 32 px taught at 64 px, the same small network on both sides."""
    return Config(
        canvas=Canvas(height=32, width=32, kernel="area"),
        train_canvas=Canvas(height=64, width=64, kernel="area"),
        num_frames=4,
        num_classes=num_classes,
        student="conv4",
        teacher="conv4",
        width=12,
        dropout=0.0,
    )


def small(*, num_classes: int = 10, num_frames: int = 8) -> Config:
    """Return eight frames of 48 px taught at 96 px, for real clips on a CPU."""
    return Config(
        canvas=Canvas(height=48, width=48, kernel="area"),
        train_canvas=Canvas(height=96, width=96),
        num_frames=num_frames,
        num_classes=num_classes,
        student="conv4_shift",
        teacher="conv4_shift",
        width=16,
        dropout=0.2,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the one part: a small clip to class logits."""
    shape = (cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width)
    return (
        PartSpec(
            name=PART,
            inputs=(TensorSpec("frames", shape, "uint8"),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: the student already looks at all it could look at."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return the one there is: the student has a fixed size."""
    return (OperatingPoint(name=f"small {cfg.num_frames}", family="static"),)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Look at all frames through the small canvas, run the student once, answer."""
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    yield from plan(times)
    frames = yield from look(times, cfg.canvas)
    (logits,) = yield from call(PART, frames)
    yield from answer(softmax(logits))
