"""One stage of a run: its steps, its validations, its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from foveal.recipe import Batch, Loss, Stage, StepContext
from foveal.train.batches import DROPOUT, LOSS, Made, Share, batches, generator
from foveal.train.checkpoint import (
    Best,
    Checkpoint,
    RunFolder,
    TrainError,
    load_weights,
    optimizer_tensors,
    restore_optimizer,
    save_weights,
)
from foveal.train.data import Data
from foveal.train.judge import Average, Judged, judge
from foveal.train.processes import first, mean, share_buffers
from foveal.train.running import Running
from foveal.train.stage import learning_rate_factor, make_optimizer, set_modes


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a run.

    Args:
        stage: its name.
        step: from 1, within the stage.
        lr: learning rate of a group with ``lr_scale`` 1.
        values: what the loss returned, ``loss`` among them.
        validation: ``accuracy`` and ``loss`` of the validation after this step, if there was one.
    """

    stage: str
    step: int
    lr: float
    values: Mapping[str, float]
    validation: Mapping[str, float] | None = None


def lengths(stage: Stage, num_samples: int, num_processes: int = 1) -> tuple[int, int]:
    """Return the steps of ``stage``, and of one epoch."""
    per_epoch = num_samples // stage.batch_size
    if per_epoch == 0:
        raise ValueError(
            f"stage {stage.name!r} takes {stage.batch_size} samples a step, there are {num_samples}"
        )
    if stage.batch_size % num_processes:
        raise TrainError(
            f"stage {stage.name!r} takes {stage.batch_size} samples a step, which "
            f"{num_processes} processes cannot share evenly",
            hint=f"set batch_size to a multiple of {num_processes}",
        )
    if stage.steps is not None:
        return stage.steps, per_epoch
    assert stage.epochs is not None  # a stage has one of both
    return stage.epochs * per_epoch, per_epoch


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


class StageRun:
    """A stage under way.

    Args:
        network: as the stage before left it, or as ``start`` has it.
        stage: what to do.
        index: of the stage.
        seed: of the run.
        fabric: places network and batches.
        running: how often to validate.
        start: where to go on.
    """

    def __init__(
        self,
        network: nn.Module,
        stage: Stage,
        *,
        index: int,
        seed: int,
        num_samples: int,
        fabric: Fabric,
        running: Running,
        start: Checkpoint,
    ) -> None:
        self.network = network
        self.stage = stage
        self.index = index
        self.seed = seed
        self.fabric = fabric
        self.running = running
        self.num_steps, self.per_epoch = lengths(stage, num_samples, fabric.world_size)
        self.first_step = start.step
        self.best = start.best
        self._plain = make_optimizer(network, stage)
        self._losses, self._optimizer = fabric.setup(_Losses(network, stage.loss), self._plain)
        if start.step:
            restore_optimizer(self._plain, start.optimizer)
        self._average: Average | None = None
        if stage.ema_decay is not None:
            self._average = Average(network, decay=stage.ema_decay, state=start.average)
        self._scaler: torch.amp.GradScaler | None = getattr(fabric._precision, "scaler", None)
        if self._scaler is not None and start.scaler:
            self._scaler.load_state_dict(dict(start.scaler))
        set_modes(network, stage)

    def made(self, data: Data) -> Iterator[tuple[int, Made]]:
        """Yield the steps that are left, and the batch of each."""
        steps = range(self.first_step, self.num_steps)
        share = Share(rank=self.fabric.global_rank, size=self.fabric.world_size)
        made = batches(
            data,
            self.stage,
            seed=self.seed,
            index=self.index,
            steps=steps,
            workers=self.running.workers,
            share=share,
        )
        return zip(steps, made, strict=True)

    def step(self, step: int, batch: Batch) -> Point:
        """Take one step (from 0) and return what came of it."""
        stage, rank = self.stage, self.fabric.global_rank
        # One process draws what it always drew; each further one has numbers of its own.
        own = (rank,) if rank else ()
        drawn = generator(self.seed, self.index, step, LOSS, *own)
        torch.manual_seed(generator(self.seed, self.index, step, DROPOUT, *own).initial_seed())
        lr = stage.optimizer.lr * learning_rate_factor(
            stage, step, num_steps=self.num_steps, steps_per_epoch=self.per_epoch
        )
        for group in self._plain.param_groups:
            group["lr"] = lr * group["lr_scale"]
        self._optimizer.zero_grad()
        values = self._backward(self.fabric.to_device(batch), step, drawn)
        if stage.clip_norm is not None:
            self.fabric.clip_gradients(
                self._losses, self._optimizer, max_norm=stage.clip_norm, error_if_nonfinite=False
            )
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self.network)
        return Point(stage=stage.name, step=step + 1, lr=lr, values=values)

    def _backward(self, batch: Batch, step: int, drawn: torch.Generator) -> dict[str, float]:
        """Add up the gradients of the parts of a batch; return the means of what was logged."""
        rows = len(next(iter(batch.values())))
        sizes = [len(part) for part in torch.arange(rows).chunk(self.stage.accumulate)]
        values: dict[str, float] = {}
        begin = 0
        for i, size in enumerate(sizes):
            part = {name: tensor[begin : begin + size] for name, tensor in batch.items()}
            begin += size
            last = i == len(sizes) - 1
            quiet = nullcontext() if last else self.fabric.no_backward_sync(self._losses)
            with quiet:
                results = self._losses(part, step / self.num_steps, drawn)
                if "loss" not in results:
                    told = f"returns {sorted(results)}, no 'loss'"
                    raise ValueError(f"the loss of stage {self.stage.name!r} {told}")
                self.fabric.backward(results["loss"] * (size / rows))
            for name, value in results.items():
                values[name] = values.get(name, 0.0) + float(value.detach()) * (size / rows)
        values = mean(self.fabric, values)  # first, so that all processes fail together
        if not math.isfinite(values["loss"]):
            raise TrainError(
                f"stage {self.stage.name!r}: the loss is {values['loss']} at step {step + 1}",
                hint="a lower learning rate or a gradient clip may help",
            )
        return values

    def is_due(self, done: int) -> bool:
        """Return whether a validation follows ``done`` steps; they are spread evenly."""
        every, total = self.running.validations, self.num_steps
        return done * every // total > (done - 1) * every // total

    def judge(self, data: Data, done: int, folder: RunFolder) -> Judged:
        """Validate after ``done`` steps; the best weights so far are kept in the folder."""
        averaged = nullcontext() if self._average is None else self._average.applied(self.network)
        with averaged:
            share_buffers(self.fabric, self.network)
            judged = judge(self.network, data, logits=self.stage.judge, fabric=self.fabric)
            found = Best(step=done, accuracy=judged.accuracy, loss=judged.loss)
            if found.beats(self.best):
                self.best = found
                if folder.writes:
                    save_weights(self.network, folder.best_file(self.index, done))
            else:
                assert self.best is not None
                self.best = replace(self.best, waited=self.best.waited + 1)
        return judged

    @property
    def has_waited(self) -> bool:
        """Whether ``patience`` validations in a row brought nothing better."""
        patience = self.running.patience
        return patience is not None and self.best is not None and self.best.waited >= patience

    def checkpoint(self, done: int) -> Checkpoint:
        """Return all it takes to go on after ``done`` steps."""
        return Checkpoint(
            stage=self.index,
            step=done,
            network=self.network.state_dict(),
            optimizer=optimizer_tensors(self._plain),
            average={} if self._average is None else self._average.state,
            best=self.best,
            scaler={} if self._scaler is None else self._scaler.state_dict(),
        )

    def leave(self, folder: RunFolder) -> None:
        """Give the network the weights that the stage leaves, and store them."""
        if self._average is not None:
            self.network.load_state_dict(self._average.state)
        name = self.stage.name
        if self.best is not None:
            if folder.writes:
                save_weights(self.network, folder.path / f"{name}.last.safetensors")
            if self.running.keep == "best":
                best = folder.best_file(self.index, self.best.step)
                first(self.fabric, lambda: None)  # the others wait until it is there
                load_weights(self.network, best)
                first(self.fabric, lambda: None)  # none misses it: saving takes it away
        if folder.writes:
            save_weights(self.network, folder.path / f"{name}.safetensors")
        folder.save(Checkpoint(stage=self.index + 1, network=self.network.state_dict()))


class Clock:
    """Tells apart the time a run waits for batches and the time it works on them."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self._waited = 0.0
        self._steps = 0

    def wait_is_over(self) -> None:
        """Say that a batch is there."""
        now = time.perf_counter()
        self._waited += now - self._last
        self._last = now

    def step_is_over(self) -> None:
        """Say that the batch was used."""
        self._last = time.perf_counter()
        self._steps += 1

    @property
    def ms_per_step(self) -> float:
        """Mean since the stage began, or went on."""
        return (self._last - self._began) * 1000 / max(self._steps, 1)

    @property
    def data_wait(self) -> float:
        """Share of the time that was spent waiting, in [0, 1]."""
        return self._waited / max(self._last - self._began, 1e-9)
