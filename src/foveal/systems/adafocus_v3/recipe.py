"""How AdaFocusV3 and Uni-AdaFocus are trained: one stage, two passes an iteration.

Source: arXiv 2209.13465 and 2412.11228, and the released commands of the latter. A batch holds
``frames`` uint8 (B,V,3,S,S) in time order and ``label`` int64 (B,). Letters: B samples, V candidate
frames, T glanced at, M cubes, L frames of a cube, S side, K classes.

Deviations: the learning rates of AdaFocusV3 are those of its relatives. The released loss of
Uni-AdaFocus has a divergence of the weights from equal ones whose factor is 0; it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import MultiScaleCrop, gentle
from foveal.recipe import Batch, Draw, Group, Loss, Optimizer, Recipe, Stage, StepContext
from foveal.systems.adafocus_v3 import protocol
from foveal.systems.adafocus_v3.model import Network, make_network
from foveal.systems.adafocus_v3.protocol import Config
from foveal.types import Canvas

MC_SAMPLES = 128
GLANCE = ("glance", "glance_head")
FOCUS = ("focus", "focus_head")
CLASSIFIERS = ("glance_classifier", "classifier")


def cube_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    interpolate: Literal["all", "one"] = "all",
    diversity: bool = True,
) -> Mapping[str, Tensor]:
    """Return the mean loss of looking where the policy says and of looking at random.

    A pass costs the cross-entropy of every prefix, of the frames glanced at and of the cubes alone.
    The policy learns from the first, by the ``gradient`` of the configuration; the second shows the
    focus cubes of all sorts.

    Args:
        network: a :class:`Network` with ``place="cube"`` or ``"slot"``.
        batch: ``frames`` and ``label``.
        context: its generator draws frames to glance at, random places and ``one``.
        interpolate: with the ``lattice``, all cubes of a clip or one of them, drawn in each step:
            an interpolated cube costs up to eight.
        diversity: off leaves the second pass out.
    """
    net = cast(Network, network)
    cfg, labels, generator = net.cfg, batch["label"], context.generator
    glanced = net.glance_at(batch["frames"], drawn_glances(cfg, batch["frames"], generator))
    glance_loss = rows_loss(glanced.frame_logits, labels)
    if cfg.num_cubes == 0:
        return {"loss": glance_loss + rows_loss(glanced.logits, labels)}
    actions = net.place(glanced)
    only = None
    if interpolate == "one":
        only = torch.randint(cfg.num_cubes, labels.shape, generator=generator).to(labels.device)
    looks = {"policy_pass": net.look(glanced, actions, gradient=cfg.gradient, only=only)}
    if diversity:
        drawn = torch.rand(actions.shape, generator=generator).to(actions)
        if cfg.place == "slot":
            drawn[..., 2] = actions[..., 2].detach()
        looks["random_pass"] = net.look(glanced, drawn)
    losses = {}
    for name, looked in looks.items():
        prefixes = torch.cat([glanced.logits, looked.logits[:, 1:]], dim=1)
        prefix_loss = rows_loss(prefixes, labels)
        losses[name] = prefix_loss + glance_loss + rows_loss(looked.cube_logits, labels)
    total = torch.stack(list(losses.values())).mean()
    if cfg.gradient == "global_map":
        losses["map"] = functional.cross_entropy(net.map_logits(glanced, actions), labels)
        total = total + losses["map"]
    return {"loss": total, **losses}


def region_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, size_weight: float = 1.0
) -> Mapping[str, Tensor]:
    """Return Uni-AdaFocus's loss: two passes over the same frames, drawn by their weights.

    The policy of space learns from the glance's maps alone and is drawn to whole frames; the policy
    of time from what draws by its weights would have said.

    Args:
        network: a :class:`Network` with ``place="region"``.
        batch: ``frames`` and ``label``.
        context: its generator draws frames and random regions.
        size_weight: how strongly regions are drawn to the whole frame.
    """
    net = cast(Network, network)
    cfg, labels, generator = net.cfg, batch["label"], context.generator
    glanced = net.glance_at(batch["frames"], drawn_glances(cfg, batch["frames"], generator))
    regions = net.place(glanced)
    weights, sampled = net.weigh(glanced)
    indices = net.take(sampled, torch.rand(len(labels), cfg.picks, generator=generator))
    own = net.regions_at(regions, indices)
    drawn = torch.rand(own.shape, generator=generator).to(own)
    drawn[..., 2:] = unscaled_size(cfg)
    spoken = glanced.frame_logits.detach() if cfg.shift else glanced.frame_logits
    temporal = mc_temporal(
        spoken,
        weights,
        num_draws=cfg.num_glances // 3,
        num_samples=MC_SAMPLES,
        generator=generator,
    )
    looks = [net.look_at_regions(glanced, where, indices) for where in (own, drawn)]
    return region_terms(
        prefixes=[torch.cat([glanced.logits, one.logits[:, 1:]], dim=1) for one in looks],
        focus=[one.cube_logits for one in looks],
        glance=glanced.frame_logits,
        temporal=temporal,
        spatial=net.map_logits(glanced, regions),
        sizes=regions[..., 2:],
        labels=labels,
        size_weight=size_weight,
    )


def region_terms(
    *,
    prefixes: list[Tensor],
    focus: list[Tensor],
    glance: Tensor,
    temporal: Tensor,
    spatial: Tensor,
    sizes: Tensor,
    labels: Tensor,
    size_weight: float,
) -> Mapping[str, Tensor]:
    """Return the terms of Uni-AdaFocus's loss and their sum.

    Args:
        prefixes: (B,H+M,K) of each pass.
        focus: (B,M*L,K) of each pass, every frame alone.
        glance: (B,T,K), every frame alone.
        temporal: (B,K) of the frames' weights.
        spatial: (B,K) of the glance's maps.
        sizes: (...,2) of the regions, in [0, 1].
        labels: int64 (B,).
        size_weight: factor of the mean of ``(size - 1) ** 2``.
    """
    terms = {
        "prefixes": torch.stack([rows_loss(logits, labels) for logits in prefixes]).mean(),
        "focus": torch.stack([rows_loss(logits, labels) for logits in focus]).mean(),
        "glance": rows_loss(glance, labels),
        "temporal": functional.cross_entropy(temporal, labels),
        "spatial": functional.cross_entropy(spatial, labels),
        "size": size_weight * ((sizes - 1) ** 2).mean(),
    }
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def mixed_without(logits: Tensor, weights: Tensor, removed: Tensor) -> Tensor:
    """Return the mean of ``logits`` by ``weights`` over the frames that are left.

    Source: arXiv 2412.11228. The sum of the weights left is a constant to the gradient.

    Args:
        logits: (B,T,K) of each frame.
        weights: (B,T), not negative.
        removed: bool (B,S,T), in each of S draws.

    Returns:
        (B,K), the mean over the draws.
    """
    left = weights[:, None] * ~removed
    # Where what is left has underflowed nothing counts, and nothing is divided by zero.
    share = left / left.detach().sum(dim=2, keepdim=True).clamp(min=1e-12)
    return torch.einsum("bst,btk->bsk", share, logits).mean(dim=1)


def mc_temporal(
    logits: Tensor,
    weights: Tensor,
    *,
    num_draws: int,
    num_samples: int,
    generator: torch.Generator,
) -> Tensor:
    """Return what frames drawn by ``weights``, none of them twice, say in the mean, (B,K).

    Source: arXiv 2412.11228 (Monte-Carlo estimate). For each of the ``num_draws`` frames those
    before it are drawn ``num_samples`` times, and of the one itself the expectation is taken.

    Args:
        logits: (B,T,K).
        weights: (B,T), positive.
        num_draws: at most T; fewer frames than three are one draw (the official code divides by
            zero then).
        num_samples: of each.
        generator: draws on the CPU.
    """
    count, frames = weights.shape
    means = []
    for drawn in range(max(num_draws, 1)):
        removed = torch.zeros(count, num_samples, frames, dtype=torch.bool, device=weights.device)
        if drawn:
            # The largest of log-weights with Gumbel noise are draws without replacement.
            chance = torch.rand(removed.shape, generator=generator).to(weights.device)
            keys = weights.detach().clamp_min(1e-30).log()[:, None] - torch.log(
                -torch.log(chance.clamp(1e-20, 1 - 1e-7))
            )
            removed.scatter_(2, keys.topk(drawn, dim=2).indices, value=True)
        means.append(mixed_without(logits, weights, removed))
    return torch.stack(means).mean(dim=0)


def whole_frame_loss(
    network: nn.Module, batch: Batch, context: StepContext
) -> Mapping[str, Tensor]:
    """Return the loss of one pass in which the focus sees whole frames; no policy is asked.

    Not in the papers, whose encoders come from ImageNet: ones with fresh weights see too little of
    anything in squares at random to begin with.
    """
    net = cast(Network, network)
    glance, cubes = _of_whole_frames(net, batch)
    return {"loss": rows_loss(torch.cat([glance, cubes], dim=1), batch["label"])}


def whole_frame_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) after evenly spread frames, each seen whole."""
    return _of_whole_frames(cast(Network, network), batch)[1][:, -1]


def _of_whole_frames(net: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits (B,H,K) and (B,M,K) of every prefix when the focus sees whole frames."""
    cfg = net.cfg
    glanced = net.glance_at(batch["frames"])
    count = cfg.num_cubes * cfg.cube_frames
    taken = [(2 * i + 1) * cfg.num_frames // (2 * count) for i in range(count)]
    pictures = glanced.frames[:, taken]
    vectors = net.encode(pictures.flatten(0, 1)).reshape(len(pictures), cfg.num_cubes, -1)
    return glanced.logits, net.classifier(vectors, glanced.best)


def unscaled_size(cfg: Config) -> float:
    """Return the size in [0, 1] of a region that is as large as what it is scaled to."""
    return (cfg.focus_size - cfg.smallest_region) / max(cfg.canvas.width - cfg.smallest_region, 1)


def drawn_glances(cfg: Config, frames: Tensor, generator: torch.Generator) -> Tensor:
    """Return which frames int64 (B,T) are glanced at: one drawn from each equal part."""
    chance = torch.rand(len(frames), cfg.num_glances, generator=generator)
    places = (torch.arange(cfg.num_glances) + chance) * (cfg.num_frames / cfg.num_glances)
    return places.long().clamp(max=cfg.num_frames - 1).to(frames.device)


def rows_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``logits`` (B,T,K), every row with its clip's label (B,)."""
    repeated = labels[:, None].expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), repeated.flatten())


# --- recipes ----------------------------------------------------------------------------------

LARGE = Canvas(height=256, width=256, short_side=256)
"""What the papers' pictures are cut from."""

PUBLISHED = {"glance.net": "mobilenetv2_100", "focus.net": "resnet50"}


def _recipe(name: str, cfg: Config, stage: Stage, *, flip: bool = True) -> Recipe:
    """Return a recipe at paper size: ImageNet weights, pictures cut at four scales and flipped."""
    _check_cubes(cfg)
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=LARGE),),
        augment=MultiScaleCrop(size=cfg.canvas.width, flip=flip),
        pretrained=PUBLISHED,
    )


def paper(*, cfg: Config | None = None) -> Recipe:
    """Return our build of AdaFocusV3 for ActivityNet (batch 32), trained as its relatives are.

    The paper reports 79.7 % mAP for 128 px at its full cost. In each step one cube of each clip is
    interpolated, so that a step costs (M + 8 + M) cubes a clip.
    """
    cfg = protocol.paper() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=partial(cube_loss, interpolate="one"),
        trains=(
            Group(prefixes=("policy",), lr_scale=0.1),
            Group(prefixes=GLANCE, lr_scale=0.5),
            Group(prefixes=FOCUS),
            Group(prefixes=CLASSIFIERS, lr_scale=5.0),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.002, momentum=0.9, weight_decay=1e-4),
        batch_size=32,
        epochs=50,
        schedule_every="epoch",
    )
    return _recipe("paper", cfg, stage)


def paper_uni(*, cfg: Config | None = None) -> Recipe:
    """Return Uni-AdaFocus, offline variant, as released for ActivityNet (batch 32, four GPUs).

    80.7 % mAP without exits at 27.2 GMACs is reported. FCVID: lr 0.004, batch 64, decay 1e-4;
    Mini-Kinetics: lr 0.003, batch 48, decay 1e-4, regions drawn to whole frames by 0.75.
    """
    cfg = protocol.paper_uni() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=region_loss,
        trains=(
            Group(prefixes=("policy", "time_policy"), lr_scale=0.2),
            Group(prefixes=(*GLANCE, "map_head"), lr_scale=0.5),
            Group(prefixes=FOCUS),
            Group(prefixes=CLASSIFIERS, lr_scale=20.0),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.002, momentum=0.9, weight_decay=2e-4),
        batch_size=32,
        epochs=50,
        schedule_every="epoch",
    )
    return _recipe("paper_uni", cfg, stage)


def paper_uni_tsm(*, cfg: Config | None = None) -> Recipe:
    """Return Uni-AdaFocus-TSM as released for Something-Something V1 (batch 64); no mirroring.

    50.5 % for 128 px and 8 + 12 frames at 18.8 GMACs is reported. V2: decay 5e-4; Jester: regions
    drawn to whole frames by 0.25. The classifier is the offline variant's, with two answers.
    """
    cfg = protocol.paper_uni_tsm() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=partial(region_loss, size_weight=0.5),
        trains=(
            Group(prefixes=("policy", "time_policy"), lr_scale=0.2),
            Group(prefixes=(*GLANCE, "map_head"), lr_scale=0.5),
            Group(prefixes=(*FOCUS, *CLASSIFIERS)),
        ),
        optimizer=Optimizer(kind="sgd", lr=0.02, momentum=0.9, weight_decay=1e-3),
        batch_size=64,
        epochs=50,
        schedule_every="epoch",
        clip_norm=20.0,
    )
    return _recipe("paper_uni_tsm", cfg, stage, flip=False)


def tiny(*, cfg: Config | None = None, steps: int = 1200, loss: Loss | None = None) -> Recipe:
    """Return a run that one CPU thread finishes in a few minutes (Haystack, 64 px).

    All parts learn at one rate: nothing here is pretrained.
    """
    cfg = protocol.tiny() if cfg is None else cfg
    stage = Stage(
        name="end-to-end",
        loss=loss_of(cfg) if loss is None else loss,
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
        draws=(Draw(num_frames=cfg.num_frames, view=cfg.canvas),),
    )


def _check_cubes(cfg: Config) -> None:
    if cfg.num_cubes == 0:
        raise ValueError(
            "num_cubes=0 leaves nothing to place: train with some, and set 0 where it is run"
        )


def loss_of(cfg: Config) -> Loss:
    """Return the loss that ``cfg`` is trained with."""
    return region_loss if cfg.place == "region" and cfg.num_cubes else cube_loss


def small(*, cfg: Config | None = None, whole_steps: int = 200, steps: int = 300) -> Recipe:
    """Return a run of cubes for real clips at 96 px: some minutes on one core.

    Nothing is pretrained, so a stage on whole frames comes first; see :func:`whole_frame_loss`.
    Pictures are cut, mirrored and coloured at random.
    """
    cfg = protocol.small() if cfg is None else cfg
    return _small("small", cfg, partial(cube_loss, interpolate="one"), whole_steps, steps)


def small_uni(*, cfg: Config | None = None, whole_steps: int = 200, steps: int = 300) -> Recipe:
    """Return the same for regions."""
    cfg = protocol.small_uni() if cfg is None else cfg
    return _small("small_uni", cfg, partial(region_loss, size_weight=0.1), whole_steps, steps)


def _small(name: str, cfg: Config, loss: Loss, whole_steps: int, steps: int) -> Recipe:
    _check_cubes(cfg)
    large, augment = gentle(cfg.canvas)
    optimizer = Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01)
    whole = Stage(
        name="whole-frames",
        loss=whole_frame_loss,
        judge=whole_frame_logits,
        trains=(Group(prefixes=("glance", "focus", *CLASSIFIERS)),),
        optimizer=optimizer,
        batch_size=16,
        steps=whole_steps,
        warmup_steps=50,
    )
    end_to_end = Stage(
        name="end-to-end",
        loss=loss,
        trains=(Group(prefixes=("",)),),
        optimizer=optimizer,
        batch_size=16,
        steps=steps,
        warmup_steps=20,
    )
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=(whole, end_to_end),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        augment=augment,
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "paper_uni": paper_uni,
    "paper_uni_tsm": paper_uni_tsm,
    "small": small,
    "small_uni": small_uni,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
