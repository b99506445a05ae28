"""What a recipe says: stages in order, each naming what it trains, on what loss, and how.

A system's ``recipe.py`` has functions that return a :class:`Recipe`; the loop runs it. Letters:
B samples, T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from foveal.types import Canvas, Features, Sound

Batch: TypeAlias = Mapping[str, Tensor]
"""Decoded samples by name, e.g. ``frames`` uint8 (B,T,C,H,W) and ``label`` int64 (B,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a loss may need beside network and batch.

    Args:
        progress: share of the stage that is done, in [0, 1); for ramps and temperatures.
        generator: the run's random numbers, on the CPU; everything drawn comes from it, so that
            a resumed run draws the same.
    """

    progress: float
    generator: torch.Generator


Loss: TypeAlias = Callable[[nn.Module, Batch, StepContext], Mapping[str, Tensor]]
"""Returns scalars by name: ``loss`` is minimised, the others are logged."""

Augment: TypeAlias = Callable[[Batch, torch.Generator], Batch]
"""Changes one sample, whose tensors have no batch axis, drawing from the generator it is given."""

Judge: TypeAlias = Callable[[nn.Module, Batch], Tensor]
"""Network and batch, whose ``frames`` are those the protocol plans, to logits (B,K)."""


def last_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) of the last answer of ``network``, as docs/protocol.md has it."""
    output = network(batch["frames"])
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits if logits.ndim == 2 else logits[:, -1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a batch holds under one name while a system is trained.

    One frame is drawn from each of T equal parts of a clip. When the system is judged, the
    pictures are those its protocol plans, through the canvas of its configuration, instead.

    Args:
        name: of the pictures, uint8 (B,T,3,H,W), or stored features, float32 (B,T,D).
        num_frames: T.
        view: what is decoded; larger than what the network sees where ``augment`` cuts.
        burst: frames in succession; then one burst is drawn from each of T / burst equal parts.

    Raises:
        ValueError: T is no whole number of bursts.
    """

    name: str = "frames"
    num_frames: int
    view: Canvas | Features
    burst: int = 1

    def __post_init__(self) -> None:
        if self.burst < 1 or self.num_frames % self.burst:
            raise ValueError(f"{self.num_frames} frames are no whole bursts of {self.burst}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a batch holds of the sound, float32 (B,S,samples), while trained and while judged.

    A window is heard at the times of some of the pictures under the first name. All samples of
    a clip without sound are zero.

    Args:
        view: the window.
        first: the number of the picture at whose time the first window is heard.
        every: one window for so many pictures.

    Raises:
        ValueError: ``first`` is not among the first ``every`` pictures.
    """

    view: Sound
    first: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.every:
            raise ValueError(f"first must be in 0..{self.every - 1}, got {self.first}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Parameters below one of ``prefixes``, and how they differ.

    Args:
        prefixes: dotted names of modules or parameters: ``glance`` takes ``glance.conv.weight``
            and leaves ``glance_head.weight``; ``""`` takes all that no earlier group took.
        lr_scale: multiplies the stage's learning rate.
        weight_decay: replaces the optimiser's.
        only: of these, those of normalisation layers, or the biases of all others.
    """

    prefixes: tuple[str, ...]
    only: Literal["all", "norms", "biases"] = "all"
    lr_scale: float = 1.0
    weight_decay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """Which rule moves the parameters.

    Args:
        lr: learning rate at ``batch_size`` of the stage.
        momentum: of SGD.
        betas: of Adam and AdamW.

    Raises:
        ValueError: a number is out of range.
    """

    kind: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a recipe.

    Args:
        name: unique in its recipe; names its checkpoint.
        loss: see :data:`Loss`.
        trains: the parameters that move; all others keep their values and get no gradient.
        eval_modules: prefixes, as in :class:`Group`, of modules kept in eval mode (frozen
            normalisation and no dropout).
        batch_size: samples a step; what is left of an epoch below that is dropped.
        steps: optimiser steps; exactly one of ``steps`` and ``epochs`` is given.
        epochs: passes over the training set.
        schedule: of the learning rate: cosine to 0, or constant.
        schedule_every: whether the cosine falls at every step or between epochs only.
        drops: shares of the steps, ascending; after each, the learning rate is a tenth of what it
            was.
        warmup_steps: linear from 0, before the schedule begins.
        clip_norm: largest L2 norm of the gradient.
        accumulate: parts a batch is computed in, one after the other, where memory is short.
        ema_decay: the weights the stage leaves are an exponential average of those of its
            steps, with this share of the old at each.
        judge: what is compared with the labels of the validation set.

    Raises:
        ValueError: both or none of steps and epochs, nothing to train, or a number out of range.
    """

    name: str
    loss: Loss
    trains: tuple[Group, ...]
    optimizer: Optimizer
    batch_size: int
    steps: int | None = None
    epochs: int | None = None
    eval_modules: tuple[str, ...] = ()
    schedule: Literal["cosine", "constant"] = "cosine"
    schedule_every: Literal["step", "epoch"] = "step"
    drops: tuple[float, ...] = ()
    warmup_steps: int = 0
    clip_norm: float | None = None
    accumulate: int = 1
    ema_decay: float | None = None
    judge: Judge = last_logits

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"stage {self.name!r} needs either steps or epochs")
        if not self.trains:
            raise ValueError(f"stage {self.name!r} trains nothing")
        for name, least in (("batch_size", 1), ("steps", 1), ("epochs", 1), ("warmup_steps", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(
                    f"stage {self.name!r}: {name} must be at least {least}, got {value}"
                )
        if list(self.drops) != sorted(self.drops) or not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"stage {self.name!r}: drops must ascend in (0, 1), got {self.drops}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(
                f"stage {self.name!r}: clip_norm must be positive, got {self.clip_norm}"
            )
        if not 1 <= self.accumulate <= self.batch_size:
            raise ValueError(
                f"stage {self.name!r}: accumulate must be in 1..{self.batch_size} "
                f"(the batch size), got {self.accumulate}"
            )
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(
                f"stage {self.name!r}: ema_decay must be in [0, 1), got {self.ema_decay}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training run of one system.

    Args:
        name: as in ``--recipe``.
        network: builds the network with fresh weights; called under the run's seed.
        stages: in order; a stage starts from the weights the one before it left.
        config: the system's ``Config`` that the network is built from.
        draws: what a batch holds beside ``label``.
        judged: what else a batch holds when the system is judged, beside ``frames`` on the
            canvas of ``config``: the same pictures through another view, by name.
        heard: what a batch holds of the sound, by name.
        augment: what is done to a sample before it joins a batch.
        pretrained: dotted name of each backbone in the network that may begin with published
            weights, to the name they are published under
            (:func:`foveal.backbones.load_modules`); the network itself has fresh ones.
        arguments: of the function that made it, as far as a user set them: JSON data by name.
    """

    name: str
    network: Callable[[], nn.Module]
    stages: tuple[Stage, ...]
    config: object = None
    draws: tuple[Draw, ...] = ()
    judged: Mapping[str, Canvas | Features] = field(default_factory=dict)
    heard: Mapping[str, Heard] = field(default_factory=dict)
    augment: Augment | None = None
    pretrained: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"recipe {self.name!r} needs stages with different names, got {names}")
