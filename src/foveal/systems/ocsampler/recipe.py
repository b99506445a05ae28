"""How OCSampler is trained: a classifier of random sets, then, that frozen, the sampler.

Source: arXiv 2201.04388, section 3.3, and the released configurations. A batch holds ``frames``
uint8 (B,T,3,H,W), the candidates in time order, and ``label`` int64 (B,).
Letters: B videos, T candidates, N chosen frames, K classes.

The released code draws its sets with PyTorch's generator and its baselines with NumPy's; here
all draws come from the run's one generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.layers import ResizedCrop, gentle, most_salient, taken
from foveal.recipe import Batch, Draw, Group, Optimizer, Recipe, Stage, StepContext, last_logits
from foveal.systems.ocsampler.model import (
    Network,
    Sampler,
    SetClassifier,
    draw_sets,
    entropy,
    log_set_prob,
    uniform_sets,
)
from foveal.systems.ocsampler.protocol import Config, activitynet
from foveal.systems.ocsampler.protocol import small as small_config
from foveal.systems.ocsampler.protocol import tiny as tiny_config
from foveal.types import Canvas

LogProb: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Log-probabilities (B,T) and sets (B,N) in draw order to the log-probability of each, (B,)."""


# --- how good a set is -------------------------------------------------------------------------


def confidence(classifier: SetClassifier, frames: Tensor, label: Tensor) -> Tensor:
    """Return the largest probability (B,) of the sets ``frames`` (B,N,3,H,W): "reward 1".

    It never looks at the label, so it also rewards confident mistakes.
    """
    best: Tensor = classifier(frames).softmax(dim=1).amax(dim=1)
    return best


def signed_frames(classifier: SetClassifier, frames: Tensor, label: Tensor) -> Tensor:
    """Return the signed confidence of each frame alone, its mean over the set (B,): "reward 2"."""
    probs = classifier.each(frames).softmax(dim=2)
    repeated = label[:, None].expand(probs.shape[:2]).flatten()
    return signed_confidence(probs.flatten(0, 1), repeated).reshape(probs.shape[:2]).mean(dim=1)


def best_true_frame(classifier: SetClassifier, frames: Tensor, label: Tensor) -> Tensor:
    """Return the label's largest probability (B,) among the frames of the set: "reward 3"."""
    probs = classifier.each(frames).softmax(dim=2)
    index = label[:, None, None].expand(-1, probs.shape[1], 1)
    return probs.gather(2, index)[..., 0].amax(dim=1)


def signed_clip(classifier: nn.Module, frames: Tensor, label: Tensor) -> Tensor:
    """Return the signed confidence (B,) of the whole set, for classifiers that take a clip."""
    return signed_confidence(classifier(frames).softmax(dim=1), label)


def signed_confidence(probs: Tensor, label: Tensor) -> Tensor:
    """Return the label's probability where it is the largest, else that minus the largest, (M,).

    Args:
        probs: (M,K).
        label: int64 (M,).
    """
    true = probs.gather(1, label[:, None])[:, 0]
    best, found = probs.max(dim=1)
    return torch.where(found == label, true, true - best)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What a set is worth, and whether a uniform set's worth is taken off as the baseline.

    Args:
        score: classifier, frames (B,N,3,H,W) and label (B,) to (B,).
        baseline: on for all but the released code's third kind.
    """

    score: Callable[..., Tensor]
    baseline: bool = True


CONFIDENCE = Reward(score=confidence)
SIGNED_FRAMES = Reward(score=signed_frames)
BEST_TRUE_FRAME = Reward(score=best_true_frame, baseline=False)
SIGNED_CLIP = Reward(score=signed_clip)


# --- losses ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A weight that falls from ``start`` to ``end`` over a stage, along a line or a cosine."""

    start: float = 0.0
    end: float = 0.0
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, progress: float) -> float:
        """Return the weight when ``progress`` in [0, 1] of the stage is done."""
        left = 1 - progress if self.shape == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.end + left * (self.start - self.end)


def subset_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the classifier's cross-entropy on a random set of each video, of one random size."""
    net = cast(Network, network)
    frames = batch["frames"]
    num_videos, num_candidates = frames.shape[:2]
    size = int(torch.randint(1, num_candidates + 1, (), generator=context.generator))
    level = torch.zeros(num_videos, num_candidates)
    index = draw_sets(level, num_frames=size, generator=context.generator).sort(dim=1).values
    logits = net.classifier(taken(frames, index.to(frames.device)))
    return {"loss": functional.cross_entropy(logits, batch["label"])}


def policy_loss(
    network: nn.Module,
    batch: Batch,
    context: StepContext,
    *,
    reward: Reward = CONFIDENCE,
    log_prob: LogProb = log_set_prob,
    exploration: Ramp = Ramp(),
    joint: bool = False,
) -> Mapping[str, Tensor]:
    """Return the policy gradient's loss: sets that beat a uniform one shall be likelier.

    ``L = -mean(A log P(S) + beta H(p))`` with S drawn from the sampler's distribution p, A the
    reward of S less that of a uniform set, and H the entropy.

    Args:
        network: a :class:`Network`; its classifier should be frozen and in eval mode.
        batch: ``frames`` and ``label``.
        context: its generator draws both sets.
        reward: what a set is worth.
        log_prob: of a set; the default is exact.
        exploration: beta. The released code says 0.1 and then sets it to 0 at every step.
        joint: add the classifier's cross-entropy on S. Deviation: the released code applies it
            to probabilities (a second softmax) and drops the entropy.
    """
    net = cast(Network, network)
    frames, label = batch["frames"], batch["label"]
    log_probs = torch.log_softmax(net.sampler(frames).double(), dim=1)
    drawn = draw_sets(log_probs, num_frames=net.num_frames, generator=context.generator)
    uniform = uniform_sets(
        len(frames),
        num_candidates=frames.shape[1],
        num_frames=net.num_frames,
        generator=context.generator,
    ).to(frames.device)
    score, baseline = scores(net.classifier, frames, label, drawn, uniform, reward=reward)
    terms = policy_terms(
        log_probs, drawn, score - baseline, beta=exploration.at(context.progress), log_prob=log_prob
    )
    loss = terms["loss"].float()
    if joint:
        chosen = taken(frames, drawn.sort(dim=1).values)
        loss = loss + functional.cross_entropy(net.classifier(chosen), label)
    return {
        "loss": loss,
        "reward": score.mean(),
        "gain": (score - baseline).mean(),
        "entropy": terms["entropy"],
    }


@torch.no_grad()
def scores(
    classifier: nn.Module,
    frames: Tensor,
    label: Tensor,
    drawn: Tensor,
    uniform: Tensor,
    *,
    reward: Reward,
) -> tuple[Tensor, Tensor]:
    """Return what the sets ``drawn`` and ``uniform`` (B,N) of ``frames`` are worth, (B,) each.

    The second is zero for a reward without a baseline.
    """
    score = reward.score(classifier, taken(frames, drawn.sort(dim=1).values), label)
    if not reward.baseline:
        return score, torch.zeros_like(score)
    return score, reward.score(classifier, taken(frames, uniform), label)


def policy_terms(
    log_probs: Tensor, drawn: Tensor, advantage: Tensor, *, beta: float, log_prob: LogProb
) -> Mapping[str, Tensor]:
    """Return the policy gradient's ``loss`` and the mean ``entropy``.

    Args:
        log_probs: float64 (B,T), of the sampler.
        drawn: int64 (B,N), in draw order.
        advantage: (B,), a constant.
        beta: weight of the entropy.
        log_prob: of a set.
    """
    spread = entropy(log_probs)
    gain = advantage.detach().double() * log_prob(log_probs, drawn)
    return {"loss": -(gain + beta * spread).mean(), "entropy": spread.mean()}


# --- how many frames a video needs --------------------------------------------------------------

ENOUGH = 0.5
"""delta: how much of the label a number of frames must give to be enough."""


@torch.no_grad()
def count_targets(
    classifier: SetClassifier,
    frames: Tensor,
    frame_logits: Tensor,
    label: Tensor,
    *,
    counts: tuple[int, ...],
    enough: float,
) -> Tensor:
    """Return which of ``counts`` each video needs, int64 (B,).

    The fewest of its most salient frames on which the classifier is right and gives the label at
    least ``enough``; where no number does, the one that gives it most, ties to fewer. A
    reconstruction: the paper says that predictions shall stay right and sure with as few as
    possible.

    Args:
        classifier: frozen.
        frames: the candidates, uint8 (B,T,3,H,W).
        frame_logits: (B,T).
        label: int64 (B,).
        counts: ascending.
        enough: delta.
    """
    given, right = [], []
    for count in counts:
        chosen = most_salient(frame_logits, num_frames=count)
        probs = classifier(taken(frames, chosen)).softmax(dim=1)
        given.append(probs.gather(1, label[:, None])[:, 0])
        right.append(probs.argmax(dim=1) == label)
    sure = torch.stack(given, dim=1)
    enough_here = torch.stack(right, dim=1) & (sure >= enough)
    fewest = enough_here.to(torch.uint8).argmax(dim=1)  # the first of the largest
    return torch.where(enough_here.any(dim=1), fewest, sure.argmax(dim=1))


def count_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, enough: float = ENOUGH
) -> Mapping[str, Tensor]:
    """Return the cross-entropy of the head that says how many frames a video needs."""
    net = cast(Network, network)
    frames, label = batch["frames"], batch["label"]
    counts = net.cfg.frame_counts
    with torch.no_grad():
        frame_logits = net.sampler(frames)
    target = count_targets(
        cast(SetClassifier, net.classifier),
        frames,
        frame_logits,
        label,
        counts=counts,
        enough=enough,
    )
    frames_needed = torch.tensor(counts, device=target.device)[target].float().mean()
    loss = functional.cross_entropy(net.counts(frames), target)
    return {"loss": loss, "frames_needed": frames_needed}


def salient_logits(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) of as many of the most salient frames of every video."""
    net = cast(Network, network)
    chosen = most_salient(net.sampler(batch["frames"]), num_frames=net.num_frames)
    logits: Tensor = net.classifier(taken(batch["frames"], chosen))
    return logits


def with_budget(cfg: Config, stage: Stage, *, enough: float) -> tuple[Stage, ...]:
    """Return the stage that follows the sampler's where the video decides its number of frames.

    Args:
        cfg: says whether it does.
        stage: of the sampler; optimiser and length are taken over.
        enough: delta of :func:`count_targets`, in (0, 1].

    Raises:
        ValueError: ``enough`` is out of range, or is set where it has no effect.
    """
    if not 0 < enough <= 1:
        raise ValueError(f"enough must lie in (0, 1], got {enough}")
    if cfg.budget == "fixed":
        if enough != ENOUGH:
            raise ValueError(f"enough {enough} has no effect unless budget is 'video'")
        return ()
    return (
        replace(
            stage,
            name="budget",
            loss=partial(count_loss, enough=enough),
            judge=last_logits,
            trains=(Group(prefixes=("counter",)),),
            eval_modules=("sampler", "classifier"),
        ),
    )


# --- the skim network before it becomes a sampler -----------------------------------------------


class SkimClassifier(nn.Module):
    """The skim network as an ordinary classifier, to pretrain ``sampler.backbone``."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.sampler = Sampler(cfg)
        self.head = nn.Linear(self.sampler.backbone.num_features, cfg.num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return the mean over T of the frames' logits, (B,K), of candidates (B,T,3,H,W)."""
        logits: Tensor = self.head(self.sampler.features(frames)).mean(dim=1)
        return logits


def skim_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the cross-entropy of a :class:`SkimClassifier`."""
    return {"loss": functional.cross_entropy(network(batch["frames"]), batch["label"])}


# --- recipes -----------------------------------------------------------------------------------

LARGE = Canvas(height=256, width=256, short_side=256)
"""What the paper's pictures are cut from."""


def all_candidates(network: nn.Module, batch: Batch) -> Tensor:
    """Return the classifier's logits (B,K) of all candidates: it is judged before the sampler."""
    logits: Tensor = cast(Network, network).classifier(batch["frames"])
    return logits


def paper(
    *,
    cfg: Config | None = None,
    reward: Reward = CONFIDENCE,
    exploration: Ramp = Ramp(),
    joint: bool = False,
    enough: float = ENOUGH,
) -> Recipe:
    """Return the recipe of the released ActivityNet configuration (10 candidates to 6).

    The stage ``sampler`` has the released numbers: SGD at 0.005 for a
    global batch of 320 (8 GPUs of 40), cosine to 0, 50 epochs. The released weights take the
    classifier from FrameExit; the numbers of the stage ``classifier`` are ours, and where
    its weights are at hand (see ``weights.py``) the stage can be left out. The sampler's backbone
    begins from :func:`skim`. The paper reports 77.2 % mAP on ActivityNet for 6 frames.
    How long it trains is not stated; by count both stages are about 60 PMACs (10,024 videos x 50
    epochs, 5.5 frames forward and back, then the skim likewise and two sets of six forward).
    Pictures are cut from the centre square, 256 px wide, that the test shows at 224 (the released
    code cuts from the whole frame).
    """
    cfg = activitynet() if cfg is None else cfg
    classifier = Stage(
        name="classifier",
        loss=subset_loss,
        trains=(Group(prefixes=("classifier",)),),
        judge=all_candidates,
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        batch_size=64,
        epochs=50,
    )
    trained = ("sampler", "classifier") if joint else ("sampler",)
    sampler = Stage(
        name="sampler",
        judge=salient_logits,
        loss=partial(policy_loss, reward=reward, exploration=exploration, joint=joint),
        trains=(Group(prefixes=trained),),
        eval_modules=("classifier",),
        optimizer=Optimizer(kind="sgd", lr=0.005, momentum=0.9, weight_decay=1e-4),
        batch_size=320,
        epochs=50,
        clip_norm=40.0,
    )
    backbones = {"sampler.backbone": "mobilenetv2_100", "classifier.backbone": "resnet50"}
    return Recipe(
        name="paper",
        network=partial(Network, cfg),
        stages=(classifier, sampler, *with_budget(cfg, sampler, enough=enough)),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=LARGE),),
        augment=ResizedCrop(size=cfg.canvas.width),
        pretrained=backbones if cfg.networks == "paper" else {},
    )


def skim(*, cfg: Config | None = None) -> Recipe:
    """Return the recipe that pretrains the skim network: classification by it alone at 128 px.

    How the published one was pretrained is not documented; the numbers are ours. Load what it
    leaves under ``sampler`` into a :class:`Network` before :func:`paper`.
    """
    cfg = activitynet() if cfg is None else cfg
    stage = Stage(
        name="skim",
        loss=skim_loss,
        trains=(Group(prefixes=("sampler.backbone", "head")),),
        optimizer=Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        batch_size=64,
        epochs=50,
    )
    return Recipe(
        name="skim",
        network=partial(SkimClassifier, cfg),
        stages=(stage,),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=LARGE),),
        augment=ResizedCrop(size=cfg.canvas.width),
        pretrained={"sampler.backbone": "mobilenetv2_100"} if cfg.networks == "paper" else {},
    )


def tiny(
    *, cfg: Config | None = None, reward: Reward = CONFIDENCE, enough: float = ENOUGH
) -> Recipe:
    """Return the scaled-down recipe: a minute on one core, on 10 frames of 32 px.

    The stage ``sampler`` is that of the sheet (SGD at 0.02, 600 steps of 40, cosine).
    """
    cfg = tiny_config() if cfg is None else cfg
    classifier = Stage(
        name="classifier",
        loss=subset_loss,
        trains=(Group(prefixes=("classifier",)),),
        judge=all_candidates,
        optimizer=Optimizer(kind="adam", lr=2e-3),
        batch_size=64,
        steps=1200,
    )
    sampler = Stage(
        name="sampler",
        judge=salient_logits,
        loss=partial(policy_loss, reward=reward),
        trains=(Group(prefixes=("sampler",)),),
        eval_modules=("classifier",),
        optimizer=Optimizer(kind="sgd", lr=0.02, momentum=0.9),
        batch_size=40,
        steps=600,
    )
    return Recipe(
        name="tiny",
        network=partial(Network, cfg),
        stages=(classifier, sampler, *with_budget(cfg, sampler, enough=enough)),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=cfg.canvas),),
    )


def small(
    *,
    cfg: Config | None = None,
    reward: Reward = CONFIDENCE,
    classifier_steps: int = 300,
    sampler_steps: int = 100,
    enough: float = ENOUGH,
) -> Recipe:
    """Return a run for real clips of 10 candidates at 96 px: a few minutes on one core.

    Nothing is pretrained; pictures are cut, mirrored and coloured at random.
    """
    cfg = small_config() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    classifier = Stage(
        name="classifier",
        loss=subset_loss,
        trains=(Group(prefixes=("classifier",)),),
        judge=all_candidates,
        optimizer=Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01),
        batch_size=16,
        steps=classifier_steps,
        warmup_steps=50,
    )
    sampler = Stage(
        name="sampler",
        judge=salient_logits,
        loss=partial(policy_loss, reward=reward),
        trains=(Group(prefixes=("sampler",)),),
        eval_modules=("classifier",),
        optimizer=Optimizer(kind="adam", lr=2e-3),
        batch_size=20,
        steps=sampler_steps,
    )
    return Recipe(
        name="small",
        network=partial(Network, cfg),
        stages=(classifier, sampler, *with_budget(cfg, sampler, enough=enough)),
        config=cfg,
        draws=(Draw(num_frames=cfg.num_candidates, view=large),),
        augment=augment,
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {"paper": paper, "small": small, "tiny": tiny}
"""Those that leave a whole system, by the name ``--recipe`` knows them under."""
