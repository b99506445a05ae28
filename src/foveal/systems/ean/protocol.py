"""EAN: look at a few bursts of frames, answer once, and say which objects were related.

Source: Tian, Yan, Zhai, Guo, Gao, "EAN: Event Adaptive Network for Enhanced Action Recognition",
IJCV 2022, arXiv 2107.10771. What adapts to the clip is inside the network: kernels that are mixed
per clip, and attention between a few softly selected objects; nothing is skipped, so every clip
costs the same. Letters: N segments, K classes, M objects; h, w sides of the last map.

Deviation: the frames keep their shape (short side 240, centre square); the official code first
scales those of Something-Something to 240x320.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from foveal.sampling.choose import segment_bursts
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call, look, note, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

BURST = 5
"""Frames in succession that the motion code reads around each segment's frame."""

PART = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a backbone the other blocks are fitted to.

    Args:
        stem_stride: px a cell of the stem's map covers.
        stride: px a cell of the last map covers.
        blocks: residual blocks of each stage.
        sites: channels where an adaptive block stands: after the stem, then after each stage.
        features: channels of the last map.
    """

    stem_stride: int
    stride: int
    blocks: tuple[int, ...]
    sites: tuple[int, ...]
    features: int


BackboneName: TypeAlias = Literal["resnet50", "small"]

BACKBONES: Mapping[BackboneName, Shape] = {
    "resnet50": Shape(
        stem_stride=4,
        stride=32,
        blocks=(3, 4, 6, 3),
        sites=(64, 256, 512, 1024),
        features=2048,
    ),
    "small": Shape(stem_stride=2, stride=8, blocks=(1, 1, 1), sites=(16, 16), features=64),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, which of the three ideas are on, and how wide they are.

    Args:
        canvas: of every frame; its sides are multiples of ``2 * patch_px`` and of the backbone's
            stride.
        num_classes: K.
        num_segments: N, at least 2.
        backbone: network of pictures, each of whose residual blocks excites and shifts motion.
        adaptive: kernels mixed per clip (event adaptive blocks).
        motion: latent motion code of each burst: ``plain`` is added to the stem's map (8 frames in
            the paper), ``stacked`` is weighed against it together with a second branch that sees
            all differences at once (16 frames), ``off`` leaves it out, and all frames but the
            middle one of a burst are not looked at.
        transformer: attention between selected objects; off leaves the mean of the map.
        patch_px: of the frames at half size, in the motion code.
        motion_width: channels of the motion code.
        motion_groups: of its convolutions.
        compress: channels of a map over those inside an adaptive block.
        object_width: D, channels of an object.
        score_width: of the layers that score objects.
        num_objects: M, in every segment.
        num_heads: of the attention.
        num_layers: of the transformer.
        dropout: before the classifier, in training.
        normalise: whether pixels are brought to ImageNet's mean and spread; the official code
            trains on plain pixels in [0, 1] and tests on normalised ones.

    Raises:
        ValueError: a size is not positive or does not divide another, or a choice is unknown.
    """

    canvas: Canvas
    num_classes: int
    num_segments: int
    backbone: BackboneName = "resnet50"
    adaptive: bool = True
    motion: Literal["plain", "stacked", "off"] = "plain"
    transformer: bool = True
    patch_px: int = 16
    motion_width: int = 256
    motion_groups: int = 16
    compress: int = 4
    object_width: int = 512
    score_width: int = 128
    num_objects: int = 4
    num_heads: int = 8
    num_layers: int = 2
    dropout: float = 0.5
    normalise: bool = True

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES or self.motion not in ("plain", "stacked", "off"):
            raise ValueError(f"no such choice: {self.backbone!r} or {self.motion!r}")
        sizes = (self.patch_px, self.motion_width, self.motion_groups, self.compress)
        widths = (self.object_width, self.score_width, self.num_objects, self.num_heads)
        if min(self.num_classes, *sizes, *widths, self.num_layers) < 1 or self.num_segments < 2:
            raise ValueError(f"sizes must be positive and segments at least 2, got {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        shape = self.shape
        for side in (self.canvas.height, self.canvas.width):
            if side % (2 * self.patch_px) or side % shape.stride:
                raise ValueError(
                    f"the canvas needs multiples of {2 * self.patch_px} and {shape.stride} px, "
                    f"got {self.canvas.height}x{self.canvas.width}"
                )
        if (2 * self.patch_px) % shape.stem_stride or self.motion_width % self.motion_groups:
            raise ValueError(f"patches and groups must fit the stem and the width, got {self}")
        if self.object_width % self.num_heads:
            raise ValueError(f"{self.object_width} channels make no {self.num_heads} equal heads")
        if any(channels % (4 * self.compress) for channels in shape.sites):
            raise ValueError(f"compress must divide a quarter of {shape.sites}: {self.compress}")

    @property
    def shape(self) -> Shape:
        """Of the backbone."""
        return BACKBONES[self.backbone]

    @property
    def burst(self) -> int:
        """Frames of each segment that are looked at; the middle one shows, all show motion."""
        return 1 if self.motion == "off" else BURST

    @property
    def back_patch(self) -> int:
        """Cells of the stem's map, each way, that one patch of the motion code covers."""
        return 2 * self.patch_px // self.shape.stem_stride

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the last map."""
        return (self.canvas.height // self.shape.stride, self.canvas.width // self.shape.stride)


def paper(*, num_classes: int = 174) -> Config:
    """Return the 8-segment network for Something-Something: 37 GMACs."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=240),
        num_classes=num_classes,
        num_segments=8,
    )


def paper_16(*, num_classes: int = 174) -> Config:
    """Return the 16-segment network, whose motion code has a second branch: 75 GMACs."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=240),
        num_classes=num_classes,
        num_segments=16,
        motion="stacked",
    )


def tiny(*, num_classes: int = 4, num_segments: int = 4) -> Config:
    """Return a network for 64 px that one CPU thread trains in minutes."""
    return _small_network(64, num_classes=num_classes, num_segments=num_segments)


def small(*, num_classes: int = 10, num_segments: int = 4) -> Config:
    """Return the same network for real clips at 96 px."""
    return _small_network(96, num_classes=num_classes, num_segments=num_segments, dropout=0.2)


def _small_network(px: int, *, num_classes: int, num_segments: int, dropout: float = 0.0) -> Config:
    return Config(
        canvas=Canvas(height=px, width=px),
        num_classes=num_classes,
        num_segments=num_segments,
        backbone="small",
        patch_px=8,
        motion_width=32,
        motion_groups=4,
        compress=2,
        object_width=32,
        score_width=8,
        num_objects=2,
        num_heads=4,
        num_layers=1,
        dropout=dropout,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the one part; with the transformer it says where its objects are."""
    size = (3, cfg.canvas.height, cfg.canvas.width)
    frames = TensorSpec("frames", (cfg.num_segments * cfg.burst, *size), "uint8")
    outputs: tuple[TensorSpec, ...] = (TensorSpec("logits", (cfg.num_classes,)),)
    if cfg.transformer:
        maps = (cfg.num_objects, cfg.num_segments, *cfg.map_size)
        outputs += (TensorSpec("object_maps", maps),)
    return (PartSpec(name=PART, inputs=(frames,), outputs=outputs),)


def reference(cfg: Config) -> Reference | None:
    """Return nothing: no part of it classifies a frame alone."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return the one there is: nothing in it trades cost for accuracy after training."""
    return (OperatingPoint(name=f"{cfg.num_segments} segments", family="static"),)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Look at a burst in every segment, run the network, note its objects, answer."""
    times = segment_bursts(clip, num_segments=cfg.num_segments, length=BURST)
    if cfg.burst == 1:
        times = times[BURST // 2 :: BURST]
    yield from plan(times)
    frames = yield from look(times, cfg.canvas)
    logits, *objects = yield from call(PART, frames)
    for maps in objects:
        for segment, time in enumerate(times[cfg.burst // 2 :: cfg.burst]):
            for one in maps[:, segment]:
                yield from note(time=time, heat=one)
    yield from answer(softmax(logits))
