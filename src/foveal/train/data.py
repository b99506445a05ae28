"""What the loop trains on. Letters: N samples of the set, B samples of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from foveal.recipe import Augment, Batch
from foveal.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A sample that could not be read.

    Args:
        path: the file.
        kind: of the error, as in a failed record.
        message: what is wrong with it.
        hint: what to do.
    """

    path: str
    kind: str
    message: str
    hint: str


class Data(Protocol):
    """A training set: samples by index."""

    def __len__(self) -> int:
        """Return N."""

    def batch(self, indices: Array, seeds: Array) -> Batch:
        """Return the samples at ``indices`` (int64, (B,)), on the CPU.

        Among its tensors is ``number`` int64 (B,), the place of each sample in the set: what must
        treat a sample alike whenever it comes goes by that.
        Whatever is drawn for a sample (crops, flips, frames) is drawn from its seed (int64, (B,))
        and nothing else, so that a sample does not depend on its batch mates.
        """

    def troubles(self) -> Sequence[Trouble]:
        """Return what could not be read since this was last asked."""

    def fingerprint(self) -> str:
        """Return what two sets must share for one to go on with the other's run."""


class ArrayData:
    """Samples held in memory.

    Args:
        arrays: by the name the batch will have it under, e.g. ``frames`` uint8 (N,T,C,H,W) and
            ``label`` int64 (N,); they may be memory-mapped.
        augment: changes a sample.

    Raises:
        ValueError: there is no array, no sample, or not the same number of samples in each; or an
            array is called ``number``, which a batch holds besides.
    """

    def __init__(self, arrays: Mapping[str, Array], *, augment: Augment | None = None) -> None:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"every array needs the same number of samples, got {lengths}")
        if "number" in arrays:
            raise ValueError("'number' is what a batch calls a sample's place; rename the array")
        self.arrays = dict(arrays)
        self.augment = augment

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batch(self, indices: Array, seeds: Array) -> Batch:
        """Return copies of the samples at ``indices``."""
        batch: Batch = {
            **{n: torch.from_numpy(np.asarray(a[indices])) for n, a in self.arrays.items()},
            "number": torch.from_numpy(np.array(indices, np.int64)),
        }
        if self.augment is None:
            return batch
        samples = [{name: rows[i] for name, rows in batch.items()} for i in range(len(indices))]
        return stack(
            [
                self.augment(sample, torch.Generator().manual_seed(int(seed)))
                for sample, seed in zip(samples, seeds, strict=True)
            ]
        )

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: memory can be read."""
        return ()

    def fingerprint(self) -> str:
        """Return names, shapes and kinds of the arrays; what they hold is not read."""
        told = sorted((name, array.shape, str(array.dtype)) for name, array in self.arrays.items())
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def stack(samples: Sequence[Batch]) -> Batch:
    """Return the batch of ``samples``, whose tensors are alike."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
