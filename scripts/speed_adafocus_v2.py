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
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from claim_adafocus_v2 import CALIBRATION, MAX_COST, RS, Trained, execute, logits_at, macs_of
from exit_speed import REPEATS, Start, compared, decoded, jobs_of

from foveal.engine.executor import Executor, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.export import export_bundle
from foveal.haystack import find, sample
from foveal.haystack.files import write_videos
from foveal.results import write_result
from foveal.sampling.budget import exit_curve, rule_of
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import Network, build, make_network
from foveal.train import load_weights
from foveal.types import Array
from foveal.video import open_source

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
    executor = Executor(runner, exit_rule=rule, fetch_threads=0)
    light = executor.run(jobs_of(starts(trained.cfg), decoded(clips, task)))
    answers = [
        {o.index: (o.trace.exit_index, int(_probs(o).argmax())) for o in done}
        for done in (
            [o for o in light if isinstance(o, Outcome)],
            execute(trained, clips, macs_of(trained), rule),
        )
    ]
    return sum(answers[0][index] != answers[1][index] for index in range(COMPARED))


def _probs(outcome: Outcome) -> Array:
    assert outcome.answer.probs is not None
    return outcome.answer.probs


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
    opens = decoded(clips.frames, task)
    many, one = (compared(runner, starts(cfg), opens, rule, max_batch=size) for size in (16, 1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        truths = list(write_videos(root, task, split="test", count=CLIPS, seed=SEED))
        files = [partial(open_source, str(root / "test" / t["file"])) for t in truths]
        whole = compared(runner, starts(cfg), files, rule, max_batch=16, by="wall_ms")
    ratio = many["macs_on_of_off"]
    holds = 0.3 <= ratio <= 0.6 and many["time_saved_of_macs_saved"] >= 0.8
    write_result(
        Path("results/adafocus_v2/speed.json"),
        title="AdaFocusV2: time saved beside multiply-accumulates saved, by exits",
        protocol="scripts/speed_adafocus_v2.py: the exported small network, Haystack "
        f"{PRESET}, {CLIPS} decoded clips of test, exits on and off in turns, median of "
        f"{REPEATS} runs; end to end is the wall clock from MP4 files",
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
            "bundle_bytes": path.stat().st_size,
        },
        claim={"text": "time saved is at least 80 % of MACs saved", "holds": holds},
    )
    print(many, one, whole, otherwise, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
