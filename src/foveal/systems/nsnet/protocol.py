"""NSNet: preview all candidates, drop what shows no action, recognise the K frames that are left.

Source: Xia, Wu, Wang, Su, He, Yang, Fan and Ouyang, "NSNet: Non-saliency Suppression Sampler for
Efficient Video Recognition", ECCV 2022, arXiv 2207.10388. The card says what differs and why.
Letters: T candidates, K frames kept, D width of stored features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.sampling.checks import check_folds, check_pass
from foveal.sampling.choose import glance_times
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, call, look, plan
from foveal.sampling.salient import (
    check_salient,
    even_steps,
    kept_by,
    minmax,
    salient_points,
    salient_steps,
)
from foveal.types import Array, Canvas, ClipInfo, Features, PartSpec, Reference, TensorSpec

SAMPLER = "sampler"
RECOGNISER = "recogniser"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is previewed, how it is scored, and what is kept.

    Args:
        canvas: what the recogniser sees; the sampler averages it down to ``preview_size``.
        num_classes: C.
        preview: stored features that the sampler sees instead, where ``canvas`` is features too.
        num_candidates: T.
        num_frames: K; free at test.
        preview_size: px each way.
        networks: ``paper`` is MobileNetV2 and ResNet-50, ``small`` and ``tiny`` a few
            convolutions, ``features`` a layer on stored features.
        feature_width: D of what the recogniser sees, with features.
        preview_width: D of what the sampler sees, with features.
        width: of a frame's vector between the frames (d).
        heads: of the attention between frames.
        ffn: width inside a transformer layer.
        layers: transformer layers.
        attention_layers: of the attention of the video module: one, or two.
        position: whether the sampler knows when a frame is shown.
        dropout: while training.
        num_folds: recognisers that each leave a part of the training videos out and label the
            frames of that; 0: the recogniser labels frames of videos it has learnt from.
        frame_saliency: ``foreground`` is 1 less the background's probability, ``class`` the
            probability of the class that the sampler believes in.
        fusion: ``sum`` weighs both saliencies by ``beta``, ``product`` multiplies them.
        beta: weight of the frame saliency; 1 leaves the frame module alone, 0 the video module.
        mass: fewer frames are kept where the best hold this share of the saliency.
        min_gap: candidates between two that are kept.
        choose: ``saliency``, or ``uniform``: candidates at equal distances, and no preview.
        several_labels: whether a clip may show several classes; each has its own probability then.
        pass_megapixels: longer clips are previewed by their keyframes; see
            :func:`foveal.sampling.choose.glance_times`.

    Raises:
        ValueError: a number is out of range or a choice unknown.
    """

    canvas: Canvas | Features
    num_classes: int
    preview: Features | None = None
    num_candidates: int = 16
    num_frames: int = 6
    preview_size: int = 112
    networks: Literal["paper", "small", "tiny", "features"] = "paper"
    feature_width: int = 0
    preview_width: int = 0
    width: int = 512
    heads: int = 8
    ffn: int = 2048
    layers: int = 1
    attention_layers: Literal[1, 2] = 1
    position: bool = True
    dropout: float = 0.1
    num_folds: int = 0
    frame_saliency: Literal["foreground", "class"] = "foreground"
    fusion: Literal["sum", "product"] = "sum"
    beta: float = 0.5
    mass: float = 1.0
    min_gap: int = 0
    choose: Literal["saliency", "uniform"] = "saliency"
    several_labels: bool = False
    pass_megapixels: float = 200.0

    def __post_init__(self) -> None:
        if min(self.num_classes, self.width, self.heads, self.ffn, self.layers) < 1:
            raise ValueError(f"classes, widths, heads and layers must be positive, got {self}")
        if not (0 <= self.beta <= 1 and 0 < self.mass <= 1 and 0 <= self.dropout < 1):
            raise ValueError(f"beta in [0, 1], mass in (0, 1], dropout in [0, 1), got {self}")
        if self.min_gap < 0 or self.attention_layers not in (1, 2):
            raise ValueError(f"min_gap is not negative, attention_layers 1 or 2, got {self}")
        check_folds(self.num_folds)
        check_pass(self.pass_megapixels)
        check_salient(self, choices=CHOICES)

    @property
    def previewed(self) -> Canvas | Features:
        """What the sampler's candidates are fetched through."""
        return self.preview or self.canvas


CHOICES: Mapping[str, tuple[str, ...]] = {
    "networks": ("paper", "small", "tiny", "features"),
    "frame_saliency": ("foreground", "class"),
    "fusion": ("sum", "product"),
    "choose": ("saliency", "uniform"),
}
"""What the words of a :class:`Config` may be."""


def paper(*, num_classes: int = 200, num_frames: int = 6) -> Config:
    """Return the setting on ActivityNet: 16 candidates at 112 px, 6 of them at 224 px."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        num_frames=num_frames,
    )


def small(*, num_classes: int = 10, num_frames: int = 4) -> Config:
    """Return a setting for real clips on one CPU thread: 16 candidates of 96 px, seen at 32."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        preview_size=32,
        networks="small",
        width=64,
        heads=4,
        ffn=128,
    )


def tiny(*, num_classes: int = 10, num_frames: int = 3) -> Config:
    """Return 16 candidates of 24 px for networks of a few convolutions."""
    return Config(
        canvas=Canvas(height=24, width=24),
        num_classes=num_classes,
        num_frames=num_frames,
        preview_size=24,
        networks="tiny",
        width=48,
        heads=4,
        ffn=96,
        dropout=0.0,
    )


def features(
    *,
    num_classes: int = 10,
    num_frames: int = 3,
    name: str = "features",
    feature_width: int = 512,
    preview: str | None = None,
    preview_width: int = 0,
) -> Config:
    """Return 16 candidates whose features are stored, previewed by others if there are such."""
    return Config(
        canvas=Features(name=name),
        num_classes=num_classes,
        preview=None if preview is None else Features(name=preview),
        num_frames=num_frames,
        networks="features",
        feature_width=feature_width,
        preview_width=preview_width,
        width=48,
        heads=4,
        ffn=96,
        dropout=0.0,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the sampler, which takes all candidates, and the recogniser, which takes a frame."""
    frame = _frame(cfg.canvas, cfg.feature_width)
    dtype: Literal["uint8", "float32"]
    dtype = "uint8" if isinstance(cfg.canvas, Canvas) else "float32"
    seen = _frame(cfg.previewed, cfg.preview_width or cfg.feature_width)
    count = cfg.num_candidates
    return (
        PartSpec(
            name=SAMPLER,
            inputs=(TensorSpec("candidates", (count, *seen), dtype),),
            outputs=(
                TensorSpec("frame_probs", (count, cfg.num_classes + 1)),
                TensorSpec("attention", (count,)),
                TensorSpec("video_logits", (cfg.num_classes + 1,)),
            ),
        ),
        PartSpec(
            name=RECOGNISER,
            inputs=(TensorSpec("frames", frame, dtype),),
            outputs=(TensorSpec("probs", (cfg.num_classes,)),),
        ),
    )


def _frame(view: Canvas | Features, width: int) -> tuple[int, ...]:
    return (width,) if isinstance(view, Features) else (3, view.height, view.width)


def reference(cfg: Config) -> Reference | None:
    """Return all candidates through the recogniser; nothing for stored features."""
    if isinstance(cfg.canvas, Features):
        return None
    return Reference(part=RECOGNISER, canvas=cfg.canvas, num_frames=cfg.num_candidates)


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return fewer and fewer frames: by saliency, and at equal distances."""
    return salient_points(cfg.num_candidates, salient="saliency")


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Preview all candidates, keep the most salient, recognise those one by one."""
    times, keyframes = glance_times(
        clip,
        cfg.num_candidates,
        pass_megapixels=cfg.pass_megapixels,
        max_gap=1 / cfg.num_candidates,  # a keyframe for each, or a picture would be kept twice
    )
    if cfg.choose == "uniform":
        yield from even_steps(
            times, cfg.num_frames, keyframes=keyframes, view=cfg.canvas, part=RECOGNISER
        )
        return
    yield from plan(times, keyframes=keyframes)
    candidates = yield from look(times, cfg.previewed, role="glance")
    frame_probs, attention, video_logits = yield from call(SAMPLER, candidates)

    saliency = fused(cfg, frame_probs, attention, video_logits)
    kept = kept_by(saliency, num_frames=cfg.num_frames, mass=cfg.mass, min_gap=cfg.min_gap)
    yield from salient_steps(
        times,
        saliency,
        kept,
        view=cfg.canvas,
        part=RECOGNISER,
        text=f"a candidate shows an action with {1 - frame_probs[:, -1].mean():.0%} in the mean",
    )


def fused(cfg: Config, frame_probs: Array, attention: Array, video_logits: Array) -> Array:
    """Return the saliency (T,) in [0, 1] of the candidates.

    Args:
        cfg: says which frame saliency, and how both are joined.
        frame_probs: (T,C+1), the last column being the background's.
        attention: (T,), the saliency of the video module.
        video_logits: (C+1,), what the video module believes in.
    """
    if cfg.frame_saliency == "foreground":
        by_frame = 1 - np.asarray(frame_probs[:, -1], np.float64)
    else:
        by_frame = np.asarray(frame_probs[:, int(np.argmax(video_logits[:-1]))], np.float64)
    by_frame, by_video = minmax(by_frame), minmax(attention)
    if cfg.fusion == "product":
        return np.asarray(by_frame * by_video)
    return np.asarray(cfg.beta * by_frame + (1 - cfg.beta) * by_video)
