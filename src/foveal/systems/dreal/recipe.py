"""How DREAL is trained: the network by its labels and by what the critic says of its attention.

Source: arXiv 2007.06156. A batch holds ``frames`` uint8 (B,T,3,H,W) and ``label`` int64 (B,). The
reward of a module is how much the label's probability falls when its weights are replaced by their
mean, where the picture is recognised, and ``-gamma`` where it is not. Letters: B samples, T frames,
L modules, K classes.

Deviation: critic and network move in the same step, each by its own gradient (the network's term
reads the critic as it was before the step); the paper takes the two steps one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from foveal.layers import ResizedCrop, gentle
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.systems.dreal import protocol
from foveal.systems.dreal.model import Network, Passed, flat_action, make_network
from foveal.systems.dreal.protocol import Config
from foveal.types import Canvas


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticOptions:
    """How the critic is taught, and how much it says.

    Args:
        weight: lambda of its values in the network's loss; 0 is the plain network.
        gamma: penalty of what is not recognised.
        modules: ``all`` are neutralised, one after the other, or ``one`` drawn at each step.
        attention_only: its gradient reaches the modules' own parameters, and nothing before them.
        warm_up: share of the stage in which the network learns from labels alone.

    Raises:
        ValueError: a number is out of range.
    """

    weight: float = 0.1
    gamma: float = 1.0
    modules: Literal["all", "one"] = "all"
    attention_only: bool = True
    warm_up: float = 0.1

    def __post_init__(self) -> None:
        if self.weight < 0 or self.gamma < 0 or not 0 <= self.warm_up < 1:
            raise ValueError(f"weight and gamma are not negative, warm_up in [0, 1), got {self}")


PAPER_CRITIC = CriticOptions()
ONE_MODULE = CriticOptions(modules="one")


def dreal_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    options: CriticOptions = PAPER_CRITIC,
) -> Mapping[str, Tensor]:
    """Return the loss of one step of network and critic.

    Args:
        network: a :class:`~foveal.systems.dreal.model.Network`.
        batch: ``frames`` and ``label``.
        context: its generator draws the module, where one is drawn.
        options: see there.
    """
    net = cast(Network, network)
    frames, label = batch["frames"], batch["label"]
    picked = picked_modules(len(net.recogniser.blocks), options, context.generator)
    judged = rewards(net, frames, label, gamma=options.gamma, modules=picked)
    states, actions = judged.states, judged.actions
    values = net.critic(states, actions).reshape(*frames.shape[:2], -1).mean(dim=1)
    critic_loss = functional.mse_loss(values[:, picked], judged.rewards)
    passed = net.recogniser.passed(frames)
    label_loss = functional.cross_entropy(passed.logits, label)
    told = {
        "label": label_loss,
        "critic": critic_loss,
        "gain": judged.gain.mean(),
        "accuracy": (passed.logits.argmax(dim=1) == label).float().mean(),
    }
    loss = label_loss + critic_loss
    if options.weight > 0 and context.progress >= options.warm_up:
        worth = attention_value(net, passed, attention_only=options.attention_only)
        loss = loss - options.weight * worth
        told["worth"] = worth.detach()
    return {"loss": loss, **told}


def attention_value(net: Network, passed: Passed, *, attention_only: bool = True) -> Tensor:
    """Return the critic's mean value, whose gradient reaches the attention and not the critic."""
    actions = []
    for block, seen, weights in zip(
        net.recogniser.each_block, passed.features, passed.weights, strict=True
    ):
        again = block.attention.weights(seen.detach()) if attention_only else weights
        actions.append(flat_action(net.cfg, again))
    states = [seen.mean((2, 3)).detach() for seen in passed.features]
    fixed = {name: p.detach() for name, p in net.critic.named_parameters()}
    values: Tensor = functional_call(net.critic, fixed, (states, actions))
    return values.mean()


@dataclass(frozen=True, slots=True)
class Judged:
    """What the network is worth with and without its modules, all of it constants.

    Args:
        rewards: (B,P) of the P modules that were picked.
        gain: (B,P), how much each adds to the label's probability; 0 where it is not recognised.
        states: what the critic sees of each module's input, (N,C) each.
        actions: what it sees of each module's weights, (N,A) each.
    """

    rewards: Tensor
    gain: Tensor
    states: tuple[Tensor, ...]
    actions: tuple[Tensor, ...]


@torch.no_grad()
def rewards(
    net: Network, frames: Tensor, label: Tensor, *, gamma: float, modules: list[int]
) -> Judged:
    """Return what the picked modules are worth on a batch, by the network in evaluation mode."""
    with evaluating(net.recogniser):
        passed = net.recogniser.passed(frames)
        with_all = label_probability(passed.logits, label)
        without = torch.stack(
            [
                label_probability(net.recogniser.without(passed, m, frames.shape[1]), label)
                for m in modules
            ],
            dim=1,
        )
    right = (passed.logits.argmax(dim=1) == label)[:, None]
    gain = with_all[:, None] - without
    return Judged(
        rewards=torch.where(right, gain, torch.full_like(gain, -gamma)),
        gain=torch.where(right, gain, torch.zeros_like(gain)),
        states=tuple(seen.mean((2, 3)) for seen in passed.features),
        actions=tuple(flat_action(net.cfg, weights) for weights in passed.weights),
    )


def label_probability(logits: Tensor, label: Tensor) -> Tensor:
    """Return the probability of the label, (B,)."""
    return logits.softmax(dim=1).gather(1, label[:, None])[:, 0]


def picked_modules(
    num_modules: int, options: CriticOptions, generator: torch.Generator
) -> list[int]:
    """Return which modules are neutralised at this step."""
    if options.modules == "all":
        return list(range(num_modules))
    return [int(torch.randint(num_modules, (1,), generator=generator))]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode: counterfactuals must not move statistics."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


# --- recipes ------------------------------------------------------------------------------------


def paper(*, cfg: Config | None = None, options: CriticOptions = ONE_MODULE) -> Recipe:
    """Return ResNet-50 with SE on ImageNet, as such networks are trained (batch 256, 100 epochs).

    The paper's own figures could not be read; SGD at 0.1, momentum 0.9 and weight decay 1e-4 are
    the baseline's. One module is neutralised a step, else a step takes 17 forward passes. By count
    it is 1.28 M pictures x 100 epochs x 5 passes of 4.1 GMACs, about 2.6 EMACs.
    """
    cfg = protocol.paper() if cfg is None else cfg
    stage = Stage(
        name="attention",
        loss=partial(dreal_loss, options=options),
        trains=(Group(prefixes=("recogniser",)), Group(prefixes=("critic",), lr_scale=0.1)),
        optimizer=Optimizer(kind="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4),
        batch_size=256,
        epochs=100,
        schedule_every="epoch",
    )
    large = Canvas(height=256, width=256, short_side=256)
    return Recipe(
        name="paper",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        augment=ResizedCrop(size=cfg.canvas.width),
    )


def small(*, cfg: Config | None = None, options: CriticOptions = PAPER_CRITIC) -> Recipe:
    """Return a run for real clips at 96 px: some minutes on one core."""
    cfg = protocol.small() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    stage = _stage(options, batch_size=16, steps=300, lr=2e-3)
    return Recipe(
        name="small",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        augment=augment,
    )


def tiny(
    *, cfg: Config | None = None, options: CriticOptions = PAPER_CRITIC, epochs: int = 15
) -> Recipe:
    """Return a run of a minute on one core (Haystack, pictures of 16 px)."""
    cfg = protocol.tiny() if cfg is None else cfg
    stage = _stage(options, batch_size=64, epochs=epochs, lr=2e-3)
    return Recipe(
        name="tiny",
        network=partial(make_network, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=cfg.canvas),),
    )


def _stage(
    options: CriticOptions,
    *,
    batch_size: int,
    lr: float,
    steps: int | None = None,
    epochs: int | None = None,
) -> Stage:
    return Stage(
        name="attention",
        loss=partial(dreal_loss, options=options),
        trains=(Group(prefixes=("recogniser",)), Group(prefixes=("critic",), lr_scale=0.5)),
        optimizer=Optimizer(kind="adam", lr=lr),
        batch_size=batch_size,
        steps=steps,
        epochs=epochs,
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {"paper": paper, "small": small, "tiny": tiny}
"""By the name ``--recipe`` knows them under."""
