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
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from claim_gfnet import CHUNK, RS, costs_of, looked, macs_of, plan_of
from exit_speed import REPEATS, compared, decoded, jobs_of

from foveal.engine.executor import Executor, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.haystack import sample
from foveal.haystack.files import write_videos
from foveal.results import write_result
from foveal.sampling.budget import exit_curve, rule_of
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.gfnet import protocol
from foveal.systems.gfnet.model import Network, build
from foveal.tasks.classification import probs_of
from foveal.train import load_weights
from foveal.video import open_source

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


def decided(runner: Runner, rule: ExitRule) -> list[tuple[int, int]]:
    """Return exit and class of every compared picture."""
    plan = plan_of("image")
    clips = sample(plan.task, split="test", count=COMPARED, seed=SEED).frames
    start = partial(protocol.steps, plan.cfg, {})
    executor = Executor(runner, exit_rule=rule, fetch_threads=0)
    done = executor.run(jobs_of(start, decoded(clips, plan.task)))
    told = {
        one.index: (one.trace.exit_index, int(probs_of(one).argmax()))
        for one in done
        if isinstance(one, Outcome)
    }
    return [told[i] for i in range(COMPARED)]


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
        root = Path(folder)
        path = root / "gfnet.foveal"
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
        otherwise = sum(
            a != b for a, b in zip(decided(runner, rule), decided(other, rule), strict=True)
        )
        opens = decoded(made.frames, plan.task)
        many, one = (compared(runner, start, opens, rule, max_batch=size) for size in (16, 1))
        truths = list(write_videos(root, plan.task, split="test", count=CLIPS, seed=SEED))
        files = [partial(open_source, str(root / "test" / t["file"])) for t in truths]
        whole = compared(runner, start, files, rule, max_batch=16, by="wall_ms")
        size = path.stat().st_size
    ratio = many["macs_on_of_off"]
    holds = 0.3 <= ratio <= 0.6 and many["time_saved_of_macs_saved"] >= 0.8
    write_result(
        Path("results/gfnet/speed.json"),
        title="GFNet: time saved beside multiply-accumulates saved, by exits",
        protocol=f"scripts/speed_gfnet.py: the exported small network, {CLIPS} decoded pictures of "
        f"test, exits on and off in turns, median of {REPEATS} runs; end to end is the wall clock "
        "from MP4 files",
        seeds=[SEED],
        threads=1,
        measured={
            "exit_thresholds": [round(t, 4) for t in rule.thresholds],
            "batch_16": many,
            "batch_1": one,
            "end_to_end": whole,
            "clips": COMPARED,
            "decided_otherwise": otherwise,
            "largest_difference_of_exported_parts": max(e.parity for e in exported),
            "bundle_bytes": size,
        },
        claim={"text": "time saved is at least 80 % of MACs saved", "holds": holds},
    )
    print(many, one, whole, otherwise, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
