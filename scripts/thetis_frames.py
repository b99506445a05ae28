"""Measure accuracy against the number of frames on real features: tennis strokes by 55 players.

    python scripts/thetis_frames.py --data FOLDER     # three seeds, fifteen minutes of a core

The rules below were written down before the first number was seen.

Data: ``FOLDER/thetis/features.npz``: 1980 clips of 12 strokes, 16 frames each, 512 numbers a frame
(a CNN's features after a PCA that was fitted on players 1 to 44). Players 1 to 35 train, 36 to 44
validate (a stage keeps its best weights), 45 to 55 test: no player is in two of them. The split is
the same under every seed; the seed is that of the training. Features are taken as they are.

Samplers, trained with the recipes ``features`` at their defaults: NSNet (as it is, and its frame
module alone), TSQNet's visual branch. They share one recogniser of single frames, that of the NSNet
run, whose answers are averaged. OCSampler: a skim network of one temporal convolution on the same
features and its classifier of sets, trained as its recipe ``tiny`` (random sets, then the policy
for 4 of 16 frames), 600 and 300 steps.

For k = 1, 2, 3, 4, 6, 8, 12 and 16 frames: what each sampler finds most salient, frames at equal
distances (``uniform``) and ``random`` ones (mean of five draws), by both recognisers. Networks are
called directly: with stored features a preview costs more than the recogniser, so that nothing is
said of cost here.

Expected, and no claim: the strokes are trimmed, every frame shows the stroke, and logistic
regression on the mean of 16 frames reaches about 30 %. Reported is the mean over k = 1 to 8 of the
difference to uniform, with the same recogniser.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foveal.layers import mean_answer, most_salient, taken
from foveal.recipe import Group, Optimizer, Recipe, Stage
from foveal.results import write_result
from foveal.sampling.salient import evenly
from foveal.systems.nsnet import protocol as nsnet
from foveal.systems.nsnet import recipe as nsnet_recipe
from foveal.systems.ocsampler import protocol as ocsampler
from foveal.systems.ocsampler import recipe as ocsampler_recipe
from foveal.systems.ocsampler.model import Network as SetNetwork
from foveal.systems.ocsampler.model import SetHead
from foveal.systems.tsqnet import protocol as tsqnet
from foveal.systems.tsqnet import recipe as tsqnet_recipe
from foveal.train import ArrayData, Running, fit

CLASSES, FRAMES, WIDTH = 12, 16, 512
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
DRAWS = 5
SPLITS = {"train": (1, 35), "validation": (36, 44), "test": (45, 55)}

Answer = Callable[[Tensor], Tensor]
"""Frames (B,k,D) to logits (B,K)."""


class FeatureSkim(nn.Module):
    """Features (B,T,D) to a logit a frame (B,T), each seeing its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv1d(WIDTH, 48, 3, padding=1)
        self.logit = nn.Linear(48, 1)
        nn.init.normal_(self.logit.weight, std=0.01)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,T)."""
        seen = self.near(frames.transpose(1, 2)).relu().transpose(1, 2)
        logits: Tensor = self.logit(seen)[..., 0]
        return logits


def sets_of(data: Path) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
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


def trained(recipe: Recipe, sets: dict[str, Any], seed: int) -> Any:
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


def set_recipe() -> Recipe:
    """Return OCSampler's two stages on features."""
    cfg = replace(
        ocsampler.tiny(num_classes=CLASSES, num_frames=4),
        num_candidates=FRAMES,
        frame_counts=tuple(range(1, FRAMES + 1)),
    )
    classifier = Stage(
        name="classifier",
        loss=ocsampler_recipe.subset_loss,
        trains=(Group(prefixes=("classifier",)),),
        judge=ocsampler_recipe.all_candidates,
        optimizer=Optimizer(kind="adamw", lr=1e-3, weight_decay=0.05),
        batch_size=64,
        steps=600,
    )
    sampler = Stage(
        name="sampler",
        loss=ocsampler_recipe.policy_loss,
        trains=(Group(prefixes=("sampler",)),),
        eval_modules=("classifier",),
        optimizer=Optimizer(kind="adam", lr=1e-3),
        batch_size=40,
        steps=300,
    )

    def network() -> nn.Module:
        head = SetHead(WIDTH, hidden=128, num_classes=CLASSES)
        return SetNetwork(cfg, sampler=FeatureSkim(), classifier=head)

    return Recipe(name="features", network=network, stages=(classifier, sampler), config=cfg)


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


@torch.no_grad()
def measure(sets: dict[str, Any], seed: int) -> dict[str, list[float]]:
    """Return the accuracies of every way under one seed, one a number of frames."""
    frames, label = (torch.from_numpy(sets["test"][name]) for name in ("frames", "label"))
    with torch.enable_grad():
        first = trained(nsnet_recipe.features(cfg=nsnet.features(num_classes=CLASSES)), sets, seed)
        second = trained(
            tsqnet_recipe.features(cfg=tsqnet.features(num_classes=CLASSES)), sets, seed
        )
        third = trained(set_recipe(), sets, seed)

    def by_frame(kept: Tensor) -> Tensor:
        return mean_answer(first.recogniser.clip_logits(kept))

    scored = first.sampler(frames)
    made = partial(curve, frames=frames, label=label)
    told = {
        "nsnet": made(first.saliency(scored), answer=by_frame),
        "nsnet, frame module": made(1 - scored.frame_logits.softmax(-1)[..., -1], answer=by_frame),
        "tsqnet, visual": made(second.saliency(second.sampler(frames)), answer=by_frame),
        **plain_curves(frames, label, by_frame, seed),
        "ocsampler": made(third.sampler(frames), answer=third.classifier),
    }
    by_sets = plain_curves(frames, label, third.classifier, seed)
    told |= {f"{name}, of sets": values for name, values in by_sets.items()}
    for name, values in told.items():
        print(seed, name, [round(v, 3) for v in values], flush=True)
    return told


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = os.environ.get("FOVEAL_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = sets_of(Path(options.data))
    runs = [measure(sets, seed) for seed in options.seeds]
    told = {}
    for name in runs[0]:
        rows = [run[name] for run in runs]
        told[name] = {
            "mean": [round(statistics.fmean(ks), 4) for ks in zip(*rows, strict=True)],
            "by_seed": [[round(value, 4) for value in row] for row in rows],
        }
    few = [place for place, count in enumerate(COUNTS) if count <= 8]
    ahead = {}
    for name in ("nsnet", "nsnet, frame module", "tsqnet, visual", "random", "ocsampler"):
        plain = "uniform, of sets" if name == "ocsampler" else "uniform"
        by_seed = [
            round(statistics.fmean(run[name][i] - run[plain][i] for i in few), 4) for run in runs
        ]
        ahead[name] = {"mean": round(statistics.fmean(by_seed), 4), "by_seed": by_seed}
    write_result(
        Path("results/thetis/frames.json"),
        title="Accuracy against the number of frames on tennis strokes",
        protocol="scripts/thetis_frames.py, committed before the numbers",
        seeds=options.seeds,
        threads=1,
        measured={
            "clips": {name: len(rows["label"]) for name, rows in sets.items()},
            "frames": list(COUNTS),
            "accuracy": told,
            "ahead_of_uniform_up_to_8_frames": ahead,
        },
    )


if __name__ == "__main__":
    main()
