"""How GFNet is trained: squares by chance first, then the policy alone by PPO, then the rest again.

Source: arXiv 2010.05300, section 3.3, and the released commands. A batch holds ``frames`` uint8
(B,F,3,S,S) and ``label`` int64 (B,). Letters: B samples, F frames, S side, T steps, L = T - 1
squares, K classes.

Deviations: one update a batch, as released (then the ratio of PPO is 1 and its clip never acts);
:func:`ppo_loss` takes the densities of an older policy too. The released code starts its glance
from weights fine-tuned at the small size; ``pretrained`` names the plain ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import ResizedCrop, gentle
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext
from foveal.systems.gfnet import protocol
from foveal.systems.gfnet.model import STD, Looked, Network, log_density, make_network
from foveal.systems.gfnet.protocol import Config
from foveal.types import Canvas

ENCODERS = ("glance", "glance_head", "focus", "focus_head", "fusion")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """What the policy is taught by.

    Args:
        reward: ``gain``: how much the label's probability grew with the square; ``probability``:
            that probability alone; ``against_chance``: how much it is above that with a square put
            there by chance (AdaFocus).
        gamma: of the returns.
        clip: of PPO's ratio.
        entropy: weight of the entropy, which is constant here.
        value: weight of the critic's error.

    Raises:
        ValueError: a number is out of range.
    """

    reward: Literal["gain", "probability", "against_chance"] = "gain"
    gamma: float = 0.7
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.gamma <= 1 and self.clip > 0):
            raise ValueError(f"gamma lies in [0, 1] and clip is positive, got {self}")


PAPER_POLICY = PolicyOptions()


# --- the stages ---------------------------------------------------------------------------------


def by_chance(generator: torch.Generator) -> Callable[[Tensor, int], Tensor]:
    """Return what puts squares anywhere, uniformly."""
    return lambda means, _: torch.rand(means.shape, generator=generator).to(means)


def drawn_around(generator: torch.Generator) -> Callable[[Tensor, int], Tensor]:
    """Return what draws squares around the policy's means (std 0.1), clipped into the picture."""

    def place(means: Tensor, _: int) -> Tensor:
        noise = torch.randn(means.shape, generator=generator).to(means)
        return (means + STD * noise).clamp(0, 1)

    return place


def warm_up_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, own_weight: float = 1.0
) -> Mapping[str, Tensor]:
    """Return the loss of all steps with squares put there by chance; no policy is asked.

    Args:
        network: a :class:`~foveal.systems.gfnet.model.Network`.
        batch: ``frames`` and ``label``.
        context: its generator places the squares.
        own_weight: lambda of the encoders' own heads; 1 (ResNet, DenseNet, RegNet) or 5.
    """
    net = cast(Network, network)
    looked = net.run(batch["frames"], by_chance(context.generator), policy=False)
    return step_losses(looked, batch["label"], own_weight=own_weight)


def fine_tune_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, own_weight: float = 1.0
) -> Mapping[str, Tensor]:
    """Return the same with squares drawn around where the policy, which stays, means them."""
    net = cast(Network, network)
    looked = net.run(batch["frames"], drawn_around(context.generator))
    return step_losses(looked, batch["label"], own_weight=own_weight)


def step_losses(looked: Looked, label: Tensor, *, own_weight: float) -> Mapping[str, Tensor]:
    """Return the mean over steps of the cross-entropies, of the answers and of the own heads."""
    answers = _rows_loss(looked.logits, label)
    own = _rows_loss(looked.own_logits, label)
    right = (looked.logits[:, -1].argmax(dim=1) == label).float().mean()
    return {"loss": answers + own_weight * own, "answers": answers, "own": own, "accuracy": right}


def _rows_loss(logits: Tensor, label: Tensor) -> Tensor:
    repeated = label[:, None].expand(logits.shape[:2])
    return functional.cross_entropy(logits.flatten(0, 1), repeated.flatten())


def policy_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    options: PolicyOptions = PAPER_POLICY,
) -> Mapping[str, Tensor]:
    """Return the loss of one PPO update after one roll-out; all but the policy stays.

    Args:
        network: a :class:`~foveal.systems.gfnet.model.Network`.
        batch: ``frames`` and ``label``.
        context: its generator draws the actions.
        options: what the policy is taught by.
    """
    net = cast(Network, network)
    frames, label = batch["frames"], batch["label"]
    with torch.no_grad():
        looked = net.run(frames, drawn_around(context.generator))
        confidence = label_confidence(looked.logits, label)
        reward = rewards(confidence, kind=options.reward)
        if options.reward == "against_chance":
            other = net.run(frames, by_chance(context.generator), policy=False)
            reward = confidence[1:] - label_confidence(other.logits, label)[1:]
        actions = looked.actions.transpose(0, 1)
        old = log_density(actions, looked.means.transpose(0, 1))
        returns = standardised(discounted(reward, gamma=options.gamma))
    new, value, entropy = net.policy.evaluate(torch.stack(looked.maps), actions)
    loss = ppo_loss(new, old, value, entropy, returns, options=options)
    return {
        "loss": loss,
        "reward": reward.sum(dim=0).mean(),
        "ratio": (new - old).exp().mean().detach(),
    }


# --- the arithmetic of the policy's reward ------------------------------------------------------


def label_confidence(logits: Tensor, label: Tensor) -> Tensor:
    """Return the probability of the label at each step, (T,B), for logits (B,T,K)."""
    probs = logits.softmax(dim=-1)
    index = label[:, None, None].expand(*probs.shape[:2], 1)
    return probs.gather(2, index)[..., 0].transpose(0, 1)


def rewards(confidence: Tensor, *, kind: str) -> Tensor:
    """Return the reward (L,B) of every square from the label's probabilities (T,B)."""
    return confidence[1:] - confidence[:-1] if kind == "gain" else confidence[1:]


def discounted(reward: Tensor, *, gamma: float) -> Tensor:
    """Return the returns G_t = r_t + gamma G_{t+1}, (L,B)."""
    total = torch.zeros_like(reward[0])
    found = []
    for row in reward.flip(0):
        total = row + gamma * total
        found.append(total)
    return torch.stack(found[::-1])


def standardised(returns: Tensor) -> Tensor:
    """Return ``(G - mean) / (std + 1e-5)`` over all squares and samples of the batch."""
    return (returns - returns.mean()) / (returns.std() + 1e-5)


def ppo_loss(
    new: Tensor,
    old: Tensor,
    value: Tensor,
    entropy: Tensor,
    returns: Tensor,
    *,
    options: PolicyOptions,
) -> Tensor:
    """Return PPO's loss.

    Args:
        new: log-densities of the actions under the policy, (L,B).
        old: the same under the policy that drew them.
        value: of the critic, (L,B).
        entropy: (L,B).
        returns: standardised, (L,B).
        options: clip and weights.
    """
    ratio = (new - old.detach()).exp()
    advantage = returns - value.detach()
    clipped = ratio.clamp(1 - options.clip, 1 + options.clip)
    gain = torch.minimum(ratio * advantage, clipped * advantage)
    error = functional.mse_loss(value, returns)
    return (-gain - options.entropy * entropy).mean() + options.value * error


# --- recipes -----------------------------------------------------------------------------------

LARGE = Canvas(height=256, width=256, short_side=256)
"""What pictures of 224 px are cut from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """What differs between the released families."""

    epochs: int
    lr: float
    own_weight: float
    weight_decay: float = 1e-4
    keeps_glance: bool = False


def paper(*, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY) -> Recipe:
    """Return GFNet-ResNet-50 on ImageNet as released (batch 256).

    60 epochs, 15 of the policy, 60 again; the paper reports 75.8 % at 1.8 to 2.2 GMACs for 96 px.
    How long it trains is not stated; by count it is 1.28 M pictures x 120 epochs x 3 x 4 GMACs plus
    the policy's, about 1.9 EMACs. The same numbers serve DenseNet-121 (``paper_densenet``).
    """
    cfg = protocol.paper() if cfg is None else cfg
    return _paper("paper", cfg, _Numbers(epochs=60, lr=0.01, own_weight=1.0), options)


def paper_densenet(*, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY) -> Recipe:
    """Return GFNet-DenseNet-121 as released: the numbers of ResNet-50."""
    cfg = protocol.paper_densenet() if cfg is None else cfg
    return _paper("paper_densenet", cfg, _Numbers(epochs=60, lr=0.01, own_weight=1.0), options)


def paper_mobilenet(*, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY) -> Recipe:
    """Return GFNet-MobileNetV3-L as released: 90 epochs, the glance stays as it is.

    Deviation: its vector is the mean of the last map (960), not of the 1280 features after it.
    """
    cfg = protocol.paper_mobilenet() if cfg is None else cfg
    numbers = _Numbers(epochs=90, lr=0.005, own_weight=5.0, keeps_glance=True)
    return _paper("paper_mobilenet", cfg, numbers, options)


def paper_efficientnet(
    *, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY
) -> Recipe:
    """Return GFNet-EfficientNet-B2 as released: 30 epochs, the glance stays as it is."""
    cfg = protocol.paper_efficientnet() if cfg is None else cfg
    numbers = _Numbers(epochs=30, lr=0.005, own_weight=5.0, keeps_glance=True)
    return _paper("paper_efficientnet", cfg, numbers, options)


def paper_regnet(*, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY) -> Recipe:
    """Return GFNet-RegNet-Y as released: weight decay 5e-5, twice the learning rate."""
    cfg = protocol.paper_regnet() if cfg is None else cfg
    numbers = _Numbers(epochs=60, lr=0.02, own_weight=1.0, weight_decay=5e-5)
    return _paper("paper_regnet", cfg, numbers, options)


def paper_video(*, cfg: Config | None = None, options: PolicyOptions = PAPER_POLICY) -> Recipe:
    """Return our build for clips (ResNet-50 with temporal shifts), with the numbers of pictures."""
    cfg = protocol.paper_video() if cfg is None else cfg
    return _paper("paper_video", cfg, _Numbers(epochs=60, lr=0.01, own_weight=1.0), options)


def _paper(name: str, cfg: Config, numbers: _Numbers, options: PolicyOptions) -> Recipe:
    kept = ("glance",) if numbers.keeps_glance else ()
    heads = ("glance_head", "focus", "focus_head")
    encoders = heads if numbers.keeps_glance else ("glance", *heads)

    def joint(stage: str, loss: Callable[..., Mapping[str, Tensor]], fusion_lr: float) -> Stage:
        fusion = (Group(prefixes=("fusion",), lr_scale=fusion_lr / numbers.lr),)
        return Stage(
            name=stage,
            loss=partial(loss, own_weight=numbers.own_weight),
            trains=(Group(prefixes=encoders), *(fusion if cfg.fusion != "mean" else ())),
            eval_modules=(*kept, "policy"),
            optimizer=Optimizer(
                kind="sgd",
                lr=numbers.lr,
                momentum=0.9,
                nesterov=True,
                weight_decay=numbers.weight_decay,
            ),
            batch_size=256,
            epochs=numbers.epochs,
            schedule_every="epoch",
        )

    policy = Stage(
        name="policy",
        loss=partial(policy_loss, options=options),
        trains=(Group(prefixes=("policy",)),),
        eval_modules=ENCODERS,
        optimizer=Optimizer(kind="adam", lr=3e-4),
        batch_size=256,
        epochs=15,
        schedule="constant",
    )
    encoder = cfg.encoder
    large = LARGE
    if cfg.canvas.width != 224:
        short = cfg.canvas.short_side or cfg.canvas.width
        large = Canvas(height=short, width=short, short_side=short)
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=(
            joint("warm-up", warm_up_loss, 0.1),
            policy,
            joint("fine-tune", fine_tune_loss, 0.01),
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=large),),
        augment=ResizedCrop(size=cfg.canvas.width),
        pretrained={"glance.net": encoder, "focus.net": encoder}
        if encoder not in protocol.STRIDES and not cfg.share_encoder
        else {},
    )


def tiny(
    *,
    cfg: Config | None = None,
    options: PolicyOptions = PAPER_POLICY,
    steps: tuple[int, int, int] = (900, 300, 300),
) -> Recipe:
    """Return a run that one CPU thread finishes in some minutes (Haystack, 48 px).

    Nothing here is pretrained: all parts learn at one rate, by AdamW.
    """
    cfg = protocol.tiny() if cfg is None else cfg
    return _quick("tiny", cfg, options, steps=steps, batch_size=64, view=cfg.canvas)


def small(
    *,
    cfg: Config | None = None,
    options: PolicyOptions = PAPER_POLICY,
    steps: tuple[int, int, int] = (300, 100, 150),
) -> Recipe:
    """Return a run for real clips at 96 px: some minutes on one core.

    Pictures are cut, mirrored and coloured at random. Nothing is pretrained.
    """
    cfg = protocol.small() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    made = _quick("small", cfg, options, steps=steps, batch_size=16, view=large)
    return Recipe(
        name=made.name,
        network=made.network,
        stages=made.stages,
        config=cfg,
        draws=made.draws,
        augment=augment,
    )


def _quick(
    name: str,
    cfg: Config,
    options: PolicyOptions,
    *,
    steps: tuple[int, int, int],
    batch_size: int,
    view: Canvas,
) -> Recipe:
    trained = tuple(part for part in ENCODERS if part != "fusion" or cfg.fusion != "mean")

    def joint(
        stage: str, loss: Callable[..., Mapping[str, Tensor]], num_steps: int, lr: float
    ) -> Stage:
        return Stage(
            name=stage,
            loss=loss,
            trains=(Group(prefixes=trained),),
            eval_modules=("policy",),
            optimizer=Optimizer(kind="adamw", lr=lr, weight_decay=1e-4),
            batch_size=batch_size,
            steps=num_steps,
            warmup_steps=min(50, num_steps - 1),
        )

    policy = Stage(
        name="policy",
        loss=partial(policy_loss, options=options),
        trains=(Group(prefixes=("policy",)),),
        eval_modules=ENCODERS,
        optimizer=Optimizer(kind="adam", lr=1e-3),
        batch_size=batch_size,
        steps=steps[1],
        schedule="constant",
    )
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=(
            joint("warm-up", warm_up_loss, steps[0], 3e-3),
            policy,
            joint("fine-tune", fine_tune_loss, steps[2], 1e-3),
        ),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_frames, view=view),),
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "paper": paper,
    "paper_densenet": paper_densenet,
    "paper_mobilenet": paper_mobilenet,
    "paper_efficientnet": paper_efficientnet,
    "paper_regnet": paper_regnet,
    "paper_video": paper_video,
    "small": small,
    "tiny": tiny,
}
"""By the name ``--recipe`` knows them under."""
