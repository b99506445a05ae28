"""Videos and a tiny system with unit costs, for the tests of confidence distillation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.sampling.confidence import ExitRule
from foveal.systems.confidence_distillation import protocol
from foveal.systems.confidence_distillation.model import Network, build, make_network
from foveal.systems.confidence_distillation.protocol import STUDENT, TEACHER, Config
from foveal.types import Array
from foveal.video import ArraySource

UNITS = {STUDENT: {(): 1}, TEACHER: {(): 10}}


def videos(count: int, cfg: Config, *, seed: int = 0) -> Array:
    """Return uint8 (count,N*L,3,H,W), each frame of another brightness."""
    rng = np.random.default_rng(seed)
    shape = (count, cfg.num_clips * cfg.clip_frames, 3)
    base = rng.integers(0, 200, (*shape, 1, 1))
    grain = rng.integers(0, 56, (*shape, cfg.canvas.height, cfg.canvas.width))
    return (base + grain).astype(np.uint8)


def network(cfg: Config, *, seed: int = 3) -> Network:
    """Return a network with clear opinions, in evaluation mode."""
    torch.manual_seed(seed)
    net = make_network(cfg)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=2 * module.in_features**-0.5)
    with torch.no_grad():
        for _ in range(10):
            net.train()(torch.from_numpy(videos(8, cfg)))
    return net.eval()


def sources(made: Array) -> list[ArraySource]:
    """Return videos in memory."""
    return [ArraySource(frames, fps=8.0, name=str(i)) for i, frames in enumerate(made)]


def run(
    net: Network,
    cfg: Config,
    clips: Sequence[ArraySource],
    *,
    tau: float | None = None,
    max_batch: int = 16,
) -> list[Outcome]:
    """Run the protocol of ``cfg`` on ``clips``; ``tau`` is the video confidence it may stop at."""
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    rule = None if tau is None else ExitRule(thresholds=(tau,), criterion="own")
    executor = Executor(
        TorchRunner(build(net, cfg), specs, UNITS),
        exit_rule=rule,
        max_batch=max_batch,
        fetch_threads=0,
    )
    jobs = [
        Job(name=s.info.name, open=lambda s=s: s, steps=partial(protocol.steps, cfg, {}))
        for s in clips
    ]
    done = list(executor.run(jobs))
    assert all(isinstance(one, Outcome) for one in done), done
    return sorted((one for one in done if isinstance(one, Outcome)), key=lambda one: one.index)


def calls(outcome: Outcome, part: str) -> int:
    """Return how many clips a part saw."""
    events = [e.detail for e in outcome.trace.events if e.kind == "call"]
    return sum(int(event["rows"]) for event in events if event["part"] == part)


def noted(outcome: Outcome) -> dict[str, object]:
    """Return the one note of a video."""
    (detail,) = [e.detail for e in outcome.trace.events if e.kind == "note"]
    return dict(detail)
