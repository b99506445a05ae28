"""How the baselines are trained: one stage, the mean of the frames' logits against the label.

Source: Wang et al., "Temporal Segment Networks", ECCV 2016, arXiv 1608.00859 (segmental
consensus by averaging). A batch holds ``frames`` uint8 (B,T,3,H,W), or stored features float32
(B,T,D), and ``label`` int64 (B,), or float (B,K) where clips may show several classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from torch import Tensor, nn

from foveal.layers import MultiScaleCrop, gentle, is_right, label_loss
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.systems.baselines import protocol
from foveal.systems.baselines.model import Network
from foveal.systems.baselines.protocol import Config
from foveal.types import Canvas

BACKBONE = "encoder.backbone"

TRAIN_FRAMES = 3
"""Parts a clip is drawn from in the paper's training, whatever number the test looks at."""


def consensus_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the loss of the mean of the frames' logits."""
    logits = cast(Network, network).frame_logits(batch["frames"]).mean(dim=1)
    accuracy = is_right(logits, batch["label"]).float().mean()
    return {"loss": label_loss(logits, batch["label"]), "accuracy": accuracy}


def paper(*, cfg: Config | None = None) -> Recipe:
    """Temporal segment networks on Kinetics-400, ResNet-50 from ImageNet weights.

    SGD at 0.01 for a batch of 256, three frames a clip in training, 25 at test, dropout 0.8. The
    paper has another backbone and other data, so no figure of it belongs here. By count it is
    240,000 clips x 100 epochs x 3 frames x 3 x 4.1 GMACs, about 0.9 EMACs: for GPUs.
    """
    cfg = protocol.paper() if cfg is None else cfg
    assert isinstance(cfg.canvas, Canvas)  # pictures, not features
    stage = Stage(
        name="classifier",
        loss=consensus_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
        batch_size=256,
        epochs=100,
        clip_norm=40.0,
    )
    return Recipe(
        name="paper",
        network=partial(Network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=TRAIN_FRAMES, view=_margin(cfg.canvas)),),
        augment=MultiScaleCrop(size=cfg.canvas.width),
        pretrained={BACKBONE: cfg.network},
    )


def small(*, cfg: Config | None = None) -> Recipe:
    """Four convolutions from scratch, on 96 px: minutes on two CPU cores."""
    cfg = protocol.small() if cfg is None else cfg
    assert isinstance(cfg.canvas, Canvas)  # pictures, not features
    stage = Stage(
        name="classifier",
        loss=consensus_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01),
        batch_size=16,
        steps=300,
        warmup_steps=20,
    )
    large, augment = gentle(cfg.canvas)
    return Recipe(
        name="small",
        network=partial(Network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=TRAIN_FRAMES, view=large),),
        augment=augment,
    )


def lite(*, cfg: Config | None = None) -> Recipe:
    """EfficientNet-Lite0 on 128 px, for ``--pretrained``: minutes on two CPU cores.

    The backbone learns at a tenth of the rate and its normalisation keeps ImageNet's statistics.
    """
    cfg = protocol.lite() if cfg is None else cfg
    assert isinstance(cfg.canvas, Canvas)  # pictures, not features
    stage = Stage(
        name="classifier",
        loss=consensus_loss,
        trains=(Group(prefixes=(BACKBONE,), lr_scale=0.1), Group(prefixes=("",))),
        eval_modules=(BACKBONE,),
        optimizer=Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01),
        batch_size=16,
        steps=120,
        warmup_steps=10,
    )
    large, augment = gentle(cfg.canvas)
    return Recipe(
        name="lite",
        network=partial(Network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=TRAIN_FRAMES, view=large),),
        augment=augment,
        pretrained={BACKBONE: cfg.network},
    )


def features(*, cfg: Config | None = None) -> Recipe:
    """One layer on stored features: seconds."""
    cfg = protocol.features() if cfg is None else cfg
    stage = Stage(
        name="classifier",
        loss=consensus_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=1e-3, weight_decay=0.05),
        batch_size=64,
        steps=1000,
    )
    return Recipe(
        name="features",
        network=partial(Network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=cfg.canvas),),
    )


def tiny(*, cfg: Config | None = None) -> Recipe:
    """A few convolutions on 32 px, for tests."""
    cfg = protocol.tiny() if cfg is None else cfg
    stage = Stage(
        name="classifier",
        loss=consensus_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=3e-3),
        batch_size=8,
        steps=60,
    )
    return Recipe(
        name="tiny",
        network=partial(Network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=cfg.canvas),),
    )


def _margin(canvas: Canvas) -> Canvas:
    """Return the square that crops for ``canvas`` are cut from."""
    side = canvas.short_side or canvas.height
    return Canvas(height=side, width=side, short_side=side)


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "small": small,
    "lite": lite,
    "features": features,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
