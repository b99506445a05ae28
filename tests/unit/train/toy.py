"""A network of three parts, a set it can learn, and a recipe with two stages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.recipe import Batch, Group, Optimizer, Recipe, Stage, StepContext
from foveal.train import ArrayData

NUM_CLASSES = 3
NUM_SAMPLES = 40


class Network(nn.Module):
    """uint8 (B,3,8,8) to logits: a frozen-able glance, then a head with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.glance = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.glance_head = nn.Linear(8, NUM_CLASSES)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, NUM_CLASSES))

    def vector(self, frames: Tensor) -> Tensor:
        vector: Tensor = self.glance(frames.float() / 255 - 0.5).amax((2, 3))
        return vector

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.head(self.vector(frames))
        return logits


def glance_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    assert isinstance(network, Network)
    logits = network.glance_head(network.vector(batch["frames"]))
    return {"loss": functional.cross_entropy(logits, batch["label"])}


def head_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Cross-entropy with noise on the logits, drawn from the run's generator."""
    logits = network(batch["frames"])
    noise = torch.randn(logits.shape, generator=context.generator)
    loss = functional.cross_entropy(logits + 0.1 * noise, batch["label"])
    accuracy = (logits.argmax(1) == batch["label"]).float().mean()
    return {"loss": loss, "accuracy": accuracy}


def recipe(*, steps: int = 6) -> Recipe:
    return Recipe(
        name="toy",
        network=Network,
        stages=(
            Stage(
                name="glance",
                loss=glance_loss,
                trains=(Group(prefixes=("glance",)), Group(prefixes=("glance_head",), lr_scale=5)),
                optimizer=Optimizer(kind="sgd", lr=0.05, weight_decay=1e-4),
                batch_size=16,
                epochs=3,
                clip_norm=1.0,
            ),
            Stage(
                name="head",
                loss=head_loss,
                trains=(Group(prefixes=("head",)),),
                optimizer=Optimizer(kind="adam", lr=0.02),
                batch_size=8,
                steps=steps,
                eval_modules=("glance", "glance_head"),
                warmup_steps=2,
            ),
        ),
    )


def data() -> ArrayData:
    """Pictures whose class is their brightest channel."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_CLASSES, NUM_SAMPLES)
    frames = rng.integers(0, 100, (NUM_SAMPLES, 3, 8, 8)).astype(np.uint8)
    frames[np.arange(NUM_SAMPLES), labels] += 120
    return ArrayData({"frames": frames, "label": labels})


def held_out() -> ArrayData:
    """Pictures the toy is not trained on, a few of them with a wrong label."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, NUM_CLASSES, 21)
    frames = rng.integers(0, 140, (21, 3, 8, 8)).astype(np.uint8)
    frames[np.arange(21), labels] += 90
    return ArrayData({"frames": frames, "label": np.where(np.arange(21) < 4, 0, labels)})


def judged_by_hand(network: nn.Module) -> tuple[float, float]:
    """Return accuracy and loss on the pictures held out."""
    batch = {name: torch.from_numpy(array) for name, array in held_out().arrays.items()}
    with torch.no_grad():
        logits = network.eval()(batch["frames"])
    right = (logits.argmax(1) == batch["label"]).double().mean()
    return float(right), float(functional.cross_entropy(logits, batch["label"]))
