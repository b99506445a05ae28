"""GFNet: glance at the whole picture small, answer; look at a square, answer again; perhaps stop.

Source: Wang et al., "Glance and Focus: a Dynamic Approach to Reducing Spatial Redundancy in Image
Classification", NeurIPS 2020, arXiv 2010.05300; Huang et al., "Glance and Focus Networks for
Dynamic Visual Recognition", TPAMI 2023, arXiv 2201.03014 (video). Letters: B samples, F frames, S
side of the canvas, G and P side of what the glance sees and of the square, T steps (one glance, T-1
squares), D width of a vector, C channels of a map and h its side, M width of the policy's memory, K
classes.

Deviations: no code of the video experiments is public. Here a square has one place in all F frames
of a clip, frames are encoded each on its own or with temporal shifts, and answers follow the rule
of the authors' AdaFocus (mean over frames and squares) or the image rule on the mean vector of the
frames. The map of the newest picture leaves its part, so that the policy is paid for only by who
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.sampling.choose import segment_centres
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint, stops_and_exits
from foveal.sampling.protocol import Steps, answer, call, look, note, plan
from foveal.types import Array, Box, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

Encoder: TypeAlias = Literal[
    "resnet50",
    "densenet121",
    "mobilenetv3_large_100",
    "efficientnet_b2",
    "efficientnet_b3",
    "regnety_004",
    "regnety_008",
    "small",
    "tiny",
]
PolicyKind: TypeAlias = Literal["flat", "conv", "video"]
"""How maps become a state: two linear layers; a convolution to few channels and one linear layer;
the same with batch normalisation, on the maps of all frames stacked (AdaFocus)."""
Fusion: TypeAlias = Literal["rnn", "cascade", "mean"]
"""How vectors become answers: a GRU; a linear layer for each step on all vectors so far; the mean
of linear answers over frames and squares, glance and squares added."""

WIDTHS: Mapping[Encoder, int] = {
    "resnet50": 2048,
    "densenet121": 1024,
    "mobilenetv3_large_100": 960,
    "efficientnet_b2": 1408,
    "efficientnet_b3": 1536,
    "regnety_004": 440,
    "regnety_008": 768,
    "small": 64,
    "tiny": 32,
}
"""D, which is C too."""
STRIDES: Mapping[Encoder, int] = {"small": 8, "tiny": 4}
"""Pixels a cell of the map covers, 32 where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, and how wide the networks are.

    Args:
        canvas: square, S px.
        num_classes: K.
        num_frames: F; 1 is a picture.
        num_steps: T.
        glance_size: G in px.
        focus_size: P in px, at most S.
        encoder: of both.
        share_encoder: whether glance and squares have one encoder.
        resize: how the glance is made small; corners aligned, no antialiasing.
        shift: temporal shifts in both encoders (a clip, and not ``small`` or ``tiny``).
        policy: how a map becomes a state.
        policy_channels: of its convolution (``conv``, ``video``).
        policy_hidden: of the first linear layer of ``flat``.
        policy_width: M.
        fusion: how vectors become answers.
        fusion_width: of the GRU (``rnn``).
        glance_head: what answers the glance: the ``fusion``, or the encoder's ``own`` linear head
            (``cascade`` and ``mean`` have no other).

    Raises:
        ValueError: a size is not positive, the canvas is not square or too small, or choices do not
            go together.
    """

    canvas: Canvas
    num_classes: int
    num_frames: int = 1
    num_steps: int = 5
    glance_size: int = 96
    focus_size: int = 96
    encoder: Encoder = "resnet50"
    share_encoder: bool = False
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    shift: bool = False
    policy: PolicyKind = "flat"
    policy_channels: int = 32
    policy_hidden: int = 2048
    policy_width: int = 1024
    fusion: Fusion = "rnn"
    fusion_width: int = 1024
    glance_head: Literal["fusion", "own"] = "fusion"

    def __post_init__(self) -> None:
        side = self.canvas.width
        if self.canvas.height != side or max(self.focus_size, self.glance_size) > side:
            raise ValueError(
                f"the canvas must be square and at least as wide as glance and square, got "
                f"{self.canvas.height}x{side}, {self.glance_size} and {self.focus_size} px"
            )
        sizes = (self.num_classes, self.num_frames, self.num_steps, self.glance_size)
        widths = (self.policy_channels, self.policy_hidden, self.policy_width, self.fusion_width)
        if min(*sizes, self.focus_size, *widths) < 1:
            raise ValueError(f"sizes must be positive, got {self}")
        if self.glance_size != self.focus_size and self.num_steps > 1:
            raise ValueError(
                "the policy reads maps of glance and square alike: glance_size must be focus_size, "
                f"got {self.glance_size} and {self.focus_size}"
            )
        if self.shift and (self.num_frames < 2 or self.encoder in STRIDES):
            raise ValueError("temporal shifts need several frames and a large encoder")
        if self.fusion != "rnn" and self.glance_head == "fusion":
            raise ValueError(f"{self.fusion} has no answer of its own to a glance: glance_head=own")

    @property
    def width(self) -> int:
        """D."""
        return WIDTHS[self.encoder]

    @property
    def map_side(self) -> int:
        """The side h of a map."""
        return -(-self.focus_size // STRIDES.get(self.encoder, 32))

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Shape of the maps of all frames, stacked."""
        return (self.num_frames * self.width, self.map_side, self.map_side)

    @property
    def state_width(self) -> int:
        """Width of what the fusion carries from step to step."""
        return {
            "rnn": self.fusion_width,
            "cascade": self.num_steps * self.width,
            "mean": 2 * self.num_classes,
        }[self.fusion]


def paper(*, num_classes: int = 1000, size: int = 96) -> Config:
    """Return GFNet-ResNet-50 on pictures, five steps of 96 (or 128) px."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        glance_size=size,
        focus_size=size,
    )


def paper_densenet(*, num_classes: int = 1000, size: int = 96) -> Config:
    """Return GFNet-DenseNet-121; the policy and the classifier are those of ResNet-50."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        glance_size=size,
        focus_size=size,
        encoder="densenet121",
    )


def paper_mobilenet(*, num_classes: int = 1000, size: int = 128) -> Config:
    """Return GFNet-MobileNetV3-L (three steps): a small policy and a cascade of classifiers."""
    return _light("mobilenetv3_large_100", num_classes=num_classes, size=size, num_steps=3)


def paper_efficientnet(*, num_classes: int = 1000, size: int = 128) -> Config:
    """Return GFNet-EfficientNet-B2 (four steps), on pictures of 260 px."""
    return _light(
        "efficientnet_b2", num_classes=num_classes, size=size, num_steps=4, side=260, short=298
    )


def paper_regnet(*, num_classes: int = 1000, size: int = 96) -> Config:
    """Return GFNet-RegNet-Y (five steps); a glance is answered by the encoder's own head."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        glance_size=size,
        focus_size=size,
        encoder="regnety_008",
        policy="conv",
        policy_width=256,
        fusion_width=1024,
        glance_head="own",
    )


def paper_video(*, num_classes: int = 174, num_frames: int = 8, size: int = 128) -> Config:
    """Return our build of the video experiments: ResNet-50 with temporal shifts, three steps."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        num_frames=num_frames,
        num_steps=3,
        glance_size=size,
        focus_size=size,
        shift=True,
        policy="video",
        policy_channels=64,
        fusion="mean",
        glance_head="own",
    )


def small(*, num_classes: int = 10, num_frames: int = 8) -> Config:
    """Return networks for real clips at 96 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        num_steps=3,
        glance_size=40,
        focus_size=40,
        encoder="small",
        policy="video",
        policy_channels=16,
        policy_width=128,
        fusion="mean",
        glance_head="own",
    )


def tiny(*, num_classes: int = 8, num_frames: int = 1) -> Config:
    """Return a network for pictures of 48 px, squares of 16, three steps."""
    video = num_frames > 1
    return Config(
        canvas=Canvas(height=48, width=48),
        num_classes=num_classes,
        num_frames=num_frames,
        num_steps=3,
        glance_size=16,
        focus_size=16,
        encoder="tiny",
        policy="video" if video else "conv",
        policy_channels=16,
        policy_width=128,
        fusion="mean" if video else "rnn",
        fusion_width=64,
        glance_head="own" if video else "fusion",
    )


def _light(
    encoder: Encoder,
    *,
    num_classes: int,
    size: int,
    num_steps: int,
    side: int = 224,
    short: int = 256,
) -> Config:
    return Config(
        canvas=Canvas(height=side, width=side, short_side=short),
        num_classes=num_classes,
        num_steps=num_steps,
        glance_size=size,
        focus_size=size,
        encoder=encoder,
        policy="conv",
        policy_width=256,
        fusion="cascade",
        glance_head="own",
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return what glances, what places a square, and what looks at it."""
    frames = TensorSpec("frames", (cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width), "uint8")
    seen = TensorSpec("map", cfg.map_shape)
    logits = TensorSpec("logits", (cfg.num_classes,))
    state = (cfg.state_width,)
    action = TensorSpec("action", (2,))
    memory = (cfg.policy_width,)
    glance = PartSpec(
        name="glance",
        inputs=(frames,),
        outputs=(logits, seen, TensorSpec("new_state", state)),
    )
    if cfg.num_steps == 1:
        return (glance,)
    return (
        glance,
        PartSpec(
            name="policy",
            inputs=(seen, TensorSpec("memory", memory)),
            outputs=(action, TensorSpec("new_memory", memory)),
        ),
        PartSpec(
            name="focus",
            inputs=(
                frames,
                action,
                TensorSpec("state", state),
                TensorSpec("prefix", (), "int64"),
            ),
            outputs=(
                logits,
                TensorSpec("new_map", seen.shape),
                TensorSpec("new_state", state),
            ),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: no part of it classifies a whole frame at full size."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return stops after the first so many steps, and exits when sure."""
    return stops_and_exits(cfg.num_steps)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Glance and answer; then place a square, look there and answer again, T - 1 times."""
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    yield from plan(times)
    frames = yield from look(times, cfg.canvas, role="glance")
    logits, seen, state = yield from call("glance", frames)
    yield from answer(softmax(logits), logits=logits)
    memory = np.zeros(cfg.policy_width, np.float32)
    for prefix in range(1, cfg.num_steps):
        action, memory = yield from call("policy", seen, memory)
        yield from note(box=square_box(cfg, action))
        logits, seen, state = yield from call(
            "focus", frames, action, state, np.asarray(prefix, np.int64)
        )
        yield from answer(softmax(logits), logits=logits)


def square_box(cfg: Config, action: Array) -> Box:
    """Return the square that ``action`` (y, x) in [0, 1] places, as x0, y0, x1, y1 of the canvas.

    Its corner is a whole pixel, ``floor(action * (S - P))``.
    """
    side = cfg.canvas.width
    way = np.float32(side - cfg.focus_size)
    y, x = (float(np.floor(np.float32(np.clip(a, 0, 1)) * way)) / side for a in action)
    share = cfg.focus_size / side
    return (x, y, min(x + share, 1.0), min(y + share, 1.0))
