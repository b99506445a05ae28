"""TSQNet: every class asks the candidates; the frames that the likeliest class points at are kept.

Source: Xia, Wang, Wu, Wang and Han, "Temporal Saliency Query Network for Efficient Video
Recognition", ECCV 2022, arXiv 2207.10379. The card says what differs and why.
Letters: T candidates, K frames kept, D width of stored features, O objects, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foveal.sampling.checks import check_pass
from foveal.sampling.choose import glance_times
from foveal.sampling.confidence import sigmoid
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import CLASS_NAMES, Steps, call, look, plan
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
BRANCHES = ("visual", "textual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is previewed, who asks, and what is kept.

    Args:
        canvas: what the recogniser sees; the sampler averages it down to ``preview_size``.
        num_classes: C.
        preview: stored features that the visual branch sees instead, where ``canvas`` is features.
        objects: stored probabilities of objects, for the textual branch; with features only.
        num_candidates: T.
        num_frames: K; free at test.
        preview_size: px each way.
        object_size: px each way of what the object network sees; ``None`` is ``preview_size``.
        networks: ``paper`` is MobileNetV2, EfficientNet-B0 and ResNet-50, ``small`` and ``tiny``
            a few convolutions, ``lite`` the same as ``small`` with EfficientNet-Lite0 for objects,
            ``features`` a layer on stored features.
        feature_width: D of what the recogniser sees, with features.
        preview_width: D of what the visual branch sees, with features.
        branches: ``both``, or one of them.
        num_objects: O that the object network tells apart.
        top_objects: of a frame, whose words are averaged.
        least_object: a frame whose best object is less likely than this has no words.
        word_width: of the vectors of class names and object names.
        width: of queries and of a frame's vector (d).
        heads: of the attention between frames, and of the queries.
        ffn: width inside a transformer layer between frames.
        query_ffn: width inside a query layer.
        layers: transformer layers between frames.
        query_layers: 1 or 2.
        query_attention: whether classes ask each other first; C x C, so off for many classes.
        interaction: between two query layers: ``none``, ``add`` what the other branch answered,
            or ``swap`` what is asked.
        residual: query layers whose answer holds the query itself: ``all``, the ``first`` of two,
            or ``none``. Where the last does, a class can be guessed without looking, and its
            attention need not say where it was.
        position: whether the sampler knows when a frame is shown.
        dropout: while training.
        classes_asked: whose saliency counts, the likeliest first, weighed by their probability;
            ``None`` is one, or three where a clip may show several.
        visual_share: weight of the visual branch's saliency; ``None`` weighs both by how sure
            they are.
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
    objects: Features | None = None
    num_candidates: int = 16
    num_frames: int = 6
    preview_size: int = 112
    object_size: int | None = None
    networks: Literal["paper", "small", "lite", "tiny", "features"] = "paper"
    feature_width: int = 0
    preview_width: int = 0
    branches: Literal["both", "visual", "textual"] = "both"
    num_objects: int = 1000
    top_objects: int = 10
    least_object: float = 0.1
    word_width: int = 384
    width: int = 512
    heads: int = 8
    ffn: int = 2048
    query_ffn: int = 512
    layers: int = 1
    query_layers: Literal[1, 2] = 2
    query_attention: bool = False
    interaction: Literal["none", "add", "swap"] = "add"
    residual: Literal["all", "first", "none"] = "first"
    position: bool = True
    dropout: float = 0.1
    classes_asked: int | None = None
    visual_share: float | None = None
    mass: float = 1.0
    min_gap: int = 0
    choose: Literal["saliency", "uniform"] = "saliency"
    several_labels: bool = False
    pass_megapixels: float = 200.0

    def __post_init__(self) -> None:
        positive = (self.width, self.heads, self.ffn, self.query_ffn, self.layers, self.word_width)
        if min(*positive, self.num_classes, self.num_objects) < 1:
            raise ValueError(f"classes, objects, widths, layers must be positive, got {self}")
        if not 1 <= self.top_objects <= self.num_objects:
            raise ValueError(f"top_objects must be in 1..num_objects, got {self.top_objects}")
        if self.classes_asked is not None and not 1 <= self.classes_asked <= self.num_classes:
            raise ValueError(f"classes_asked must be in 1..num_classes, got {self.classes_asked}")
        if not (0 < self.mass <= 1 and 0 <= self.dropout < 1 and 0 <= self.least_object <= 1):
            raise ValueError(f"mass, dropout and least_object are shares, got {self}")
        if self.visual_share is not None and not 0 <= self.visual_share <= 1:
            raise ValueError(f"visual_share must be in [0, 1], got {self.visual_share}")
        if self.min_gap < 0 or self.query_layers not in (1, 2):
            raise ValueError(f"min_gap is not negative, query_layers 1 or 2, got {self}")
        check_pass(self.pass_megapixels)
        check_salient(self, choices=CHOICES)
        if (self.objects is not None) != (self.networks == "features" and "textual" in self.asking):
            raise ValueError("objects are given with stored features and a textual branch")
        if self.object_size is not None and (
            self.object_size < 1 or not isinstance(self.canvas, Canvas)
        ):
            raise ValueError(f"object_size is px of pictures, got {self.object_size} in {self}")
        if isinstance(self.canvas, Canvas) and (
            self.canvas.height % self.objects_at or self.canvas.width % self.objects_at
        ):
            raise ValueError(
                f"the canvas must be a multiple of object_size ({self.objects_at} px) each way, "
                f"got {self.canvas.height}x{self.canvas.width}"
            )
        if self.networks in NAMED_OBJECTS and self.num_objects != 1000:
            raise ValueError(
                f"networks={self.networks} knows ImageNet's 1000 objects, got "
                f"num_objects={self.num_objects}"
            )

    @property
    def previewed(self) -> Canvas | Features:
        """What the candidates are fetched through."""
        return self.preview or self.canvas

    @property
    def num_asked(self) -> int:
        """How many classes ask."""
        if self.classes_asked is not None:
            return self.classes_asked
        return min(3, self.num_classes) if self.several_labels else 1

    @property
    def objects_at(self) -> int:
        """Px each way of what the object network sees."""
        return self.preview_size if self.object_size is None else self.object_size

    @property
    def names_objects(self) -> bool:
        """Whether there is a network whose objects have names: those of ImageNet."""
        return self.networks in NAMED_OBJECTS and "textual" in self.asking

    @property
    def asking(self) -> tuple[str, ...]:
        """The branches there are."""
        return BRANCHES if self.branches == "both" else (self.branches,)


CHOICES: Mapping[str, tuple[str, ...]] = {
    "networks": ("paper", "small", "lite", "tiny", "features"),
    "branches": ("both", *BRANCHES),
    "interaction": ("none", "add", "swap"),
    "residual": ("all", "first", "none"),
    "choose": ("saliency", "uniform"),
}
"""What the words of a :class:`Config` may be."""

NAMED_OBJECTS = ("paper", "lite")
"""The choices of ``networks`` whose object network is one of ImageNet."""


def paper(*, num_classes: int = 200, num_frames: int = 5) -> Config:
    """Return the setting on ActivityNet: 16 candidates at 112 px, 5 of them at 224 px."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        num_frames=num_frames,
    )


def small(*, num_classes: int = 10, num_frames: int = 4) -> Config:
    """Return a setting for real clips on one CPU thread: 16 candidates of 96 px, seen at 32.

    Visual alone: it has no network that knows objects; :func:`lite` has.
    """
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        preview_size=32,
        networks="small",
        branches="visual",
        width=64,
        heads=4,
        ffn=128,
        query_ffn=64,
    )


def lite(*, num_classes: int = 10, num_frames: int = 4) -> Config:
    """Return :func:`small` on 112 px with EfficientNet-Lite0, which names objects at that size."""
    return replace(
        small(num_classes=num_classes, num_frames=num_frames),
        canvas=Canvas(height=112, width=112),
        preview_size=28,
        object_size=112,
        networks="lite",
        branches="both",
    )


def tiny(*, num_classes: int = 10, num_frames: int = 3) -> Config:
    """Return 16 candidates of 24 px; its object network knows nothing, its words are arbitrary."""
    return Config(
        canvas=Canvas(height=24, width=24),
        num_classes=num_classes,
        num_frames=num_frames,
        preview_size=24,
        networks="tiny",
        num_objects=20,
        top_objects=5,
        word_width=16,
        width=48,
        heads=1,
        ffn=96,
        query_ffn=48,
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
    objects: str | None = None,
    num_objects: int = 20,
    branches: Literal["both", "visual", "textual"] = "visual",
) -> Config:
    """Return 16 candidates whose features are stored; ``objects`` names their probabilities."""
    return Config(
        canvas=Features(name=name),
        num_classes=num_classes,
        preview=None if preview is None else Features(name=preview),
        objects=None if objects is None else Features(name=objects),
        num_frames=num_frames,
        networks="features",
        feature_width=feature_width,
        preview_width=preview_width,
        branches=branches,
        num_objects=num_objects,
        top_objects=min(5, num_objects),
        word_width=16,
        width=48,
        heads=1,
        ffn=96,
        query_ffn=48,
        dropout=0.0,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the sampler, which takes all candidates, and the recogniser, which takes a frame."""
    count = cfg.num_candidates
    inputs = []
    if isinstance(cfg.canvas, Canvas):
        picture = (3, cfg.canvas.height, cfg.canvas.width)
        inputs.append(TensorSpec("candidates", (count, *picture), "uint8"))
        frame = TensorSpec("frames", picture, "uint8")
    else:
        if "visual" in cfg.asking:
            seen = cfg.preview_width or cfg.feature_width
            inputs.append(TensorSpec("candidates", (count, seen)))
        if "textual" in cfg.asking:
            inputs.append(TensorSpec("objects", (count, cfg.num_objects)))
        frame = TensorSpec("frames", (cfg.feature_width,))
    outputs = []
    for branch in cfg.asking:
        outputs.append(TensorSpec(f"{branch}_saliency", (cfg.num_classes, count)))
        outputs.append(TensorSpec(f"{branch}_logits", (cfg.num_classes,)))
    return (
        PartSpec(name=SAMPLER, inputs=tuple(inputs), outputs=tuple(outputs)),
        PartSpec(
            name=RECOGNISER,
            inputs=(frame,),
            outputs=(TensorSpec("probs", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return all candidates through the recogniser; nothing for stored features."""
    if isinstance(cfg.canvas, Features):
        return None
    return Reference(part=RECOGNISER, canvas=cfg.canvas, num_frames=cfg.num_candidates)


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return fewer and fewer frames: by saliency, and at equal distances."""
    return salient_points(cfg.num_candidates, salient="saliency")


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Preview all candidates, let the classes ask, keep what the likeliest points at."""
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
    inputs = []
    if isinstance(cfg.canvas, Canvas) or "visual" in cfg.asking:
        inputs.append((yield from look(times, cfg.previewed, role="glance")))
    if cfg.objects is not None:
        inputs.append((yield from look(times, cfg.objects, role="glance")))
    told = yield from call(SAMPLER, *inputs)

    saliency, asked = fused(cfg, told, class_names=context.get(CLASS_NAMES))
    kept = kept_by(saliency, num_frames=cfg.num_frames, mass=cfg.mass, min_gap=cfg.min_gap)
    yield from salient_steps(
        times,
        saliency,
        kept,
        view=cfg.canvas,
        part=RECOGNISER,
        text=f"asked by {asked}; the recogniser, which sees only these, may answer otherwise",
    )


def fused(
    cfg: Config, told: tuple[Array, ...], *, class_names: Array | None = None
) -> tuple[Array, str]:
    """Return the saliency (T,) in [0, 1] of the candidates, and which class of which branch asks.

    Args:
        cfg: says how many classes ask, and how the branches are weighed.
        told: the outputs of the sampler.
        class_names: (C,), where they are known; numbers stand for them otherwise.
    """
    rows, sure, words = [], [], []
    for place, branch in enumerate(cfg.asking):
        attention, logits = told[2 * place], told[2 * place + 1]
        probs = sigmoid(logits)
        best = np.argsort(-probs, kind="stable")[: cfg.num_asked]
        row = sum(probs[i] * minmax(attention[i]) for i in best) / probs[best].sum()
        rows.append(np.asarray(row))
        sure.append(float(probs[best[0]]))
        names = [f"class {i}" if class_names is None else str(class_names[i]) for i in best]
        words.append(f"{', '.join(names)} ({branch} branch)")
    if len(rows) == 1:
        return rows[0], words[0]
    share = sure[0] / (sure[0] + sure[1]) if cfg.visual_share is None else cfg.visual_share
    return share * rows[0] + (1 - share) * rows[1], " and ".join(words)
