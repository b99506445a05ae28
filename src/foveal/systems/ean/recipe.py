"""How EAN is trained: one stage, cross-entropy alone.

Source: arXiv 2107.10771, section 4.2, and the released commands. A batch holds ``frames`` uint8
(B, N*5, 3, H, W), five in succession in each of N segments, and ``label`` int64 (B,). Letters: B
samples, N segments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import Chain, MultiScaleCrop, gentle
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.systems.ean.model import Network, make_network
from foveal.systems.ean.protocol import Config
from foveal.systems.ean.protocol import paper as paper_config
from foveal.systems.ean.protocol import paper_16 as paper_16_config
from foveal.systems.ean.protocol import small as small_config
from foveal.systems.ean.protocol import tiny as tiny_config
from foveal.types import Canvas

SOMETHING_PAIRS = ((86, 87), (93, 94), (166, 167))
"""Classes of Something-Something (V1 and V2) that are each other's mirror image: left and right."""

LARGE = Canvas(height=240, width=240, short_side=240)
"""What the paper's pictures are cut from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Mirror half of the samples, and their label with them where left and right are classes.

    Args:
        pairs: labels that a mirror exchanges.
    """

    pairs: tuple[tuple[int, int], ...] = ()

    def __call__(
        self, sample: Mapping[str, Tensor], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Return ``sample`` with its pictures, uint8 (T,3,H,W), and ``label`` mirrored or not."""
        if torch.rand((), generator=generator) >= 0.5:
            return sample
        return self.mirrored(sample)

    def mirrored(self, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``sample`` mirrored."""
        other = {a: b for pair in self.pairs for a, b in (pair, pair[::-1])}
        turned = {name: t.flip(-1) if t.ndim == 4 else t for name, t in sample.items()}
        label = sample["label"]
        turned["label"] = torch.full_like(label, other.get(int(label), int(label)))
        return turned


def class_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the cross-entropy; nothing steers objects or mixing matrices."""
    logits = cast(Network, network)(batch["frames"]).logits
    accuracy = (logits.argmax(dim=1) == batch["label"]).float().mean()
    return {"loss": functional.cross_entropy(logits, batch["label"]), "accuracy": accuracy}


def paper(
    *, cfg: Config | None = None, pairs: tuple[tuple[int, int], ...] = SOMETHING_PAIRS
) -> Recipe:
    """Return the 8-segment network as released for Something-Something (batch 64).

    The authors report 53.4 % on Something-Something V1 with 8 segments. How long it trains is not
    stated; by count it is 86,017 clips x 70 epochs x 3 x 37 GMACs, about 0.7 EMACs.

    Args:
        cfg: the network.
        pairs: labels that mirroring exchanges; none for data where left and right are no classes.
    """
    return _published("paper", paper_config() if cfg is None else cfg, pairs, batch_size=64)


def paper_16(
    *, cfg: Config | None = None, pairs: tuple[tuple[int, int], ...] = SOMETHING_PAIRS
) -> Recipe:
    """Return the 16-segment network as released (four GPUs of four clips), else as `paper`.

    The authors report 54.7 % on Something-Something V1. The learning rate follows the batch.
    """
    return _published("paper_16", paper_16_config() if cfg is None else cfg, pairs, batch_size=16)


def _published(
    name: str, cfg: Config, pairs: tuple[tuple[int, int], ...], *, batch_size: int
) -> Recipe:
    stage = Stage(
        name="end-to-end",
        loss=class_loss,
        trains=(
            Group(prefixes=("",), only="norms", weight_decay=0.0),
            Group(prefixes=("",), only="biases", lr_scale=2.0, weight_decay=0.0),
            Group(prefixes=("",)),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.01 * batch_size / 64, momentum=0.9, weight_decay=5e-4),
        batch_size=batch_size,
        epochs=70,
        schedule="constant",
        drops=(41 / 70, 51 / 70, 61 / 70),
        clip_norm=20.0,
    )
    size = cfg.canvas.width
    cut = MultiScaleCrop(size=size, flip=False)
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(_draw(cfg, LARGE),),
        augment=Chain((cut, Mirror(pairs=pairs))),
        pretrained={"backbone": "resnet50"} if cfg.backbone == "resnet50" else {},
    )


def tiny(*, cfg: Config | None = None, steps: int = 500) -> Recipe:
    """Return a run that one CPU thread finishes in minutes (Haystack, 64 px).

    The rate stays high for long: which of two motions runs backwards is told by products of place
    and time alone, and those are found late.
    """
    cfg = tiny_config() if cfg is None else cfg
    return Recipe(
        name="tiny",
        network=partial(make_network, cfg),
        stages=(_short(steps=steps, lr=5e-3, batch_size=16),),
        config=cfg,
        draws=(_draw(cfg, cfg.canvas),),
    )


def small(*, cfg: Config | None = None, steps: int = 400) -> Recipe:
    """Return a run for real clips at 96 px: some minutes on one core.

    Pictures are cut, mirrored and coloured at random.
    """
    cfg = small_config() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    return Recipe(
        name="small",
        network=partial(make_network, cfg),
        stages=(_short(steps=steps, lr=2e-3, batch_size=16),),
        config=cfg,
        draws=(_draw(cfg, large),),
        augment=augment,
    )


def _short(*, steps: int, lr: float, batch_size: int) -> Stage:
    return Stage(
        name="end-to-end",
        loss=class_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=lr, weight_decay=1e-3),
        batch_size=batch_size,
        steps=steps,
        schedule="constant",
        drops=(0.8,),
        warmup_steps=min(30, steps // 10),
        clip_norm=20.0,
    )


def _draw(cfg: Config, view: Canvas) -> Draw:
    return Draw(num_frames=cfg.num_segments * cfg.burst, burst=cfg.burst, view=view)


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "paper_16": paper_16,
    "small": small,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
