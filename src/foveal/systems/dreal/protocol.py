"""DREAL: a network with attention modules looks at its frames once and answers.

Source: Li and Chen, "Deep Reinforced Attention Learning for Quality-Aware Visual Recognition", ECCV
2020, arXiv 2007.06156. All of it happens in training (``recipe.py``); what runs is the plain
attention network. Letters: T frames, S side of the canvas, K classes.

Deviation: the paper is about pictures. Here a clip is T frames, each classified alone, and the
answer is the mean of their logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from foveal.sampling.choose import segment_centres
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call, look, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

Attention: TypeAlias = Literal["se", "cbam", "sge"]
"""Squeeze-and-excitation (a weight for each channel), channel and spatial weights one after the
other, spatial weights for groups of channels."""

PART = "classifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, and which network does.

    Args:
        canvas: of the frames.
        num_classes: K.
        num_frames: T.
        backbone: a network that has a module behind every block.
        attention: which module.
        reduction: of its bottleneck (``se``, ``cbam``).
        groups: of channels (``sge``).
        critic_width: of the critic, which only training has.

    Raises:
        ValueError: a size is not positive, or a choice is unknown.
    """

    canvas: Canvas
    num_classes: int
    num_frames: int = 1
    backbone: Literal["resnet18", "resnet50", "small", "tiny"] = "resnet50"
    attention: Attention = "se"
    reduction: int = 16
    groups: int = 8
    critic_width: int = 256

    def __post_init__(self) -> None:
        sizes = (self.num_classes, self.num_frames, self.reduction, self.groups)
        if min(*sizes, self.critic_width) < 1:
            raise ValueError(f"sizes must be positive, got {self}")
        if self.attention not in ("se", "cbam", "sge"):
            raise ValueError(f"no such attention: {self.attention!r}")


def paper(*, num_classes: int = 1000, attention: Attention = "se") -> Config:
    """Return ResNet-50 with a module in every block, on pictures of 224 px."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        attention=attention,
    )


def small(*, num_classes: int = 10, num_frames: int = 8) -> Config:
    """Return four small blocks for real clips at 96 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        backbone="small",
        reduction=4,
        critic_width=64,
    )


def tiny(*, num_classes: int = 8, attention: Attention = "se") -> Config:
    """Return three small blocks for pictures of 16 px."""
    return Config(
        canvas=Canvas(height=16, width=16),
        num_classes=num_classes,
        backbone="tiny",
        attention=attention,
        reduction=4,
        critic_width=32,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the one part: frames to class logits."""
    shape = (cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width)
    return (
        PartSpec(
            name=PART,
            inputs=(TensorSpec("frames", shape, "uint8"),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: it already looks at all it could look at."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return the one there is: the network has a fixed cost."""
    return (OperatingPoint(name=f"all {cfg.num_frames}", family="static"),)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Look at all frames, run the network once, answer."""
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    yield from plan(times)
    frames = yield from look(times, cfg.canvas)
    (logits,) = yield from call(PART, frames)
    yield from answer(softmax(logits))
