"""Compare systems at equal budgets, and count the budgets that are broken on clips held out.

    python scripts/budgets_compared.py --data FOLDER          # under an hour on two cores
    python scripts/budgets_compared.py --only haystack        # needs no data

The rules below were written down before the first number was seen.

weizmann: the three splits of ``scripts/train_by_command.py`` and its runs of ``baselines``,
``ocsampler`` and ``adafocus_v2`` (recipe ``small``, split i under seed i; trained if they are not
there); ``gfnet`` and ``adafocus_v3`` joined them later, under the same rules. Calibrated on the
clips for validation (one person, 10 clips: few, and the command says so), judged on the test clips
(two people, 20 clips).

salient-frames-v1, fine-object-8-v1: Haystack files, 2,000 to learn from, 300 to calibrate on and
200 to test, drawn with the seed of the run: 0, 1, 2. ``ocsampler`` on the first, ``adafocus_v2`` on
the second, ``baselines`` on both; recipe ``tiny``, at the preset's number of frames and size, 600
steps of 24 for ``adafocus_v2`` and the baselines, ``ocsampler`` as its recipe has it. The second is
the picture of the family of ``adafocus_v2``: ``adafocus_v3`` (600 steps) and ``gfnet`` (its recipe
for clips) joined it later, and all four were judged again in one sitting. All is trained by
``foveal train LIST.csv`` and calibrated by ``foveal calibrate``.

On the test clips, a clip at a time, with one thread:

- every operating point of the calibrated bundle: top-1 accuracy, multiply-accumulates, milliseconds
  (all stages of the bill). These are the curves, means over the runs.
- accuracy at 25, 50 and 100 % of dense: the point that a budget of that share of the MACs of the
  baselines' ``dense`` point picks, of those that were calibrated on the same clips. The uniform
  baseline stands beside it, its points only.
- budgets: five of MACs and five of milliseconds, at equal distances between the smallest and the
  largest that a point of the bundle needs, both ends included; milliseconds by a profile measured
  after the calibration. A budget of MACs is held if the mean of the test clips is at most the
  budget; one of milliseconds if the p95 (rank ceil(0.95 N)) is at most 1.1 times the budget. The
  goal is that none is broken. The load of the machine is noted beside each.

Nothing is chosen on test clips. A clip counts as right by its class, whether or not the answer is
known from the fitted threshold (a first run counted only known ones, which the threshold did not
exist for when these rules were written).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from held_budgets import held, is_right
from train_by_command import write_list

from foveal.api import Model
from foveal.budget import Budget, BudgetError, profile, times_here
from foveal.bundle import Bundle, Calibration, MeasuredPoint
from foveal.calibration import Curve, Mark, csv_of, svg_of, with_front
from foveal.haystack import Split, find, write_videos
from foveal.results import cpu_name, write_result

RESULTS = Path("results/budgets")
SEEDS = (0, 1, 2)
COUNTS = {"train": 2_000, "validation": 300, "test": 200}
SPLITS: Mapping[str, Split] = {"train": "train", "validation": "calibration", "test": "test"}
"""Ours to those of Haystack."""
NUM_BUDGETS = 5
SHARES = (0.25, 0.5, 1.0)
SLACK = 0.1

_TWENTY_FOUR = ("--set", "steps=600", "--set", "batch_size=24", "--set", "lr=0.003")
_TINY = ("--recipe", "tiny")
_SQUARE_64 = ("--set", "canvas.height=64", "--set", "canvas.width=64")
# system: gfnet
_GFNET_CLIPS = tuple(
    word
    for setting in ("num_frames=8", "policy=video", "fusion=mean", "glance_head=own")
    for word in ("--set", setting)
)
# end of system
SETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "weizmann": {
        "baselines": (),
        # system: ocsampler
        "ocsampler": (),
        # end of system
        # system: adafocus_v2
        "adafocus_v2": (),
        # end of system
        # system: gfnet
        "gfnet": (),
        # end of system
        # system: adafocus_v3
        "adafocus_v3": (),
        # end of system
    },
    "salient-frames-v1": {
        "baselines": (*_TINY, *_TWENTY_FOUR, "--set", "num_frames=10"),
        # system: ocsampler
        "ocsampler": _TINY,
        # end of system
    },
    "fine-object-8-v1": {
        "baselines": (*_TINY, *_TWENTY_FOUR, *_SQUARE_64, "--set", "num_frames=8"),
        # system: adafocus_v2
        "adafocus_v2": (*_TINY, "--set", "steps=600", "--set", "num_frames=8"),
        # end of system
        # system: adafocus_v3
        "adafocus_v3": (*_TINY, "--set", "steps=600"),
        # end of system
        # system: gfnet
        "gfnet": (*_TINY, *_SQUARE_64, *_GFNET_CLIPS),
        # end of system
    },
}
"""What ``foveal train`` is told, by set and system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A calibrated bundle and the clips to judge it by."""

    bundle: Bundle
    calibration: Calibration
    labels: Mapping[Path, str]


# --- from clips to calibrated bundles ----------------------------------------------------------


def haystack_list(name: str, seed: int, folder: Path) -> Path:
    """Write the videos of a preset, and a list of them that says which are for what."""
    listed = folder / f"{name}-{seed}.csv"
    if listed.exists():
        return listed
    rows = []
    for split, count in COUNTS.items():
        whole = folder / f"{name}-{seed}"
        root = whole / SPLITS[split]
        if not (root / "truth.jsonl").exists():
            for _ in write_videos(whole, find(name), split=SPLITS[split], count=count, seed=seed):
                pass
        rows += [(clip.resolve(), clip.parent.name, split) for clip in sorted(root.glob("*/*.mp4"))]
    with listed.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return listed


def ready(listed: Path, run: Path, system: str, seed: int, told: tuple[str, ...]) -> Ready:
    """Train and calibrate by the command line, or take up what it left."""
    if not (run / "result.json").exists():
        resume = ["--resume"] if (run / "checkpoint.json").exists() else []
        command = ["train", listed, "--out", run, "--system", system, "--seed", seed]
        foveal(*command, *told, *resume)
    calibrated = run.with_suffix(".foveal")
    if not calibrated.exists():
        foveal("calibrate", run, listed, "-o", calibrated, "--threads", 1)
    bundle = Bundle.open(calibrated)
    found = bundle.manifest.calibration
    assert found is not None
    with listed.open(newline="", encoding="utf-8") as file:
        labels = {Path(r["path"]): r["label"] for r in csv.DictReader(file) if r["split"] == "test"}
    return Ready(bundle=bundle, calibration=found, labels=labels)


def foveal(*arguments: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "foveal", *map(str, arguments)], check=True)


# --- what is measured --------------------------------------------------------------------------


def judged(ready: Ready, point: MeasuredPoint) -> dict[str, Any]:
    """Return what the test clips say of one point."""
    model = Model(ready.bundle, threads=1).at(point.point)
    found = [model.recognize(clip) for clip in ready.labels]
    macs = [one.cost.total_macs for one in found]
    ms = np.sort([one.cost.total_ms for one in found])
    return {
        "name": point.point.name,
        "family": point.point.family,
        "accuracy": statistics.fmean(map(is_right, found, ready.labels.values())),
        "kmacs": statistics.fmean(macs) / 1e3,
        "p50_ms": float(np.median(ms)),
        "p95_ms": float(ms[-(-95 * len(ms) // 100) - 1]),
    }


def at_shares(ready: Ready, points: list[dict[str, Any]], dense_macs: float) -> dict[str, Any]:
    """Return the accuracy on test at shares of the dense cost; None where nothing is so cheap."""
    by_name = {one["name"]: one for one in points}
    model = Model(ready.bundle, threads=1)
    told: dict[str, Any] = {}
    for share in SHARES:
        # A float's last bit must not decide whether dense itself fits into all of dense.
        budget = Budget(max_gmacs=share * dense_macs / 1e9 * (1 + 1e-9))
        try:
            choice = model.within(budget).choice
        except BudgetError:
            told[f"{share:.0%}"] = None
            continue
        assert choice is not None
        one = by_name[choice.measured.point.name]
        told[f"{share:.0%}"] = {k: one[k] for k in ("name", "accuracy", "kmacs", "p95_ms")}
    return told


def uniform_at_shares(points: list[dict[str, Any]], dense_macs: float) -> dict[str, Any]:
    """Return the same for as many uniform frames as fit."""
    told: dict[str, Any] = {}
    for share in SHARES:
        limit = share * dense_macs / 1e3 * (1 + 1e-9)
        fit = [p for p in points if p["family"] in ("uniform", "dense") and p["kmacs"] <= limit]
        best = max(fit, key=lambda p: p["kmacs"], default=None)
        kept = ("name", "accuracy", "kmacs", "p95_ms")
        told[f"{share:.0%}"] = None if best is None else {k: best[k] for k in kept}
    return told


def budgets(ready: Ready) -> dict[str, Any]:
    """Return which of five budgets of each kind are held on the test clips."""
    model = Model(ready.bundle, threads=1)
    load = os.getloadavg()[0]
    times = times_here(ready.calibration, profile(ready.bundle, threads=1, again=True))
    points = [p for p in ready.calibration.points if not p.point.is_chance]
    needed = {
        "gmacs": [p.held_macs / 1e9 for p in points],
        "ms": [times[p.point.name] for p in points],
    }
    told: dict[str, Any] = {"load_average": round(load, 2)}
    for kind, values in needed.items():
        asked = np.linspace(min(values), max(values), NUM_BUDGETS)
        told[kind] = [
            held(model, ready.labels, budget_of(kind, float(x)), slack=SLACK) for x in asked
        ]
    return told


def budget_of(kind: str, value: float) -> Budget:
    """Return a budget of ``gmacs`` or ``ms``."""
    return Budget(max_gmacs=value) if kind == "gmacs" else Budget(max_ms=value)


# --- what is told ------------------------------------------------------------------------------


def mean_points(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the means over the runs of the points that every run has, and the spread."""
    names = [one["name"] for one in runs[0]]
    told = []
    for name in names:
        found = [next((p for p in run if p["name"] == name), None) for run in runs]
        if None in found:
            continue
        ones = [one for one in found if one is not None]
        accuracies = [one["accuracy"] for one in ones]
        row = {"name": name, "family": ones[0]["family"]}
        row["accuracy"] = round(statistics.fmean(accuracies), 4)
        row["accuracies"] = [round(value, 4) for value in accuracies]
        for key in ("kmacs", "p50_ms", "p95_ms"):
            row[key] = round(statistics.fmean(one[key] for one in ones), 3)
        told.append(row)
    return told


def curve_of(system: str, where: str, points: list[dict[str, Any]], clips: int) -> Curve:
    """Return the points as a curve of the picture."""
    marks = tuple(
        Mark(
            name=one["name"],
            family=one["family"],
            accuracy=one["accuracy"],
            gmacs=one["kmacs"] / 1e6,
            p50_ms=one["p50_ms"],
            p95_ms=one["p95_ms"],
        )
        for one in points
    )
    return Curve(
        label=system,
        measured_on=f"{where}, test, mean of {len(SEEDS)} runs",
        num_clips=clips,
        machine=cpu_name(),
        marks=marks,
    )


def measure(name: str, lists: list[Path], runs: Path) -> dict[str, Any]:
    """Return all of one set, and draw its picture."""
    told: dict[str, Any] = {}
    per_run: dict[str, list[list[dict[str, Any]]]] = {}
    dense: list[float] = []
    clips = 0
    for system, arguments in SETS[name].items():
        found = [
            ready(listed, runs / f"{name}-{system}-{seed}", system, seed, arguments)
            for seed, listed in zip(SEEDS, lists, strict=True)
        ]
        clips = sum(len(one.labels) for one in found)
        kept = runs / f"{name}-{system}-judged.json"
        if not kept.exists():
            every = [[judged(one, point) for point in one.calibration.points] for one in found]
            asked = [budgets(one) for one in found]
            kept.write_text(json.dumps({"points": every, "budgets": asked}), encoding="utf-8")
        stored = json.loads(kept.read_text(encoding="utf-8"))
        per_run[system] = stored["points"]
        if system == "baselines":
            dense = [
                next(p["kmacs"] for p in run if p["family"] == "dense") * 1e3
                for run in per_run[system]
            ]
        shares = [
            at_shares(one, points, full)
            for one, points, full in zip(found, per_run[system], dense, strict=True)
        ]
        told[system] = {
            "points": mean_points(per_run[system]),
            "at_share_of_dense": shares_told(shares),
            "budgets": stored["budgets"],
            "broken": broken(stored["budgets"]),
        }
        print(name, system, told[system]["at_share_of_dense"], told[system]["broken"], flush=True)
    uniform = [
        uniform_at_shares(points, full)
        for points, full in zip(per_run["baselines"], dense, strict=True)
    ]
    told["uniform"] = {"at_share_of_dense": shares_told(uniform)}
    draw(name, {s: told[s]["points"] for s in SETS[name]}, clips)
    return told


def shares_told(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and single accuracies at each share, and what they cost."""
    told: dict[str, Any] = {}
    for share in runs[0]:
        ones = [run[share] for run in runs]
        if None in ones:
            told[share] = None
            continue
        told[share] = {
            "accuracy": round(statistics.fmean(one["accuracy"] for one in ones), 4),
            "accuracies": [round(one["accuracy"], 4) for one in ones],
            "kmacs": round(statistics.fmean(one["kmacs"] for one in ones), 1),
            "p95_ms": round(statistics.fmean(one["p95_ms"] for one in ones), 3),
            "points": [one["name"] for one in ones],
        }
    return told


def broken(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return how many budgets of each kind were broken, of how many."""
    return {
        kind: f"{sum(not one['held'] for run in runs for one in run[kind])} of "
        f"{sum(len(run[kind]) for run in runs)}"
        for kind in ("gmacs", "ms")
    }


def draw(name: str, points: Mapping[str, list[dict[str, Any]]], clips: int) -> None:
    """Write the picture of a set and its figures."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    curves = with_front([curve_of(system, name, found, clips) for system, found in points.items()])
    (RESULTS / f"{name}.svg").write_text(svg_of(curves), encoding="utf-8")
    (RESULTS / f"{name}.csv").write_text(csv_of(curves), encoding="utf-8")


def lists_of(name: str, data: Path | None, runs: Path) -> Iterator[Path]:
    """Yield the list of clips of each run."""
    for seed in SEEDS:
        if name == "weizmann":
            assert data is not None
            yield write_list(data, name, seed, runs)
        else:
            yield haystack_list(name, seed, runs)


def main() -> None:
    """Train, calibrate and judge what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--runs", type=Path, default=Path(".cache/train_by_command"))
    parser.add_argument("--only", choices=SETS, nargs="+", default=tuple(SETS))
    parser.add_argument("--train", action="store_true", help="train and calibrate, judge nothing")
    options = parser.parse_args()
    if "weizmann" in options.only and options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    options.runs.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        lists = list(lists_of(name, options.data, options.runs))
        if options.train:
            for system, arguments in SETS[name].items():
                for seed, listed in zip(SEEDS, lists, strict=True):
                    ready(listed, options.runs / f"{name}-{system}-{seed}", system, seed, arguments)
            continue
        write_result(
            RESULTS / f"{name}.json",
            title=f"systems at equal budgets on {name}",
            measured=measure(name, lists, options.runs),
            protocol="see the docstring of scripts/budgets_compared.py, committed before the "
            "numbers",
            seeds=SEEDS,
            threads=1,
        )


if __name__ == "__main__":
    main()
