"""What the contract tests run on: every working system, made ready once, and clips for it.

docs/protocol.md ("What the contract tests need") says what a system has to have for this.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.bundle import Bundle, decode_config
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.recipe import Recipe
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.systems import index
from foveal.systems.index import System
from foveal.types import Array, Canvas, ClipInfo, Look, Plan, Source, Step
from foveal.video import ArraySource

WORKING = [row for row in index.ALL if row.status == "working"]
TRAINED = [row for row in WORKING if row.kind in ("classifier", "training method", "baseline")]
NUM_FRAMES, FPS = 12, 4.0


def module_of(row: System, name: str) -> ModuleType:
    """Return a module of the system's folder."""
    return importlib.import_module(f"{row.module}.{name}")


def recipe_of(row: System, name: str = "tiny") -> Recipe:
    """Return a recipe of a trained system, at its defaults."""
    recipe = getattr(module_of(row, "recipe"), name)()
    assert isinstance(recipe, Recipe)
    return recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A system made ready: its bundle, and where it has one, its training network."""

    row: System
    cfg: Any
    bundle: Bundle
    network: nn.Module | None
    modules: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def canvas(self) -> Canvas:
        """What the network is trained on."""
        return self.cfg.canvas

    def steps(self, clip: ClipInfo) -> Steps:
        """Start the protocol on a clip."""
        return module_of(self.row, "protocol").steps(self.cfg, self.bundle.context(), clip)

    def onnx(self) -> Runner:
        """Return the light runner."""
        return OnnxRunner(self.bundle, threads=1)

    def torch(self) -> Runner:
        """Return the training modules as a runner."""
        macs = {part.name: part.mac_table for part in self.bundle.manifest.parts}
        return TorchRunner(self.modules, self.bundle.specs, macs)


def make_subject(row: System, folder: Path) -> Subject:
    """Make ``row`` ready; exports what it trains to a bundle in ``folder``."""
    match row.kind:
        case "tagger":
            bundle = Bundle.open(files(row.module) / f"{row.name}.foveal")
            cfg = decoded_config(row, bundle)
            with torch.device("meta"):
                modules = module_of(row, "model").build(cfg)
            return Subject(row=row, cfg=cfg, bundle=bundle, network=None, modules=modules)
        case "classifier" | "training method" | "baseline":
            return _exported(row, folder)
    raise AssertionError(f"say here how a {row.kind} is made ready")


def decoded_config(row: System, bundle: Bundle) -> Any:
    """Return the configuration a bundle holds."""
    return decode_config(module_of(row, "protocol").Config, bundle.manifest.config)


def _exported(row: System, folder: Path) -> Subject:
    protocol, model = module_of(row, "protocol"), module_of(row, "model")
    cfg = protocol.tiny()
    network = lively(row)
    modules = model.build(network, cfg)
    specs = protocol.parts(cfg)
    bundle, _ = export_bundle(
        folder / f"{row.name}.foveal",
        system=row.name,
        config=cfg,
        modules=modules,
        specs=specs,
        class_names=[f"class {i}" for i in range(cfg.num_classes)],
        licence="Apache-2.0",
    )
    return Subject(row=row, cfg=cfg, bundle=bundle, network=network, modules=modules)


def lively(row: System) -> nn.Module:
    """Return the tiny training network, fresh but with an opinion, in evaluation mode.

    Fresh heads are often drawn so small that every answer is alike, and statistics that were
    never updated hide the difference between training and evaluation.
    """
    return copy.deepcopy(_lively(row))


@cache
def _lively(row: System) -> nn.Module:
    torch.manual_seed(0)
    network = recipe_of(row).network()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    frames = torch.from_numpy(planned_pictures(row, clips(row, 8)))
    with torch.no_grad():
        for _ in range(20):
            network.train()(frames)
    return network.eval()


def recipes_of(row: System) -> dict[str, Callable[..., Recipe]]:
    """Return the table of the recipes that a trained system can be asked for."""
    return dict(module_of(row, "recipe").RECIPES)


# --- clips ------------------------------------------------------------------------------------


def frames_of(seed: int, canvas: Canvas, *, num_frames: int = NUM_FRAMES) -> Array:
    """Return uint8 (T,3,H,W): coarse blocks of chance, other ones in every frame, and grain."""
    rng = np.random.default_rng(seed)
    h, w = canvas.height, canvas.width
    coarse = rng.integers(0, 200, (num_frames, 3, 4, 4)).repeat(-(-h // 4), 2).repeat(-(-w // 4), 3)
    grain = rng.integers(0, 56, (num_frames, 3, h, w))
    return (coarse[:, :, :h, :w] + grain).astype(np.uint8)


def clips(row: System, num: int) -> list[ArraySource]:
    """Return ``num`` different clips in memory whose frames are pictures of the canvas."""
    canvas = module_of(row, "protocol").tiny().canvas
    return [source_of(seed, canvas) for seed in range(num)]


def source_of(seed: int, canvas: Canvas) -> ArraySource:
    """Return one clip in memory."""
    return ArraySource(frames_of(seed, canvas), fps=FPS, name=f"clip {seed}")


def planned_pictures(row: System, sources: Sequence[ArraySource]) -> Array:
    """Return uint8 (B,T,3,H,W): what the clips show at the times their protocol plans."""
    protocol = module_of(row, "protocol")
    cfg = protocol.tiny()
    rows = []
    for source in sources:
        (plan,) = [next(protocol.steps(cfg, {}, source.info))]
        assert isinstance(plan, Plan)
        source.plan(plan)
        rows.append(source.look(Look(times=plan.times, view=cfg.canvas))[0])
    return np.stack(rows)


# --- running ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Log:
    """What one protocol yielded, and the pixels it was sent."""

    steps: list[Step] = field(default_factory=list)
    looks: list[tuple[Look, Array]] = field(default_factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the steps of one kind."""
        return [step for step in self.steps if isinstance(step, kind)]


def watched(steps: Steps, log: Log) -> Steps:
    """Pass everything on in both directions, and write it down."""
    value = None
    try:
        while True:
            step = steps.send(value)
            log.steps.append(step)
            value = yield step
            if isinstance(step, Look):
                log.looks.append((step, value))
    except StopIteration:
        return


@dataclass(frozen=True, slots=True)
class Ran:
    """One sample that was run."""

    outcome: Outcome
    log: Log
    source: Source


def run(
    subject: Subject,
    runner: Runner,
    sources: Sequence[Source],
    *,
    max_batch: int = 16,
    exit_rule: ExitRule | None = None,
) -> list[Ran]:
    """Run the system on ``sources`` and return what became of each, in their order."""
    logs = [Log() for _ in sources]

    def start(log: Log, clip: ClipInfo) -> Iterator[Step]:
        return watched(subject.steps(clip), log)

    jobs = [
        Job(name=str(i), open=_opens(source), steps=partial(start, log))
        for i, (source, log) in enumerate(zip(sources, logs, strict=True))
    ]
    # Fetched in line, so that the batches of two runs are the same.
    executor = Executor(runner, exit_rule=exit_rule, max_batch=max_batch, fetch_threads=0)
    done = sorted(executor.run(jobs), key=lambda outcome: int(outcome.name))
    assert all(isinstance(outcome, Outcome) for outcome in done), done
    return [Ran(*each) for each in zip(done, logs, sources, strict=True)]


def _opens(source: Source) -> Callable[[], Source]:
    return lambda: source


def logits_of(network: nn.Module, frames: Tensor) -> Tensor:
    """Return the logits (B,A,K) of a training network, one row for each answer."""
    with torch.inference_mode():
        output = network(frames)
    logits = output if isinstance(output, Tensor) else output.logits
    return logits if logits.ndim == 3 else logits[:, None]
