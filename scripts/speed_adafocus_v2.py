"""Does AdaFocusV2 save the time that its exits save in multiply-accumulates?

    python scripts/speed_adafocus_v2.py --weights build/adafocus_v2/exits-0.safetensors

The weights are those that ``claim_adafocus_v2.py exits`` left for seed 0. They are exported to a
bundle with the exit rule that this script solves there too (the largest cost on *calibration* that
is at most half of the static cost), and everything below runs without PyTorch, on one thread.

Light run: 500 clips of *test* through both runners, exits on; a clip is decided otherwise if exit
or class differ.

Speed: 64 decoded clips of *test*, exits on and off in turns, once to warm up and then five times;
the median of the compute and decide stages. The claim (batch 16): time saved is at least 80 % of
multiply-accumulates saved, where the ratio of those is between .3 and .6. Beside it stand one clip
at a time, and end to end: the same clips as MP4 files, wall-clock, decoding included.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from claim_adafocus_v2 import CALIBRATION, MAX_COST, RS, Trained, execute, logits_at, macs_of
from exit_speed import Start, decided, decoded, timed, write_speed

from foveal.engine.runners import OnnxRunner, Runner
from foveal.export import export_bundle
from foveal.haystack import find, sample
from foveal.sampling.budget import exit_curve, rule_of
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import Network, build, make_network
from foveal.tasks.classification import probs_of
from foveal.train import load_weights

PRESET = "fine-object-8-v1"
SEED = 0
CLIPS = 64
COMPARED = 500


def solve_rule(trained: Trained) -> ExitRule:
    """Return the rule for at most half of the static cost on *calibration*."""
    made = sample(find(PRESET), split="calibration", count=CALIBRATION, seed=SEED)
    sure = softmax(logits_at(trained, made, None)[0]).max(axis=-1).T
    costs = [(t + 1) / len(sure) for t in range(len(sure))]
    points = [p for p in exit_curve(sure, costs, rs=RS) if p.mean_cost <= MAX_COST]
    return rule_of(max(points, key=lambda p: p.mean_cost).thresholds)


def starts(cfg: protocol.Config) -> Start:
    """Return what starts the protocol on a clip."""
    return partial(protocol.steps, cfg, {})


def decided_otherwise(trained: Trained, runner: Runner, rule: ExitRule) -> int:
    """Return on how many clips the light run stops elsewhere or says something else."""
    task = find(PRESET)
    clips = sample(task, split="test", count=COMPARED, seed=SEED).frames
    light = decided(runner, starts(trained.cfg), decoded(clips, task), rule)
    whole = {
        o.index: (o.trace.exit_index, int(probs_of(o).argmax()))
        for o in execute(trained, clips, macs_of(trained), rule)
    }
    return sum(light[index] != whole[index] for index in range(COMPARED))


def main() -> None:
    """Export, compare, time, and write ``results/adafocus_v2/speed.json``."""
    parser = argparse.ArgumentParser(description="Time AdaFocusV2 with and without exits.")
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = find(PRESET)
    cfg = protocol.tiny(num_classes=task.num_classes, num_frames=task.frames)
    network = make_network(cfg)
    load_weights(network, options.weights)
    assert isinstance(network, Network)
    trained = Trained(network=network.eval(), cfg=cfg, seed=SEED)
    rule = solve_rule(trained)
    clips = sample(task, split="test", count=CLIPS, seed=SEED)
    path = options.weights.with_suffix(".foveal")
    bundle, exported = export_bundle(
        path,
        system="adafocus_v2",
        config=cfg,
        modules=build(network, cfg),
        specs=protocol.parts(cfg),
        class_names=clips.class_names,
        licence="Apache-2.0",
        description=f"AdaFocusV2, small, trained on Haystack {PRESET}",
        class_output="focus.logits",
        exit_rule=rule,
    )
    runner = OnnxRunner(bundle, threads=1)
    otherwise = decided_otherwise(trained, runner, rule)
    write_speed(
        "results/adafocus_v2/speed.json",
        title="AdaFocusV2: time saved beside multiply-accumulates saved, by exits",
        how="scripts/speed_adafocus_v2.py: the exported small network, Haystack "
        f"{PRESET}, {CLIPS} decoded clips of test",
        rule=rule,
        times=timed(runner, starts(cfg), clips.frames, rule, task=task, seed=SEED),
        measured={
            "clips": COMPARED,
            "decided_otherwise": otherwise,
            "largest_difference_of_exported_parts": max(e.parity for e in exported),
            "bundle_bytes": path.stat().st_size,
        },
        seed=SEED,
    )


if __name__ == "__main__":
    main()
