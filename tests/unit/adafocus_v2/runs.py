"""Small networks run through the executor, beside the network itself."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.torch_runner import TorchRunner
from foveal.sampling.confidence import ExitRule
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import build, make_network
from foveal.video import ArraySource

FPS = 4.0


def network_of(cfg: protocol.Config, *, seed: int = 0) -> nn.Module:
    """Return a fresh network in evaluation mode whose predictions differ from clip to clip."""
    torch.manual_seed(seed)
    network = make_network(cfg)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # A fresh head hardly tells classes apart, and a fresh policy stays in the middle.
            if name in ("classifier.weight", "policy.place.0.weight"):
                parameter.mul_(12.0)
    return network.eval()


def clips_of(cfg: protocol.Config, count: int, *, seed: int = 0) -> np.ndarray:
    """Return uint8 (count,T,3,S,S)."""
    side = cfg.canvas.width
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, cfg.num_frames, 3, 8, 8))
    frames = coarse.repeat(side // 8, axis=-1).repeat(side // 8, axis=-2)
    return np.clip(frames + rng.integers(-40, 40, frames.shape), 0, 255).astype(np.uint8)


def runner_of(network: nn.Module, cfg: protocol.Config) -> TorchRunner:
    """Return a runner that bills what PyTorch counts."""
    modules = {name: module.eval() for name, module in build(network, cfg).items()}
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    macs = {}
    for name, spec in specs.items():
        inputs = [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs]
        macs[name] = {(): count_torch_macs(modules[name], *inputs)}
    return TorchRunner(modules, specs, macs)


def run(network, cfg, clips, *, exit_rule: ExitRule | None = None, max_batch: int = 16):
    """Return the outcome of every clip, in order."""
    executor = Executor(
        runner_of(network, cfg), exit_rule=exit_rule, max_batch=max_batch, fetch_threads=0
    )
    jobs = [
        Job(
            name=str(i),
            open=partial(ArraySource, clip, fps=FPS, name=str(i)),
            steps=partial(protocol.steps, cfg, {}),
        )
        for i, clip in enumerate(clips)
    ]
    return sorted(executor.run(jobs), key=lambda outcome: outcome.index)
