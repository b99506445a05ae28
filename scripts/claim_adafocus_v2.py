"""Measure AdaFocusV2's claim on Haystack: does the policy look where the object is, and pay?

The rules below were written down before the first number was seen.

    python scripts/claim_adafocus_v2.py policy   # results/adafocus_v2/policy.json
    python scripts/claim_adafocus_v2.py exits    # results/adafocus_v2/exits.json
    python scripts/claim_adafocus_v2.py ablation # results/adafocus_v2/ablation.json

Presets. ``fine-object-v1`` (2 frames) for ``policy`` and ``ablation``, ``fine-object-8-v1``
(8 frames) for ``exits``.

Splits, for each of the seeds 0, 1, 2: the network is trained on the first samples of the split
``train`` with that seed, thresholds are solved on 1,000 of ``calibration``, figures are of 2,000
of ``test``. The recipe is ``foveal.systems.adafocus_v2.recipe.tiny``: 1,200 steps on 14,400 samples
of two frames, 600 steps on 3,600 samples of eight. Whatever in it was tried out was tried with
seeds from 100 on.

policy. One trained network, looking at one square a frame in four ways, at the same cost: where
the policy says; at random (uniform, drawn once a frame); at the centre; at the object (the square
whose centre is nearest to the object's: the oracle). Beside them, at another cost: the glance's
own head, the mean of its probabilities over frames; and dense, sixteen squares that tile each
frame, their fused vectors joined by the maximum and read by the last head. Accuracy is that of the
last prefix. A square finds the object if their centres are at most 8 px apart (Euclidean); the
share is over all frames of *test*.
The claim holds if, for every seed, the policy's accuracy is at least 12 points above the better
of random and centre, and it finds the object in at least 60 % of the frames.

exits. Confidence is the largest probability. One set of thresholds for every r = 0.05, 0.10, ...,
3.90 (shares proportional to r^t, `foveal.sampling.budget`) is solved on *calibration*. The one
whose mean cost there is highest without exceeding 50 % of the static cost is used on *test*. Random
exits leave at the same exits in the same numbers, samples drawn at random (mean of 100 draws).
The target is met if, for every seed, the accuracy on *test* is at most 3 points below that of the
last prefix and above that of random exits. 200 samples also go through the executor with the exit
rule: exit, class and billed cost must be those computed from stored logits.
Added after the first numbers: on this preset the first answer is right in 99 of 100 clips, so that
exits have little to lose. The same networks are therefore judged in the same way on *faint* clips
as well (contrast 6 to 24 instead of 15 to 60, chosen by looking at *calibration* of seed 0, where
prefixes are 79 to 99 % right); thresholds are solved on faint *calibration* clips. Nothing is
trained for it.

ablation. The same as ``policy`` for three trainings: as it is, without the random pass, and with
the policy's gradient let into the glance. The default must not be more than one point worse than
either, in the mean over seeds.

Cost rule: multiply-accumulates of the parts, counted from the modules at the declared shapes by
`foveal.cost.torch_counter`; the crop costs none. A sample that leaves after t of T frames costs
t/T of the static cost.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.haystack import HaystackSet, Preset, find, sample
from foveal.recipe import Batch, Loss
from foveal.results import write_result
from foveal.sampling.budget import exit_curve, exit_indices, rule_of
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.adafocus_v2 import protocol, recipe
from foveal.systems.adafocus_v2.model import Glanced, Network, build
from foveal.train import ArrayData, Running, fit, load_weights, save_weights, terminal_line
from foveal.types import Array
from foveal.video import ArraySource

RESULTS = Path("results/adafocus_v2")
SEEDS = (0, 1, 2)
STEPS = {2: 1_200, 8: 600}
TRAIN = {2: 14_400, 8: 3_600}
"""By number of frames."""
CALIBRATION, TEST = 1_000, 2_000
NEAR_PX = 8.0
RS = np.arange(1, 79) / 20
MAX_COST = 0.5
MAX_LOSS = 0.03
FAINT = (6.0, 24.0)
RANDOM_DRAWS = 100
EXECUTED = 200
CHUNK = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network and the seed it was trained with."""

    network: Network
    cfg: protocol.Config
    seed: int


def train(preset: str, seed: int, weights: Path, *, loss: Loss = recipe.two_pass_loss) -> Trained:
    """Train the small recipe on ``preset``, or take up what was trained into ``weights``."""
    task = find(preset)
    steps = STEPS[task.frames]
    cfg = protocol.tiny(num_classes=task.num_classes, num_frames=task.frames)
    run = recipe.tiny(cfg=cfg, steps=steps, loss=loss)
    if weights.exists():
        network = run.network().eval()
        load_weights(network, weights)
    else:
        made = sample(task, split="train", count=TRAIN[task.frames], seed=seed)
        # Three equal channels: one is kept, and a batch gets them back.
        data = ArrayData(
            {"frames": np.ascontiguousarray(made.frames[:, :, :1]), "label": made.labels},
            augment=_three_channels,
        )
        with tempfile.TemporaryDirectory() as folder:
            result = fit(
                run,
                data,
                out=Path(folder),
                seed=seed,
                running=Running(device="cpu"),
                log=terminal_line(),
            )
        network = result.network
        save_weights(network, weights)
    assert isinstance(network, Network)
    return Trained(network=network, cfg=cfg, seed=seed)


def _three_channels(sample: Batch, generator: torch.Generator) -> Batch:
    return {**sample, "frames": sample["frames"].expand(-1, 3, -1, -1)}


# --- where to look ----------------------------------------------------------------------------


def object_actions(trained: Trained, made: HaystackSet) -> Array:
    """Return the actions (N,T,2) that put the square on the object, in the order seen."""
    side, square = trained.cfg.canvas.width, trained.cfg.focus_size
    corner = (centres_of(trained, made) - square / 2) / (side - square)
    return np.clip(corner, 0, 1).astype(np.float32)


def centres_of(trained: Trained, made: HaystackSet) -> Array:
    """Return the objects' centres (N,T,2) in px, (y, x), frames in the order seen."""
    boxes = made.truth.boxes[:, list(trained.network.order)].astype(np.float64)
    x, y = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    return np.stack([y, x], axis=-1) * trained.cfg.canvas.width


def found(trained: Trained, made: HaystackSet, actions: Array) -> float:
    """Return the share of frames whose square's centre is within 8 px of the object's."""
    side, square = trained.cfg.canvas.width, trained.cfg.focus_size
    centres = actions.astype(np.float64) * (side - square) + square / 2
    distance = np.linalg.norm(centres - centres_of(trained, made), axis=-1)
    return float((distance <= NEAR_PX).mean())


@torch.inference_mode()
def logits_at(trained: Trained, made: HaystackSet, actions: Array | None) -> tuple[Array, Array]:
    """Return the logits of every prefix (N,T,K) and the actions taken (N,T,2)."""
    rows = []
    for start in range(0, len(made.labels), CHUNK):
        frames = torch.from_numpy(made.frames[start : start + CHUNK])
        given = None if actions is None else torch.from_numpy(actions[start : start + CHUNK])
        looked = trained.network(frames, given)
        rows.append((looked.logits.numpy(), looked.actions.numpy()))
    first, second = zip(*rows, strict=True)
    return np.concatenate(first), np.concatenate(second)


@torch.inference_mode()
def glance_and_dense(trained: Trained, made: HaystackSet) -> tuple[Array, Array]:
    """Return the glance's mean probabilities (N,K) and the dense logits (N,K)."""
    rows = []
    for start in range(0, len(made.labels), CHUNK):
        glanced = trained.network.glance_at(torch.from_numpy(made.frames[start : start + CHUNK]))
        glance = glanced.logits.softmax(-1).mean(1)
        rows.append((glance.numpy(), dense_logits(trained, glanced).numpy()))
    first, second = zip(*rows, strict=True)
    return np.concatenate(first), np.concatenate(second)


def dense_logits(trained: Trained, glanced: Glanced) -> Tensor:
    """Return the last head's logits when every frame is tiled with squares."""
    network, tiles = trained.network, trained.cfg.canvas.width // trained.cfg.focus_size
    shape = glanced.vectors.shape[:2]
    best = torch.zeros(shape[0], trained.cfg.fused_width)
    for y in range(tiles):
        for x in range(tiles):
            action = torch.tensor([y, x]) / (tiles - 1)
            actions = action.expand(shape[0] * shape[1], 2)
            _, vectors = network.focus(network.cut(glanced.frames.flatten(0, 1), actions))
            both = torch.cat([glanced.vectors.flatten(0, 1), vectors], dim=1)
            fused = network.classifier.fuse(both).unflatten(0, shape)
            best = torch.maximum(best, fused.amax(dim=1))
    classifier = network.classifier
    return best @ classifier.weight[-1].T + classifier.bias[-1]


def accuracy(scores: Array, labels: Array) -> float:
    """Return the share of rows (N,K) whose best class is the label."""
    return float((scores.argmax(axis=-1) == labels).mean())


# --- the three measurements ---------------------------------------------------------------------


def judge(trained: Trained, made: HaystackSet) -> dict[str, float]:
    """Return accuracy and localisation of one network, looking in every way."""
    rng = np.random.default_rng([trained.seed, 9])
    shape = (*made.truth.boxes.shape[:2], 2)
    ways = {
        "policy": None,
        "random": rng.random(shape, np.float32),
        "centre": np.full(shape, 0.5, np.float32),
        "object": object_actions(trained, made),
    }
    row: dict[str, float] = {}
    for name, given in ways.items():
        logits, actions = logits_at(trained, made, given)
        row[f"{name}_accuracy"] = accuracy(logits[:, -1], made.labels)
        row[f"{name}_found_within_8_px"] = found(trained, made, actions)
    glance, dense = glance_and_dense(trained, made)
    row["glance_accuracy"] = accuracy(glance, made.labels)
    row["dense_accuracy"] = accuracy(dense, made.labels)
    return {name: round(value, 4) for name, value in row.items()}


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over seeds of every figure."""
    return {
        name: {
            "mean": round(statistics.fmean(row[name] for row in rows), 4),
            "deviation": round(statistics.stdev(row[name] for row in rows), 4),
        }
        for name in rows[0]
    }


def macs_of(trained: Trained) -> dict[str, int]:
    """Return the multiply-accumulates of one row of each part."""
    parts = build(trained.network, trained.cfg)
    return {
        spec.name: count_torch_macs(parts[spec.name], *_zeros(spec.inputs))
        for spec in protocol.parts(trained.cfg)
    }


def _zeros(inputs: Sequence[Any]) -> list[Tensor]:
    return [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in inputs]


def measure_policy(out: Path) -> None:
    """Train three seeds and judge where they look."""
    rows = []
    for seed in SEEDS:
        trained = train("fine-object-v1", seed, out / f"policy-{seed}.safetensors")
        made = sample(find("fine-object-v1"), split="test", count=TEST, seed=seed)
        rows.append(judge(trained, made))
        _say(f"seed {seed}: {rows[-1]}")
    macs = macs_of(trained)
    gains = [r["policy_accuracy"] - max(r["random_accuracy"], r["centre_accuracy"]) for r in rows]
    local = [r["policy_found_within_8_px"] for r in rows]
    holds = min(gains) >= 0.12 and min(local) >= 0.6
    means = {name: value["mean"] for name, value in summary(rows).items()}
    frames = trained.cfg.num_frames
    write_result(
        RESULTS / "policy.json",
        title="AdaFocusV2: accuracy of one square a frame, by who places it",
        protocol="scripts/claim_adafocus_v2.py (policy): Haystack fine-object-v1, three seeds, one "
        "network looking in four ways at equal multiply-accumulates",
        seeds=SEEDS,
        threads=torch.get_num_threads(),
        measured={
            "by_seed": rows,
            "over_seeds": summary(rows),
            "gain_over_random_and_centre_by_seed": [round(g, 4) for g in gains],
            "macs_per_clip": {
                "one_square_a_frame": frames * sum(macs.values()),
                "glance": frames * macs["glance_policy"],
                "dense": frames * (macs["glance_policy"] + 16 * macs["focus"]),
            },
        },
        reported={
            "source": "prototype of the specification, another generator, three seeds",
            "policy_accuracy": [0.958, 0.902, 0.946],
            "random_accuracy": [0.688, 0.676, 0.672],
            "centre_accuracy": [0.732, 0.670, 0.688],
            "glance_accuracy": [0.64, 0.60, 0.61],
            "object_accuracy": ">= 0.996",
            "policy_found_within_8_px": [0.82, 0.69, 0.74],
        },
        claim={
            "system": "adafocus_v2",
            "text": f"one square a frame where the policy says: {means['policy_accuracy']:.0%} "
            f"right, at random {means['random_accuracy']:.0%}, in the centre "
            f"{means['centre_accuracy']:.0%} at the same cost; on the object in "
            f"{means['policy_found_within_8_px']:.0%} of the frames",
            "holds": holds,
        },
    )


def measure_exits(out: Path) -> None:
    """Train three seeds on eight frames and judge when they stop."""
    task = find("fine-object-8-v1")
    faint = replace(task, name="fine-object-8-v1-faint", contrast=FAINT)
    rows: dict[str, list[dict[str, float]]] = {"plain": [], "faint": []}
    curves: dict[str, list[list[dict[str, float]]]] = {"plain": [], "faint": []}
    for seed in SEEDS:
        trained = train(task.name, seed, out / f"exits-{seed}.safetensors")
        for name, judged in (("plain", task), ("faint", faint)):
            row, curve = judge_exits(trained, judged)
            rows[name].append(row)
            curves[name].append(curve)
            _say(f"seed {seed} {name}: {row}")
    write_result(
        RESULTS / "exits.json",
        title="AdaFocusV2: accuracy when a sample stops as soon as it is sure",
        protocol="scripts/claim_adafocus_v2.py (exits): Haystack fine-object-8-v1, three seeds, "
        "thresholds from a calibration split at no more than half of the static cost",
        seeds=SEEDS,
        threads=torch.get_num_threads(),
        measured={name: exit_figures(rows[name], curves[name]) for name in rows},
        claim={
            "text": "at half of the static cost at most 3 points are lost, and random exits "
            "in the same numbers lose more",
            "holds": all(
                r["static_accuracy"] - r["exit_accuracy"] <= MAX_LOSS
                and r["exit_accuracy"] > r["random_exit_accuracy"]
                for r in rows["plain"]
            ),
            "why": "on plain clips the first answer is nearly always right; see faint",
        },
    )


def exit_figures(
    rows: Sequence[Mapping[str, float]], curves: Sequence[Sequence[Mapping[str, float]]]
) -> dict[str, Any]:
    """Return what is written down of one kind of clips."""
    lost = [r["static_accuracy"] - r["exit_accuracy"] for r in rows]
    beats = [r["exit_accuracy"] - r["random_exit_accuracy"] for r in rows]
    return {
        "by_seed": rows,
        "over_seeds": summary(rows),
        "points_lost_by_seed": [round(100 * x, 2) for x in lost],
        "points_above_random_exits_by_seed": [round(100 * x, 2) for x in beats],
        "curves_by_seed": curves,
    }


def judge_exits(trained: Trained, task: Preset) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the figures at half of the cost, and the whole curve on *test*."""
    sets = {
        split: sample(task, split=split, count=count, seed=trained.seed)
        for split, count in (("calibration", CALIBRATION), ("test", TEST))
    }
    probs = {split: softmax(logits_at(trained, made, None)[0]) for split, made in sets.items()}
    sure = {split: p.max(axis=-1).T for split, p in probs.items()}
    num_exits = trained.cfg.num_frames
    costs = np.arange(1, num_exits + 1) / num_exits
    labels = sets["test"].labels
    right = probs["test"].argmax(axis=-1) == labels[:, None]
    rows = np.arange(len(labels))
    points = exit_curve(sure["calibration"], costs, rs=RS)
    curve = []
    for point in points:
        left = exit_indices(sure["test"], np.array(point.thresholds))
        curve.append(
            {
                "r": point.r,
                "calibration_cost": round(point.mean_cost, 4),
                "cost": round(float(costs[left].mean()), 4),
                "accuracy": round(float(right[rows, left].mean()), 4),
            }
        )
    chosen = max((p for p in points if p.mean_cost <= MAX_COST), key=lambda p: p.mean_cost)
    left = exit_indices(sure["test"], np.array(chosen.thresholds))
    rng = np.random.default_rng([trained.seed, 10])
    drawn = [right[rows, rng.permutation(left)].mean() for _ in range(RANDOM_DRAWS)]
    row = {
        "r": chosen.r,
        "cost": float(costs[left].mean()),
        "calibration_cost": chosen.mean_cost,
        "exit_accuracy": float(right[rows, left].mean()),
        "static_accuracy": float(right[:, -1].mean()),
        "random_exit_accuracy": float(np.mean(drawn)),
        "agree_when_executed": executed_alike(
            trained, sets["test"], np.array(chosen.thresholds), left, probs["test"]
        ),
    }
    for exit_index in range(num_exits):
        row[f"accuracy_after_{exit_index + 1}"] = float(right[:, exit_index].mean())
    return {name: round(value, 4) for name, value in row.items()}, curve


def executed_alike(
    trained: Trained, made: HaystackSet, thresholds: Array, left: Array, probs: Array
) -> float:
    """Return the share of samples for which really stopping gives exit, class and cost alike."""
    macs = macs_of(trained)
    outcomes = execute(trained, made.frames[:EXECUTED], macs, rule_of(thresholds))
    alike = []
    for outcome in outcomes:
        index, exit_index = outcome.index, int(left[outcome.index])
        assert outcome.answer.probs is not None
        alike.append(
            outcome.trace.exit_index == exit_index
            and outcome.answer.probs.argmax() == probs[index, exit_index].argmax()
            and outcome.cost.total_macs == (exit_index + 1) * sum(macs.values())
        )
    return float(np.mean(alike))


def execute(
    trained: Trained, clips: Array, macs: Mapping[str, int], rule: ExitRule | None
) -> list[Outcome]:
    """Run clips through the protocol."""
    cfg = trained.cfg
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    modules: dict[str, nn.Module] = build(trained.network, cfg)
    runner = TorchRunner(modules, specs, {name: {(): count} for name, count in macs.items()})
    executor = Executor(runner, exit_rule=rule, fetch_threads=0)
    jobs = [
        Job(
            name=str(index),
            open=partial(ArraySource, clip, fps=4.0, name=str(index)),
            steps=partial(protocol.steps, cfg, {}),
        )
        for index, clip in enumerate(clips)
    ]
    return [done for done in executor.run(jobs) if isinstance(done, Outcome)]


LOSSES: Mapping[str, Loss] = {
    "default": recipe.two_pass_loss,
    "no_random_pass": partial(recipe.two_pass_loss, diversity=False),
    "gradient_into_glance": partial(recipe.two_pass_loss, detach=False),
}


def measure_ablation(out: Path) -> None:
    """Train three seeds in three ways."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    for seed in SEEDS:
        made = sample(find("fine-object-v1"), split="test", count=TEST, seed=seed)
        for name, loss in LOSSES.items():
            # The default was trained for the policy's figures.
            stem = "policy" if name == "default" else name
            weights = out / f"{stem}-{seed}.safetensors"
            trained = train("fine-object-v1", seed, weights, loss=loss)
            rows[name].append(judge(trained, made))
            _say(f"seed {seed} {name}: {rows[name][-1]}")
    means = {n: statistics.fmean(r["policy_accuracy"] for r in found) for n, found in rows.items()}
    write_result(
        RESULTS / "ablation.json",
        title="AdaFocusV2: what the random pass and the stopped gradient are worth",
        protocol="scripts/claim_adafocus_v2.py (ablation): Haystack fine-object-v1, three seeds",
        seeds=SEEDS,
        threads=torch.get_num_threads(),
        measured={
            "policy_accuracy_mean": {name: round(mean, 4) for name, mean in means.items()},
            "by_training": {n: {"by_seed": f, "over_seeds": summary(f)} for n, f in rows.items()},
        },
        claim={
            "text": "the default is at most one point worse than either change",
            "holds": means["default"] >= max(means.values()) - 0.01,
        },
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="Measure AdaFocusV2 on Haystack.")
    measures = {"policy": measure_policy, "exits": measure_exits, "ablation": measure_ablation}
    parser.add_argument("what", choices=measures)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/adafocus_v2"),
        help="weights go here, and are taken from here",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    measures[options.what](options.out)


if __name__ == "__main__":
    main()
