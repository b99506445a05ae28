"""Is choosing frames worth it on long videos? Accuracy, frames decoded, wall time, memory.

    python scripts/speed_long.py                       # every system below
    python scripts/speed_long.py --systems ocsampler   # any system `foveal train` knows

The rules below were written down before the first number on the test videos was seen.

Videos: those of ``scripts/long_videos.py``. Splits: the three of ``scripts/weizmann_splits.json``,
by person; split i is trained with seed i. Learnt from: the ``short`` videos (30 s) of the six who
train, every one twice: whole, and the stretch that is the action. Chosen by: the whole short videos
of the one who calibrates. Judged by: the ``test`` videos (5 minutes) of the two who test, 20 a
split. All is trained by ``foveal train LIST.csv --system NAME --seed I`` with the recipe ``small``
and the settings in ``TRAINED`` below; systems that have none there take the recipe's.

Baselines: the system ``baselines``, frames classified one by one and their probabilities averaged.
``uniform 16`` takes 16 at equal distances, ``dense 1 fps`` one a second (300): the same weights.
Beside a system stands its plain operating point (``NAME, dense``, or else its first ``NAME, uniform
N``: the same weights, nothing chosen), so that it can be told what the choice brings and what its
network (added after the first result; no claim rests on it). Accuracy is that of the class with the
largest probability, whether or not it is known.

Cost, from file to label with a loaded model: the file is opened, read, looked at and answered, one
file at a time, one thread for the decoder and one for the parts. Wall time and processor time
are taken of five of the test videos of each split (one person, every other class), all ways in
turns on each video, once to warm up and then five times; a video's time is its median, and a split
is told by the mean of its videos. Frames decoded, frames used and multiply-accumulates are means
over all test videos, as billed. ``in_action`` is the share of the frames a way looked at last that
show the action.

Memory: ``foveal recognize`` as a cold process, peak, on a 5-minute file of the test videos and on
the 10-minute file, median of three, with the bundle of split 0.

The claim of a system: on the 5-minute files its wall time is at most a fifth of that of dense (mean
over the three splits of the ratio), and its accuracy (mean over the three splits) at most 2 points
below that of dense. Peak memory on ten minutes is at most 1.1 times that on five.

The settings were looked for on split 0 with seed 100, by the ``calibration`` videos of the one who
calibrates there (there with 600 steps for the baselines, 600 and 200 for ``ocsampler``); the
command also told the accuracy on the short videos of those who test. Systems that came later take
the candidates and frames of ``ocsampler`` and the steps of their recipe, unseen; ``hcms`` looks at
8 places, each a burst of frames, in batches of 8 videos: 24 in batches of 16 would learn for hours.
First results of the samplers by saliency with 300 steps of their frame recogniser were 25.0 and
13.3 % right (their own networks on all 24 candidates 11.7 and 13.3 %); that the recogniser learns
as long as the baselines, 900 steps, was decided after them, on no other ground than that those
have so many. So do the teachers of ``confidence_distillation``, whose 400 steps came to 30 % of the
*short* videos of split 0, before any 5-minute video was looked at. The senses of ``hcms`` had
learnt next to nothing in the 200 steps of its recipe (a cross-entropy of 2.23 to 2.31 each, of ten
classes); they get the 900 too, and its later stages three times the recipe's, before anything was
judged.
A first result of ``ocsampler`` decoded the exact candidates (338 frames a video, 8.9 times as fast
as dense, 61.7 % right); since then it glances at keyframes, as all that glance do.

Nothing is trained or judged twice: what a bundle gave is kept beside it, timing is not.
``results/long/NAME.json`` holds a system, and the baselines measured in turns with it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from held_budgets import is_right
from long_videos import CACHE, KINDS, splits
from train_by_command import train

from foveal.results import write_result
from foveal.systems import index

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("results/long")
SEEDS = (0, 1, 2)
TRIAL_SEED = 100
REPEATS = 5
COLD_REPEATS = 3
TIMED = 5
"""Videos of each split that are timed."""

BASELINES = "baselines"
WAYS: Mapping[str, Mapping[str, int]] = {
    "uniform 16": {"num_frames": 16},
    "dense 1 fps": {"num_frames": KINDS["test"].seconds},
}
"""Settings of the baselines."""

DENSE = "dense 1 fps"

TRAINED: Mapping[str, tuple[str, ...]] = {
    BASELINES: ("steps=900",),
    # system: ocsampler
    "ocsampler": (
        "num_candidates=24",
        "num_frames=6",
        "classifier.steps=400",
        "sampler.steps=120",
    ),
    # end of system
    # system: nsnet
    "nsnet": ("num_candidates=24", "num_frames=6", "recogniser.steps=900"),
    # end of system
    # system: tsqnet
    "tsqnet": ("num_candidates=24", "num_frames=6", "recogniser.steps=900"),
    # end of system
    # system: confidence_distillation
    "confidence_distillation": (
        "num_clips=24",
        "num_chosen=6",
        "teacher.steps=900",
        "folds.steps=900",
    ),
    # end of system
    # system: hcms
    "hcms": (
        "num_steps=8",
        "batch_size=8",
        "senses.steps=900",
        "open.steps=180",
        "gates.steps=360",
    ),
    # end of system
}
"""What ``foveal train --set`` is told."""

MIN_SPEEDUP, MAX_LOSS, MAX_GROWTH = 5.0, 0.02, 1.1


# --- training ------------------------------------------------------------------------------------


def truth_of(videos: Path, kind: str) -> list[dict[str, str]]:
    """Return the lines of a kind of videos, with the path made whole."""
    folder = videos / kind
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [
            {**row, "path": str((folder / row["path"]).resolve())} for row in csv.DictReader(file)
        ]


def write_list(videos: Path, split: int, out: Path) -> Path:
    """Write the list of a split: all short videos whole, and the action of those to learn from."""
    parts = splits()[split]
    named = {"train": "train", "calibration": "validation", "test": "test"}
    use = {person: named[part] for part, people in parts.items() for person in people}
    path = out / f"short-{split}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "start", "end", "group", "split"))
        for row in truth_of(videos, "short"):
            whole = (row["path"], row["label"], "", "", row["subject"], use[row["subject"]])
            rows.writerow(whole)
            if use[row["subject"]] == "train":
                rows.writerow((*whole[:2], row["start"], row["end"], *whole[4:]))
    return path


def run_of(system: str, split: int, *, seed: int, videos: Path, runs: Path) -> Path:
    """Return the run of a system on one split, trained if it is not there."""
    run = runs / f"{system}-{split}-{seed}"
    settings = [word for one in TRAINED.get(system, ()) for word in ("--set", one)]
    listed = write_list(videos, split, runs)
    train(listed, run, system, seed, ("--recipe", "small", "--cache", "8", *settings))
    return run


# --- accuracy and the bill -----------------------------------------------------------------------


Settings = Mapping[str, Any] | None


def plain_of(model: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and settings of a model's point at which all is looked at, or nothing chosen."""
    protocol = importlib.import_module(f"{index.find(model.name).module}.protocol")
    points = [p for p in protocol.operating_points(model.config) if p.is_plain and not p.is_chance]
    if not points:
        raise ValueError(f"{model.name} has no plain operating point")
    point = next((p for p in points if p.family == "dense"), points[0])
    return point.name, point.settings


def at(run: Path, settings: Settings) -> Any:
    """Return the model of a run, of the settings if any are told."""
    from foveal.api import load
    from foveal.sampling.operating import OperatingPoint

    model = load(run, threads=1)
    if settings is None:
        return model
    return model.at(OperatingPoint(name="told", family="uniform", settings=dict(settings)))


def seen(model: Any, path: str) -> Any:
    """Return what the model says of a file, opened now and decoded on one thread."""
    from foveal.video import FileSource

    return model.recognize(FileSource(path, threads=1))


def in_action(found: Any, row: Mapping[str, str]) -> float:
    """Return the share of the frames looked at last that show the action; 0 without a look."""
    looks = [event.detail["seconds"] for event in found.trace.events if event.kind == "look"]
    if not looks:
        return 0.0
    start, end = float(row["start"]), float(row["end"])
    return statistics.fmean(start <= seconds < end for seconds in looks[-1])


def judged(
    run: Path, way: str, settings: Settings, rows: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Return accuracy and bill over videos, kept beside the bundle."""
    bundle = hashlib.sha256((run / "model.foveal").read_bytes()).hexdigest()
    told = json.dumps([bundle, way, settings, [row["path"] for row in rows]])
    kept = run / f"judged-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    model = at(run, settings)
    done = [seen(model, row["path"]) for row in rows]
    told_by = {
        "accuracy": [is_right(one, row["label"]) for one, row in zip(done, rows, strict=True)],
        "frames_decoded": [one.cost.frames_decoded for one in done],
        "frames_used": [one.cost.frames_used for one in done],
        "mmacs": [one.cost.total_macs / 1e6 for one in done],
        "in_action": [in_action(one, row) for one, row in zip(done, rows, strict=True)],
    }
    found = {name: statistics.fmean(values) for name, values in told_by.items()}
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


# --- time and memory -----------------------------------------------------------------------------


def timed(models: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return seconds of each way from file to label: wall and processor, mean over the videos."""
    wall: dict[str, list[float]] = {way: [] for way in models}
    busy: dict[str, list[float]] = {way: [] for way in models}
    for row in rows:
        spent: dict[str, list[tuple[float, float]]] = {way: [] for way in models}
        for _ in range(REPEATS + 1):
            for way, model in models.items():
                before = time.perf_counter(), time.process_time()
                seen(model, row["path"])
                after = time.perf_counter(), time.process_time()
                spent[way].append((after[0] - before[0], after[1] - before[1]))
        for way, times in spent.items():
            wall[way].append(statistics.median(one for one, _ in times[1:]))
            busy[way].append(statistics.median(one for _, one in times[1:]))
    return {
        way: {
            "wall_seconds": statistics.fmean(wall[way]),
            "processor_seconds": statistics.fmean(busy[way]),
        }
        for way in models
    }


def to_time(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the videos that are timed: one person, every other class."""
    return [row for row in rows if row["subject"] == rows[0]["subject"]][::2][:TIMED]


def peaks(run: Path, five: str, ten: str) -> dict[str, Any]:
    """Return the peak memory of a cold process on both files, and how it grows."""
    sys.path.append(str(ROOT / "benchmarks"))
    from cold import run_cold

    found: dict[str, list[float]] = {five: [], ten: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(COLD_REPEATS):
            for path, values in found.items():
                command = [sys.executable, "-m", "foveal", "recognize", path, "--json"]
                command += ["--model", str(run), "--threads", "1"]
                values.append(run_cold(command, scratch=Path(folder)).peak_mb)
    a, b = (statistics.median(found[path]) for path in (five, ten))
    return {
        "peak_mb_5_minutes": round(a, 1),
        "peak_mb_10_minutes": round(b, 1),
        "growth": round(b / a, 4),
    }


# --- a system ------------------------------------------------------------------------------------


Runs = Mapping[int, Mapping[str, Path]]
"""By split and system."""


def trained(system: str, *, videos: Path, runs: Path) -> Runs:
    """Return the runs of a system and of the baselines."""
    return {
        split: {
            name: run_of(name, split, seed=split, videos=videos, runs=runs)
            for name in dict.fromkeys((BASELINES, system))
        }
        for split in SEEDS
    }


def tests_of(videos: Path, split: int) -> list[dict[str, str]]:
    """Return the lines of the videos that judge a split."""
    people = splits()[split]["test"]
    return [row for row in truth_of(videos, "test") if row["subject"] in people]


def memory_of(system: str, *, videos: Path, runs: Runs) -> dict[str, Any]:
    """Return what a system takes on five and on ten minutes."""
    ten = truth_of(videos, "memory")[0]["path"]
    return peaks(runs[0][system], tests_of(videos, 0)[0]["path"], ten)


def measure(system: str, *, videos: Path, runs: Runs) -> dict[str, Any]:
    """Return accuracy, bill and time of a system, beside the baselines."""
    rows = {split: tests_of(videos, split) for split in SEEDS}
    by_split: list[dict[str, dict[str, float]]] = []
    for split in SEEDS:
        ways: dict[str, tuple[Path, Settings]] = {
            way: (runs[split][BASELINES], told) for way, told in WAYS.items()
        }
        name, plain = plain_of(at(runs[split][system], None))
        ways[f"{system}, {name}"] = (runs[split][system], plain)
        ways[system] = (runs[split][system], None)
        figures = {way: judged(run, way, told, rows[split]) for way, (run, told) in ways.items()}
        models = {way: at(run, told) for way, (run, told) in ways.items()}
        times = timed(models, to_time(rows[split]))
        for way in ways:
            figures[way] = {**figures[way], **times[way]}
            figures[way]["speedup"] = times[DENSE]["wall_seconds"] / times[way]["wall_seconds"]
            figures[way]["processor_speedup"] = (
                times[DENSE]["processor_seconds"] / times[way]["processor_seconds"]
            )
        by_split.append(figures)
        print(system, split, json.dumps(figures), flush=True)
    return {
        "ways": {way: over_splits([one[way] for one in by_split]) for way in by_split[0]},
        "videos": [len(rows[split]) for split in SEEDS],
        "timed_videos": [len(to_time(rows[split])) for split in SEEDS],
        "training_minutes": {
            name: [round(minutes(runs[split][name]), 2) for split in SEEDS]
            for name in (BASELINES, system)
        },
        "settings": {name: list(TRAINED.get(name, ())) for name in (BASELINES, system)},
        "load_average": round(os.getloadavg()[0], 2),
    }


def minutes(run: Path) -> float:
    """Return how long a run was trained."""
    from foveal.cli.train import minutes_of

    return minutes_of(run)


def over_splits(told: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return mean and single values of every figure."""
    return {
        name: {
            "mean": round(statistics.fmean(one[name] for one in told), 4),
            "by_split": [round(one[name], 4) for one in told],
        }
        for name in told[0]
    }


def holds(measured: Mapping[str, Any], system: str) -> bool:
    """Return whether the claim of a system holds."""
    ours, dense = measured["ways"][system], measured["ways"][DENSE]
    loss = dense["accuracy"]["mean"] - ours["accuracy"]["mean"]
    return (
        ours["speedup"]["mean"] >= MIN_SPEEDUP
        and loss <= MAX_LOSS + 1e-9
        and measured["memory"]["growth"] <= MAX_GROWTH
    )


def trial(system: str, *, videos: Path, runs: Path) -> None:
    """Train on split 0 with another seed, and judge on who calibrates; write nothing."""
    people = splits()[0]["calibration"]
    rows = [row for row in truth_of(videos, "calibration") if row["subject"] in people]
    run = run_of(system, 0, seed=TRIAL_SEED, videos=videos, runs=runs)
    for way, told in WAYS.items() if system == BASELINES else [(system, None)]:
        print(way, judged(run, way, told, rows), flush=True)


def main() -> None:
    """Train what is not there, measure, and write a result for each system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, default=CACHE, help="made by long_videos.py")
    parser.add_argument("--runs", type=Path, default=CACHE / "runs")
    chosen = [name for name in TRAINED if name != BASELINES]
    parser.add_argument("--systems", nargs="+", default=chosen)
    parser.add_argument("--trial", action="store_true", help="split 0, seed 100, who calibrates")
    parser.add_argument("--train", action="store_true", help="train, and measure nothing")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("XDG_CACHE_HOME", str((options.runs / "cache").resolve()))
    where = {"videos": options.videos, "runs": options.runs}
    if options.trial:
        for system in options.systems:
            trial(system, **where)
        return
    runs = {system: trained(system, **where) for system in options.systems}
    if options.train:
        return
    # Memory first, while this process is smaller than what it measures.
    memory = {
        system: memory_of(system, videos=options.videos, runs=runs[system])
        for system in options.systems
    }
    for system in options.systems:
        measured = measure(system, videos=options.videos, runs=runs[system])
        measured["memory"] = memory[system]
        write_result(
            RESULTS / f"{system}.json",
            title=f"{system} on 5-minute videos, beside 16 frames and one frame a second",
            measured=measured,
            protocol="see the docstring of scripts/speed_long.py, committed before the numbers",
            seeds=SEEDS,
            threads=1,
            claim={
                "text": f"at least {MIN_SPEEDUP:g} times as fast as one frame a second, at most "
                f"{100 * MAX_LOSS:g} points less accurate, on 5-minute files; memory constant",
                "holds": holds(measured, system),
            },
        )


if __name__ == "__main__":
    main()
