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

import importlib
import sys
import tempfile
import types
from functools import partial
from pathlib import Path

import torch
from official_ways import (
    ROUNDS,
    Way,
    arguments,
    coarse_clips,
    compared,
    executed,
    golden_weights,
    official_modules,
    runners_of,
    same_tensor,
    without_download,
    write_comparison,
)
from torch import Tensor, nn

from foveal.engine.runners import Runner
from foveal.layers import PixelNorm
from foveal.systems.gfnet import protocol
from foveal.systems.gfnet.model import Network, build, make_network
from foveal.types import Array

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


def ways_of(
    official: Official, network: Network, runners: dict[str, Runner], pictures: Array
) -> dict[str, Way]:
    """Return each way to the logits of ``pictures`` (B,1,3,S,S), the official one first."""
    frames = torch.from_numpy(pictures)
    ways: dict[str, Way] = {
        "official": partial(official_logits, official, PixelNorm()(frames[:, 0])),
        "network": partial(our_logits, network, frames),
    }
    start = partial(protocol.steps, CFG, {})
    return ways | {n: partial(executed, runner, start, pictures) for n, runner in runners.items()}


@torch.no_grad()
def official_logits(network: Official, pictures: Tensor) -> Array:
    """Return the logits of the last step."""
    logits: Tensor = network(pictures)
    return logits.numpy()


@torch.no_grad()
def our_logits(network: Network, frames: Tensor) -> Array:
    """Return the same of our network."""
    return network(frames).logits[:, -1].numpy()


def main() -> None:
    """Measure and write the result."""
    parser = arguments("Time GFNet beside its official code.", batches=[1, 16])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.Tensor.cuda = same_tensor  # there is no CUDA here
    official = official_network(options.official)
    network = our_network(official)
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(
            Path(folder) / "gfnet.foveal",
            system="gfnet",
            cfg=CFG,
            modules=build(network, CFG),
            specs=protocol.parts(CFG),
            num_classes=CFG.num_classes,
            threads=options.threads,
        )
        pictures = coarse_clips(max(options.batches), 1, side=CFG.canvas.width)
        ways = partial(ways_of, official, network, runners)
        measured, worst = compared(ways, pictures, batches=options.batches)
    write_comparison(
        Path("results/gfnet/official.json"),
        title="GFNet with exits off against the official inference, ResNet-50, 96 px, five steps",
        how="benchmarks/official_gfnet.py: golden weights in both, decoded pictures, one "
        f"process, ways in turns, median of {ROUNDS} rounds after a warm-up; official: "
        "its loop on normalised tensors; ours from uint8 pictures",
        measured=measured,
        worst=worst,
        threads=options.threads,
        claim="with exits off no way of ours takes longer than the official inference",
    )


if __name__ == "__main__":
    main()
