"""How HCMS is trained: every sense alone, then the levels with open gates, then the gates.

With ``num_folds`` there is a stage more after the first: senses that each leave a part of the clips
out. Levels and gates then learn from what senses make of clips that these have not learnt from, as
it will be with any other clip; otherwise gates stay shut where the sound of a clip is known by
heart.

Source: arXiv 2104.09760 and, for the usage target, arXiv 1912.01601; figures that could not be read
there are ours, and the card says which. A batch holds ``frames`` uint8 (B,T*M,3,H,W), ``sound``
(B,T,S) or nothing for silence, ``label`` int64 (B,), or float (B,K) where clips may show several
classes, and with folds ``number`` int64 (B,): which of the set a clip is; or, in the last two
stages, what :func:`sensed_data` made of these, since the senses stand still there. Letters: B
samples, T steps, M frames of a burst, S samples of a window, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from foveal.layers import ResizedCrop, gentle, label_loss
from foveal.recipe import Augment, Batch, Draw, Group, Heard, Optimizer, Recipe, Stage, StepContext
from foveal.recipe.folds import by_others, folds_of
from foveal.systems.hcms import protocol
from foveal.systems.hcms.model import (
    Network,
    Sensed,
    Senses,
    always_open,
    by_gumbel,
    by_threshold,
    make_network,
)
from foveal.systems.hcms.protocol import SENSES, Config
from foveal.types import Array, Canvas

SENSED = tuple(f"sensed_{name}" for name in SENSES)
"""Under these names a batch holds what the senses made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """How gates are taught.

    Args:
        usage: shares of steps in which appearance and motion shall be used, in a batch.
        weight: of the squared distance from that, lambda.
        start: temperature of the noise at the beginning of the stage.
        decay: what it is multiplied with at every one of ``rounds`` equal parts of the stage.
        rounds: see there; epochs of the sheet.
        floor: it does not fall below this.

    Raises:
        ValueError: a number is out of range.
    """

    usage: tuple[float, float] = (0.3, 0.2)
    weight: float = 2.0
    start: float = 5.0
    decay: float = 0.9
    rounds: int = 22
    floor: float = 0.5

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.usage) or self.weight < 0:
            raise ValueError(f"usage lies in [0, 1] and weight is not negative, got {self}")
        if not (0 < self.floor <= self.start and 0 < self.decay <= 1 and self.rounds >= 1):
            raise ValueError(f"the temperature falls from start to floor, got {self}")

    def temperature(self, progress: float) -> float:
        """Return tau when ``progress`` in [0, 1) of the stage is done."""
        return max(self.start * self.decay ** int(progress * self.rounds), self.floor)


USUAL = GateOptions()
SMALL_GATES = GateOptions(rounds=15)
PAPER_GATES = GateOptions(usage=(0.3, 0.2), rounds=16)


def sensed(network: Network, batch: Batch) -> Sensed:
    """Return what the senses make of a batch, or made of it before."""
    if SENSED[0] in batch:
        return Sensed(*(batch[name] for name in SENSED))
    return network.sense(batch["frames"], batch.get("sound"))


def learnt_from(network: Network, batch: Batch) -> Sensed:
    """Return what the levels learn from: the same by who has not learnt from these clips."""
    if SENSED[0] in batch or not network.cfg.num_folds:
        return sensed(network, batch)
    fold = folds_of(batch, network.cfg.num_folds)
    return network.sense_unseen(batch["frames"], batch.get("sound"), fold)


def each_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the sum of what the senses in use pay for the label, each alone."""
    net = cast(Network, network)
    losses = _each(net.senses, sensed(net, batch), batch["label"])
    return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def _each(senses: Senses, found: Sensed, label: Tensor) -> dict[str, Tensor]:
    return {
        sense: label_loss(row, label)
        for sense, row in zip(SENSES, senses.each(found), strict=True)
        if sense in senses.cfg.senses
    }


def folds_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, like: float = 1.0
) -> Mapping[str, Tensor]:
    """Return what each fold's senses pay for clips of the other folds.

    That is the loss of each sense alone, and the distance from what the senses make of
    the same clips: levels that learn from the features of one shall understand those of the other.

    Args:
        network: a :class:`Network`, its senses frozen and in eval mode.
        batch: of pictures and sound.
        context: of the step.
        like: weight of the distance, which is 1 for who knows nothing but the mean.
    """
    net = cast(Network, network)
    frames, sound, label = batch["frames"], batch.get("sound"), batch["label"]
    fold = folds_of(batch, net.cfg.num_folds)
    with torch.no_grad():
        wanted = net.sense(frames, sound)
    paid: list[Tensor] = []
    distance: list[Tensor] = []
    for one, others in by_others(net.fold_senses, fold):
        senses = cast(Senses, one)
        found = senses(frames[others], None if sound is None else sound[others])
        paid += _each(senses, found, label[others]).values()
        distance += [
            far(getattr(found, sense), getattr(wanted, sense)[others]) for sense in net.cfg.senses
        ]
    labelled, away = torch.stack(paid).sum(), torch.stack(distance).sum()
    return {"loss": labelled + like * away, "label": labelled, "distance": away}


def far(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared distance of features (B,T,D) as a share of how much ``wanted`` varies."""
    spread = (wanted - wanted.mean(dim=(0, 1))).square().mean()
    return (found - wanted).square().mean() / (spread + 1e-6)


def open_loss(network: nn.Module, batch: Batch, context: StepContext) -> Mapping[str, Tensor]:
    """Return the loss with all gates open (stage A); the senses get no gradient."""
    net = cast(Network, network)
    with torch.no_grad():
        found = learnt_from(net, batch)
    logits = net.run(found, always_open).logits
    return {"loss": label_loss(logits, batch["label"])}


def gate_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, options: GateOptions = USUAL
) -> Mapping[str, Tensor]:
    """Return the losses of label and usage under noisy gates (stage B); no gradient for senses.

    ``L = CE + lambda sum_k (mean over batch and steps of G_k - gamma_k)^2``
    """
    net = cast(Network, network)
    with torch.no_grad():
        found = learnt_from(net, batch)
    tau = options.temperature(context.progress)
    ran = net.run(found, by_gumbel(temperature=tau, generator=context.generator))
    labelled = label_loss(ran.logits, batch["label"])
    used = ran.gates.mean(dim=(0, 1))
    usage = usage_loss(ran.gates, options.usage)
    return {
        "loss": labelled + options.weight * usage,
        "label": labelled,
        "usage": usage,
        "appearance": used[0],
        "motion": used[1],
    }


def usage_loss(gates: Tensor, usage: tuple[float, float]) -> Tensor:
    """Return the sum of the squared distances of the mean gates (B,T,2) from ``usage``.

    The mean is that of the batch, not of each clip: easy and hard clips may differ.
    """
    return (gates.mean(dim=(0, 1)) - gates.new_tensor(usage)).square().sum()


# --- how a stage is judged -----------------------------------------------------------------------


def judge_each(network: nn.Module, batch: Batch) -> Tensor:
    """Return the mean of the logits (B,K) of the senses in use, each alone."""
    net = cast(Network, network)
    rows = [SENSES.index(sense) for sense in net.cfg.senses]
    return net.senses.each(sensed(net, batch))[rows].mean(dim=0)


def judge_folds(network: nn.Module, batch: Batch) -> Tensor:
    """Return the same of the senses of all folds; none has learnt from a clip that judges."""
    net = cast(Network, network)
    rows = [SENSES.index(sense) for sense in net.cfg.senses]
    said = [
        cast(Senses, senses).each(senses(batch["frames"], batch.get("sound")))[rows]
        for senses in net.fold_senses
    ]
    return torch.stack(said).mean(dim=(0, 1))


def judge_open(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) with all gates open."""
    net = cast(Network, network)
    return net.run(sensed(net, batch), always_open).logits


def judge_gated(network: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B,K) with the gates of the configuration."""
    net = cast(Network, network)
    return net.run(sensed(net, batch), by_threshold(net.cfg)).logits


@torch.no_grad()
def sensed_data(
    network: Network,
    arrays: Mapping[str, Array],
    *,
    numbers: Array | None = None,
    rows: int = 64,
) -> dict[str, Array]:
    """Return what the senses, in evaluation mode, make of ``arrays``, for the last two stages.

    Args:
        network: is put in evaluation mode.
        arrays: ``frames``, ``label`` and perhaps ``sound``, as a batch holds them.
        numbers: int64 (N,), which of the training set each clip is. With folds it is then sensed by
            who has not learnt from it; without them, and without folds, by the senses themselves.
        rows: taken at once.
    """
    network.eval()
    made: list[Sensed] = []
    every = dict(arrays) if numbers is None else {**arrays, "number": numbers}
    ask = sensed if numbers is None else learnt_from
    for start in range(0, len(arrays["label"]), rows):
        part = {k: torch.from_numpy(v[start : start + rows]) for k, v in every.items()}
        made.append(ask(network, part))
    found = {
        SENSED[0]: torch.cat([one.sound for one in made]).numpy(),
        SENSED[1]: torch.cat([one.appearance for one in made]).numpy(),
        SENSED[2]: torch.cat([one.motion for one in made]).numpy(),
    }
    return {**found, "label": arrays["label"]}


# --- recipes -------------------------------------------------------------------------------------

LEVELS = ("level1", "level2", "level3", "classifier")
GATES = ("gate2", "gate3")
LARGE = Canvas(height=256, width=256, short_side=256)
"""What the paper's pictures are cut from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lengths:
    """How long the three stages last, in steps or in epochs; that of folds as the first."""

    steps: tuple[int, int, int] | tuple[None, None, None] = (None, None, None)
    epochs: tuple[int, int, int] | tuple[None, None, None] = (None, None, None)


def _stages(
    num_folds: int,
    optimizer: Optimizer,
    first: Optimizer,
    lengths: _Lengths,
    options: GateOptions,
    batch_size: int,
) -> tuple[Stage, ...]:
    senses = Stage(
        name="senses",
        loss=each_loss,
        trains=(Group(prefixes=("senses",)),),
        judge=judge_each,
        optimizer=first,
        batch_size=min(batch_size, 64),
        steps=lengths.steps[0],
        epochs=lengths.epochs[0],
        clip_norm=5.0,
    )
    still = ("senses", "fold_senses") if num_folds else ("senses",)
    folds = replace(
        senses,
        name="folds",
        loss=folds_loss,
        trains=(Group(prefixes=("fold_senses",)),),
        eval_modules=("senses",),
        judge=judge_folds,
    )
    return (
        senses,
        *((folds,) if num_folds else ()),
        Stage(
            name="open",
            loss=open_loss,
            trains=(Group(prefixes=LEVELS),),
            eval_modules=still,
            judge=judge_open,
            optimizer=optimizer,
            batch_size=batch_size,
            steps=lengths.steps[1],
            epochs=lengths.epochs[1],
            clip_norm=5.0,
            schedule="constant",
        ),
        Stage(
            name="gates",
            loss=partial(gate_loss, options=options),
            trains=(Group(prefixes=(*LEVELS, *GATES)),),
            eval_modules=still,
            judge=judge_gated,
            optimizer=optimizer,
            batch_size=batch_size,
            steps=lengths.steps[2],
            epochs=lengths.epochs[2],
            clip_norm=5.0,
        ),
    )


def _without_gates(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages where no gate is to be learnt: the open levels learn as long as both."""
    *before, opened, gated = stages
    longer = replace(
        opened,
        steps=None if opened.steps is None else opened.steps + (gated.steps or 0),
        epochs=None if opened.epochs is None else opened.epochs + (gated.epochs or 0),
        schedule=gated.schedule,
    )
    return *before, longer


def _recipe(
    name: str, cfg: Config, stages: tuple[Stage, ...], *, view: Canvas, augment: Augment | None
) -> Recipe:
    num_frames = cfg.num_steps * cfg.burst
    if cfg.gates == "open":
        stages = _without_gates(stages)
    pretrained = {}
    if cfg.networks == "paper":
        places = ("senses", *(f"fold_senses.{i}" for i in range(cfg.num_folds)))
        nets = [f"{place}.{sense}.net" for place in places for sense in ("appearance", "motion")]
        pretrained = dict.fromkeys(nets, "resnet50")
    return Recipe(
        name=name,
        network=partial(make_network, cfg),
        stages=stages,
        config=cfg,
        draws=(Draw(num_frames=num_frames, burst=cfg.burst, view=view),),
        heard={"sound": Heard(view=cfg.ear.view, first=cfg.middle, every=cfg.burst)},
        augment=augment,
        pretrained=pretrained,
    )


def paper(*, cfg: Config | None = None, options: GateOptions = PAPER_GATES) -> Recipe:
    """Return the setting for ActivityNet; only its shape is the paper's, the numbers are ours.

    Adam at 1e-4 and batches of 128 are the region that is remembered of the paper; LiteEval, from
    which the usage target comes, used lambda 2 and a target of 0.05. How long it trains is not
    known. By count the first stage is 10,024 videos x 20 epochs x 3 x 10 steps x 33 GMACs, about
    0.2 EMACs, and the others 24 epochs of a third of that unless :func:`sensed_data` is used.
    """
    cfg = protocol.activitynet() if cfg is None else cfg
    stages = _stages(
        cfg.num_folds,
        Optimizer(kind="adam", lr=1e-4),
        Optimizer(kind="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4),
        _Lengths(epochs=(20, 8, 16)),
        options,
        batch_size=128,
    )
    augment = ResizedCrop(size=cfg.canvas.width)
    return _recipe("paper", cfg, stages, view=LARGE, augment=augment)


def small(
    *,
    cfg: Config | None = None,
    options: GateOptions = SMALL_GATES,
    steps: tuple[int, int, int] = (200, 60, 120),
) -> Recipe:
    """Return a run for real clips with sound at 96 px: some minutes on one core.

    Nothing is pretrained; pictures are cut, mirrored and coloured at random, sound is taken as it
    is.
    """
    cfg = protocol.small() if cfg is None else cfg
    large, augment = gentle(cfg.canvas)
    stages = _stages(
        cfg.num_folds,
        Optimizer(kind="adam", lr=2e-3),
        Optimizer(kind="adamw", lr=2e-3, weight_decay=0.01),
        _Lengths(steps=steps),
        options,
        batch_size=16,
    )
    return _recipe("small", cfg, stages, view=large, augment=augment)


def tiny(
    *,
    cfg: Config | None = None,
    options: GateOptions = USUAL,
    steps: tuple[int, int, int] = (300, 200, 550),
) -> Recipe:
    """Return the scaled-down run of Haystack's ``modalities-v1``.

    Stages of 8 and 22 epochs of 2,500 clips in batches of 100, Adam at 3e-3.
    """
    cfg = protocol.tiny() if cfg is None else cfg
    adam = Optimizer(kind="adam", lr=3e-3)
    lengths = _Lengths(steps=steps)
    stages = _stages(cfg.num_folds, adam, adam, lengths, options, batch_size=100)
    return _recipe("tiny", cfg, stages, view=cfg.canvas, augment=None)


RECIPES: Mapping[str, Callable[..., Recipe]] = {"paper": paper, "small": small, "tiny": tiny}
"""By the name ``--recipe`` knows them under."""
