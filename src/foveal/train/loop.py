"""The training loop: the stages of a recipe in order, a step at a time.

Random numbers are a function of the run's seed, the stage and the step (or epoch) alone, and so
is everything drawn from them. A run that was stopped therefore needs no generator state to go on:
on a CPU the same seed gives the same bits, however often it was stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from foveal.recipe import Recipe
from foveal.train.checkpoint import Checkpoint, RunFolder
from foveal.train.data import Data
from foveal.train.logs import Logs
from foveal.train.processes import first, make_fabric
from foveal.train.progress import Progress
from foveal.train.running import Running
from foveal.train.stage_run import Clock, Point, StageRun, lengths
from foveal.train.troubles import TroubleList


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


AS_USUAL = Running()


def say(line: str) -> None:
    """Print ``line`` to standard error."""
    print(line, file=sys.stderr, flush=True)


def fit(
    recipe: Recipe,
    data: Data,
    *,
    out: Path,
    seed: int,
    validation: Data | None = None,
    running: Running = AS_USUAL,
    resume: bool = False,
    prepare: Callable[[nn.Module], None] | None = None,
    log: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] = say,
) -> TrainResult:
    """Train ``recipe`` on ``data``.

    In a stage exactly the parameters it names get a gradient; all others keep their values, and
    so do the buffers of its ``eval_modules``. PyTorch's global generator is seeded for each step
    (for dropout) and restored at the end. A loss keeps its state in buffers of the network.
    Started by ``torchrun``, every process takes its share of each batch.

    Args:
        recipe: what to do.
        data: what to learn from.
        out: folder of the run, see :mod:`foveal.train.checkpoint`.
        seed: of everything drawn, at least 0.
        validation: what stages are judged on; without it a stage leaves its last weights.
        running: where, how precisely, how often.
        resume: go on where the run in ``out`` stopped; begin if there is none.
        prepare: changes the fresh network before the first step, e.g. loads weights.
        log: called after every step in the first process; see :func:`terminal_line`.
        tell: is given lines that a user should read.

    Returns:
        The trained network and the curve, the same whether the run was stopped or not.

    Raises:
        TrainError: ``out`` holds a run that may not go on, the loss is not finite, or too many
            clips cannot be read.
        ValueError: a stage names what the network does not have, or needs more samples.
    """
    fabric = make_fabric(running.device, running.precision)
    # Before anything is written: what cannot be is told here.
    num_steps = [lengths(stage, len(data), fabric.world_size)[0] for stage in recipe.stages]
    identity = _identity(recipe, seed=seed, data=data)
    folder = _open(out, identity, resume=resume, fabric=fabric)
    num_clips = len(data) + (0 if validation is None else len(validation))
    limit = running.max_bad_share
    troubles = TroubleList(
        out / "bad.jsonl", num_samples=num_clips, max_share=limit, tell=tell, fabric=fabric
    )
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        network = recipe.network()
        if folder.checkpoint.network:
            network.load_state_dict(folder.checkpoint.network)
        elif prepare is not None:
            prepare(network)
        with Logs(
            out, tensorboard=running.tensorboard, history=folder.history, writes=folder.writes
        ) as logs:
            loop = _Loop(folder, data, validation, troubles, logs, log, tell)
            for index in range(folder.checkpoint.stage, len(recipe.stages)):
                start = folder.checkpoint
                work = StageRun(
                    network,
                    recipe.stages[index],
                    index=index,
                    seed=seed,
                    num_samples=len(data),
                    fabric=fabric,
                    running=running,
                    start=start if start.stage == index else Checkpoint(stage=index),
                )
                loop.run(work, steps_after=sum(num_steps[index + 1 :]))
    return TrainResult(
        network=network.cpu().eval().requires_grad_(),
        history=tuple(Point(**point) for point in folder.history),
        weights=out / f"{recipe.stages[-1].name}.safetensors",
    )


@dataclass(frozen=True, slots=True)
class _Loop:
    """What all stages of a run share."""

    folder: RunFolder
    data: Data
    validation: Data | None
    troubles: TroubleList
    logs: Logs
    log: Callable[[Progress], None] | None
    tell: Callable[[str], None]

    def run(self, work: StageRun, *, steps_after: int) -> None:
        """Take the steps of a stage that are left, and leave what it is to leave.

        Args:
            work: the stage.
            steps_after: of the stages after it.
        """
        clock = Clock()
        chief = self.folder.writes
        for step, made in work.made(self.data):
            clock.wait_is_over()
            if made.error is not None:
                raise made.error
            self.troubles.add(made.troubles)
            point = work.step(step, made.batch)
            done = step + 1
            judged = None
            if self.validation is not None and work.is_due(done):
                judged = work.judge(self.validation, done, self.folder)
                self.troubles.add(judged.troubles)
                found = {"accuracy": judged.accuracy, "loss": judged.loss}
                point = replace(point, validation=found)
            clock.step_is_over()
            self.folder.history.append(asdict(point))
            over = work.has_waited
            if chief:
                self.logs.write(point, ms_per_step=clock.ms_per_step, data_wait=clock.data_wait)
            due = judged is not None or done % work.running.checkpoint_steps == 0
            if due and done < work.num_steps and not over:
                self.troubles.meet()
                self.logs.flush()  # before the checkpoint that relies on these lines
                self.folder.save(work.checkpoint(done))
            if chief and self.log is not None:
                self.log(_progress(work, point, clock, steps_after))
            if over:
                name, waited = work.stage.name, work.running.patience
                if chief:
                    self.tell(
                        f"stage {name!r} ends early: {waited} validations brought nothing better"
                    )
                break
        self.troubles.meet()
        self.logs.flush()
        work.leave(self.folder)


def _progress(work: StageRun, point: Point, clock: Clock, steps_after: int) -> Progress:
    return Progress(
        stage=point.stage,
        step=point.step,
        num_steps=work.num_steps,
        steps_after=steps_after,
        values=point.values,
        ms_per_step=clock.ms_per_step,
        data_wait=clock.data_wait,
        validation=point.validation,
    )


def _open(out: Path, identity: dict[str, object], *, resume: bool, fabric: Fabric) -> RunFolder:
    """Open the run's folder; the first process makes it, the others read what it made."""
    if fabric.world_size == 1:
        return RunFolder(out, identity=identity, resume=resume)
    made = first(fabric, lambda: RunFolder(out, identity=identity, resume=resume).checkpoint.step)
    assert made >= 0
    return RunFolder(out, identity=identity, resume=True, writes=fabric.global_rank == 0)


def _identity(recipe: Recipe, *, seed: int, data: Data) -> dict[str, object]:
    """Return what two runs must share for one to go on with the other's checkpoint."""
    callables = ("loss", "judge")
    stages = [
        {f.name: getattr(stage, f.name) for f in fields(stage) if f.name not in callables}
        for stage in recipe.stages
    ]
    config = recipe.config
    told = {
        "recipe": recipe.name,
        "config": asdict(config) if is_dataclass(config) and not isinstance(config, type) else None,
        "seed": seed,
        "num_samples": len(data),
        "data": data.fingerprint(),
        "stages": stages,
        **({"arguments": dict(recipe.arguments)} if recipe.arguments else {}),
    }
    plain: dict[str, object] = json.loads(json.dumps(told, default=asdict))
    return plain
