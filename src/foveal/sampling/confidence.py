"""How sure an answer is, and the rule that stops a sample when it is sure enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.types import Array

Criterion: TypeAlias = Literal["max_prob", "neg_entropy", "margin"]


def softmax(logits: Array) -> Array:
    """Return probabilities along the last axis, float64, summing to 1.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exp = np.exp(shifted)
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def confidence(probs: Array, *, criterion: Criterion = "max_prob") -> float:
    """Return how sure ``probs`` (K,) is; larger is surer.

    Args:
        probs: non-negative, summing to 1.
        criterion: ``max_prob`` in [0, 1]; ``margin`` (best minus second) in [0, 1];
            ``neg_entropy`` = sum p log p, at most 0.

    Raises:
        ValueError: the criterion is none of these.

    >>> round(confidence(np.array([0.7, 0.2, 0.1]), criterion="margin"), 3)
    0.5
    """
    p = np.asarray(probs, np.float64)
    if criterion == "max_prob":
        return float(p.max())
    if criterion == "margin":
        if p.size < 2:
            return float(p.max())
        second, best = np.partition(p, -2)[-2:]
        return float(best - second)
    if criterion == "neg_entropy":
        kept = p[p > 0]
        return float((kept * np.log(kept)).sum())
    raise ValueError(f"criterion must be max_prob, neg_entropy or margin, got {criterion!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRule:
    """Stop at answer ``i`` (from 0) when its confidence reaches ``thresholds[i]``.

    Answers beyond the list never stop a sample; ``inf`` switches an exit off. The rule is
    data in the bundle and belongs to an operating point.

    Raises:
        ValueError: a threshold is NaN or the criterion unknown.
    """

    thresholds: tuple[float, ...]
    criterion: Criterion = "max_prob"

    def __post_init__(self) -> None:
        if any(np.isnan(t) for t in self.thresholds):
            raise ValueError("exit thresholds must not be NaN")
        confidence(np.array([1.0]), criterion=self.criterion)

    def holds(self, index: int, probs: Array) -> bool:
        """Return whether answer number ``index`` (from 0) with ``probs`` (K,) is sure enough."""
        if index >= len(self.thresholds):
            return False
        return confidence(probs, criterion=self.criterion) >= self.thresholds[index]
