"""Does GFNet save the time that its exits save in multiply-accumulates?

    python scripts/speed_gfnet.py --weights .cache/gfnet/image-0/fine-tune.safetensors

The weights are those that ``claim_gfnet.py image`` left for seed 0. They are exported to a bundle
with the exit rule that costs most on *calibration* without exceeding half of all steps, and
everything below runs without PyTorch, on one thread.

Speed: 256 decoded pictures of *test*, exits on and off in turns, once to warm up and then five
times; the median of the compute and decide stages. The claim (batch 16): time saved is at least 80
% of multiply-accumulates saved, where the ratio of those is between .3 and .6. Beside it stand one
picture at a time, and end to end: the same pictures as MP4 files of one frame, wall-clock, decoding
included. Both runners, exits on, must give the same exits and classes on 500 pictures, but for a
margin below 0.001.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from claim_gfnet import CHUNK, RS, costs_of, looked, macs_of, plan_of
from exit_speed import decided, decoded, timed, write_speed

from foveal.engine.runners import OnnxRunner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.haystack import sample
from foveal.sampling.budget import exit_curve, rule_of
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.gfnet import protocol
from foveal.systems.gfnet.model import Network, build
from foveal.train import load_weights

SEED, CLIPS, COMPARED, MAX_COST = 0, 256, 500, 0.5


def solve_rule(network: Network) -> ExitRule:
    """Return the rule for at most half of the static cost on *calibration*."""
    plan = plan_of("image")
    made = sample(plan.task, split="calibration", count=plan.calibration, seed=SEED)
    chunks = range(0, plan.calibration, CHUNK)
    logits, _ = looked(network, made, [lambda means, _: means for _ in chunks])
    sure = softmax(logits).max(axis=-1).T
    costs = costs_of(plan.cfg, macs_of(plan.cfg, network))
    curve = exit_curve(sure, costs / costs[-1], rs=RS, ties="value")
    cheap = [point for point in curve if point.mean_cost <= MAX_COST]
    return rule_of(max(cheap, key=lambda point: point.mean_cost).thresholds)


def main() -> None:
    """Export, compare, time, and write ``results/gfnet/speed.json``."""
    parser = argparse.ArgumentParser(description="Time GFNet with and without exits.")
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = plan_of("image")
    network = Network(plan.cfg).eval()
    load_weights(network, options.weights)
    rule = solve_rule(network)
    made = sample(plan.task, split="test", count=CLIPS, seed=SEED)
    start = partial(protocol.steps, plan.cfg, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gfnet.foveal"
        bundle, exported = export_bundle(
            path,
            system="gfnet",
            config=plan.cfg,
            modules=build(network, plan.cfg),
            specs=protocol.parts(plan.cfg),
            class_names=made.class_names,
            licence="Apache-2.0",
            class_output="focus.logits",
            exit_rule=rule,
        )
        runner = OnnxRunner(bundle, threads=1)
        tables = {part.name: part.mac_table for part in bundle.manifest.parts}
        other = TorchRunner(build(network, plan.cfg), bundle.specs, tables)
        opens = decoded(
            sample(plan.task, split="test", count=COMPARED, seed=SEED).frames, plan.task
        )
        both = (decided(one, start, opens, rule) for one in (runner, other))
        otherwise = sum(a != b for a, b in zip(*both, strict=True))
        times = timed(runner, start, made.frames, rule, task=plan.task, seed=SEED)
        size = path.stat().st_size
    write_speed(
        "results/gfnet/speed.json",
        title="GFNet: time saved beside multiply-accumulates saved, by exits",
        how=f"scripts/speed_gfnet.py: the exported small network, {CLIPS} decoded pictures of test",
        rule=rule,
        times=times,
        measured={
            "clips": COMPARED,
            "decided_otherwise": otherwise,
            "largest_difference_of_exported_parts": max(e.parity for e in exported),
            "bundle_bytes": size,
        },
        seed=SEED,
    )


if __name__ == "__main__":
    main()
