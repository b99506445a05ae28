"""OCSampler on tennis strokes: accuracy against the number of frames.

    python scripts/thetis_ocsampler.py --data FOLDER

The rules are in ``thetis_task.py``. Its networks take pictures, so here a skim network of one
temporal convolution on the features and its classifier of sets, trained as its recipe ``tiny`` is:
random sets, then the policy for 4 of 16 frames (600 and 300 steps).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from thetis_task import CLASSES, FRAMES, WIDTH, Answer, Sets, main, trained
from torch import Tensor, nn

from foveal.recipe import Group, Optimizer, Recipe, Stage
from foveal.systems.ocsampler import protocol, recipe
from foveal.systems.ocsampler.model import Network, SetHead


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


def set_recipe() -> Recipe:
    """Return OCSampler's two stages on features."""
    cfg = replace(
        protocol.tiny(num_classes=CLASSES, num_frames=4),
        num_candidates=FRAMES,
        frame_counts=tuple(range(1, FRAMES + 1)),
    )
    classifier = Stage(
        name="classifier",
        loss=recipe.subset_loss,
        trains=(Group(prefixes=("classifier",)),),
        judge=recipe.all_candidates,
        optimizer=Optimizer(kind="adamw", lr=1e-3, weight_decay=0.05),
        batch_size=64,
        steps=600,
    )
    sampler = Stage(
        name="sampler",
        loss=recipe.policy_loss,
        trains=(Group(prefixes=("sampler",)),),
        eval_modules=("classifier",),
        optimizer=Optimizer(kind="adam", lr=1e-3),
        batch_size=40,
        steps=300,
    )

    def network() -> nn.Module:
        head = SetHead(WIDTH, hidden=128, num_classes=CLASSES)
        return Network(cfg, sampler=FeatureSkim(), classifier=head)

    return Recipe(name="features", network=network, stages=(classifier, sampler), config=cfg)


def measure(sets: Sets, seed: int) -> dict[str, tuple[Tensor, Answer]]:
    """Return what the trained sampler finds salient, and its classifier of sets."""
    network: Network = trained(set_recipe(), sets, seed)
    with torch.no_grad():
        saliency = network.sampler(torch.from_numpy(sets["test"]["frames"]))
    return {"ocsampler": (saliency, network.classifier)}


if __name__ == "__main__":
    main("ocsampler", measure)
