"""AdaFocusV2 with exits off against the official forward: same weights, clips and threads.

    python benchmarks/official_adafocus_v2.py --official FOLDER
    python benchmarks/official_adafocus_v2.py --official FOLDER --variant tsm

``FOLDER`` is a checkout of LeapLabTHU/AdaFocusV2 (commit e97987c); it stays outside this
repository, and none of its files is changed. Its ``.cuda()`` gives the tensor itself here, and its
encoders start without the downloads it asks for.

Both networks hold the weights of the golden rule (``tests/golden/adafocus_v2``): the official
state in its own order, mapped to ours by ``weights.py``. Offline variant as released for
ActivityNet: MobileNetV2 and ResNet-50, 16 frames of 224 px, squares of 128 px, 200 classes. TSM
variant as released for Something-Something: 8 and 12 frames, squares of 144 px, 174 classes.
Before anything is timed, the logits of all ways are compared on the same clips.

On the clock:

- ``official``: ``AdaFocus.forward`` in evaluation mode without gradients, as its ``validate``
  calls it. Its clips are float32, normalised and in coarse-to-fine order before the clock starts:
  decoding, scaling, normalising, reordering, loss and metrics cost it nothing here.
- ``network``: our training network in evaluation mode without gradients, on uint8 frames in time
  order, so that ordering and normalising are on our clock.
- ``torch``: the protocol through the executor, exits off, with the PyTorch runner; opening
  decoded clips, looks, trace and bill are on the clock too.
- ``onnx``: the same with ONNX Runtime, from an exported bundle whose parts are loaded.

A batch of B is B clips in one call of a network, and B clips in flight in the executor with at
most B rows in a run. All ways take turns in one process, one round to warm up and then
``ROUNDS``, each round starting with the next way. A ratio is our time over the official time of
the same round, on the wall clock; the median over the rounds counts. The claim is of the offline
variant, the one that has exits: no median above 1 for any of our ways at either batch size.
The TSM variant stands beside it, without a claim. CPU time is written down as well, as others may
use the machine.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
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
from foveal.sampling.choose import segment_centres
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import Looked, ShiftLooked, build, make_network
from foveal.systems.adafocus_v2.weights import convert
from foveal.types import Array

Variant: TypeAlias = Literal["offline", "tsm"]
FOLDERS: Mapping[Variant, str] = {
    "offline": "Experiments on ActivityNet, FCVID and Mini-Kinetics",
    "tsm": "Experiments on Sth-Sth and Jester",
}
RESULTS: Mapping[Variant, str] = {
    "offline": "results/adafocus_v2/official.json",
    "tsm": "results/adafocus_v2/official_tsm.json",
}
CLIP_FRAMES = 48
"""Of a decoded clip; every frame that either variant samples is another one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both networks of a variant with the same weights, and ours as a bundle."""

    cfg: protocol.Config
    official: nn.Module
    network: nn.Module
    runners: Mapping[str, Runner]


# --- the official code, from outside ----------------------------------------------------------


def official_offline(folder: Path, cfg: protocol.Config) -> nn.Module:
    """Return the official network of the offline variant, its weights fresh."""
    with official_modules(folder):
        module = importlib.import_module("models.adafocus_v2")
        for name in ("mobilenet_v2", "resnet50"):
            setattr(module, name, without_download(getattr(module, name)))
        args = argparse.Namespace(
            num_segments=cfg.num_frames,
            num_classes=cfg.num_classes,
            dataset="actnet",
            input_size=cfg.canvas.width,
            batch_size=1,
            patch_size=cfg.focus_size,
            glance_arch="mbv2",
            dropout=cfg.dropout,
            fc_dropout=cfg.dropout,
            stn_hidden_dim=cfg.policy_width,
        )
        network: nn.Module = module.AdaFocus(args)
    return network


def official_tsm(folder: Path, cfg: protocol.Config) -> nn.Module:
    """Return the official network of the TSM variant, its weights fresh."""
    with official_modules(folder, absent=("tensorboardX",)):
        module = importlib.import_module("main")
        args = argparse.Namespace(
            num_segments=cfg.num_frames,
            modality="RGB",
            consensus_type="avg",
            dropout=cfg.dropout,
            img_feature_dim=256,
            no_partialbn=True,
            pretrain="",
            shift=True,
            shift_div=8,
            shift_place="blockres",
            tune_from=None,
            dataset="something",
            temporal_pool=False,
            non_local=False,
            feature_map_channels=cfg.glance_width,
            patch_size=cfg.focus_size,
        )
        network: nn.Module = module.AdaFocus(cfg.num_classes, args)
    return network


# --- weights and clips ------------------------------------------------------------------------


def sampled(clips: Array, count: int) -> Array:
    """Return the ``count`` frames (B,count,3,S,S) that a source shows at the segment centres."""
    indices = [int(t) for t in segment_centres(float(CLIP_FRAMES), count)]
    return np.ascontiguousarray(clips[:, indices])


def pair_of(variant: Variant, checkout: Path, scratch: Path, *, threads: int) -> Pair:
    """Return both networks of ``variant`` with golden weights, and the runners of ours."""
    folder = checkout / FOLDERS[variant]
    if variant == "offline":
        cfg = protocol.paper()
        official = official_offline(folder, cfg)
    else:
        cfg = protocol.paper_tsm()
        official = official_tsm(folder, cfg)
    official.load_state_dict(golden_weights(official))
    network = make_network(cfg)
    network.load_state_dict(convert(official.state_dict(), cfg))
    runners = runners_of(
        scratch / f"{variant}.foveal",
        system="adafocus_v2",
        cfg=cfg,
        modules=build(network.eval(), cfg),
        specs=protocol.parts(cfg),
        num_classes=cfg.num_classes,
        threads=threads,
    )
    return Pair(cfg, official.eval(), network, runners)


# --- the four ways ----------------------------------------------------------------------------


def ways_of(pair: Pair, clips: Array) -> dict[str, Way]:
    """Return each way to the logits of ``clips`` (B,T,3,S,S), the official one first."""
    cfg = pair.cfg
    frames = torch.from_numpy(sampled(clips, cfg.num_frames))
    normal = PixelNorm()
    if cfg.place == "frame":
        order = list(protocol.frame_order(cfg.num_frames))
        inputs = (normal(frames[:, order]).flatten(1, 2),)
        ours: tuple[Tensor, ...] = (frames,)
    else:
        focused = torch.from_numpy(sampled(clips, cfg.num_focus_frames))
        inputs = tuple(normal(f).flatten(1, 2) for f in (frames, focused))
        ours = (frames, focused)
    official = partial(official_logits, pair.official, inputs)
    ways: dict[str, Way] = {"official": official, "network": partial(our_logits, pair, ours)}
    start = partial(protocol.steps, cfg, {})
    return ways | {n: partial(executed, r, start, clips) for n, r in pair.runners.items()}


@torch.no_grad()
def official_logits(network: nn.Module, inputs: tuple[Tensor, ...]) -> Array:
    """Return what ``validate`` would judge: of the offline variant, the last prefix."""
    outputs = network(*inputs)
    logits: Tensor = outputs[1] if len(outputs) == 4 else outputs[0]
    return logits.numpy()


@torch.no_grad()
def our_logits(pair: Pair, inputs: tuple[Tensor, ...]) -> Array:
    """Return the same of our network."""
    looked: Looked | ShiftLooked = pair.network(*inputs)
    return (looked.logits[:, -1] if isinstance(looked, Looked) else looked.logits).numpy()


def main() -> None:
    """Measure a variant and write its result."""
    parser = arguments(__doc__.splitlines()[0], batches=[1, 8])
    parser.add_argument("--variant", choices=list(FOLDERS), default="offline")
    parser.add_argument("--out", type=Path, help="by default below results/")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for owner in (Tensor, nn.Module):
        owner.cuda = same_tensor
    # The official code leaves align_corners out and asks torchvision for weights the old way.
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as folder:
        pair = pair_of(options.variant, options.official, Path(folder), threads=options.threads)
        clips = coarse_clips(max(options.batches), CLIP_FRAMES, side=pair.cfg.canvas.width)
        measured, worst = compared(partial(ways_of, pair), clips, batches=options.batches)
    claim = "with exits off no way of ours takes longer than the official forward"
    write_comparison(
        options.out or Path(RESULTS[options.variant]),
        title=f"AdaFocusV2 with exits off against the official forward, {options.variant} variant",
        how="benchmarks/official_adafocus_v2.py: golden weights in both, decoded clips, one "
        f"process, ways in turns, median of {ROUNDS} rounds after a warm-up; official: "
        "its forward on normalised, ordered tensors; ours from uint8 frames in time order",
        measured=measured,
        worst=worst,
        threads=options.threads,
        claim=claim if options.variant == "offline" else None,
    )


if __name__ == "__main__":
    main()
