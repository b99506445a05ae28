"""How TSQNet is trained: a recogniser, then, that frozen, both branches by the labels of videos.

Source: arXiv 2207.10379; the loss and its numbers are a reconstruction. A batch holds ``frames``
uint8 (B,T,3,H,W) or stored features (B,T,D), perhaps ``preview`` (B,T,D) and ``objects`` (B,T,O),
and ``label`` int64 (B,), or float (B,C) where videos may show several classes. Letters: B videos,
T candidates, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.nn import Module, functional

from foveal.backbones import imagenet_names
from foveal.backbones.text import TextError
from foveal.layers import ResizedCrop, gentle, has_class
from foveal.recipe import Batch, ClassNames, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.recipe.salient import (
    drawn_beside,
    paper_kept_frames,
    paper_recogniser,
    pictures,
    quick_stages,
    sampled_logits,
)
from foveal.systems.tsqnet import protocol
from foveal.systems.tsqnet.model import (
    OBJECT_NETWORKS,
    Asked,
    Network,
    Words,
    make_network,
    set_words,
    words_of,
)
from foveal.systems.tsqnet.protocol import Config
from foveal.types import Canvas

OBJECTS = "sampler.textual.encoder.net"
"""The object network with its classifier; :data:`OBJECT_NETWORKS` says which it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLoss:
    """How the branches are taught.

    Args:
        focus: exponent that makes easy absent classes count less (asymmetric loss); 0 is plain
            binary cross-entropy.
        clip: an absent class less likely than this does not count at all.
        agreement: weight of the divergence between the frames that both branches point at for the
            label.
        means: share of the stage in which visual queries are the mean memory of their class's
            frames, before they are learnt.

    Raises:
        ValueError: a number is out of range.
    """

    focus: float = 0.0
    clip: float = 0.0
    agreement: float = 0.0
    means: float = 0.02

    def __post_init__(self) -> None:
        if min(self.focus, self.agreement) < 0 or not (0 <= self.clip < 1 and 0 <= self.means < 1):
            raise ValueError(f"weights are not negative, clip and means in [0, 1), got {self}")


PLAIN = QueryLoss()
MANY_CLASSES = QueryLoss(focus=4.0, clip=0.05, agreement=0.1)


def class_loss(logits: Tensor, label: Tensor, *, told: QueryLoss) -> Tensor:
    """Return binary cross-entropies summed over classes, the mean over videos.

    Of an absent class with probability p it is ``-(p')^focus log(1 - p')``, p' being p less
    ``clip`` but not below 0 (Ridnik et al., arXiv 2009.14119).

    Args:
        logits: (B,C).
        label: int64 (B,), or float (B,C) where videos may show several classes.
        told: focus and clip.
    """
    present = has_class(label, logits.shape[1])
    found = -functional.logsigmoid(logits)
    if told.focus == 0 and told.clip == 0:
        absent = -functional.logsigmoid(-logits)
    else:
        moved = (logits.sigmoid() - told.clip).clamp(min=0)
        absent = -(moved**told.focus) * (1 - moved).clamp(min=1e-8).log()
    return torch.where(present, found, absent).sum(dim=1).mean()


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean Jensen-Shannon divergence of distributions (B,T)."""
    middle = (first + second) / 2
    both = [
        (p * (p.clamp(min=1e-9) / middle.clamp(min=1e-9)).log()).sum(1) for p in (first, second)
    ]
    return (both[0] + both[1]).mean() / 2


def sampler_loss(
    network: Module, batch: Batch, context: StepContext, *, told: QueryLoss = PLAIN
) -> Mapping[str, Tensor]:
    """Return the class losses of the branches and, if asked for, how far they disagree."""
    net = cast(Network, network)
    label = batch["label"]
    seen = net.seen(batch["frames"], batch.get("preview"), batch.get("objects"))
    if net.sampler.visual is not None and context.progress < told.means:
        set_queries(net, seen[0], label)
    asked: list[Asked] = net.sampler(*seen)
    terms = {
        name: class_loss(one.logits, label, told=told)
        for name, one in zip(net.cfg.asking, asked, strict=True)
    }
    loss = torch.stack(list(terms.values())).sum()
    if told.agreement and len(asked) == 2:
        # A row for every class that a video shows.
        rows = [one.saliency[has_class(label, one.saliency.shape[1])] for one in asked]
        apart = disagreement(rows[0], rows[1])
        loss = loss + told.agreement * apart
        terms["disagreement"] = apart
    return {"loss": loss, **terms}


@torch.no_grad()
def set_queries(network: Network, seen: Tensor, label: Tensor) -> None:
    """Move the visual queries of the classes in the batch onto the mean memory of their frames.

    Means have length 1. They are of a batch, and of the classes that are in it; the first batches
    move them all. Where several processes share a batch, each takes the clips of its own.
    """
    visual = network.sampler.visual
    assert visual is not None
    was_training = visual.training
    visual.eval()  # its statistics move in the pass that learns, and once
    mean = visual.memory(seen).mean(dim=1)
    visual.train(was_training)
    shows = has_class(label, len(visual.queries))
    sums = shows.to(mean).T @ mean
    here = shows.any(dim=0)
    visual.queries[here] = functional.normalize(sums[here], dim=1)


# --- recipes -----------------------------------------------------------------------------------


def paper(
    *, cfg: Config | None = None, words: Words | None = None, told: QueryLoss = MANY_CLASSES
) -> Recipe:
    """Return the recipe for ActivityNet: 16 candidates to 5, ResNet-50 as the recogniser.

    The paper reports 76.6 % mAP at 26.1 GMACs. Numbers of the optimiser are reconstructions. The
    last stage teaches the recogniser on what the sampler keeps. The object network keeps its
    published weights.

    Args:
        cfg: of the network.
        words: of class names and of ImageNet's objects; without them a sentence encoder reads the
            names (:func:`read_names`).
        told: how the branches are taught.
    """
    cfg = protocol.paper() if cfg is None else cfg
    canvas = pictures(cfg.canvas)
    side = canvas.short_side or canvas.height
    encoders = ("sampler.visual.encoder",) if "visual" in cfg.asking else ()
    sampler = Stage(
        name="sampler",
        loss=partial(sampler_loss, told=told),
        trains=(
            *(Group(prefixes=(name,), lr_scale=0.1) for name in encoders),
            Group(prefixes=_learning(cfg)),
        ),
        eval_modules=(
            "recogniser",
            *(["sampler.textual.encoder"] if "textual" in cfg.asking else []),
        ),
        judge=sampled_logits,
        optimizer=Optimizer(kind="adamw", lr=1e-4, weight_decay=1e-2),
        batch_size=64,
        epochs=40,
    )
    pretrained = {}
    if cfg.networks == "paper":
        pretrained["recogniser.encoder.encoder.net"] = "resnet50"
        if "visual" in cfg.asking:
            pretrained["sampler.visual.encoder.encoder.net"] = "mobilenetv2_100"
    if cfg.names_objects:
        pretrained[OBJECTS] = OBJECT_NETWORKS[cfg.networks]
    return Recipe(
        name="paper",
        network=partial(_network, cfg, words),
        stages=(paper_recogniser(), sampler, paper_kept_frames()),
        config=cfg,
        draws=(
            Draw(
                num_frames=cfg.num_candidates,
                view=Canvas(height=side, width=side, short_side=side),
            ),
        ),
        augment=ResizedCrop(size=canvas.width),
        pretrained=pretrained,
        named=read_names if cfg.names_objects and words is None else None,
    )


def _learning(cfg: Config) -> tuple[str, ...]:
    """Return what the sampler's stage trains; a network that knows objects keeps its weights."""
    found = ["sampler.visual"] if "visual" in cfg.asking else []
    if "textual" in cfg.asking:
        names: tuple[str, ...] = ("context", "layers", "read", "from_other", "ask", "nothing")
        if cfg.interaction != "add" or cfg.branches != "both" or cfg.query_layers != 2:
            names = tuple(name for name in names if name != "from_other")
        found += [f"sampler.textual.{name}" for name in names]
    return tuple(found)


def small(
    *, cfg: Config | None = None, recogniser_steps: int = 300, sampler_steps: int = 200
) -> Recipe:
    """Return a run for real clips of 16 candidates at 96 px: some minutes on one core.

    Nothing is pretrained; pictures are cut, mirrored and coloured at random.

    Raises:
        ValueError: a textual branch is asked for, and there is no network that names objects.
    """
    cfg = protocol.small() if cfg is None else cfg
    if "textual" in cfg.asking:
        raise ValueError("recipe 'small' has no network that names objects; recipe 'lite' has one")
    large, augment = gentle(pictures(cfg.canvas))
    return Recipe(
        name="small",
        network=partial(_network, cfg, None),
        stages=quick_stages(
            sampler_loss,
            recogniser_steps=recogniser_steps,
            sampler_steps=sampler_steps,
            batch_size=16,
            decay=0.01,
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=large),),
        augment=augment,
    )


def lite(
    *, cfg: Config | None = None, recogniser_steps: int = 300, sampler_steps: int = 100
) -> Recipe:
    """Return :func:`small` with objects named by EfficientNet-Lite0: minutes on one core.

    For ``--pretrained``: the object network keeps ImageNet's weights, classifier and all, and a
    sentence encoder of the extra ``text`` reads the names of classes and objects. All else learns
    from nothing.

    Raises:
        ValueError: the configuration has another object network.
    """
    cfg = protocol.lite() if cfg is None else cfg
    if cfg.networks != "lite":
        raise ValueError(f"recipe 'lite' is for networks=lite, got {cfg.networks}")
    large, augment = gentle(pictures(cfg.canvas))
    recogniser, sampler = quick_stages(
        sampler_loss,
        recogniser_steps=recogniser_steps,
        sampler_steps=sampler_steps,
        batch_size=16,
        decay=0.01,
    )
    if cfg.names_objects:
        sampler = replace(
            sampler,
            trains=(Group(prefixes=_learning(cfg)),),
            eval_modules=(*sampler.eval_modules, "sampler.textual.encoder"),
        )
    return Recipe(
        name="lite",
        network=partial(_network, cfg, None),
        stages=(recogniser, sampler),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=large),),
        augment=augment,
        pretrained={OBJECTS: OBJECT_NETWORKS["lite"]} if cfg.names_objects else {},
        named=read_names if cfg.names_objects else None,
    )


def read_names(network: Module, names: ClassNames) -> None:
    """Give the textual branch the vectors of the class names and of ImageNet's objects.

    Raises:
        TextError: there is no sentence encoder, a name is beyond it, or its vectors have another
            width than ``word_width``.
    """
    words = words_of(names.classes, imagenet_names(), encode=names.encoder())
    width = words.classes.shape[1]
    wanted = cast(Network, network).cfg.word_width
    if width != wanted:
        raise TextError(
            f"the sentence encoder gives {width} numbers a name, the network takes {wanted}",
            hint=f"add --set word_width={width}",
        )
    set_words(network, words)


def tiny(
    *, cfg: Config | None = None, recogniser_steps: int = 600, sampler_steps: int = 600
) -> Recipe:
    """Return the scaled-down recipe on 16 frames of 24 px: a few minutes on one core."""
    cfg = protocol.tiny() if cfg is None else cfg
    return Recipe(
        name="tiny",
        network=partial(_network, cfg, None),
        stages=quick_stages(
            sampler_loss,
            recogniser_steps=recogniser_steps,
            sampler_steps=sampler_steps,
            batch_size=64,
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=cfg.canvas),),
    )


def features(
    *,
    cfg: Config | None = None,
    words: Words | None = None,
    told: QueryLoss = PLAIN,
    recogniser_steps: int = 800,
    sampler_steps: int = 800,
) -> Recipe:
    """Return a run on stored features: a minute or two on one core."""
    cfg = protocol.features() if cfg is None else cfg
    beside, judged = drawn_beside(
        cfg.num_candidates, {"preview": cfg.preview, "objects": cfg.objects}
    )
    return Recipe(
        name="features",
        network=partial(_network, cfg, words),
        stages=quick_stages(
            partial(sampler_loss, told=told),
            recogniser_steps=recogniser_steps,
            sampler_steps=sampler_steps,
            batch_size=64,
            decay=0.05,
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=cfg.canvas), *beside),
        judged=judged,
    )


def _network(cfg: Config, words: Words | None) -> Network:
    return make_network(cfg) if words is None else Network(cfg, words=words)


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "small": small,
    "lite": lite,
    "tiny": tiny,
    "features": features,
}
"""By the name ``--recipe`` knows them under."""
