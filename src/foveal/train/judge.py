"""How good a network is on clips it is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from foveal.layers import is_right, label_losses
from foveal.metrics import mean_average_precision
from foveal.recipe import Judge
from foveal.train.data import Data, Trouble
from foveal.train.processes import gather

BATCH = 8
"""Clips judged at once; processes share the clips by whole batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of a validation.

    Args:
        accuracy: share of the clips whose label has the largest logit; ties go to the lower index.
            Where clips may show several classes it is the mean average precision.
        loss: mean of :func:`foveal.layers.label_losses`.
        num_clips: that could be read.
        troubles: those that could not.
    """

    accuracy: float
    loss: float
    num_clips: int
    troubles: tuple[Trouble, ...] = ()


class _Row(NamedTuple):
    """What is known of a clip; scores and what it shows only where that may be several classes."""

    number: int
    right: bool
    loss: float
    scores: list[float] | None
    shown: list[float] | None


def _accuracy(rows: Sequence[_Row]) -> float:
    """Return the accuracy of :class:`Judged`; 0 where no clip could be read."""
    if not rows:
        return 0.0
    if rows[0].scores is None:
        return sum(row.right for row in rows) / len(rows)
    scores, shown = np.array([row.scores for row in rows]), np.array([row.shown for row in rows])
    return mean_average_precision(scores, shown > 0)[0]


@torch.no_grad()
def judge(
    network: nn.Module, data: Data, *, logits: Judge, fabric: Fabric, max_clips: int = BATCH
) -> Judged:
    """Return how ``network`` does on ``data``, the same for any number of processes.

    Each process takes every so-manieth batch, whose clips are the same for any number of
    processes: the last bits of a convolution depend on how many it is given at once. The network
    is put in evaluation mode and left as it was.

    Args:
        network: on the device already.
        data: its batches hold ``frames``, ``label`` and ``number``; what cannot be read is left
            out.
        logits: see :data:`foveal.recipe.Judge`.
        fabric: says which clips are this process's.
        max_clips: judged at once.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    rows: list[_Row] = []
    troubles: list[Trouble] = []
    starts = range(0, len(data), max_clips)
    for start in starts[fabric.global_rank :: fabric.world_size]:
        part = np.arange(start, min(start + max_clips, len(data)))
        batch = data.batch(part, np.zeros(len(part), np.int64))
        troubles.extend(data.troubles())
        if not len(batch["label"]):
            continue
        batch = fabric.to_device(batch)
        with fabric.autocast():
            found = logits(network, batch).float()
        losses = label_losses(found, batch["label"]).double()
        several = batch["label"].ndim == 2
        right = is_right(found, batch["label"]).tolist()
        shown = [list(one) for one in batch["label"].tolist()] if several else [None] * len(right)
        scores = found.tolist() if several else [None] * len(right)
        rows.extend(map(_Row, batch["number"].tolist(), right, losses.tolist(), scores, shown))
    for module, training in modes:
        module.training = training
    everyone = gather(fabric, rows)
    num = max(len(everyone), 1)
    return Judged(
        accuracy=_accuracy(sorted(everyone)),
        loss=float(np.sort([row.loss for row in everyone]).sum() / num),  # in any order the same
        num_clips=len(everyone),
        troubles=tuple(gather(fabric, troubles)),
    )


class Average:
    """An exponential average of a network's weights and statistics.

    Args:
        network: whose state it begins with.
        decay: share of the old at each step.
        state: to go on from, as :attr:`state` was.
    """

    def __init__(
        self, network: nn.Module, *, decay: float, state: Mapping[str, Tensor] | None = None
    ) -> None:
        self.decay = decay
        self.state = {name: t.detach().clone() for name, t in network.state_dict().items()}
        for name, tensor in (state or {}).items():
            self.state[name].copy_(tensor)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the network's state in; counters are copied."""
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - self.decay)
            else:
                self.state[name].copy_(tensor)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Let ``network`` have the average while the context lasts."""
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(own)
