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
import os
import sys
import tempfile
import warnings
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
    without_download,
)
from torch import Tensor, nn

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.layers import PixelNorm
from foveal.results import write_result
from foveal.systems.adafocus_v3 import protocol
from foveal.systems.adafocus_v3.model import Network, build, make_network
from foveal.systems.adafocus_v3.weights import convert
from foveal.types import Array
from foveal.video import ArraySource

FOLDER = "Uni-AdaFocus with Experiments on ActivityNet, FCVID and Mini-Kinetics"
SEED = 0
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


def clips_of(count: int) -> Array:
    """Return decoded clips uint8 (B,V,3,S,S): coarse blocks and noise, other in every frame."""
    side = CFG.canvas.width
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (count, CFG.num_frames, 3, 14, 14))
    frames = coarse.repeat(side // 14, axis=-1).repeat(side // 14, axis=-2)
    return np.clip(frames + rng.integers(-40, 41, frames.shape), 0, 255).astype(np.uint8)


def runners_of(network: Network, scratch: Path, *, threads: int) -> dict[str, Runner]:
    """Return both runners of our parts, from an exported bundle."""
    parts = build(network, CFG)
    bundle, _ = export_bundle(
        scratch / "uni.foveal",
        system="adafocus_v3",
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
    official: nn.Module, network: Network, runners: dict[str, Runner], clips: Array
) -> dict[str, Way]:
    """Return each way to the logits of ``clips`` (B,V,3,S,S), the official one first."""
    frames = torch.from_numpy(clips)
    ways: dict[str, Way] = {
        "official": partial(official_logits, official, PixelNorm()(frames).flatten(1, 2)),
        "network": partial(our_logits, network, frames),
    }
    return ways | {name: partial(executed, runner, clips) for name, runner in runners.items()}


@torch.no_grad()
def official_logits(network: nn.Module, images: Tensor) -> Array:
    """Return what ``validate`` would judge: the last prefix."""
    logits: Tensor = network(images)[1]
    return logits.numpy()


@torch.no_grad()
def our_logits(network: Network, frames: Tensor) -> Array:
    """Return the same of our network."""
    return network(frames).logits[:, -1].numpy()


def executed(runner: Runner, clips: Array) -> Array:
    """Return log-probabilities of the protocol run to its end: logits but for a constant."""
    count = len(clips)
    start = partial(protocol.steps, CFG, {})
    jobs = [
        Job(name=str(i), open=partial(ArraySource, clip, fps=1.0), steps=start)
        for i, clip in enumerate(clips)
    ]
    executor = Executor(runner, max_batch=count, max_in_flight=count, fetch_threads=0)
    found = {o.index: o.answer.probs for o in executor.run(jobs) if isinstance(o, Outcome)}
    return np.log(np.stack([found[i] for i in range(count)]))


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description="Time Uni-AdaFocus beside its official code.")
    parser.add_argument("--official", type=Path, required=True, help="checkout of its repository")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", UserWarning)  # the official code leaves align_corners out
    official = official_network(options.official / FOLDER)
    official.load_state_dict(golden_weights(official, glance_gain=1.0))
    official.eval()
    network = make_network(CFG)
    network.load_state_dict(convert(official.state_dict(), CFG))
    network.eval()
    measured: dict[str, Any] = {}
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        runners = runners_of(network, Path(folder), threads=options.threads)
        clips = clips_of(max(options.batches))
        ways = partial(ways_of, official, network, runners)
        measured["largest_difference"] = differences(ways(clips[:1]))
        measured["load_average_before"] = list(os.getloadavg())
        for size in options.batches:
            rows = measure(ways(clips[:size]), rounds=ROUNDS)
            measured[f"batch_{size}"] = rows
            shown = {n: r["time_of_official"] for n, r in rows.items() if n != "official"}
            ratios += shown.values()
            print(size, rows["official"]["median_seconds"], shown, file=sys.stderr)
    measured["load_average_after"] = list(os.getloadavg())
    write_result(
        Path("results/adafocus_v3/official.json"),
        title="Uni-AdaFocus with exits off against the official forward, offline variant",
        protocol="benchmarks/official_adafocus_v3.py: golden weights in both, decoded clips, one "
        f"process, ways in turns, median of {ROUNDS} rounds after a warm-up; official: "
        "its forward on normalised tensors; ours from uint8 frames",
        measured=measured,
        seeds=[SEED],
        threads=options.threads,
        claim={
            "text": "with exits off no way of ours takes longer than the official forward",
            "holds": max(ratios) <= 1.0,
        },
    )


if __name__ == "__main__":
    main()
