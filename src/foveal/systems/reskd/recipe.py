"""How ResKD is trained: first the teacher at full size, then the student on both sizes.

Source: arXiv 2209.12797; values marked [C] in the comments are those of the official
configurations (CVMI-Lab/ResKD). Letters as in ``model.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import MultiScaleCrop, ResizedCrop, gentle
from foveal.recipe import (
    Augment,
    Batch,
    Draw,
    Group,
    Loss,
    Optimizer,
    Recipe,
    Stage,
    StepContext,
    last_logits,
)
from foveal.systems.reskd import protocol
from foveal.systems.reskd.model import Network
from foveal.systems.reskd.protocol import Backbone, Config

TeacherNorm: TypeAlias = Literal["batch", "frozen"]
"""Whether the teacher normalises by the batch while it teaches (the paper), or is frozen."""

TEMPERATURE = 2.0
ACTIVITYNET_CLIPS = 10024  # training videos of version 1.3
KINETICS_CLIPS = 240436  # training videos at hand to the authors' toolbox

PUBLISHED: Mapping[Backbone, str] = {
    "resnet50": "resnet50",
    "resnet50_shift": "resnet50",
    "resnet152": "resnet152",
}
"""Under which name the ImageNet weights of a picture network are found."""


# --- losses ---------------------------------------------------------------------------------


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``logits`` (B,K).

    Args:
        logits: of the whole clip.
        labels: int64 (B,), or rows of ones and zeros (B,K). Several ones are not shared out: a
            clip with two labels counts twice, as in the official code.
    """
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels)
    return -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()


def feature_loss(upsampled: Tensor, teacher_map: Tensor, *, weight: float) -> Tensor:
    """Return ``weight`` times the mean squared difference over all elements of two maps.

    >>> feature_loss(torch.zeros(1, 2, 1, 3, 3), torch.full((1, 2, 1, 3, 3), 0.5), weight=100.0)
    tensor(25.)
    """
    return weight * functional.mse_loss(upsampled, teacher_map)


def logit_map_loss(
    student: Tensor, teacher: Tensor, *, weight: float, temperature: float = TEMPERATURE
) -> Tensor:
    """Return how far the student's classes at every place are from the teacher's.

    ``weight * temperature**2`` times the mean over places *and classes* of
    ``q (log q - log p)``, q and p the softened probabilities of teacher and student. Dividing by
    the classes too is what the official code does: a true divergence would be K times as large.

    Args:
        student: logits (...,K).
        teacher: logits (...,K) at the same places.
        weight: 200 in the paper's Swin pair.
        temperature: softens both.
    """
    log_p = (student / temperature).log_softmax(dim=-1)
    log_q = (teacher / temperature).log_softmax(dim=-1)
    return weight * temperature**2 * (log_q.exp() * (log_q - log_p)).mean()


def train_teacher(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """The first stage: the teacher alone, on full pictures."""
    teach = cast(Network, network).teach
    return {"loss": classification_loss(teach(batch["frames"]), batch["label"])}


def train_alone(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """The undistilled student, for comparison: small pictures and labels, nothing else."""
    return {"loss": classification_loss(network(batch["frames"]), batch["label"])}


def distil(*, weight: float) -> Loss:
    """Return the second stage's loss: labels, and the teacher's maps times ``weight``."""

    def loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
        both = cast(Network, network)
        seen = both.distil(batch["frames"])
        if both.cfg.distil == "features":
            taught = feature_loss(seen.upsampled, seen.teacher_map, weight=weight)
        else:
            with torch.no_grad():
                target = both.teacher.class_map(seen.teacher_map)
            student = both.student.class_map(seen.upsampled)
            taught = logit_map_loss(student, target, weight=weight)
        labelled = classification_loss(seen.logits, batch["label"])
        return {"loss": labelled + taught, "loss_label": labelled, "loss_teacher": taught}

    return loss


# --- recipes --------------------------------------------------------------------------------

LARGE = "large_frames"
"""What the teacher is judged on: the pictures at full size."""


def teacher_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the teacher's logits (B,K)."""
    return cast(Network, network).teach(batch[LARGE])


def paper(*, cfg: Config | None = None, teacher_norm: TeacherNorm = "batch") -> Recipe:
    """ActivityNet, TSN ResNet-152 at 224 to TSN ResNet-50 at 112: 80.0 mAP reported.

    Run: ``foveal train DATA --system reskd --recipe paper``; days on 8 GPUs. Both networks start
    from ImageNet weights in the paper, here fresh unless ``--pretrained`` is given.
    """
    cfg = protocol.paper() if cfg is None else cfg
    return _two_stages("paper", cfg, epochs=200, teacher_norm=teacher_norm)


def mini_kinetics(*, cfg: Config | None = None, teacher_norm: TeacherNorm = "batch") -> Recipe:
    """Mini-Kinetics, as ActivityNet with 8 frames: 75.4 top-1 reported. Days on 8 GPUs."""
    cfg = protocol.mini_kinetics() if cfg is None else cfg
    return _two_stages("mini_kinetics", cfg, epochs=100, teacher_norm=teacher_norm)


def something_something(
    *, cfg: Config | None = None, teacher_norm: TeacherNorm = "batch"
) -> Recipe:
    """Something-Something V2, TSM ResNet-50 on both sides: 60.6 top-1 reported.

    The data must not be mirrored: left and right are classes. Days on 8 GPUs.
    """
    cfg = protocol.something_something() if cfg is None else cfg
    augment = MultiScaleCrop(size=cfg.train_canvas.width, flip=False)
    return _two_stages(
        "something_something", cfg, epochs=100, teacher_norm=teacher_norm, augment=augment
    )


def kinetics_slowonly(*, cfg: Config | None = None, teacher_norm: TeacherNorm = "batch") -> Recipe:
    """Kinetics-400, SlowOnly ResNet-50 on both sides: 72.7 top-1 reported. Weeks on 8 GPUs.

    [C] 150 epochs, lr 0.01 divided by ten at 90 and 130, ten epochs of warm-up: three stages of
    constant lr, each of which starts SGD's momentum anew.
    """
    base = Stage(
        name="student",
        loss=distil(weight=100.0),
        trains=(Group(prefixes=("student",)),),
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        batch_size=64,
        epochs=90,
        eval_modules=_eval_modules(teacher_norm),
        schedule="constant",
        warmup_steps=10 * KINETICS_CLIPS // 64,
        clip_norm=40.0,
    )
    stages: list[Stage] = []
    for who, loss in (("teacher", train_teacher), ("student", distil(weight=100.0))):
        for name, epochs, lr in (("", 90, 0.01), ("_2", 40, 0.001), ("_3", 20, 0.0001)):
            stage = replace(
                base,
                name=f"{who}{name}",
                loss=loss,
                judge=teacher_logits if who == "teacher" else last_logits,
                trains=(Group(prefixes=(who,)),),
                optimizer=replace(base.optimizer, lr=lr),
                epochs=epochs,
                eval_modules=base.eval_modules if who == "student" else (),
                warmup_steps=base.warmup_steps if not name else 0,
            )
            stages.append(stage)
    cfg = protocol.kinetics_slowonly() if cfg is None else cfg
    augment = ResizedCrop(size=cfg.train_canvas.width)
    return _recipe("kinetics_slowonly", cfg, tuple(stages), augment=augment)


def kinetics_swin(*, cfg: Config | None = None, teacher_norm: TeacherNorm = "batch") -> Recipe:
    """Kinetics-400, Video Swin-B to Swin-S by maps of logits: 80.0 top-1 reported.

    [C] AdamW 1e-3 at 512 clips, weight decay 0.02 but none on norms and position tables, the
    backbone at a tenth of it; weight 200, temperature 2. Weeks on 8 GPUs. Both start from ImageNet
    weights in the paper. ``pretrained`` names none: torchvision's of these networks have been
    trained on Kinetics already.
    """
    cfg = protocol.kinetics_swin() if cfg is None else cfg
    warmup = int(2.5 * KINETICS_CLIPS / 512)
    optimizer = Optimizer(kind="adamw", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.02)

    def stage(who: Literal["teacher", "student"], loss: Loss, epochs: int) -> Stage:
        return Stage(
            name=who,
            loss=loss,
            judge=teacher_logits if who == "teacher" else last_logits,
            trains=_swin_groups(cfg, who),
            optimizer=optimizer,
            batch_size=512,
            epochs=epochs,
            eval_modules=_eval_modules(teacher_norm) if who == "student" else (),
            warmup_steps=warmup,
        )

    stages = (stage("teacher", train_teacher, 50), stage("student", distil(weight=200.0), 60))
    augment = ResizedCrop(size=cfg.train_canvas.width)
    return _recipe("kinetics_swin", cfg, stages, augment=augment)


def tiny(
    *,
    cfg: Config | None = None,
    weight: float | None = 10.0,
    steps: int = 600,
    teacher_norm: TeacherNorm = "batch",
) -> Recipe:
    """Both stages on small generated clips, in a minute or two on a CPU.

    Args:
        cfg: by default ``protocol.tiny()``.
        weight: of the teacher's maps; ``None`` trains the student without a teacher.
        steps: of each stage.
        teacher_norm: see :data:`TeacherNorm`.
    """
    cfg = cfg or protocol.tiny()
    sgd = Optimizer(kind="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    teacher = Stage(
        name="teacher",
        loss=train_teacher,
        judge=teacher_logits,
        trains=(Group(prefixes=("teacher",)),),
        optimizer=sgd,
        batch_size=16,
        steps=steps,
        clip_norm=20.0,
    )
    student = replace(
        teacher,
        name="student",
        loss=train_alone if weight is None else distil(weight=weight),
        judge=last_logits,
        trains=(Group(prefixes=("student",)),),
        eval_modules=_eval_modules(teacher_norm),
    )
    stages = (student,) if weight is None else (teacher, student)
    return _recipe("tiny", cfg, stages)


def small(*, cfg: Config | None = None, steps: int = 350) -> Recipe:
    """Both stages on real clips, eight frames of 48 px taught at 96: minutes on two CPU cores.

    Both start fresh, and both shift channels in time.
    """
    cfg = protocol.small() if cfg is None else cfg
    large, augment = gentle(cfg.train_canvas)
    teacher = Stage(
        name="teacher",
        loss=train_teacher,
        judge=teacher_logits,
        trains=(Group(prefixes=("teacher",)),),
        optimizer=Optimizer(kind="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),
        batch_size=16,
        steps=steps,
        warmup_steps=20,
        clip_norm=20.0,
    )
    student = replace(
        teacher,
        name="student",
        loss=distil(weight=10.0),
        judge=last_logits,
        trains=(Group(prefixes=("student",)),),
    )
    return Recipe(
        name="small",
        network=partial(Network, cfg),
        stages=(teacher, student),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        judged={LARGE: cfg.train_canvas},
        augment=augment,
    )


def _two_stages(
    name: str,
    cfg: Config,
    *,
    epochs: int,
    teacher_norm: TeacherNorm,
    augment: Augment | None = None,
) -> Recipe:
    """Return the stages of the pairs of picture networks, trained on 64 clips a step.

    [C] SGD 0.9, weight decay 1e-4, lr 0.01 cosine to 0, gradients cut at 20, the feature loss
    times 100; the teacher is trained for 50 epochs.
    """
    teacher = Stage(
        name="teacher",
        loss=train_teacher,
        judge=teacher_logits,
        trains=_cnn_groups(cfg, "teacher"),
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        batch_size=64,
        epochs=50,
        clip_norm=20.0,
    )
    student = replace(
        teacher,
        name="student",
        loss=distil(weight=100.0),
        judge=last_logits,
        trains=_cnn_groups(cfg, "student"),
        epochs=epochs,
        eval_modules=_eval_modules(teacher_norm),
    )
    augment = augment or MultiScaleCrop(size=cfg.train_canvas.width)
    networks = {"student": PUBLISHED[cfg.student], "teacher": PUBLISHED[cfg.teacher]}
    return replace(
        _recipe(name, cfg, (teacher, student), augment=augment),
        pretrained={f"{who}.backbone.net": published for who, published in networks.items()},
    )


def _recipe(
    name: str, cfg: Config, stages: tuple[Stage, ...], *, augment: Augment | None = None
) -> Recipe:
    """Return stages that draw the teacher's pictures: from a margin where these are cut out."""
    large = cfg.train_canvas
    if augment is not None:
        margin = large.short_side or large.height
        large = replace(large, height=margin, width=margin, short_side=margin)
    return Recipe(
        name=name,
        network=partial(Network, cfg),
        stages=stages,
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        judged={LARGE: cfg.train_canvas},
        augment=augment,
    )


def _eval_modules(teacher_norm: TeacherNorm) -> tuple[str, ...]:
    if teacher_norm not in ("batch", "frozen"):
        raise ValueError(f"teacher_norm must be batch or frozen, got {teacher_norm!r}")
    return ("teacher",) if teacher_norm == "frozen" else ()


@cache
def _cnn_groups(cfg: Config, who: Literal["teacher", "student"]) -> tuple[Group, ...]:
    """[C] Weights as they are; biases at twice the rate, no decay; norms without decay."""
    biases: list[str] = []
    norms: list[str] = []
    with torch.device("meta"):
        side = getattr(Network(cfg), who)
    for path, module in side.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if isinstance(module, nn.BatchNorm2d):
                norms.append(f"{who}.{path}.{name}")
            elif name == "bias":
                biases.append(f"{who}.{path}.{name}")
    return (
        Group(prefixes=tuple(biases), lr_scale=2.0, weight_decay=0.0),
        Group(prefixes=tuple(norms), weight_decay=0.0),
        Group(prefixes=(who,)),
    )


@cache
def _swin_groups(cfg: Config, who: Literal["teacher", "student"]) -> tuple[Group, ...]:
    """[C] The backbone at a tenth of the rate; norms and position tables without decay."""
    plain: list[str] = []
    with torch.device("meta"):
        side = getattr(Network(cfg), who)
    for path, module in side.backbone.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            if isinstance(module, nn.LayerNorm) or name == "relative_position_bias_table":
                plain.append(f"{who}.backbone.{path}.{name}")
    return (
        Group(prefixes=tuple(plain), lr_scale=0.1, weight_decay=0.0),
        Group(prefixes=(f"{who}.backbone",), lr_scale=0.1),
        Group(prefixes=(who,)),
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "mini_kinetics": mini_kinetics,
    "something_something": something_something,
    "kinetics_slowonly": kinetics_slowonly,
    "kinetics_swin": kinetics_swin,
    "small": small,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
