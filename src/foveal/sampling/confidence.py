"""How sure an answer is, and the rule that stops a sample when it is sure enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.types import Array

Criterion: TypeAlias = Literal["max_prob", "neg_entropy", "margin", "max_logit", "own"]


def softmax(logits: Array) -> Array:
    """Return probabilities along the last axis, float64, summing to 1.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    shifted = np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True)
    exp = np.exp(shifted)
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """Return the probability of each class by itself, float64.

    >>> sigmoid(np.array([0.0, -800.0])).tolist()
    [0.5, 0.0]
    """
    return np.asarray(np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64))))


def confidence(
    probs: Array,
    *,
    criterion: Criterion = "max_prob",
    logits: Array | None = None,
    sure: float | None = None,
) -> float:
    """Return how sure ``probs`` (K,) is; larger is surer.

    Args:
        probs: non-negative, summing to 1.
        criterion: ``max_prob`` in [0, 1]; ``margin`` (best minus second) in [0, 1];
            ``neg_entropy`` = sum p log p, at most 0; ``max_logit`` the largest of ``logits``, which
            depends on their offset (the exits released with AdaFocusV2 use it); ``own``: ``sure``.
        logits: (K,), what ``probs`` were made from; only ``max_logit`` reads them.
        sure: what the system says itself; only ``own`` reads it.

    Raises:
        ValueError: the criterion is none of these, or what it reads is not there.

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
    if criterion == "max_logit":
        if logits is None:
            raise ValueError("max_logit needs logits, and the protocol answers with probs alone")
        return float(np.max(logits))
    if criterion == "own":
        if sure is None:
            raise ValueError("own needs the system to say how sure it is, and its answer does not")
        return sure
    raise ValueError(
        f"criterion must be max_prob, neg_entropy, margin, max_logit or own, got {criterion!r}"
    )


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
        confidence(np.array([1.0]), criterion=self.criterion, logits=np.array([0.0]), sure=1.0)

    def holds(
        self, index: int, probs: Array, *, logits: Array | None = None, sure: float | None = None
    ) -> bool:
        """Return whether answer number ``index`` (from 0) with ``probs`` (K,) is sure enough.

        Raises:
            ValueError: the criterion reads ``logits`` (K,) or ``sure`` and there is none.
        """
        if index >= len(self.thresholds):
            return False
        found = confidence(probs, criterion=self.criterion, logits=logits, sure=sure)
        return found >= self.thresholds[index]
