"""How AdaFocusV2 is trained: one stage, two passes an iteration, no reinforcement learning.

Source: arXiv 2112.14238, section 3.3, and the released commands. A batch holds ``frames`` uint8
(B,T,3,S,S) in time order and ``label`` int64 (B,); for the TSM variant also ``focus_frames``.
Letters: B samples, T frames, S side, K classes.

Deviation: there is no 51st epoch at learning rate 0, which moves nothing but the statistics of
batch normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.recipe import Batch, Group, Loss, Optimizer, Recipe, Stage, StepContext
from foveal.systems.adafocus_v2.model import Network, ShiftNetwork, make_network
from foveal.systems.adafocus_v2.protocol import GlanceNet
from foveal.systems.adafocus_v2.protocol import paper as paper_config
from foveal.systems.adafocus_v2.protocol import paper_tsm as paper_tsm_config
from foveal.systems.adafocus_v2.protocol import small as small_config
from foveal.systems.adafocus_v2.protocol import tiny as tiny_config

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
    net = cast(Network, network)
    glanced = net.glance_at(batch["frames"])
    _, vectors = net.focus(net.normalise(glanced.frames.flatten(0, 1)))
    vectors = vectors.unflatten(0, glanced.vectors.shape[:2])
    logits = net.classifier(torch.cat([glanced.vectors, vectors], dim=-1))
    return {"loss": rows_loss(logits, batch["label"])}


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


def paper(
    *,
    num_classes: int = 200,
    focus_size: int = 128,
    glance: GlanceNet = "mobilenetv2",
    pretrained: bool = False,
) -> Recipe:
    """Return the offline variant as released for ActivityNet and FCVID (batch 32).

    The paper trains 3.4 to 4.3 hours on four RTX 3090 and reports 79.0 % mAP on ActivityNet
    for 128 px. Mini-Kinetics uses 1.5 times the learning rate and batch 48.

    Its pictures are cut at four scales of the short side (1, .875, .75, .66) and flipped, one frame
    drawn from each of 16 parts of the video; that is for the training data to do. Its ResNet-50
    glance starts from ImageNet weights fine-tuned at 96 px, which ``pretrained`` does not bring.
    """
    cfg = paper_config(num_classes=num_classes, focus_size=focus_size, glance=glance)
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
        name="paper", network=partial(make_network, cfg, pretrained=pretrained), stages=(stage,)
    )


def paper_tsm(*, num_classes: int = 174, focus_size: int = 144, pretrained: bool = False) -> Recipe:
    """Return the TSM variant as released for Something-Something (batch 32).

    The paper reports 48.2 % on Something-Something V1 for 144 px.
    """
    cfg = paper_tsm_config(num_classes=num_classes, focus_size=focus_size)
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
        name="paper_tsm", network=partial(make_network, cfg, pretrained=pretrained), stages=(stage,)
    )


def tiny(
    *,
    num_classes: int = 8,
    num_frames: int = 2,
    steps: int = 1200,
    loss: Loss = two_pass_loss,
) -> Recipe:
    """Return a run that one CPU thread finishes in a few minutes (Haystack, 64 px).

    All parts learn at one rate: nothing here is pretrained.
    """
    cfg = tiny_config(num_classes=num_classes, num_frames=num_frames)
    stage = Stage(
        name="end-to-end",
        loss=loss,
        trains=(Group(prefixes=("",)),),
        optimizer=Optimizer(kind="adamw", lr=3e-3, weight_decay=1e-4),
        batch_size=24,
        steps=steps,
        warmup_steps=50,
    )
    return Recipe(name="tiny", network=partial(make_network, cfg), stages=(stage,))


def small(
    *, num_classes: int = 10, num_frames: int = 8, whole_steps: int = 300, steps: int = 700
) -> Recipe:
    """Return a run for real clips at 96 px: some minutes on one core.

    Nothing is pretrained, so a stage on whole frames comes first; see :func:`whole_frame_loss`.
    Let the training data cut, mirror and colour at random.
    """
    optimizer = Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01)
    whole = Stage(
        name="whole-frames",
        loss=whole_frame_loss,
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
    cfg = small_config(num_classes=num_classes, num_frames=num_frames)
    return Recipe(name="small", network=partial(make_network, cfg), stages=(whole, end_to_end))
