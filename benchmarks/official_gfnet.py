"""GFNet with exits off against the official inference: same weights, pictures and threads.

    python benchmarks/official_gfnet.py --official FOLDER

``FOLDER`` is a checkout of blackfeather-wang/GFNet-Pytorch; it stays outside this repository, and
none of its files is changed. Its ``.cuda()`` gives the tensor itself here.

GFNet-ResNet-50 on pictures, five steps of 96 px, 1000 classes. Both hold the weights of the golden
rule, each of the official modules (glance, squares, policy, classifier) filled in its own order.
Before anything is timed, the log-probabilities of all ways are compared on the same pictures.

On the clock:

- ``official``: the loop of its ``generate_logits`` over ``get_prime``, ``get_patch`` and its
  modules, in evaluation mode without gradients. Its pictures are float32 and normalised before the
  clock starts. ``act`` builds a distribution and draws from it in evaluation too, for an action
  that is not used; that is on its clock.
- ``network``: our training network in evaluation mode without gradients, on uint8 pictures, so that
  normalising is on our clock.
- ``torch``: the protocol through the executor, exits off, with the PyTorch runner; looks, trace and
  bill are on the clock too.
- ``onnx``: the same with ONNX Runtime, from an exported bundle whose parts are loaded.

Batches, turns, rounds and ratios are those of ``official_ways.py``. The claim: no median above 1
for any of our ways at either batch size.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import types
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from official_ways import (
    ROUNDS,
    Way,
    differences,
    golden_weights,
    measure,
    official_modules,
    same_tensor,
    without_download,
)
from torch import Tensor, nn

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.layers import PixelNorm
from foveal.results import write_result
from foveal.systems.gfnet import protocol
from foveal.systems.gfnet.model import Network, build, make_network
from foveal.types import Array
from foveal.video import ArraySource

SEED = 0
CFG = protocol.paper()
POLICY = {"state_encoder.": "encode.", "actor.": "actor.", "critic.0.": "critic."}


class Official(nn.Module):
    """The official modules and the loop that its evaluation runs over them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        with official_modules(folder):
            # Its ``__init__`` also imports encoders that need an older PyTorch.
            package = types.ModuleType("models")
            package.__path__ = [str(folder / "models")]
            sys.modules["models"] = package
            resnet = importlib.import_module("models.resnet")
            network = importlib.import_module("network")
            self.tools = importlib.import_module("utils")
        make = without_download(resnet.resnet50)
        self.model_prime, self.model = make(), make()
        side = -(-CFG.glance_size // 32)
        self.policy = network.ActorCritic(2048, 2048 * side**2, 1024, False)
        self.fc = network.Full_layer(2048, 1024, True, CFG.num_classes)
        self.memory = network.Memory()

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the logits (B,K) of the last step for normalised pictures (B,3,S,S)."""
        small = self.tools.get_prime(pictures, CFG.glance_size, "bicubic")
        vector, state = self.model_prime(small)
        logits: Tensor = self.fc(vector, restart=True)
        for step in range(1, CFG.num_steps):
            action = self.policy.act(state, self.memory, restart_batch=step == 1)
            patches = self.tools.get_patch(pictures, action, CFG.focus_size)
            vector, state = self.model(patches)
            logits = self.fc(vector, restart=False)
        self.memory.clear_memory()
        return logits


def official_network(folder: Path) -> Official:
    """Return the official network with the weights of the golden rule."""
    official = Official(folder)
    for module in (official.model_prime, official.model, official.policy, official.fc):
        module.load_state_dict(golden_weights(module))
    return official.eval()


def our_network(official: Official) -> Network:
    """Return our network with the same weights; the encoders' own heads, never read, stay fresh."""
    network = make_network(CFG)
    state = network.state_dict()
    found: dict[str, Tensor] = {}
    for ours, encoder in (("glance", official.model_prime), ("focus", official.model)):
        for name, tensor in encoder.state_dict().items():
            if not name.startswith("fc."):
                found[f"{ours}.net.net.{name}"] = tensor
    for name, tensor in official.policy.state_dict().items():
        start = next((s for s in POLICY if name.startswith(s)), None)
        if start is None:
            own = name.removeprefix("gru.").removesuffix("_l0")
            found[f"policy.memory.{own}"] = tensor
        elif start == "state_encoder.":  # ours begins by flattening
            place, leaf = name.removeprefix(start).split(".")
            found[f"policy.encode.{int(place) + 1}.{leaf}"] = tensor
        else:
            found[f"policy.{POLICY[start]}{name.removeprefix(start)}"] = tensor
    for name, tensor in official.fc.state_dict().items():
        own = name.removeprefix("rnn.").removesuffix("_l0")
        found[f"fusion.memory.{own}" if own != name else f"fusion.head.{name[3:]}"] = tensor
    unknown = set(found) - set(state)
    missing = {
        n for n in set(state) - set(found) if not n.startswith(("glance_head", "focus_head"))
    }
    if unknown or missing:
        raise ValueError(f"names do not fit: {sorted(unknown)[:3]}, {sorted(missing)[:3]}")
    network.load_state_dict(state | found)
    return network.eval()


def pictures_of(count: int) -> Array:
    """Return pictures as clips of one frame, uint8 (B,1,3,S,S): coarse blocks and noise."""
    side = CFG.canvas.width
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (count, 1, 3, 14, 14))
    frames = coarse.repeat(side // 14, axis=-1).repeat(side // 14, axis=-2)
    return np.clip(frames + rng.integers(-40, 41, frames.shape), 0, 255).astype(np.uint8)


def runners_of(network: Network, scratch: Path, *, threads: int) -> dict[str, Runner]:
    """Return both runners of our parts, from an exported bundle."""
    parts = build(network, CFG)
    bundle, _ = export_bundle(
        scratch / "gfnet.foveal",
        system="gfnet",
        config=CFG,
        modules=parts,
        specs=protocol.parts(CFG),
        class_names=[f"class {i}" for i in range(CFG.num_classes)],
        licence="Apache-2.0",
    )
    tables = {part.name: part.mac_table for part in bundle.manifest.parts}
    runners: dict[str, Runner] = {
        "torch": TorchRunner(parts, bundle.specs, tables),
        "onnx": OnnxRunner(bundle, threads=threads),
    }
    for name in bundle.specs:
        runners["onnx"].load(name)
    return runners


def ways_of(
    official: Official, network: Network, runners: dict[str, Runner], pictures: Array
) -> dict[str, Way]:
    """Return each way to the logits of ``pictures`` (B,1,3,S,S), the official one first."""
    frames = torch.from_numpy(pictures)
    ways: dict[str, Way] = {
        "official": partial(official_logits, official, PixelNorm()(frames[:, 0])),
        "network": partial(our_logits, network, frames),
    }
    return ways | {name: partial(executed, runner, pictures) for name, runner in runners.items()}


@torch.no_grad()
def official_logits(network: Official, pictures: Tensor) -> Array:
    """Return the logits of the last step."""
    logits: Tensor = network(pictures)
    return logits.numpy()


@torch.no_grad()
def our_logits(network: Network, frames: Tensor) -> Array:
    """Return the same of our network."""
    return network(frames).logits[:, -1].numpy()


def executed(runner: Runner, pictures: Array) -> Array:
    """Return log-probabilities of the protocol run to its end: logits but for a constant."""
    count = len(pictures)
    start = partial(protocol.steps, CFG, {})
    jobs = [
        Job(name=str(i), open=partial(ArraySource, clip, fps=1.0), steps=start)
        for i, clip in enumerate(pictures)
    ]
    executor = Executor(runner, max_batch=count, max_in_flight=count, fetch_threads=0)
    found = {o.index: o.answer.probs for o in executor.run(jobs) if isinstance(o, Outcome)}
    return np.log(np.stack([found[i] for i in range(count)]))


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Time GFNet beside its official code.")
    parser.add_argument("--official", type=Path, required=True, help="checkout of its repository")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.Tensor.cuda = same_tensor  # there is no CUDA here
    official = official_network(options.official)
    network = our_network(official)
    measured: dict[str, Any] = {}
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(network, Path(folder), threads=options.threads)
        pictures = pictures_of(max(options.batches))
        ways = partial(ways_of, official, network, runners)
        measured["largest_difference"] = differences(ways(pictures[:1]))
        measured["load_average_before"] = list(os.getloadavg())
        for size in options.batches:
            rows = measure(ways(pictures[:size]), rounds=ROUNDS)
            measured[f"batch_{size}"] = rows
            shown = {n: r["time_of_official"] for n, r in rows.items() if n != "official"}
            ratios += shown.values()
            print(size, rows["official"]["median_seconds"], shown, file=sys.stderr)
    measured["load_average_after"] = list(os.getloadavg())
    write_result(
        Path("results/gfnet/official.json"),
        title="GFNet with exits off against the official inference, ResNet-50, 96 px, five steps",
        protocol="benchmarks/official_gfnet.py: golden weights in both, decoded pictures, one "
        f"process, ways in turns, median of {ROUNDS} rounds after a warm-up; official: "
        "its loop on normalised tensors; ours from uint8 pictures",
        measured=measured,
        seeds=[SEED],
        threads=options.threads,
        claim={
            "text": "with exits off no way of ours takes longer than the official inference",
            "holds": max(ratios) <= 1.0,
        },
    )


if __name__ == "__main__":
    main()
