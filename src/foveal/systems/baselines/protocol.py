"""The fixed choices every policy is measured against, as one ordinary system.

They look through the same sources, call the same parts and pay the same bill as the systems
they stand beside: give a config the part and canvas of the system in question. On their own they
are temporal segment networks (Wang et al., ECCV 2016, arXiv 1608.00859): frames at equal
distances, each classified alone, answers averaged.
Letters: T frames looked at, K classes, D width of stored features.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.sampling.choose import coarse_to_fine, nearest_edges, segment_centres, tag_stretches
from foveal.sampling.operating import Family, OperatingPoint, ladder, stops_and_exits
from foveal.sampling.protocol import Steps, answer, answer_segments, call_rows, look, plan
from foveal.types import Array, Canvas, ClipInfo, Features, PartSpec, Reference, TensorSpec

DENSE_FRAMES = 16
"""Frames of the dense run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which frames, through which canvas, into which part, joined how.

    Args:
        canvas: what is seen of a frame: a picture, or stored features.
        part: a frame classifier: uint8 (C,H,W), or float32 (D,), to probabilities (K,), one row
            a frame.
        when: ``uniform`` takes segment centres, ``random`` one draw per segment (seeded by
            ``seed`` and the clip's name), ``centre`` consecutive frames around the middle.
        answer: ``mean`` averages probabilities over the clip; ``each`` lets every frame answer
            for the time nearest to it; ``running`` takes frames coarse to fine and answers after
            each with the mean so far, so that a clip may stop when it is sure.
        network: what is trained where the part is no other system's; ``linear`` takes features.
        feature_width: D.
        dropout: before the last layer, while training.
        several_labels: whether a clip may show several classes; each has its own probability then.

    Raises:
        ValueError: a number is out of range or a choice unknown.
    """

    canvas: Canvas | Features
    num_frames: int
    num_classes: int
    part: str = "classifier"
    when: Literal["uniform", "random", "centre"] = "uniform"
    answer: Literal["mean", "each", "running"] = "mean"
    role: Literal["glance", "focus"] = "focus"
    seed: int = 0
    network: Literal[
        "small",
        "small_resnet",
        "small_mobilenet",
        "tf_efficientnet_lite0",
        "resnet50",
        "linear",
        "tiny",
    ] = "small"
    feature_width: int = 0
    dropout: float = 0.0
    several_labels: bool = False

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.num_classes < 1:
            raise ValueError("baselines need at least one frame and one class")
        if self.when not in ("uniform", "random", "centre"):
            raise ValueError(f"when must be uniform, random or centre, got {self.when!r}")
        if self.answer not in ("mean", "each", "running"):
            raise ValueError(f"answer must be mean, each or running, got {self.answer!r}")
        if isinstance(self.canvas, Features) != (self.feature_width > 0):
            raise ValueError("feature_width is given with features, and with nothing else")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


def uniform(canvas: Canvas, *, num_frames: int, num_classes: int, part: str) -> Config:
    """Return the segment centres of the whole clip."""
    return Config(canvas=canvas, num_frames=num_frames, num_classes=num_classes, part=part)


def random(
    canvas: Canvas, *, num_frames: int, num_classes: int, part: str, seed: int = 0
) -> Config:
    """Return one random frame per segment."""
    return Config(
        canvas=canvas,
        num_frames=num_frames,
        num_classes=num_classes,
        part=part,
        when="random",
        seed=seed,
    )


def centre(canvas: Canvas, *, num_frames: int, num_classes: int, part: str) -> Config:
    """Return consecutive frames around the middle of the clip."""
    return Config(
        canvas=canvas, num_frames=num_frames, num_classes=num_classes, part=part, when="centre"
    )


def dense(canvas: Canvas, *, num_frames: int = 16, num_classes: int, part: str) -> Config:
    """Return the reference that looks at everything a system could have looked at."""
    return uniform(canvas, num_frames=num_frames, num_classes=num_classes, part=part)


def glance_only(canvas: Canvas, *, num_frames: int, num_classes: int, part: str) -> Config:
    """Return the glance of a system, answered from without ever focusing."""
    return Config(
        canvas=canvas, num_frames=num_frames, num_classes=num_classes, part=part, role="glance"
    )


def paper(*, num_classes: int = 400, num_frames: int = 25) -> Config:
    """Return the paper's setting: 25 frames, 224 px, here with ResNet-50."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_frames=num_frames,
        num_classes=num_classes,
        network="resnet50",
        dropout=0.8,
    )


def small(*, num_classes: int = 10, num_frames: int = 16) -> Config:
    """Return 16 frames of 96 px for a network that a CPU trains in minutes."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_frames=num_frames,
        num_classes=num_classes,
        dropout=0.2,
    )


def lite(*, num_classes: int = 10, num_frames: int = 8) -> Config:
    """Return eight frames of 128 px for EfficientNet-Lite0, which begins with ImageNet weights."""
    return Config(
        canvas=Canvas(height=128, width=128),
        num_frames=num_frames,
        num_classes=num_classes,
        network="tf_efficientnet_lite0",
        dropout=0.2,
    )


def features(
    *, num_classes: int = 10, num_frames: int = 16, name: str = "features", width: int = 512
) -> Config:
    """Return stored features of 16 frames, classified by one layer."""
    return Config(
        canvas=Features(name=name),
        num_frames=num_frames,
        num_classes=num_classes,
        network="linear",
        feature_width=width,
    )


def tiny(*, num_classes: int = 8, num_frames: int = 4) -> Config:
    """Return four frames of 32 px, for tests."""
    return Config(
        canvas=Canvas(height=32, width=32),
        num_frames=num_frames,
        num_classes=num_classes,
        network="tiny",
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the one part a baseline calls."""
    if isinstance(cfg.canvas, Features):
        seen = TensorSpec("frames", (cfg.feature_width,))
    else:
        seen = TensorSpec("frames", (3, cfg.canvas.height, cfg.canvas.width), "uint8")
    probs = TensorSpec("probs", (cfg.num_classes,))
    return (PartSpec(name=cfg.part, inputs=(seen,), outputs=(probs,)),)


def reference(cfg: Config) -> Reference | None:
    """Return sixteen frames through the same canvas and part; nothing for stored features."""
    if isinstance(cfg.canvas, Features):
        return None
    return Reference(part=cfg.part, canvas=cfg.canvas, num_frames=DENSE_FRAMES)


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return fewer and fewer frames, at equal distances and drawn; the most is the dense run.

    Besides, exits by confidence without anything learnt for them. Where frames are taken one by one
    anyway (``running``) stops after a fixed number take the place of other frames.
    """
    if cfg.answer == "running":
        return stops_and_exits(cfg.num_frames)
    counts = ladder(max(cfg.num_frames, DENSE_FRAMES))
    points = [_point(counts[0], "uniform", "dense", "dense {}")]
    if cfg.answer == "mean":
        running = {"num_frames": counts[0], "when": "uniform", "answer": "running"}
        points.append(
            OperatingPoint(name="exits", family="exits", settings=running, solve="max_prob")
        )
    for count in counts[1:]:
        points.append(_point(count, "uniform", "uniform", "uniform {}"))
        points.append(_point(count, "random", "random", "random {}"))
    return tuple(points)


def _point(count: int, when: str, family: Family, name: str) -> OperatingPoint:
    settings = {"num_frames": count, "when": when}
    return OperatingPoint(name=name.format(count), family=family, settings=settings)


def frame_times(cfg: Config, clip: ClipInfo) -> tuple[float, ...]:
    """Return the ascending times ``cfg`` looks at in ``clip``, all within it."""
    duration = clip.duration_seconds
    if cfg.when == "uniform":
        return segment_centres(duration, cfg.num_frames)
    if cfg.when == "random":
        rng = np.random.default_rng([cfg.seed, zlib.crc32(clip.name.encode("utf-8", "replace"))])
        offsets = np.arange(cfg.num_frames) + rng.random(cfg.num_frames)
        return tuple(float(t) for t in offsets * duration / cfg.num_frames)
    step = 1.0 / clip.fps if clip.fps > 0 else duration / cfg.num_frames
    first = duration / 2 - (cfg.num_frames - 1) / 2 * step
    return tuple(float(np.clip(first + i * step, 0, duration)) for i in range(cfg.num_frames))


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Look at the fixed times, run the part on all of them, answer once."""
    times = frame_times(cfg, clip)
    yield from plan(times)
    if cfg.answer == "running":
        yield from running_steps(cfg, times)
        return
    frames = yield from look(times, cfg.canvas, role=cfg.role)
    outputs = yield from call_rows(cfg.part, frames)
    probs = outputs[0]
    if cfg.answer == "mean":
        yield from answer(probs.mean(axis=0))
    else:
        edges = nearest_edges(np.array(times), clip.duration_seconds)
        yield from answer_segments(tag_stretches(edges, probs, join=False))


def running_steps(cfg: Config, times: tuple[float, ...]) -> Steps:
    """Take the frames coarse to fine; answer after each with the mean of those seen."""
    total = np.zeros(cfg.num_classes)
    for seen, index in enumerate(coarse_to_fine(len(times)), start=1):
        frames = yield from look([times[index]], cfg.canvas, role=cfg.role)
        outputs = yield from call_rows(cfg.part, frames)
        total += outputs[0][0]
        yield from answer(total / seen)
