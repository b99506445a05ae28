"""Folds of the training set: what labels a sample, or is learnt from, has not learnt from it.

A batch's ``number`` int64 (B,) says which of the set each sample is; fold i of n holds those whose
number leaves i when it is divided by n, and the module of fold i learns from all other folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from foveal.recipe.stages import Batch

T = TypeVar("T")


def folds_of(batch: Batch, num_folds: int) -> Tensor:
    """Return the fold int64 (B,) that each sample is in; 0 where there are no folds.

    >>> folds_of({"number": torch.tensor([4, 7, 2]), "label": torch.zeros(3)}, 2).tolist()
    [0, 1, 0]
    """
    if not num_folds:
        label = batch["label"]
        return torch.zeros(len(label), dtype=torch.int64, device=label.device)
    return batch["number"] % num_folds


def by_others(modules: Iterable[T], fold: Tensor) -> Iterator[tuple[T, Tensor]]:
    """Yield what learns in each fold, and which rows it learns from: bool (B,), at least one.

    Args:
        modules: one for each fold.
        fold: int64 (B,), that each row is in.

    >>> [(name, rows.tolist()) for name, rows in by_others("ab", torch.tensor([0, 1, 0]))]
    [('a', [False, True, False]), ('b', [True, False, True])]
    """
    for i, module in enumerate(modules):
        others = fold != i
        if bool(others.any()):
            yield module, others
