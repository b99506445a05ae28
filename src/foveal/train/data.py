"""What the loop trains on. Letters: N samples of the set, B samples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from foveal.recipe import Batch
from foveal.types import Array


class Data(Protocol):
    """A training set: samples by index."""

    def __len__(self) -> int:
        """Return N."""

    def batch(self, indices: Array, generator: torch.Generator) -> Batch:
        """Return the samples at ``indices`` (int64, (B,)), on the CPU.

        Whatever is drawn (crops, flips, frames) is drawn from ``generator`` and nothing else.
        """


class ArrayData:
    """Samples held in memory.

    Args:
        arrays: by the name the batch will have it under, e.g. ``frames`` uint8 (N,T,C,H,W) and
            ``label`` int64 (N,); they may be memory-mapped.
        augment: changes a batch, drawing from the generator it is given.

    Raises:
        ValueError: there is no array, no sample, or not the same number of samples in each.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        *,
        augment: Callable[[Batch, torch.Generator], Batch] | None = None,
    ) -> None:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"every array needs the same number of samples, got {lengths}")
        self.arrays = dict(arrays)
        self.augment = augment

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batch(self, indices: Array, generator: torch.Generator) -> Batch:
        """Return copies of the samples at ``indices``."""
        batch: Batch = {
            name: torch.from_numpy(np.asarray(array[indices]))
            for name, array in self.arrays.items()
        }
        return batch if self.augment is None else self.augment(batch, generator)
