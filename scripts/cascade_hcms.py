"""Set HCMS beside a cascade by confidence on Haystack: which clips need the next sense?

The rules below were written down before the first number was seen.

    python scripts/cascade_hcms.py   # results/hcms/cascade.json; needs the runs of claim_hcms.py

Task, samples, seeds, senses and cost rule are those of ``scripts/claim_hcms.py``, whose networks
are taken up. A cascade asks ``sound alone``; where its largest probability is below a threshold the
appearance of the whole clip is looked at too, and ``sound and appearance`` (two levels with open
gates, learnt for as many steps) is asked; where that is below it, the motion of the whole clip is
watched and ``always on`` answers. What was paid for stays paid, and levels are counted once. The
threshold goes through ``THRESHOLDS`` on the test samples; every one is told, none is chosen, and
there is no claim.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claim_hcms import (
    NUM_TRAIN,
    SEEDS,
    arrays_of,
    fitted,
    longer,
    macs_of,
    made_of,
    run_all,
    run_of,
    taught,
    told,
)

from foveal.results import write_result
from foveal.systems.hcms import protocol, recipe
from foveal.systems.hcms.model import Network, always_open
from foveal.train import load_weights
from foveal.types import Array

OUT = Path("results/hcms/cascade.json")
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def two_levels(senses: Network, seed: int, folder: Path) -> Network:
    """Return the network of sound and appearance with open gates."""
    cfg = protocol.tiny()
    learnt = recipe.sensed_data(senses, arrays_of(cfg, made_of("train", NUM_TRAIN, seed)))
    load = partial(load_weights, path=folder / "senses" / "senses.safetensors")
    run = longer(run_of(replace(cfg, senses=("sound", "appearance"), gates="open")))
    return fitted(run, learnt, folder / "two-levels", seed, prepare=load)


def cascade(
    probs: Mapping[str, Array], labels: Array, costs: Array, threshold: float
) -> dict[str, float]:
    """Return accuracy and cost of asking one network after the other.

    Args:
        probs: (N,K) of each network, from cheap to dear.
        labels: (N,).
        costs: (3,), what asking up to each costs.
        threshold: a network whose largest probability is below it is not believed.
    """
    rows = list(probs.values())
    unsure = np.stack([row.max(axis=1) < threshold for row in rows[:-1]])
    last = np.cumprod(unsure, axis=0).sum(axis=0)  # how many were not believed before
    answers = np.stack([row.argmax(axis=1) for row in rows])[last, np.arange(len(labels))]
    return {
        "threshold": threshold,
        "accuracy": round(float((answers == labels).mean()), 4),
        "mmacs": round(float(costs[last].mean()) / 1e6, 4),
    }


def judge(seed: int, folder: Path) -> dict[str, Any]:
    """Return the figures of one seed."""
    made = taught(seed, folder)
    networks = {
        "sound": made.networks["sound alone"],
        "sound and appearance": two_levels(made.networks["hcms"], seed, folder),
        "all": made.networks["always on"],
    }
    ran = {name: run_all(net, made.test, always_open) for name, net in networks.items()}
    probs = {name: one.logits.softmax(dim=1).numpy() for name, one in ran.items()}
    macs, steps = macs_of(networks["all"]), protocol.tiny().num_steps
    own = np.array([macs["listen"], macs["appear"], macs["move"]]) * steps
    costs = np.cumsum(own + macs["classifier"])
    name = "sound and appearance"
    return {
        "seed": seed,
        name: told(networks[name], ran[name], made.made, gated=False),
        "cascade": [cascade(probs, made.made.labels, costs, t) for t in THRESHOLDS],
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path(".cache/claim_hcms"))
    options = parser.parse_args()
    rows = [judge(seed, options.runs / str(seed)) for seed in SEEDS]
    points = zip(*(row["cascade"] for row in rows), strict=True)
    write_result(
        OUT,
        title="a cascade by confidence on the task of HCMS's claim",
        protocol="scripts/cascade_hcms.py, committed before the numbers",
        seeds=SEEDS,
        threads=torch.get_num_threads(),
        measured={
            "by_seed": rows,
            "mean": [
                {key: round(statistics.fmean(p[key] for p in same), 4) for key in same[0]}
                for same in points
            ],
        },
    )


if __name__ == "__main__":
    main()
