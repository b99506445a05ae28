"""Cut what the tests of the metrics need out of the golden numbers of the official evaluation.

    python scripts/cut_goldens_metrics.py --golden FOLDER

``FOLDER`` holds ``A7/A7.npz`` and the ``A7/set*.json`` files. Written is
``tests/golden/metrics/classification.json``: of every set the rows of truth (subset
``validation``) and of predictions in file order, with what ActivityNet's own code made of them;
of every small case its rows and the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests/golden/metrics/classification.json"


def main() -> None:
    """Read the files given, write the rows and numbers kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "A7"
    with np.load(folder / "A7.npz") as file:
        arrays = {key: file[key].tolist() for key in file.files}
    kept: dict[str, Any] = {}
    for number in (0, 1):
        truth = truth_rows(folder / f"set{number}_gt.json")
        for kind, name in (("set", "cls"), ("ties", "cls_ties")):
            wanted = {
                key.split(".")[-1]: value
                for key, value in arrays.items()
                if key.startswith(f"{kind}.{number}.") and ("cls" in key or "hit" in key)
            }
            kept[f"{kind}{number}"] = {
                "truth": truth,
                "predictions": prediction_rows(folder / f"set{number}_{name}.json"),
                **wanted,
            }
    for key in sorted(arrays):
        if key.startswith("micro_cls_"):
            case, _, field = key.split(".")
            kept.setdefault(case, {})[field] = arrays[key]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
    TARGET.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def truth_rows(path: Path) -> list[list[str]]:
    """Return video and label of every annotation of the subset."""
    database = json.loads(path.read_text(encoding="utf-8"))["database"]
    return [
        [video, annotation["label"]]
        for video, entry in database.items()
        if entry["subset"] == "validation"
        for annotation in entry["annotations"]
    ]


def prediction_rows(path: Path) -> list[list[Any]]:
    """Return video, label and score of every prediction, in file order."""
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [[video, row["label"], row["score"]] for video, rows in results.items() for row in rows]


if __name__ == "__main__":
    main()
