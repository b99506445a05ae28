"""How confidence distillation is trained: teacher, teachers of parts of the data, student.

Source: arXiv 2109.02137; what of this is reconstructed is in the card. A batch holds ``frames``
uint8 (B,N*L,3,H,W), ``label`` int64 (B,) and ``number`` int64 (B,), each video's place in the
training set, by which videos are told apart into folds. Letters: B videos, N clips, M = B * N, K
classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import MultiScaleCrop, gentle
from foveal.recipe import Augment, Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.recipe.folds import by_others, folds_of
from foveal.systems.confidence_distillation import protocol
from foveal.systems.confidence_distillation.model import Network, Teacher, make_network
from foveal.systems.confidence_distillation.protocol import Config
from foveal.types import Canvas

Target: TypeAlias = Literal["tcp", "correct", "margin", "mc", "scaled", "energy"]
"""What of the teacher the student's confidence is to be.

``tcp``: its probability of the true class. ``correct``: whether it is right. ``margin``: that
probability less the largest of another class, from [-1, 1] to [0, 1]. ``mc``: 1 less the entropy
of its mean over draws of dropout, as a share of the largest. ``scaled``: its largest probability
at a temperature. ``energy``: the sigmoid of its free energy less that of equal logits.
"""

Noise: TypeAlias = Literal["none", "uniform", "blurred"]
"""Clips that say nothing, on which the teacher is to say nothing too."""

PASSES = 10
"""Draws of dropout that ``mc`` takes the mean of."""

BLUR_SHARE = 4
"""Blurred clips are averaged down to one so-manieth of their sides, and up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """What the student learns, and how much each part counts.

    Args:
        target: see :data:`Target`.
        label_weight: w1, of the cross-entropy with the video's label.
        soft_weight: w2, of the teacher's softened probabilities.
        trust_weight: w3, of the confidence.
        temperature: tau, which softens teacher and student.
        ranking_weight: of the order of confidences within a video; 0 leaves it out.
        ranking_gap: targets of two clips that are further apart than this are to be ordered.
        target_temperature: T of ``scaled`` and ``energy``, fitted on validation clips.

    Raises:
        ValueError: a number is out of range or the target unknown.
    """

    target: Target = "tcp"
    label_weight: float = 0.5
    soft_weight: float = 0.5
    trust_weight: float = 1.0
    temperature: float = 2.0
    ranking_weight: float = 0.0
    ranking_gap: float = 0.2
    target_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise ValueError(f"target must be one of {get_args(Target)}, got {self.target!r}")
        weights = (self.label_weight, self.soft_weight, self.trust_weight, self.ranking_weight)
        if min(weights) < 0 or not 0 <= self.ranking_gap <= 1:
            raise ValueError(f"weights must not be negative and ranking_gap in [0, 1], got {self}")
        if min(self.temperature, self.target_temperature) <= 0:
            raise ValueError(f"temperatures must be positive, got {self}")


PLAIN = Distillation()


# --- what is distilled -------------------------------------------------------------------------


def trust_target(
    logits: Tensor, label: Tensor, *, target: Target, temperature: float = 1.0
) -> Tensor:
    """Return how far the teacher is to be trusted on each clip, (M,) in [0, 1].

    Args:
        logits: of the teacher, (M,K); for ``mc`` those of several passes, (P,M,K).
        label: int64 (M,).
        target: see :data:`Target`.
        temperature: of ``scaled`` and ``energy``.
    """
    if target == "mc":
        probs = logits.softmax(dim=2).mean(dim=0)
        entropy = -torch.special.xlogy(probs, probs).sum(dim=1)
        share: Tensor = entropy / math.log(probs.shape[1])
        return (1 - share).clamp(0, 1)
    probs = logits.softmax(dim=1)
    true: Tensor = probs.gather(1, label[:, None])[:, 0]
    match target:
        case "tcp":
            return true
        case "correct":
            return (logits.argmax(dim=1) == label).to(logits.dtype)
        case "margin":
            others = probs.scatter(1, label[:, None], -1.0).amax(dim=1)
            return (true - others + 1) / 2
        case "scaled":
            return (logits / temperature).softmax(dim=1).amax(dim=1)
        case "energy":
            free = temperature * torch.logsumexp(logits / temperature, dim=1)
            equal = temperature * math.log(logits.shape[1])
            return (free - equal).sigmoid()


def soft_loss(teacher: Tensor, student: Tensor, *, temperature: float) -> Tensor:
    """Return ``tau**2 KL(p_teacher || p_student)`` of softened logits (M,K), mean over M.

    >>> float(soft_loss(torch.ones(2, 3), torch.ones(2, 3), temperature=2.0))
    0.0
    """
    wanted = (teacher / temperature).log_softmax(dim=1)
    found = (student / temperature).log_softmax(dim=1)
    divergence: Tensor = (wanted.exp() * (wanted - found)).sum(dim=1)
    return temperature**2 * divergence.mean()


def ranking_loss(trust: Tensor, target: Tensor, *, gap: float) -> Tensor:
    """Return the mean of ``softplus(-(u_i - u_j))`` over pairs of a video with ``t_i - t_j > gap``.

    Deviation: the description has the sum, which grows with the square of N.

    Args:
        trust: u, (B,N).
        target: t, (B,N).
        gap: see :class:`Distillation`.
    """
    ahead = target[:, :, None] - target[:, None, :] > gap
    costs = functional.softplus(-(trust[:, :, None] - trust[:, None, :]))
    return (costs * ahead).sum() / ahead.sum().clamp_min(1)


def mean_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy with ``label`` (M,), 0 for no rows."""
    return functional.cross_entropy(logits, label, reduction="sum") / max(label.shape[0], 1)


# --- stages ------------------------------------------------------------------------------------


def noise_clips(clips: Tensor, generator: torch.Generator, *, noise: Noise) -> Tensor:
    """Return clips like uint8 ``clips`` (M,L,3,H,W) that say nothing: drawn, or blurred."""
    if noise == "uniform":
        drawn = torch.randint(0, 256, tuple(clips.shape), generator=generator, dtype=torch.uint8)
        return drawn.to(clips.device)
    flat = clips.flatten(0, 1).float()
    height, width = flat.shape[2:]
    size = (max(height // BLUR_SHARE, 1), max(width // BLUR_SHARE, 1))
    small = functional.adaptive_avg_pool2d(flat, size)
    large = functional.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).reshape(clips.shape)


def clip_loss(
    teacher: Teacher,
    clips: Tensor,
    label: Tensor,
    generator: torch.Generator,
    *,
    noise: Noise,
    weight: float,
) -> Tensor:
    """Return a teacher's cross-entropy on clips (M,...), and on noise with equal probabilities."""
    if noise == "none":
        return mean_cross_entropy(teacher(clips), label)
    # Together, so that both are normalised by the statistics that evaluation will use.
    both = torch.cat([clips, noise_clips(clips, generator, noise=noise)])
    logits, silent = teacher(both).chunk(2)
    loss: Tensor = mean_cross_entropy(logits, label)
    loss = loss - weight * silent.log_softmax(dim=1).mean()
    return loss


def teacher_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    noise: Noise = "none",
    noise_weight: float = 0.5,
    taught: int | None = None,
) -> Mapping[str, Tensor]:
    """Stage 1: the teacher alone on all clips, each with the label of its video.

    Args:
        network: see :class:`Network`.
        batch: see the top of this file.
        context: draws noise and clips.
        noise: see :data:`Noise`.
        noise_weight: of what is said of noise.
        taught: clips of each video, drawn at every step; ``None``: all.
    """
    net = cast(Network, network)
    picked = _drawn(net, batch, context, taught)
    clips, label = (rows[picked] for rows in _rows(net, batch))
    loss = clip_loss(net.teacher, clips, label, context.generator, noise=noise, weight=noise_weight)
    return {"loss": loss}


def folds_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    noise: Noise = "none",
    noise_weight: float = 0.5,
    taught: int | None = None,
) -> Mapping[str, Tensor]:
    """Stage 2: a teacher for each fold, which learns from the videos of the others.

    All clips of a video are in one fold. Arguments are those of :func:`teacher_loss`.
    """
    net = cast(Network, network)
    picked = _drawn(net, batch, context, taught)
    clips, label, fold = (rows[picked] for rows in (*_rows(net, batch), _folds(net, batch)))
    losses = [
        clip_loss(
            cast(Teacher, teacher),
            clips[others],
            label[others],
            context.generator,
            noise=noise,
            weight=noise_weight,
        )
        for teacher, others in by_others(net.fold_teachers, fold)
    ]
    return {"loss": torch.stack(losses).sum()}


@torch.no_grad()
def taught_logits(net: Network, batch: Batch, *, passes: int = 0) -> Tensor:
    """Return what a teacher that never saw a video says of its clips, (M,K).

    Args:
        net: without folds, its teacher is asked.
        batch: see the top of this file.
        passes: draws of dropout; then the result is (passes,M,K).
    """
    clips, _ = _rows(net, batch)

    def ask(teacher: Teacher, some: Tensor) -> Tensor:
        return teacher.dropped(some, passes=passes) if passes else teacher(some)

    if not net.cfg.num_folds:
        return ask(net.teacher, clips)
    fold = _folds(net, batch)
    size = (passes,) if passes else ()
    logits = torch.zeros(*size, clips.shape[0], net.cfg.num_classes, device=clips.device)
    for i, teacher in enumerate(net.fold_teachers):
        mine = fold == i
        if bool(mine.any()):
            logits[..., mine, :] = ask(cast(Teacher, teacher), clips[mine])
    return logits


def student_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    options: Distillation = PLAIN,
) -> Mapping[str, Tensor]:
    """Stage 3: ``w1 CE(y, p) + w2 tau^2 KL(p_teacher || p) + w3 BCE(t, u)``, and the ranking."""
    net = cast(Network, network)
    small = net.student_clips(batch["frames"])
    label = batch["label"].repeat_interleave(net.cfg.num_clips)
    taught = taught_logits(net, batch)
    said = taught_logits(net, batch, passes=PASSES) if options.target == "mc" else taught
    wanted = trust_target(
        said, label, target=options.target, temperature=options.target_temperature
    )
    logits, trust = net.student.scores(small.flatten(0, 1))
    terms = {
        "label": mean_cross_entropy(logits, label),
        "soft": soft_loss(taught, logits, temperature=options.temperature),
        "trust": functional.binary_cross_entropy_with_logits(trust[:, 0], wanted),
    }
    weights = (options.label_weight, options.soft_weight, options.trust_weight)
    loss = torch.stack([w * t for w, t in zip(weights, terms.values(), strict=True)]).sum()
    if options.ranking_weight:
        videos = (-1, net.cfg.num_clips)
        terms["ranking"] = ranking_loss(
            trust.sigmoid().reshape(videos), wanted.reshape(videos), gap=options.ranking_gap
        )
        loss = loss + options.ranking_weight * terms["ranking"]
    return {"loss": loss, **terms}


def _rows(net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the clips (M,L,3,H,W) of all videos, and their labels (M,)."""
    label = batch["label"].repeat_interleave(net.cfg.num_clips)
    return net.clips(batch["frames"]).flatten(0, 1), label


def _drawn(net: Network, batch: Batch, context: StepContext, taught: int | None) -> Tensor:
    """Return which rows are taught, int64 ascending: ``taught`` of each video's, or all."""
    videos, clips = batch["label"].shape[0], net.cfg.num_clips
    if taught is None:
        return torch.arange(videos * clips, device=batch["label"].device)
    order = torch.rand(videos, clips, generator=context.generator).argsort(dim=1)
    drawn = order[:, :taught].sort(dim=1).values + torch.arange(videos)[:, None] * clips
    return drawn.flatten().to(batch["label"].device)


def _folds(net: Network, batch: Batch) -> Tensor:
    """Return the fold int64 (M,) that each clip is in."""
    return folds_of(batch, net.cfg.num_folds).repeat_interleave(net.cfg.num_clips)


# --- how stages are judged ---------------------------------------------------------------------

STUDENT_FRAMES = "student_frames"
"""What the student is judged on, where its canvas is another."""


def dense_teacher(network: nn.Module, batch: Batch) -> Tensor:
    """Return logarithms (B,K) of the teacher's mean over all clips."""
    net = cast(Network, network)
    return _dense(net, [net.teacher], batch)


def dense_folds(network: nn.Module, batch: Batch) -> Tensor:
    """Return the same of the fold teachers together, none of which saw a validation video."""
    net = cast(Network, network)
    return _dense(net, [cast(Teacher, teacher) for teacher in net.fold_teachers], batch)


def _dense(net: Network, teachers: list[Teacher], batch: Batch) -> Tensor:
    clips = net.clips(batch["frames"])
    probs = torch.stack([teacher(clips.flatten(0, 1)).softmax(dim=1) for teacher in teachers])
    return probs.mean(dim=0).reshape(*clips.shape[:2], -1).mean(dim=1).clamp(min=1e-12).log()


def last_answer(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) of the last answer, the student seeing its own pictures."""
    logits: Tensor = network(batch["frames"], batch.get(STUDENT_FRAMES)).logits
    return logits[:, -1]


# --- recipes -----------------------------------------------------------------------------------


def paper(
    *,
    cfg: Config | None = None,
    options: Distillation = PLAIN,
    noise: Noise = "none",
) -> Recipe:
    """Return the recipe for UCF101: 3D ResNeXt-101 teaches 3D ShuffleNetV2. 91.2 % reported.

    Run: ``foveal train DATA --system confidence_distillation --recipe paper``; days on GPUs, by
    count. The paper's teacher begins from Kinetics weights, which no file at hand has in our
    names; here it begins fresh. All numbers are reconstructed.
    """
    cfg = protocol.paper() if cfg is None else cfg
    teach = Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-3)
    study = Optimizer(kind="sgd", lr=0.01, momentum=0.9)
    stages = _stages(cfg, teach, study, options=options, noise=noise, batch_size=16, epochs=50)
    margin = cfg.canvas.short_side or cfg.canvas.height
    large = Canvas(height=margin, width=margin, short_side=margin)
    return _recipe("paper", cfg, stages, large, MultiScaleCrop(size=cfg.canvas.width))


def small(
    *,
    cfg: Config | None = None,
    options: Distillation = PLAIN,
    noise: Noise = "none",
    steps: int = 400,
) -> Recipe:
    """Return a run for real clips of 8 x 4 frames at 64 px: minutes on two CPU cores.

    Teachers see four clips of sixteen videos at a step: clips of one video look alike, and more
    videos teach more than more clips. Without a warm-up they hardly learn at all.
    """
    cfg = protocol.small() if cfg is None else cfg
    teach = Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01)
    stages = _stages(
        cfg,
        teach,
        teach,
        options=options,
        noise=noise,
        batch_size=16,
        taught=min(4, cfg.num_clips),
    )
    stages = tuple(
        replace(stage, epochs=None, steps=steps, warmup_steps=steps // 10) for stage in stages
    )
    large, augment = gentle(cfg.canvas)
    return _recipe("small", cfg, stages, large, augment)


def tiny(
    *,
    cfg: Config | None = None,
    options: Distillation = PLAIN,
    noise: Noise = "none",
    epochs: int = 25,
) -> Recipe:
    """Return the scaled-down recipe: 12 clips of 4 frames of 16 px, a few minutes on one core."""
    cfg = protocol.tiny() if cfg is None else cfg
    adam = Optimizer(kind="adam", lr=2e-3)
    stages = _stages(cfg, adam, adam, options=options, noise=noise, batch_size=16, epochs=epochs)
    return _recipe("tiny", cfg, stages, cfg.canvas, None)


def _stages(
    cfg: Config,
    teach: Optimizer,
    study: Optimizer,
    *,
    options: Distillation,
    noise: Noise,
    batch_size: int,
    epochs: int = 1,
    taught: int | None = None,
) -> tuple[Stage, ...]:
    """Return the stages, each as many epochs long; ``taught`` as in :func:`teacher_loss`."""
    if noise not in get_args(Noise):
        raise ValueError(f"noise must be one of {get_args(Noise)}, got {noise!r}")
    if options.target == "mc" and not cfg.dropout:
        raise ValueError("target 'mc' draws dropout, and the configuration has none: set dropout")
    drops = (0.5, 0.8) if teach.kind == "sgd" else ()
    first = Stage(
        name="teacher",
        loss=partial(teacher_loss, noise=noise, taught=taught),
        trains=(Group(prefixes=("teacher",)),),
        eval_modules=("student",),
        judge=dense_teacher,
        optimizer=teach,
        batch_size=batch_size,
        epochs=epochs,
        schedule="constant" if drops else "cosine",
        drops=drops,
    )
    last = Stage(
        name="student",
        loss=partial(student_loss, options=options),
        trains=(Group(prefixes=("student",)),),
        eval_modules=("teacher", *(("fold_teachers",) if cfg.num_folds else ())),
        judge=last_answer,
        optimizer=study,
        batch_size=batch_size,
        epochs=epochs,
    )
    if not cfg.num_folds:
        return (first, last)
    folds = Stage(
        name="folds",
        loss=partial(folds_loss, noise=noise, taught=taught),
        trains=(Group(prefixes=("fold_teachers",)),),
        eval_modules=("teacher", "student"),
        judge=dense_folds,
        optimizer=teach,
        batch_size=batch_size,
        epochs=epochs,
        schedule="constant" if drops else "cosine",
        drops=drops,
    )
    return (first, folds, last)


def _recipe(
    name: str, cfg: Config, stages: tuple[Stage, ...], view: Canvas, augment: Augment | None
) -> Recipe:
    num_frames = cfg.num_clips * cfg.clip_frames
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=stages,
        config=cfg,
        draws=(Draw(num_frames=num_frames, burst=cfg.clip_frames, view=view),),
        judged={} if cfg.student_canvas is None else {STUDENT_FRAMES: cfg.student_canvas},
        augment=augment,
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {"paper": paper, "small": small, "tiny": tiny}
"""By the name ``--recipe`` knows them under."""
