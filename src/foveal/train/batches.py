"""The batches of a stage, made ahead of the loop, the same however many workers make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from foveal.recipe import Batch, Stage
from foveal.train.checkpoint import TrainError
from foveal.train.data import Data, Trouble
from foveal.types import Array, FovealError

# What numbers are drawn for, so that no two purposes share a stream.
ORDER, LOSS, DROPOUT, SAMPLES = range(4)


def generator(*numbers: int) -> torch.Generator:
    """Return random numbers that depend on ``numbers`` alone."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(seed))


@dataclass(frozen=True, slots=True)
class Made:
    """A batch, and which of its samples were replaced; or why there is none."""

    batch: Batch
    troubles: Sequence[Trouble] = ()
    error: FovealError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of every batch this process computes: samples ``rank``, ``rank + size`` ..."""

    rank: int = 0
    size: int = 1

    def of(self, items: Array) -> Array:
        """Return this process's part of ``items``."""
        return items[self.rank :: self.size]


class _Steps(Dataset[Made]):
    """Step numbers of a stage to batches; what is drawn depends on seed, stage and step."""

    def __init__(self, data: Data, stage: Stage, *, seed: int, index: int, share: Share) -> None:
        self.data = data
        self.stage = stage
        self.key = (seed, index)
        self.share = share
        self._epoch = -1
        self._order: Array = np.zeros(0, np.int64)

    def __getitem__(self, step: int) -> Made:
        size = self.stage.batch_size
        epoch, position = divmod(step, len(self.data) // size)
        if epoch != self._epoch:
            drawn = generator(*self.key, epoch, ORDER)
            self._epoch, self._order = (
                epoch,
                torch.randperm(len(self.data), generator=drawn).numpy(),
            )
        indices = self._order[position * size : (position + 1) * size]
        # A sample's seed goes by its place in the whole batch, not by the process that makes it.
        seeds = torch.randint(2**62, (size,), generator=generator(*self.key, step, SAMPLES)).numpy()
        try:
            batch = self.data.batch(self.share.of(indices), self.share.of(seeds))
        except FovealError as error:  # a worker cannot raise what takes more than a message
            return Made({}, self.data.troubles(), error)
        return Made(batch, self.data.troubles())


def batches(
    data: Data,
    stage: Stage,
    *,
    seed: int,
    index: int,
    steps: range,
    workers: int = 0,
    share: Share = Share(),
) -> Iterator[Made]:
    """Yield the batches of ``steps``, in order.

    Args:
        data: whose samples.
        stage: says how many a step.
        seed: of the run.
        index: of the stage.
        steps: from the first one that is wanted.
        workers: processes that make batches while the loop computes; 0 makes them in line.
        share: this process's part of every batch.
    """
    made = _Steps(data, stage, seed=seed, index=index, share=share)
    loader: DataLoader[Made] = DataLoader(
        made,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=2 if workers else None,
    )
    return _watched(iter(loader))


def _watched(made: Iterator[Made]) -> Iterator[Made]:
    """Pass batches on; a worker that the system ended is one clear error."""
    while True:
        try:
            item = next(made, None)
        except RuntimeError as error:
            if "worker" not in str(error) or "Traceback" in str(error):
                raise
            raise TrainError(
                f"a process that makes batches died ({' '.join(str(error).split())})",
                hint="foveal doctor finds files that crash a decoder; too little memory does it "
                "too: try --set workers=0",
            ) from error
        if item is None:
            return
        yield item


def _as_it_is(made: Any) -> Any:
    return made
