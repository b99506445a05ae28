"""Accuracy against the number of frames on real features: tennis strokes by 55 players.

The rules below were written down before the first number was seen. Scripts named after a system
(``thetis_NAME.py --data FOLDER``, some minutes of one core each) hold to them.

Data: ``FOLDER/thetis/features.npz``: 1980 clips of 12 strokes, 16 frames each, 512 numbers a frame
(a CNN's features after a PCA that was fitted on players 1 to 44). Players 1 to 35 train, 36 to 44
validate (a stage keeps its best weights), 45 to 55 test: no player is in two of them. The split is
the same under every seed; the seed is that of the training. Features are taken as they are.

For k = 1, 2, 3, 4, 6, 8, 12 and 16 frames: what the sampler finds most salient, frames at equal
distances (``uniform``) and ``random`` ones (mean of five draws), by the same recogniser. Networks
are called directly: with stored features a preview costs more than the recogniser, so that nothing
is said of cost here.

Expected, and no claim: the strokes are trimmed, every frame shows the stroke, and logistic
regression on the mean of 16 frames reaches about 30 %. Reported is the mean over k = 1 to 8 of the
difference to uniform.

(A first run, by one script, let the samplers of single frames share one recogniser.)
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.layers import most_salient, taken
from foveal.recipe import Recipe
from foveal.results import write_result
from foveal.sampling.salient import evenly
from foveal.train import ArrayData, Running, fit

CLASSES, FRAMES, WIDTH = 12, 16, 512
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
FEW = 8
DRAWS = 5
SPLITS = {"train": (1, 35), "validation": (36, 44), "test": (45, 55)}

Answer = Callable[[Tensor], Tensor]
"""Frames (B,k,D) to logits (B,K)."""

Sets = Mapping[str, Mapping[str, np.ndarray[Any, Any]]]
"""Frames float32 (N,T,D) and labels int64 (N,) by split."""

Measure = Callable[[Sets, int], Mapping[str, tuple[Tensor, Answer]]]
"""Trains under a seed and returns saliency (N,T) of the test clips and who answers, by way."""


def sets_of(data: Path) -> Sets:
    """Return frames and labels of each split."""
    stored = np.load(data / "thetis" / "features.npz")
    found = {}
    for split, (first, last) in SPLITS.items():
        rows = (stored["player"] >= first) & (stored["player"] <= last)
        found[split] = {
            "frames": stored["features"][rows].astype(np.float32),
            "label": stored["label"][rows].astype(np.int64),
        }
    return found


def trained(recipe: Recipe, sets: Sets, seed: int) -> Any:
    """Return the network of a recipe, in eval mode."""
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            recipe,
            ArrayData(sets["train"]),
            validation=ArrayData(sets["validation"]),
            out=Path(folder) / "run",
            seed=seed,
            running=Running(device="cpu"),
        )
    return result.network.eval()


@torch.no_grad()
def curve(saliency: Tensor, frames: Tensor, label: Tensor, answer: Answer) -> list[float]:
    """Return the accuracy of the k most salient frames, for every k."""
    told = []
    for count in COUNTS:
        kept = taken(frames, most_salient(saliency, num_frames=count))
        told.append(float((answer(kept).argmax(dim=1) == label).float().mean()))
    return told


def plain_curves(
    frames: Tensor, label: Tensor, answer: Answer, seed: int
) -> dict[str, list[float]]:
    """Return the curves of uniform and random frames."""
    generator = torch.Generator().manual_seed(seed)
    draws = [
        curve(torch.rand(frames.shape[:2], generator=generator), frames, label, answer)
        for _ in range(DRAWS)
    ]
    even = []
    for count in COUNTS:
        saliency = torch.zeros(frames.shape[:2])
        saliency[:, evenly(FRAMES, count)] = 1
        even.append(curve(saliency, frames, label, answer)[COUNTS.index(count)])
    return {"uniform": even, "random": [statistics.fmean(ks) for ks in zip(*draws, strict=True)]}


def main(name: str, measure: Measure) -> None:
    """Measure a system's ways under every seed and write ``results/thetis/NAME.json``."""
    parser = argparse.ArgumentParser(description="Accuracy against the number of frames.")
    given = os.environ.get("FOVEAL_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = sets_of(Path(options.data))
    frames, label = (torch.from_numpy(sets["test"][part]) for part in ("frames", "label"))
    runs = []
    for seed in options.seeds:
        found: dict[str, list[float]] = {}
        for way, (saliency, answer) in measure(sets, seed).items():
            found |= {way: curve(saliency, frames, label, answer)}
            if "uniform" not in found:
                found |= plain_curves(frames, label, answer, seed)
        runs.append(found)
        print(seed, {way: [round(v, 3) for v in values] for way, values in found.items()})
    few = [place for place, count in enumerate(COUNTS) if count <= FEW]
    told = {}
    for way in runs[0]:
        rows = [run[way] for run in runs]
        ahead = [statistics.fmean(run[way][i] - run["uniform"][i] for i in few) for run in runs]
        told[way] = {
            "accuracy": [round(statistics.fmean(ks), 4) for ks in zip(*rows, strict=True)],
            "accuracy_by_seed": [[round(value, 4) for value in row] for row in rows],
            "ahead_of_uniform": round(statistics.fmean(ahead), 4),
            "ahead_of_uniform_by_seed": [round(value, 4) for value in ahead],
        }
    write_result(
        Path(f"results/thetis/{name}.json"),
        title=f"Accuracy against the number of frames on tennis strokes: {name}",
        protocol="scripts/thetis_task.py, committed before the numbers",
        seeds=options.seeds,
        threads=1,
        measured={
            "clips": {split: len(rows["label"]) for split, rows in sets.items()},
            "frames": list(COUNTS),
            "ways": told,
        },
    )
