"""AdaFocusV2: glance at a frame, place one square on it, look there, answer, perhaps stop.

Source: Wang et al., "AdaFocus V2: End-to-End Training of Spatial Dynamic Networks for Video
Recognition", CVPR 2022, arXiv 2112.14238. Letters: B samples, T frames, S side of the canvas,
P side of the square looked at, K classes, G, L and F width of the glance's, the focus's and the
fused vector.

Deviations: exits are solved on the largest probability by default (the official code uses the
largest raw logit: criterion ``max_logit``); an order of one or two frames has no frame twice
(the official one has).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.sampling.choose import coarse_to_fine, segment_centres
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint, stops_and_exits
from foveal.sampling.protocol import Steps, answer, call, look, note, plan
from foveal.types import Array, Box, Canvas, ClipInfo, Crop, PartSpec, Reference, TensorSpec

GlanceNet: TypeAlias = Literal["mobilenetv2", "resnet50", "small", "tiny"]
FocusNet: TypeAlias = Literal["resnet50", "small", "tiny"]

GLANCE_WIDTH: Mapping[GlanceNet, int] = {
    "mobilenetv2": 1280,
    "resnet50": 2048,
    "small": 16,
    "tiny": 16,
}
FOCUS_WIDTH: Mapping[FocusNet, int] = {"resnet50": 2048, "small": 96, "tiny": 64}
POOLED_GLANCE_PX: Mapping[GlanceNet, int] = {"small": 32, "tiny": 16}
"""Side of the pictures the small glances see, averages of blocks of pixels of the canvas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, and how wide the networks are.

    Args:
        canvas: square, S px; what the glance sees and the square is cut from.
        num_classes: K.
        num_frames: T; in ``video`` mode the frames the glance sees.
        focus_size: P in px; nothing is rescaled, so it is at most S.
        glance: network that glances; ``resnet50`` does so at 96 px.
        focus: network that looks at the square.
        place: ``frame`` places a square on every frame, with a recurrent policy, and answers
            after each; ``video`` (the TSM variant) places one square for the whole clip.
        num_focus_frames: in ``video`` mode the frames the square is cut from.
        policy_channels: of the policy's 1x1 convolution.
        policy_width: of its layer after it, and of its memory.
        fused_width: F.
        crop_from: ``canvas`` cuts inside the network, as in training; ``native`` cuts from the
            file's own pixels, sharper where they are finer (``frame`` mode).
        dropout: share of a vector dropped before a classifier, in training.

    Raises:
        ValueError: a size is not positive, the canvas is not square or too small, or a choice
            is unknown.
    """

    canvas: Canvas
    num_classes: int
    num_frames: int
    focus_size: int
    glance: GlanceNet = "mobilenetv2"
    focus: FocusNet = "resnet50"
    place: Literal["frame", "video"] = "frame"
    num_focus_frames: int = 12
    policy_channels: int = 64
    policy_width: int = 2048
    fused_width: int = 4096
    crop_from: Literal["canvas", "native"] = "canvas"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.canvas.height != self.canvas.width or self.focus_size > self.canvas.width:
            raise ValueError(
                f"the canvas must be square and at least {self.focus_size} px wide, "
                f"got {self.canvas.height}x{self.canvas.width}"
            )
        sizes = (self.num_classes, self.num_frames, self.focus_size, self.num_focus_frames)
        if min(*sizes, self.policy_channels, self.policy_width, self.fused_width) < 1:
            raise ValueError(f"sizes must be positive, got {self}")
        if self.glance not in GLANCE_WIDTH or self.focus not in FOCUS_WIDTH:
            raise ValueError(f"no such network: {self.glance!r} or {self.focus!r}")
        if self.place not in ("frame", "video") or self.crop_from not in ("canvas", "native"):
            raise ValueError(f"no such choice: {self.place!r} or {self.crop_from!r}")
        if self.place == "video" and (self.glance == "resnet50" or self.crop_from == "native"):
            raise ValueError("one square a video: any glance but ResNet-50, cut from the canvas")
        pooled = POOLED_GLANCE_PX.get(self.glance, 1)
        if self.canvas.width % pooled:
            raise ValueError(
                f"the {self.glance} glance needs a multiple of {pooled} px, got {self.canvas.width}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def glance_width(self) -> int:
        """G."""
        return GLANCE_WIDTH[self.glance]

    @property
    def focus_width(self) -> int:
        """L."""
        return FOCUS_WIDTH[self.focus]


def paper(
    *, num_classes: int = 200, focus_size: int = 128, glance: GlanceNet = "mobilenetv2"
) -> Config:
    """Return the offline variant on 16 frames: ActivityNet, FCVID, Mini-Kinetics."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        num_frames=16,
        focus_size=focus_size,
        glance=glance,
    )


def paper_tsm(*, num_classes: int = 174, focus_size: int = 144) -> Config:
    """Return the TSM variant, 8 frames glanced at and 12 focused on: Something-Something."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        num_frames=8,
        num_focus_frames=12,
        focus_size=focus_size,
        place="video",
        policy_width=1024,
        dropout=0.5,
    )


def tiny(*, num_classes: int = 8, num_frames: int = 2, focus_size: int = 16) -> Config:
    """Return a network for 64 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=64, width=64),
        num_classes=num_classes,
        num_frames=num_frames,
        focus_size=focus_size,
        glance="tiny",
        focus="tiny",
        policy_channels=16,
        policy_width=64,
        fused_width=128,
        dropout=0.0,
    )


def small(*, num_classes: int = 10, num_frames: int = 8, focus_size: int = 40) -> Config:
    """Return networks for real clips at 96 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        focus_size=focus_size,
        glance="small",
        focus="small",
        policy_channels=16,
        policy_width=64,
        fused_width=128,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the two parts: what glances and places the square, and what looks at it."""
    side, square = cfg.canvas.width, cfg.focus_size
    action = TensorSpec("action", (2,))
    logits = TensorSpec("logits", (cfg.num_classes,))
    if cfg.place == "video":
        glanced = TensorSpec("frames", (cfg.num_frames, 3, side, side), "uint8")
        focused = TensorSpec("frames", (cfg.num_focus_frames, 3, side, side), "uint8")
        return (
            PartSpec(name="glance_policy", inputs=(glanced,), outputs=(action, logits)),
            PartSpec(name="focus", inputs=(focused, action), outputs=(logits,)),
        )
    frame = TensorSpec("frame", (3, side, side), "uint8")
    memory = TensorSpec("memory", (cfg.policy_width,))
    vector = TensorSpec("vector", (cfg.glance_width,))
    best = TensorSpec("best", (cfg.fused_width,))
    looked: tuple[TensorSpec, ...] = (frame, action)
    if cfg.crop_from == "native":
        looked = (TensorSpec("crop", (3, square, square), "uint8"),)
    return (
        PartSpec(
            name="glance_policy",
            inputs=(frame, memory),
            outputs=(action, vector, TensorSpec("new_memory", memory.shape)),
        ),
        PartSpec(
            name="focus",
            inputs=(*looked, vector, best, TensorSpec("prefix", (), "int64")),
            outputs=(logits, TensorSpec("new_best", best.shape)),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: no part of it classifies a whole frame at full size."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return stops after the first so many frames, and exits when sure; in ``video`` mode one."""
    if cfg.place == "video":
        return (OperatingPoint(name="one square", family="static"),)
    return stops_and_exits(cfg.num_frames)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Take the frames coarse to fine; glance, place, look and answer on each."""
    if cfg.place == "video":
        yield from video_steps(cfg, clip)
        return
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    yield from plan(times)
    memory = np.zeros(cfg.policy_width, np.float32)
    best = np.zeros(cfg.fused_width, np.float32)  # neutral: the fused vectors are never negative
    for seen, index in enumerate(frame_order(cfg.num_frames)):
        time = times[index]
        frame = yield from look(time, cfg.canvas, role="glance")
        action, vector, memory = yield from call("glance_policy", frame, memory)
        box = square_box(cfg, action)
        yield from note(time=time, box=box)
        looked: tuple[Array, ...] = (frame, action)
        if cfg.crop_from == "native":
            view = Crop(canvas=cfg.canvas, box=box, height=cfg.focus_size, width=cfg.focus_size)
            looked = ((yield from look(time, view)),)
        prefix = np.asarray(seen, np.int64)
        logits, best = yield from call("focus", *looked, vector, best, prefix)
        yield from answer(softmax(logits), logits=logits)


def video_steps(cfg: Config, clip: ClipInfo) -> Steps:
    """Glance at all frames, place one square, look there on the focus frames, answer once."""
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    focus_times = segment_centres(clip.duration_seconds, cfg.num_focus_frames)
    yield from plan((*times, *focus_times))
    frames = yield from look(times, cfg.canvas, role="glance")
    action, glance_logits = yield from call("glance_policy", frames)
    yield from note(box=square_box(cfg, action))
    focus_frames = yield from look(focus_times, cfg.canvas)
    (focus_logits,) = yield from call("focus", focus_frames, action)
    yield from answer(softmax(glance_logits + focus_logits))


def frame_order(num_frames: int) -> tuple[int, ...]:
    """Return the frames coarse to fine, so that every prefix covers the clip.

    >>> frame_order(8)
    (3, 0, 7, 1, 5, 2, 4, 6)
    """
    return coarse_to_fine(num_frames)


def square_box(cfg: Config, action: Array) -> Box:
    """Return the square that ``action`` (y, x) in [0, 1] places, as x0, y0, x1, y1 of the canvas.

    An action of 0 puts the square at the upper or left border, of 1 at the other.
    """
    share = cfg.focus_size / cfg.canvas.width
    y, x = (float(np.clip(a, 0.0, 1.0)) * (1.0 - share) for a in action)
    return (x, y, min(x + share, 1.0), min(y + share, 1.0))
