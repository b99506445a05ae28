"""What do chosen clips tell on real ones? Confidence distillation on the Weizmann actions.

    python scripts/weizmann_confidence_distillation.py --data FOLDER    # 20 minutes on two cores

The rules below were written down before the first number on the clips that judge.

Data, splits and lists are those of ``scripts/train_by_command.py`` (10 actions, 9 people, three
splits by person, split i under seed i); training is
``foveal train LIST.csv --system confidence_distillation --recipe small --seed I``. The recipe was
looked for on split 0 with seed 100, by the clips of the person that chooses.

Ways, all of one set of weights: the teacher on three clips by the student's confidence (the
recipe's own setting), on three at equal distances, on all eight, and the student alone. Told for
each: top-1 accuracy on the test clips, whether or not the class is known, and multiply-accumulates
a clip as billed, the student's scan included where it takes place. Twenty clips a split: nothing is
claimed on them.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from held_budgets import is_right
from train_by_command import train, write_list

from foveal.api import load
from foveal.results import write_result
from foveal.sampling.operating import OperatingPoint
from foveal.video import FileSource

SYSTEM = "confidence_distillation"
WAYS: Mapping[str, Mapping[str, Any]] = {
    "teacher on 3 clips by confidence": {"mode": "topk", "num_chosen": 3},
    "on 3 at equal distances": {"mode": "uniform", "num_chosen": 3},
    "on all 8": {"mode": "uniform", "num_chosen": 8},
    "student alone": {"mode": "student"},
}
SEEDS = (0, 1, 2)


def judged(run: Path, settings: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Any:
    """Return accuracy and bill of one way over clips."""
    point = OperatingPoint(name="told", family="policy", settings=settings)
    model = load(run, threads=1).at(point)
    found = [model.recognize(FileSource(row["path"], threads=1)) for row in rows]
    right = [is_right(one, row["label"]) for one, row in zip(found, rows, strict=True)]
    return {
        "accuracy": statistics.fmean(right),
        "mmacs": statistics.fmean(one.cost.total_macs / 1e6 for one in found),
    }


def main() -> None:
    """Train what is not there, judge, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--runs", type=Path, default=Path(".cache/train_by_command"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    told: dict[str, list[Any]] = {way: [] for way in WAYS}
    for split in SEEDS:
        listed = write_list(options.data, "weizmann", split, options.runs)
        run = options.runs / f"weizmann-{SYSTEM}-{split}"
        train(listed, run, SYSTEM, split, ("--recipe", "small"))
        with listed.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
        for way, settings in WAYS.items():
            told[way].append(judged(run, settings, rows))
            print(split, way, told[way][-1], flush=True)
    write_result(
        Path(f"results/{SYSTEM}/weizmann.json"),
        title="confidence distillation on real clips: ten actions, three splits by person",
        measured={
            "ways": {
                way: {
                    name: {
                        "mean": round(statistics.fmean(one[name] for one in values), 4),
                        "by_split": [round(one[name], 4) for one in values],
                    }
                    for name in values[0]
                }
                for way, values in told.items()
            }
        },
        protocol="see the docstring of scripts/weizmann_confidence_distillation.py, committed "
        "before the numbers",
        seeds=SEEDS,
        threads=os.cpu_count(),
    )


if __name__ == "__main__":
    main()
