"""What each process does in ``test_processes``; in the test's own, or by ``rank.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from foveal.train import Running, TrainError, fit
from foveal.train.judge import judge
from foveal.train.processes import make_fabric
from tests.unit.train import plain, toy

CPU = Running(device="cpu", validations=2, max_bad_share=0.2, checkpoint_steps=2)


def work(clips: Path, out: Path) -> dict[str, Any]:
    """Train on arrays, then on clips; judge; return what this process saw of it."""
    told: list[str] = []
    weights = fit(plain.recipe(), plain.arrays(), out=out / "arrays", seed=5, running=CPU)
    parts = fit(plain.recipe(accumulate=2), plain.arrays(), out=out / "parts", seed=5, running=CPU)
    films = fit(
        plain.recipe(batch_size=4),
        plain.drawn(clips),
        out=out / "clips",
        seed=5,
        validation=plain.judged(clips),
        running=CPU,
        tell=told.append,
    )
    again = fit(
        plain.recipe(batch_size=4),
        plain.drawn(clips),
        out=out / "clips",
        seed=5,
        validation=plain.judged(clips),
        running=CPU,
        tell=told.append,
        resume=True,
    )
    assert again.history == films.history
    fabric = make_fabric("cpu", "32-true")
    torch.manual_seed(3)  # the same weights, to the last bit, for any number of processes
    network = plain.Network().train()
    logits = plain.recipe().stages[0].judge
    judged = judge(network, plain.judged(clips), logits=logits, fabric=fabric)
    # With statistics of batches, which every process has its own of.
    normed = fit(
        toy.recipe(), toy.data(), out=out / "toy", seed=5, validation=toy.held_out(), running=CPU
    )
    refused = ""
    if fabric.world_size > 1:
        try:
            fit(plain.recipe(batch_size=5), plain.arrays(), out=out / "odd", seed=5, running=CPU)
        except TrainError as error:
            refused = str(error)
    return {
        "size": fabric.world_size,
        "steps": [[point.stage, point.step] for point in films.history],
        "losses": [point.values["loss"] for point in films.history],
        "validations": [point.validation for point in films.history],
        "told": told,
        "accuracy": judged.accuracy,
        "loss": judged.loss,
        "num_clips": judged.num_clips,
        "troubles": [trouble.path for trouble in judged.troubles],
        "was_training": all(module.training for module in network.modules()),
        "weights": tensors(weights.network),
        "parts": tensors(parts.network),
        "clip_weights": tensors(films.network),
        "normed": [p.validation for p in normed.history if p.stage == "glance" and p.validation],
        "refused": refused,
    }


def tensors(network: torch.nn.Module) -> dict[str, list[Any]]:
    return {name: tensor.tolist() for name, tensor in network.state_dict().items()}
