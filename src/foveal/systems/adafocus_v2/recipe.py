"""How AdaFocusV2 is trained: one stage, two passes an iteration, no reinforcement learning.

Source: arXiv 2112.14238, section 3.3, and the released commands. A batch holds ``frames`` uint8
(B,T,3,S,S) in time order and ``label`` int64 (B,); for the TSM variant also ``focus_frames``.
Letters: B samples, T frames, S side, K classes.

Deviation: there is no 51st epoch at learning rate 0, which moves nothing but the statistics of
batch normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import MultiScaleCrop, gentle
from foveal.recipe import Batch, Draw, Group, Loss, Optimizer, Recipe, Stage, StepContext
from foveal.systems.adafocus_v2.model import Network, ShiftNetwork, make_network
from foveal.systems.adafocus_v2.protocol import Config
from foveal.systems.adafocus_v2.protocol import paper as paper_config
from foveal.systems.adafocus_v2.protocol import paper_tsm as paper_tsm_config
from foveal.systems.adafocus_v2.protocol import small as small_config
from foveal.systems.adafocus_v2.protocol import tiny as tiny_config
from foveal.types import Canvas

GLANCE = ("glance", "glance_head")
FOCUS = ("focus", "focus_head")


def two_pass_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    diversity: bool = True,
    detach: bool = True,
) -> Mapping[str, Tensor]:
    """Return the mean loss of looking where the policy says and of looking at random.

    A pass costs the cross-entropy of every prefix, of the glance alone and of the squares alone.
    The first pass teaches the policy through the pixels of its squares; the second shows the
    focus squares of all sorts ("diversity augmentation").

    Args:
        network: a :class:`Network`.
        batch: ``frames`` and ``label``.
        context: its generator draws the random places.
        diversity: off leaves the second pass out.
        detach: off lets the policy's gradient into the glance.
    """
    net = cast(Network, network)
    labels = batch["label"]
    glanced = net.glance_at(batch["frames"])
    actions = net.place(glanced, detach=detach)
    places = {"policy_pass": actions}
    if diversity:
        drawn = torch.rand(actions.shape, generator=context.generator)
        places["random_pass"] = drawn.to(actions)
    glance_loss = rows_loss(glanced.logits, labels)
    losses = {}
    for name, where in places.items():
        looked = net.look(glanced, where)
        prefix_loss = rows_loss(looked.logits, labels)
        losses[name] = prefix_loss + glance_loss + rows_loss(looked.focus_logits, labels)
    return {"loss": torch.stack(list(losses.values())).mean(), **losses}


def whole_frame_loss(
    network: nn.Module, batch: Batch, context: StepContext
) -> Mapping[str, Tensor]:
    """Return the loss of one pass in which the focus sees whole frames; no policy is asked.

    Not in the paper, whose encoders come from ImageNet: ones with fresh weights see too little of
    anything in squares at random to begin with. An encoder of convolutions and a maximum takes
    pictures of any size, and what it learns from frames holds for squares, which are not rescaled.
    Only prefixes count: in untrimmed clips most frames alone do not show their label.
    """
    return {"loss": rows_loss(_of_whole_frames(network, batch), batch["label"])}


def whole_frame_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) after all frames, each seen whole: the first stage is judged so."""
    return _of_whole_frames(network, batch)[:, -1]


def _of_whole_frames(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,T,K) of every prefix when the focus sees whole frames."""
    net = cast(Network, network)
    glanced = net.glance_at(batch["frames"])
    _, vectors = net.focus(net.normalise(glanced.frames.flatten(0, 1)))
    vectors = vectors.unflatten(0, glanced.vectors.shape[:2])
    logits: Tensor = net.classifier(torch.cat([glanced.vectors, vectors], dim=-1))
    return logits


def shift_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the same for the TSM variant; ``batch`` holds ``focus_frames`` too.

    The loss of the final logits trains the two final heads alone, which read detached vectors.
    """
    net = cast(ShiftNetwork, network)
    labels = batch["label"]
    maps, final, regular = net.glance_at(batch["frames"])
    actions = net.place(maps)
    drawn = torch.rand(actions.shape, generator=context.generator).to(actions)
    glance_loss = functional.cross_entropy(regular, labels)
    losses = {}
    for name, where in (("policy_pass", actions), ("random_pass", drawn)):
        focus_final, focus_regular = net.look(batch["focus_frames"], where)
        final_loss = functional.cross_entropy(final + focus_final, labels)
        focus_loss = functional.cross_entropy(focus_regular, labels)
        losses[name] = final_loss + glance_loss + focus_loss
    return {"loss": torch.stack(list(losses.values())).mean(), **losses}


def rows_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``logits`` (B,T,K), every row with its clip's label (B,)."""
    repeated = labels[:, None].expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), repeated.flatten())


PUBLISHED: Mapping[str, str] = {"resnet50": "resnet50", "mobilenetv2": "mobilenetv2_100"}
"""Encoders to the names that published weights have."""

LARGE = Canvas(height=256, width=256, short_side=256)
"""What the paper's pictures are cut from."""


def paper(*, cfg: Config | None = None) -> Recipe:
    """Return the offline variant as released for ActivityNet and FCVID (batch 32).

    The paper trains 3.4 to 4.3 hours on four RTX 3090 and reports 79.0 % mAP on ActivityNet
    for 128 px. Mini-Kinetics uses 1.5 times the learning rate and batch 48.

    Its pictures are cut at four scales of the short side (1, .875, .75, .66) and flipped, here
    from the centre square, 256 px wide. Its ResNet-50 glance starts from ImageNet weights
    fine-tuned at 96 px; ``pretrained`` names the plain ones.
    """
    cfg = paper_config() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=two_pass_loss,
        trains=(
            Group(prefixes=("policy",), lr_scale=0.1),
            Group(prefixes=GLANCE, lr_scale=0.5),
            Group(prefixes=FOCUS),
            Group(prefixes=("classifier",), lr_scale=5.0),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.002, momentum=0.9, weight_decay=1e-4),
        batch_size=32,
        epochs=50,
        schedule_every="epoch",
    )
    return Recipe(
        name="paper",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=draws_of(cfg, LARGE),
        augment=MultiScaleCrop(size=cfg.canvas.width),
        pretrained={
            f"{who}.net": PUBLISHED[name]
            for who, name in (("glance", cfg.glance), ("focus", cfg.focus))
            if name in PUBLISHED
        },
    )


def paper_tsm(*, cfg: Config | None = None) -> Recipe:
    """Return the TSM variant as released for Something-Something (batch 32).

    The paper reports 48.2 % on Something-Something V1 for 144 px; how long it trains is not
    stated. By count it is 86,017 clips x 50 epochs x 2 passes x 3 x 20 GMACs, about 0.5 EMACs.
    Nothing is mirrored: left and right are classes.
    """
    cfg = paper_tsm_config() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=shift_loss,
        trains=(
            Group(prefixes=("policy",), lr_scale=0.01),
            Group(prefixes=("glance",), lr_scale=0.5),
            Group(prefixes=("focus",)),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4),
        batch_size=32,
        epochs=50,
        schedule_every="epoch",
        clip_norm=20.0,
    )
    return Recipe(
        name="paper_tsm",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=draws_of(cfg, LARGE),
        augment=MultiScaleCrop(size=cfg.canvas.width, flip=False),
        pretrained={"glance.encoder.net": "mobilenetv2_100", "focus.encoder.net": "resnet50"},
    )


def tiny(*, cfg: Config | None = None, steps: int = 1200, loss: Loss = two_pass_loss) -> Recipe:
    """Return a run that one CPU thread finishes in a few minutes (Haystack, 64 px).

    All parts learn at one rate: nothing here is pretrained.
    """
    cfg = tiny_config() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=3e-3, weight_decay=1e-4),
        batch_size=24,
        steps=steps,
        warmup_steps=50,
    )
    return Recipe(
        name="tiny",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=draws_of(cfg, cfg.canvas),
    )


def small(*, cfg: Config | None = None, whole_steps: int = 200, steps: int = 300) -> Recipe:
    """Return a run for real clips at 96 px: some minutes on one core.

    Nothing is pretrained, so a stage on whole frames comes first; see :func:`whole_frame_loss`.
    Pictures are cut, mirrored and coloured at random.
    """
    cfg = small_config() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    optimizer = Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01)
    whole = Stage(
        name="whole-frames",
        loss=whole_frame_loss,
        judge=whole_frame_logits,
        trains=(Group(prefixes=("glance", "focus", "classifier")),),
        optimizer=optimizer,
        batch_size=16,
        steps=whole_steps,
        warmup_steps=50,
    )
    end_to_end = Stage(
        name="end-to-end",
        loss=two_pass_loss,
        trains=(Group(prefixes=("",)),),
        optimizer=optimizer,
        batch_size=16,
        steps=steps,
        warmup_steps=20,
    )
    return Recipe(
        name="small",
        network=partial(make_network, cfg),
        stages=(whole, end_to_end),
        config=cfg,
        draws=draws_of(cfg, large),
        augment=augment,
    )


def draws_of(cfg: Config, view: Canvas) -> tuple[Draw, ...]:
    """Return what a batch holds: one set of frames, or one to glance at and one to focus on."""
    glanced = Draw(num_frames=cfg.num_frames, view=view)
    if cfg.place == "frame":
        return (glanced,)
    return (glanced, Draw(name="focus_frames", num_frames=cfg.num_focus_frames, view=view))


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "paper_tsm": paper_tsm,
    "small": small,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
