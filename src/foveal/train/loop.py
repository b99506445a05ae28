"""The training loop: the stages of a recipe in order, a step at a time.

Random numbers are a function of the run's seed, the stage and the step (or epoch) alone, and so
is everything drawn from them. A run that was stopped therefore needs no generator state to go on:
on a CPU the same seed gives the same bits, however often it was stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from foveal.recipe import Batch, Loss, Recipe, Stage, StepContext
from foveal.train.checkpoint import (
    Checkpoint,
    RunFolder,
    TrainError,
    optimizer_tensors,
    restore_optimizer,
    save_weights,
)
from foveal.train.data import Data
from foveal.train.progress import Progress
from foveal.train.stage import learning_rate_factor, make_optimizer, set_modes
from foveal.types import Array

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]

# What numbers are drawn for, so that no two purposes share a stream.
_ORDER, _STEP, _DROPOUT = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a run.

    Args:
        stage: its name.
        step: from 1, within the stage.
        lr: learning rate of a group with ``lr_scale`` 1.
        values: what the loss returned, ``loss`` among them.
    """

    stage: str
    step: int
    lr: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run leaves.

    Args:
        network: trained, on the CPU, in evaluation mode.
        history: a point for every step of every stage.
        weights: the file that holds the network's weights.
    """

    network: nn.Module
    history: tuple[Point, ...]
    weights: Path


def fit(
    recipe: Recipe,
    data: Data,
    *,
    out: Path,
    seed: int,
    device: Device = "auto",
    resume: bool = False,
    checkpoint_steps: int = 500,
    log: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train ``recipe`` on ``data``.

    In a stage exactly the parameters it names get a gradient; all others keep their values, and
    so do the buffers of its ``eval_modules``. PyTorch's global generator is seeded for each step
    (for dropout) and restored at the end. A loss keeps its state in buffers of the network.

    Args:
        recipe: what to do.
        data: what to learn from.
        out: folder of the run, see :mod:`foveal.train.checkpoint`.
        seed: of everything drawn, at least 0.
        device: ``auto`` takes an accelerator if there is one.
        resume: go on where the run in ``out`` stopped; begin if there is none.
        checkpoint_steps: steps between checkpoints; the end of a stage is always one.
        log: called after every step; see :func:`foveal.train.terminal_line`.

    Returns:
        The trained network and the curve, the same whether the run was stopped or not.

    Raises:
        TrainError: ``out`` holds a run that may not go on, or the loss is not finite.
        ValueError: a stage names what the network does not have, or needs more samples.
    """
    for stage in recipe.stages:
        _lengths(stage, len(data))  # before anything is written
    fabric = Fabric(accelerator=device, devices=1)
    folder = RunFolder(
        out, identity=_identity(recipe, seed=seed, num_samples=len(data)), resume=resume
    )
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        network = recipe.network()
        if folder.checkpoint.network:
            network.load_state_dict(folder.checkpoint.network)
        run = _Run(fabric, folder, data, seed, checkpoint_steps, log)
        for index in range(folder.checkpoint.stage, len(recipe.stages)):
            stage = recipe.stages[index]
            run.train_stage(network, stage, index)
            save_weights(network, out / f"{stage.name}.safetensors")
            folder.save(Checkpoint(stage=index + 1, network=network.state_dict()))
    return TrainResult(
        network=network.cpu().eval().requires_grad_(),
        history=tuple(Point(**point) for point in folder.history),
        weights=out / f"{recipe.stages[-1].name}.safetensors",
    )


def _identity(recipe: Recipe, *, seed: int, num_samples: int) -> dict[str, object]:
    """Return what two runs must share for one to go on with the other's checkpoint."""
    stages = [
        {f.name: getattr(stage, f.name) for f in fields(stage) if f.name != "loss"}
        for stage in recipe.stages
    ]
    data = {"recipe": recipe.name, "seed": seed, "num_samples": num_samples, "stages": stages}
    plain: dict[str, object] = json.loads(json.dumps(data, default=asdict))
    return plain


def _lengths(stage: Stage, num_samples: int) -> tuple[int, int]:
    """Return the steps of ``stage``, and of one epoch."""
    per_epoch = num_samples // stage.batch_size
    if per_epoch == 0:
        raise ValueError(
            f"stage {stage.name!r} takes {stage.batch_size} samples a step, there are {num_samples}"
        )
    if stage.steps is not None:
        return stage.steps, per_epoch
    assert stage.epochs is not None  # a stage has one of both
    return stage.epochs * per_epoch, per_epoch


def _generator(*numbers: int) -> torch.Generator:
    """Return random numbers that depend on ``numbers`` alone."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed))


class _Losses(nn.Module):
    """The loss as a module, so that all a loss does with its network is one forward pass."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(
        self, batch: Batch, progress: float, generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        context = StepContext(progress=progress, generator=generator)
        return self.loss(self.network, batch, context)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all stages of a run share."""

    fabric: Fabric
    folder: RunFolder
    data: Data
    seed: int
    checkpoint_steps: int
    log: Callable[[Progress], None] | None

    def train_stage(self, network: nn.Module, stage: Stage, index: int) -> None:
        """Train ``stage`` from where the folder's checkpoint is to its end."""
        num_steps, per_epoch = _lengths(stage, len(self.data))
        plain = make_optimizer(network, stage)
        losses, optimizer = self.fabric.setup(_Losses(network, stage.loss), plain)
        start = self.folder.checkpoint
        first = start.step if start.stage == index else 0
        if first:
            restore_optimizer(plain, start.optimizer)
        set_modes(network, stage)
        began = time.perf_counter()
        for step in range(first, num_steps):
            epoch, position = divmod(step, per_epoch)
            if step == first or position == 0:
                order = self._order(index, epoch)
            indices = order[position * stage.batch_size : (position + 1) * stage.batch_size]
            generator = _generator(self.seed, index, step, _STEP)
            torch.manual_seed(_generator(self.seed, index, step, _DROPOUT).initial_seed())
            batch = self.fabric.to_device(self.data.batch(indices, generator))
            lr = stage.optimizer.lr * learning_rate_factor(
                stage, step, num_steps=num_steps, steps_per_epoch=per_epoch
            )
            for group in plain.param_groups:
                group["lr"] = lr * group["lr_scale"]

            optimizer.zero_grad()
            results = losses(batch, step / num_steps, generator)
            values = _finite(results, stage, step)
            self.fabric.backward(results["loss"])
            if stage.clip_norm is not None:
                self.fabric.clip_gradients(
                    losses, optimizer, max_norm=stage.clip_norm, error_if_nonfinite=False
                )
            optimizer.step()

            done = step + 1
            self.folder.history.append(
                asdict(Point(stage=stage.name, step=done, lr=lr, values=values))
            )
            if done % self.checkpoint_steps == 0 and done < num_steps:
                self._save(network, plain, index, done)
            if self.log is not None:
                ms = (time.perf_counter() - began) * 1000 / (done - first)
                self.log(
                    Progress(
                        stage=stage.name,
                        step=done,
                        num_steps=num_steps,
                        values=values,
                        ms_per_step=ms,
                    )
                )

    def _order(self, index: int, epoch: int) -> Array:
        generator = _generator(self.seed, index, epoch, _ORDER)
        order: Array = torch.randperm(len(self.data), generator=generator).numpy()
        return order

    def _save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, stage: int, step: int
    ) -> None:
        self.folder.save(
            Checkpoint(
                stage=stage,
                step=step,
                network=network.state_dict(),
                optimizer=optimizer_tensors(optimizer),
            )
        )


def _finite(results: Mapping[str, Tensor], stage: Stage, step: int) -> dict[str, float]:
    """Return the values of a loss, which must have a finite ``loss`` among them."""
    if "loss" not in results:
        raise ValueError(f"the loss of stage {stage.name!r} returns {sorted(results)}, no 'loss'")
    values = {name: float(value.detach()) for name, value in results.items()}
    if not math.isfinite(values["loss"]):
        raise TrainError(
            f"stage {stage.name!r}: the loss is {values['loss']} at step {step + 1}",
            hint="a lower learning rate or a gradient clip may help",
        )
    return values
