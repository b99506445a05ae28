"""A network without statistics or draws, and clips with one broken among them: for processes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from foveal.dataset import Sample
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.sampling.choose import segment_centres
from foveal.train import ArrayData, ClipData
from foveal.types import Canvas, ClipInfo
from tests.helpers_bundle import COLOURS, write_clip

CANVAS = Canvas(height=8, width=8)
NUM_CLIPS = 13
BROKEN = (4, 11)
"""Indices of the clips that are no videos; in two processes each of them meets one."""


class Network(nn.Module):
    """uint8 (B,T,3,8,8) to logits (B,3); a part that a stage may leave out of its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, len(COLOURS))
        self.spare = nn.Linear(8, 1)

    def forward(self, frames: Tensor) -> Tensor:
        seen = functional.relu(self.conv(frames.flatten(0, 1).float() / 255 - 0.5)).mean((2, 3))
        logits: Tensor = self.head(seen).reshape(*frames.shape[:2], -1).mean(1)
        return logits


def loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    logits = cast(Network, network)(batch["frames"])
    return {"loss": functional.cross_entropy(logits, batch["label"])}


def recipe(*, batch_size: int = 8, steps: int = 7, accumulate: int = 1) -> Recipe:
    stage = Stage(
        name="plain",
        loss=loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="sgd", lr=0.1),
        batch_size=batch_size,
        steps=steps,
        clip_norm=1.0,
        accumulate=accumulate,
    )
    return Recipe(
        name="plain",
        network=Network,
        stages=(stage,),
        draws=(Draw(num_frames=2, view=CANVAS),),
    )


def arrays(num: int = 41) -> ArrayData:
    """Pictures whose class is their brightest channel; ``num`` is no multiple of two."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, num)
    frames = rng.integers(0, 100, (num, 2, 3, 8, 8)).astype(np.uint8)
    frames[np.arange(num), :, labels] += 120
    return ArrayData({"frames": frames, "label": labels})


def write_clips(folder: Path) -> None:
    """Draw the clips, two of which are broken."""
    colours = list(COLOURS.values())
    for i in range(NUM_CLIPS):
        path = folder / f"{i:02}.mp4"
        if i in BROKEN:
            path.write_bytes(b"no video" * 40)
        else:
            write_clip(path, [colours[i % 3]], frames_each=4)


def samples(folder: Path) -> tuple[Sample, ...]:
    return tuple(
        Sample(path=str(folder / f"{i:02}.mp4"), label=i % 3, where=f"clip {i}")
        for i in range(NUM_CLIPS)
    )


def drawn(folder: Path) -> ClipData:
    """The clips to learn from."""
    return ClipData(samples(folder), kind="video", draws=recipe().draws)


def centres(num_frames: int, clip: ClipInfo) -> tuple[float, ...]:
    return segment_centres(clip.duration_seconds, num_frames)


def judged(folder: Path) -> ClipData:
    """The clips to judge with."""
    return ClipData(
        samples(folder), kind="video", planned=partial(centres, 2), views={"frames": CANVAS}
    )
