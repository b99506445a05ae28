"""Does AdaFocusV3 save the time that its exits save in multiply-accumulates?

    python scripts/speed_adafocus_v3.py --weights .cache/adafocus_v3

The rules below were written down before the first number was seen.

Preset ``fine-object-8-v1``, seed 0: eight frames, all glanced at, six cubes of one frame and 16 px
anywhere (lattice, one cube of each clip mixed in a step); the recipe ``tiny``, 600 steps on 3,600
samples. The network is exported to a bundle with the exit rule (negative entropy) that costs most
on 1,000 of ``calibration`` without exceeding half of all cubes, and everything below runs without
PyTorch, on one thread.

Speed: 256 decoded clips of ``test``, exits on and off in turns, once to warm up and then five
times; the median of the compute and decide stages. The claim (batch 16): time saved is at least 80
% of multiply-accumulates saved, where the ratio of those is between .3 and .6. Beside it stand one
clip at a time, and end to end: the same clips as MP4 files, wall-clock, decoding included. Both
runners, exits on, must give the same exits and classes on 500 clips, but for a margin below 0.001.
Accuracy of both on these 256 clips stands beside the times.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from claim_adafocus_v3 import CALIBRATION, RS, looked, macs_of, sureness, train
from exit_speed import decided, decoded, timed, write_speed

from foveal.engine.runners import OnnxRunner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.haystack import find, sample
from foveal.sampling.budget import exit_curve, rule_of
from foveal.sampling.confidence import ExitRule
from foveal.systems.adafocus_v3 import protocol, recipe
from foveal.systems.adafocus_v3.model import Network, build

PRESET, SEED, STEPS, TRAIN = "fine-object-8-v1", 0, 600, 3_600
CLIPS, COMPARED, MAX_COST = 256, 500, 0.5
CFG = protocol.tiny(num_frames=8, num_glances=8, num_cubes=6, cube_frames=1)


def solve_rule(network: Network) -> ExitRule:
    """Return the rule for at most half of the full cost on *calibration*."""
    made = sample(find(PRESET), split="calibration", count=CALIBRATION, seed=SEED)
    logits, _, _ = looked(network, made)
    macs = macs_of(CFG, network)
    cubes = np.arange(1 + CFG.num_cubes)
    costs = macs["glance"] + (cubes > 0) * macs["policy"] + cubes * macs["focus"]
    curve = exit_curve(sureness(logits), costs / costs[-1], rs=RS)
    cheap = [point for point in curve if point.mean_cost <= MAX_COST]
    thresholds = max(cheap, key=lambda point: point.mean_cost).thresholds
    return rule_of(np.array(thresholds), criterion="neg_entropy")


def main() -> None:
    """Train, export, compare, time, and write ``results/adafocus_v3/speed.json``."""
    parser = argparse.ArgumentParser(description="Time AdaFocusV3 with and without exits.")
    parser.add_argument("--weights", type=Path, default=Path(".cache/adafocus_v3"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = recipe.tiny(cfg=CFG, steps=STEPS, loss=partial(recipe.cube_loss, interpolate="one"))
    weights = options.weights / f"speed-{SEED}.safetensors"
    network = train(run, SEED, weights, preset=PRESET, count=TRAIN)
    assert isinstance(network, Network)
    rule = solve_rule(network)
    task = find(PRESET)
    made = sample(task, split="test", count=CLIPS, seed=SEED)
    start = partial(protocol.steps, CFG, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adafocus_v3.foveal"
        bundle, exported = export_bundle(
            path,
            system="adafocus_v3",
            config=CFG,
            modules=build(network, CFG),
            specs=protocol.parts(CFG),
            class_names=made.class_names,
            licence="Apache-2.0",
            class_output="focus.logits",
            exit_rule=rule,
        )
        runner = OnnxRunner(bundle, threads=1)
        tables = {part.name: part.mac_table for part in bundle.manifest.parts}
        other = TorchRunner(build(network, CFG), bundle.specs, tables)
        compared = sample(task, split="test", count=COMPARED, seed=SEED).frames
        opens = decoded(compared, task)
        both = (decided(one, start, opens, rule) for one in (runner, other))
        otherwise = sum(a != b for a, b in zip(*both, strict=True))
        right = {}
        for name, one in (("exits", rule), ("all_cubes", None)):
            classes = [c for _, c in decided(runner, start, decoded(made.frames, task), one)]
            right[name] = round(float(np.mean(classes == made.labels)), 4)
        times = timed(runner, start, made.frames, rule, task=task, seed=SEED)
        size = path.stat().st_size
    write_speed(
        "results/adafocus_v3/speed.json",
        title="AdaFocusV3: time saved beside multiply-accumulates saved, by exits",
        how=f"scripts/speed_adafocus_v3.py: the exported small network, {CLIPS} decoded clips of "
        "test",
        rule=rule,
        times=times,
        measured={
            "accuracy": right,
            "clips": COMPARED,
            "decided_otherwise": otherwise,
            "largest_difference_of_exported_parts": max(e.parity for e in exported),
            "bundle_bytes": size,
        },
        seed=SEED,
    )


if __name__ == "__main__":
    main()
