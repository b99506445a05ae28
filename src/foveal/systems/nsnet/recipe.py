"""How NSNet is trained: a recogniser, then, that frozen, the sampler by what it thinks of frames.

Source: arXiv 2207.10388; how frames get their pseudo labels is a reconstruction. A batch holds
``frames`` uint8 (B,T,3,H,W) or stored features (B,T,D), perhaps ``preview`` (B,T,D), ``label``
int64 (B,), or float (B,C) where videos may show several classes, and with ``num_folds`` ``number``
int64 (B,): which of the set a video is. Letters: B videos, T candidates, C classes, the background
being the last of C+1.

Where videos may show several classes, every class and the background are told by a logit of their
own; a frame has mass on each class of its video, and as much on the background as the most salient
of these leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import Module, functional

from foveal.layers import (
    ResizedCrop,
    class_probs,
    consensus_loss,
    gentle,
    has_class,
    label_loss,
)
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.recipe.folds import by_others, folds_of
from foveal.recipe.salient import (
    TRAIN_FRAMES,
    drawn_beside,
    paper_kept_frames,
    paper_recogniser,
    pictures,
    quick_stages,
    sampled_logits,
)
from foveal.systems.nsnet import protocol
from foveal.systems.nsnet.model import Network, make_network
from foveal.systems.nsnet.protocol import Config
from foveal.types import Canvas


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What the sampler is told of the frames.

    Args:
        label_source: a frame is as good as the ``confidence`` of the recogniser in the label, or
            as its features are near the class's ``prototype``.
        hard: a frame is salient if it is better than the mean of its video, else background.
        damp: targets are as far apart as the frames of the video are, so that a trimmed clip is
            not made to have a background.
        background: without it every frame belongs to the class, and nothing is suppressed.
        mu: weight of the background in the video module.
        guidance: weight of the squares between attention and targets.
        sparsity: weight of the mean attention.

    Raises:
        ValueError: a weight is negative.
    """

    label_source: Literal["confidence", "prototype"] = "confidence"
    hard: bool = False
    damp: bool = False
    background: bool = True
    mu: float = 0.5
    guidance: float = 0.0
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        if min(self.mu, self.guidance, self.sparsity) < 0:
            raise ValueError(f"weights are not negative, got {self}")


PAPER_SUPERVISION = Supervision()


# --- the recognisers of folds ------------------------------------------------------------------


def folds_loss(network: Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the sum of what each fold's recogniser pays for the videos of the other folds."""
    net = cast(Network, network)
    fold = folds_of(batch, net.cfg.num_folds)
    losses = [
        consensus_loss(
            recogniser,
            batch["frames"][others],
            batch["label"][others],
            count=TRAIN_FRAMES,
            generator=context.generator,
        )["loss"]
        for recogniser, others in by_others(net.labelling, fold)
    ]
    return {"loss": torch.stack(losses).sum()}


def folds_logits(network: Module, batch: Batch) -> Tensor:
    """Return the mean of the folds' logits (B,C) over all candidates; none saw these videos."""
    every = [one.clip_logits(batch["frames"]) for one in cast(Network, network).labelling]
    return torch.stack(every).mean(dim=(0, 2))


def with_folds(cfg: Config, *stages: Stage) -> tuple[Stage, ...]:
    """Return the stages, and behind that of the recogniser that of the folds, if there are any.

    These learn as the recogniser does, and stand still while the sampler learns.
    """
    if not cfg.num_folds:
        return stages
    recogniser, sampler, *later = stages
    folds = replace(
        recogniser,
        name="folds",
        loss=folds_loss,
        trains=(Group(prefixes=("fold_recognisers",)),),
        judge=folds_logits,
    )
    still = (*sampler.eval_modules, "fold_recognisers")
    return (recogniser, folds, replace(sampler, eval_modules=still), *later)


# --- pseudo labels -----------------------------------------------------------------------------


@torch.no_grad()
def frame_scores(net: Network, batch: Batch, *, source: str) -> Tensor:
    """Return how well each frame shows each class, (B,T,C), by a frozen recogniser.

    What counts are the classes of its video. With folds that is one which has not seen the video.
    Prototypes are the confidence-weighted means of the features of a class's frames over all
    batches so far, those of each recogniser by itself; these are taken in first.
    """
    frames, label = batch["frames"], batch["label"]
    fold = folds_of(batch, net.cfg.num_folds)
    shows = has_class(label, net.cfg.num_classes).to(net.prototypes)
    scores = net.prototypes.new_zeros(*frames.shape[:2], net.cfg.num_classes)
    for i, recogniser in enumerate(net.labelling):
        mine = fold == i
        if not bool(mine.any()):
            continue
        vectors = recogniser.clip_vectors(frames[mine])
        probs = class_probs(recogniser.head(vectors), several=net.cfg.several_labels)
        if source == "prototype":
            own = slice(i * net.cfg.num_classes, (i + 1) * net.cfg.num_classes)
            near = _near(net, own, vectors.float(), shows[mine][:, None] * probs.float())
            scores[mine] = near.to(scores)
        else:
            scores[mine] = probs.to(scores)
    return scores


def _near(net: Network, own: slice, vectors: Tensor, confidence: Tensor) -> Tensor:
    """Return how near frames (B,T,D) are to each prototype, which take them in first, (B,T,C).

    Args:
        net: keeps the prototypes.
        own: its rows that belong to who labels these frames.
        vectors: of the frames.
        confidence: (B,T,C), 0 for what a video does not show.
    """
    net.prototypes[own] += torch.einsum("btc,btd->cd", confidence, vectors)
    net.prototype_weights[own] += confidence.sum(dim=(0, 1))
    means = net.prototypes[own] / net.prototype_weights[own].clamp(min=1e-6)[:, None]
    return functional.normalize(vectors, dim=-1) @ functional.normalize(means, dim=-1).T


def frame_targets(scores: Tensor, label: Tensor, *, told: Supervision) -> Tensor:
    """Return the target (B,T,C+1) of every frame: mass on the label, the rest on the background.

    The best frame of a video has no background, the worst nothing else; with ``damp`` the worst
    keeps ``1 - (best - worst)`` of the label's mass. Of several labels each is treated so, and the
    background has what the largest of them leaves.

    Args:
        scores: (B,T,C).
        label: int64 (B,), or float (B,C).
        told: how.
    """
    salient = normalised(scores, told=told) * has_class(label, scores.shape[2])[:, None]
    return torch.cat([salient, 1 - salient.amax(dim=2, keepdim=True)], dim=2)


def normalised(scores: Tensor, *, told: Supervision) -> Tensor:
    """Return the mass (B,T,C) in [0, 1] that a frame's target has on a class of its video."""
    if not told.background:
        return torch.ones_like(scores)
    if told.hard:
        return (scores > scores.mean(dim=1, keepdim=True)).to(scores)
    lowest, highest = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
    width = highest - lowest
    salient = torch.where(width > 1e-6, (scores - lowest) / width.clamp(min=1e-6), 1.0)
    return 1 - width.clamp(max=1) * (1 - salient) if told.damp else salient


# --- the sampler -------------------------------------------------------------------------------


def sampler_loss(
    network: Module,
    batch: Batch,
    context: StepContext,
    *,
    told: Supervision = PAPER_SUPERVISION,
) -> Mapping[str, Tensor]:
    """Return the loss of both modules.

    ``mean_t CE(target_t, q_t) + CE(label, f+) + mu CE(background, f-)``; with several labels CE is
    the sum of the binary cross-entropies of all classes and of the background.

    Args:
        network: a :class:`Network`, its recogniser frozen and in eval mode.
        batch: see the module.
        context: of the step.
        told: what the sampler is told of the frames.
    """
    net = cast(Network, network)
    label = batch["label"]
    scores = frame_scores(net, batch, source=told.label_source)
    target = frame_targets(scores, label, told=told)
    scored = net.sampler(batch.get("preview", batch["frames"]))
    frame = _frame_loss(scored.frame_logits, target, several=net.cfg.several_labels)
    if net.cfg.several_labels:
        shown = functional.pad(label, (0, 1))
        nothing = functional.pad(torch.zeros_like(label), (0, 1), value=1.0)
    else:
        shown, nothing = label, torch.full_like(label, net.cfg.num_classes)
    salient = label_loss(scored.salient, shown)
    rest = label_loss(scored.rest, nothing)
    loss = frame + salient
    if told.background:
        loss = loss + told.mu * rest
    if told.guidance:
        salience = 1 - target[..., -1]
        loss = loss + told.guidance * (scored.attention - salience).square().sum(dim=1).mean()
    if told.sparsity:
        loss = loss + told.sparsity * scored.attention.mean()
    return {"loss": loss, "frame": frame, "video": salient, "background": rest}


def _frame_loss(logits: Tensor, target: Tensor, *, several: bool) -> Tensor:
    """Return the mean over the frames (B,T,C+1) of the cross-entropy with their targets."""
    if several:
        each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return each.sum(dim=-1).mean()
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


# --- recipes -----------------------------------------------------------------------------------


def paper(*, cfg: Config | None = None, told: Supervision = PAPER_SUPERVISION) -> Recipe:
    """Return the recipe for ActivityNet: 16 candidates to 6, ResNet-50 as the recogniser.

    The paper reports 76.8 % mAP at 26.0 GMACs. Numbers of the optimiser are reconstructions. The
    last stage teaches the recogniser on what the sampler keeps.
    """
    cfg = protocol.paper() if cfg is None else cfg
    canvas = pictures(cfg.canvas)
    side = canvas.short_side or canvas.height
    sampler = Stage(
        name="sampler",
        loss=partial(sampler_loss, told=told),
        trains=(
            Group(prefixes=("sampler.encoder",), lr_scale=0.1),
            Group(prefixes=("sampler",)),
        ),
        eval_modules=("recogniser",),
        judge=sampled_logits,
        optimizer=Optimizer(kind="adamw", lr=1e-4, weight_decay=1e-2),
        batch_size=64,
        epochs=50,
    )
    pretrained = {
        "sampler.encoder.encoder.net": "mobilenetv2_100",
        "recogniser.encoder.encoder.net": "resnet50",
    }
    for i in range(cfg.num_folds):
        pretrained[f"fold_recognisers.{i}.encoder.encoder.net"] = "resnet50"
    return Recipe(
        name="paper",
        network=partial(make_network, cfg),
        stages=with_folds(cfg, paper_recogniser(), sampler, paper_kept_frames()),
        config=cfg,
        draws=(
            Draw(
                num_frames=cfg.num_candidates,
                view=Canvas(height=side, width=side, short_side=side),
            ),
        ),
        augment=ResizedCrop(size=canvas.width),
        pretrained=pretrained if cfg.networks == "paper" else {},
    )


def small(
    *,
    cfg: Config | None = None,
    told: Supervision = PAPER_SUPERVISION,
    recogniser_steps: int = 300,
    sampler_steps: int = 200,
) -> Recipe:
    """Return a run for real clips of 16 candidates at 96 px: some minutes on one core.

    Nothing is pretrained; pictures are cut, mirrored and coloured at random.
    """
    cfg = protocol.small() if cfg is None else cfg
    large, augment = gentle(pictures(cfg.canvas))
    stages = quick_stages(
        partial(sampler_loss, told=told),
        recogniser_steps=recogniser_steps,
        sampler_steps=sampler_steps,
        batch_size=16,
        decay=0.01,
    )
    return Recipe(
        name="small",
        network=partial(make_network, cfg),
        stages=with_folds(cfg, *stages),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=large),),
        augment=augment,
    )


def tiny(
    *,
    cfg: Config | None = None,
    told: Supervision = PAPER_SUPERVISION,
    recogniser_steps: int = 600,
    sampler_steps: int = 600,
) -> Recipe:
    """Return the scaled-down recipe on 16 frames of 24 px: a few minutes on one core."""
    cfg = protocol.tiny() if cfg is None else cfg
    return Recipe(
        name="tiny",
        network=partial(make_network, cfg),
        stages=with_folds(
            cfg,
            *quick_stages(
                partial(sampler_loss, told=told),
                recogniser_steps=recogniser_steps,
                sampler_steps=sampler_steps,
                batch_size=64,
            ),
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=cfg.canvas),),
    )


def features(
    *,
    cfg: Config | None = None,
    told: Supervision = PAPER_SUPERVISION,
    recogniser_steps: int = 800,
    sampler_steps: int = 800,
) -> Recipe:
    """Return a run on stored features: a minute on one core."""
    cfg = protocol.features() if cfg is None else cfg
    beside, judged = drawn_beside(cfg.num_candidates, {"preview": cfg.preview})
    return Recipe(
        name="features",
        network=partial(make_network, cfg),
        stages=with_folds(
            cfg,
            *quick_stages(
                partial(sampler_loss, told=told),
                recogniser_steps=recogniser_steps,
                sampler_steps=sampler_steps,
                batch_size=64,
                decay=0.05,
            ),
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=cfg.canvas), *beside),
        judged=judged,
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "small": small,
    "tiny": tiny,
    "features": features,
}
"""By the name ``--recipe`` knows them under."""
