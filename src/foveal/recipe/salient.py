"""Stages of samplers by saliency: a recogniser, then, that frozen, what keeps frames for it.

A batch holds ``frames`` uint8 (B,T,3,H,W) or stored features (B,T,D), other stored features of the
same times by the names in :data:`BESIDE`, and ``label`` int64 (B,), or float (B,C) where videos
may show several classes. The network has a
``recogniser`` and a ``sampler``, and called with frames and what stands beside them it says
``logits`` (B,C) of those that it keeps. Letters: B videos, T candidates, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from torch import Tensor
from torch.nn import Module

from foveal.layers import FrameClassifier, consensus_loss, label_loss
from foveal.recipe.stages import Batch, Draw, Group, Loss, Optimizer, Stage, StepContext
from foveal.types import Canvas, Features

TRAIN_FRAMES = 6
"""Frames of a video that the recogniser learns from at a time."""

BESIDE = ("preview", "objects")
"""What a sampler may be shown of the candidates instead of ``frames``, or beside them."""


class Sampling(Protocol):
    """A network that keeps frames for its recogniser."""

    recogniser: FrameClassifier


def recogniser_loss(network: Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the loss of the mean logits of some frames, drawn anew for each video."""
    return consensus_loss(
        cast(Sampling, network).recogniser,
        batch["frames"],
        batch["label"],
        count=TRAIN_FRAMES,
        generator=context.generator,
    )


def dense_logits(network: Module, batch: Batch) -> Tensor:
    """Return the mean of the recogniser's logits (B,C) over all candidates."""
    logits: Tensor = cast(Sampling, network).recogniser.clip_logits(batch["frames"]).mean(dim=1)
    return logits


def sampled_logits(network: Module, batch: Batch) -> Tensor:
    """Return the logits (B,C) of the frames that the sampler keeps."""
    beside = {name: batch[name] for name in BESIDE if name in batch}
    logits: Tensor = network(batch["frames"], **beside).logits
    return logits


def kept_frames_loss(network: Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the recogniser's loss on the frames that the sampler keeps."""
    logits = sampled_logits(network, batch)
    return {"loss": label_loss(logits, batch["label"])}


def paper_recogniser() -> Stage:
    """Return the first stage at the papers' size, with reconstructed numbers."""
    return Stage(
        name="recogniser",
        loss=recogniser_loss,
        trains=(Group(prefixes=("recogniser",)),),
        judge=dense_logits,
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
        batch_size=64,
        epochs=50,
    )


def paper_kept_frames() -> Stage:
    """Return the last stage at the papers' size: the recogniser learns on what is kept."""
    return Stage(
        name="kept-frames",
        loss=kept_frames_loss,
        trains=(Group(prefixes=("recogniser",)),),
        eval_modules=("sampler",),
        judge=sampled_logits,
        optimizer=Optimizer(kind="sgd", lr=0.001, momentum=0.9, weight_decay=5e-4),
        batch_size=64,
        epochs=10,
    )


def quick_stages(
    sampler_loss: Loss,
    *,
    recogniser_steps: int,
    sampler_steps: int,
    batch_size: int,
    decay: float = 0.0,
) -> tuple[Stage, Stage]:
    """Return both stages of a run from fresh weights, of minutes on one core.

    Args:
        sampler_loss: of the second stage, in which the recogniser is frozen.
        recogniser_steps: of the first.
        sampler_steps: of the second.
        batch_size: of both.
        decay: of weights, in both.
    """
    optimizer = Optimizer(kind="adamw", lr=2e-3, weight_decay=decay)
    recogniser = Stage(
        name="recogniser",
        loss=recogniser_loss,
        trains=(Group(prefixes=("recogniser",)),),
        judge=dense_logits,
        optimizer=optimizer,
        batch_size=batch_size,
        steps=recogniser_steps,
        warmup_steps=20,
    )
    sampler = Stage(
        name="sampler",
        loss=sampler_loss,
        trains=(Group(prefixes=("sampler",)),),
        eval_modules=("recogniser",),
        judge=sampled_logits,
        optimizer=optimizer,
        batch_size=batch_size,
        steps=sampler_steps,
        warmup_steps=20,
    )
    return recogniser, sampler


def drawn_beside(
    num_frames: int, views: Mapping[str, Features | None]
) -> tuple[tuple[Draw, ...], dict[str, Canvas | Features]]:
    """Return what a batch holds beside ``frames`` while trained, and while judged.

    Args:
        num_frames: T.
        views: by a name of :data:`BESIDE`; those that are ``None`` are left out.
    """
    given = {name: view for name, view in views.items() if view is not None}
    draws = tuple(Draw(name=n, num_frames=num_frames, view=view) for n, view in given.items())
    return draws, dict(given)


def pictures(view: Canvas | Features) -> Canvas:
    """Return ``view``, for a recipe that takes pictures only.

    Raises:
        ValueError: it is stored features.
    """
    if isinstance(view, Features):
        raise ValueError("this recipe takes pictures; the recipe features takes stored features")
    return view
