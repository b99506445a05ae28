"""Uni-AdaFocus with exits off against the official forward: same weights, clips and threads.

    python benchmarks/official_adafocus_v3.py --official FOLDER

``FOLDER`` is a checkout of LeapLabTHU/Uni-AdaFocus (commit 8846488); it stays outside this
repository, and none of its files is changed. Its encoders start without the downloads it asks for.

Both networks hold the weights of the golden rule: the official state in its own order, mapped to
ours by ``weights.py``. Only the glance's are not drawn wider, as in the golden files they are: at
this depth that makes rounding alone larger than what an export may differ from its module by. The
offline variant as released for ActivityNet: MobileNetV2 and ResNet-50, 16 glances and 16 regions of
48 frames of 224 px, regions scaled to 128 px, zeros beyond the border, 200 classes. Before anything
is timed, the logits of all ways are compared on the same clips.

On the clock:

- ``official``: ``AdaFocus.forward`` in evaluation mode without gradients. Its clips are float32
  and normalised before the clock starts: decoding, scaling, normalising, loss and metrics cost it
  nothing here. It draws 128 samples of frames and crops the glance's maps in evaluation too, for
  logits that are only logged; that is on its clock, as in its ``validate``.
- ``network``: our training network in evaluation mode without gradients, on uint8 frames, so that
  normalising is on our clock.
- ``torch``: the protocol through the executor, exits off, with the PyTorch runner; opening decoded
  clips, looks, trace and bill are on the clock too.
- ``onnx``: the same with ONNX Runtime, from an exported bundle whose parts are loaded.

Batches, turns, rounds and ratios are those of ``official_ways.py``. The claim: no median above 1
for any of our ways at either batch size.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import warnings
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
    without_download,
    write_comparison,
)
from torch import Tensor, nn

from foveal.engine.runners import Runner
from foveal.layers import PixelNorm
from foveal.systems.adafocus_v3 import protocol
from foveal.systems.adafocus_v3.model import Network, build, make_network
from foveal.systems.adafocus_v3.weights import convert
from foveal.types import Array

FOLDER = "Uni-AdaFocus with Experiments on ActivityNet, FCVID and Mini-Kinetics"
CFG = protocol.uni_released()


def official_network(folder: Path) -> nn.Module:
    """Return the official network of the offline variant, its weights fresh."""
    with official_modules(folder):
        module = importlib.import_module("models.uni_adafocus")
        for name in ("mobilenet_v2", "resnet50"):
            setattr(module, name, without_download(getattr(module, name)))
        args = argparse.Namespace(
            num_segments=CFG.num_frames,
            num_glance_segments=CFG.num_glances,
            num_focus_segments=CFG.num_cubes,
            num_classes=CFG.num_classes,
            dataset="actnet",
            input_size=CFG.canvas.width,
            batch_size=1,
            patch_size=CFG.focus_size,
            glance_arch="mbv2",
            device="cpu",
            dropout=CFG.dropout,
            fc_dropout=CFG.dropout,
            stn_hidden_dim=CFG.policy_channels,
            temporal_hidden_dim=CFG.time_channels,
            temperature=CFG.temperature,
        )
        network: nn.Module = module.AdaFocus(args)
    return network


def ways_of(
    official: nn.Module, network: Network, runners: dict[str, Runner], clips: Array
) -> dict[str, Way]:
    """Return each way to the logits of ``clips`` (B,V,3,S,S), the official one first."""
    frames = torch.from_numpy(clips)
    ways: dict[str, Way] = {
        "official": partial(official_logits, official, PixelNorm()(frames).flatten(1, 2)),
        "network": partial(our_logits, network, frames),
    }
    start = partial(protocol.steps, CFG, {})
    return ways | {n: partial(executed, runner, start, clips) for n, runner in runners.items()}


@torch.no_grad()
def official_logits(network: nn.Module, images: Tensor) -> Array:
    """Return what ``validate`` would judge: the last prefix."""
    logits: Tensor = network(images)[1]
    return logits.numpy()


@torch.no_grad()
def our_logits(network: Network, frames: Tensor) -> Array:
    """Return the same of our network."""
    return network(frames).logits[:, -1].numpy()


def main() -> None:
    """Measure and write the result."""
    parser = arguments("Time Uni-AdaFocus beside its official code.", batches=[1, 4])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", UserWarning)  # the official code leaves align_corners out
    official = official_network(options.official / FOLDER)
    official.load_state_dict(golden_weights(official, glance_gain=1.0))
    official.eval()
    network = make_network(CFG)
    network.load_state_dict(convert(official.state_dict(), CFG))
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(
            Path(folder) / "uni.foveal",
            system="adafocus_v3",
            cfg=CFG,
            modules=build(network, CFG),
            specs=protocol.parts(CFG),
            num_classes=CFG.num_classes,
            threads=options.threads,
        )
        clips = coarse_clips(max(options.batches), CFG.num_frames, side=CFG.canvas.width)
        ways = partial(ways_of, official, network, runners)
        measured, worst = compared(ways, clips, batches=options.batches)
    write_comparison(
        Path("results/adafocus_v3/official.json"),
        title="Uni-AdaFocus with exits off against the official forward, offline variant",
        how="benchmarks/official_adafocus_v3.py: golden weights in both, decoded clips, one "
        f"process, ways in turns, median of {ROUNDS} rounds after a warm-up; official: "
        "its forward on normalised tensors; ours from uint8 frames",
        measured=measured,
        worst=worst,
        threads=options.threads,
        claim="with exits off no way of ours takes longer than the official forward",
    )


if __name__ == "__main__":
    main()
