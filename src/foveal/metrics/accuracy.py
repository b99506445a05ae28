"""How often the label is right. Letters: N samples, K classes."""

from __future__ import annotations

import numpy as np

from foveal.types import Array


def check(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Return both as arrays, if they fit each other.

    Args:
        scores: (N,K), finite; larger is likelier.
        labels: int (N,), in [0, K).

    Raises:
        ValueError: N is 0, a shape does not fit, a score is not finite, or a label out of range.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 2 or not len(scores) or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"scores must be (N,K) and labels (N,), got {scores.shape} and {labels.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"labels must lie in [0, {scores.shape[1]})")
    return scores, labels


def check_several(scores: Array, truth: Array) -> tuple[Array, Array]:
    """Return both as arrays, if they fit each other.

    Args:
        scores: (N,K), finite; larger is likelier.
        truth: (N,K), whether a sample has a class.

    Raises:
        ValueError: N is 0, shapes differ, or a score is not finite.
    """
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth).astype(bool)
    if scores.ndim != 2 or not len(scores) or scores.shape != truth.shape:
        raise ValueError(f"finite scores like labels {truth.shape}, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"finite scores like labels {truth.shape}, got others")
    return scores, truth


def top_k_accuracy(scores: Array, labels: Array, *, k: int = 1) -> float:
    """Return the share of samples whose label is among the ``k`` highest scores, in [0, 1].

    Ties go to the lower index. With ``k`` of K and more every label is among them.

    Args:
        scores: (N,K), finite.
        labels: int (N,), in [0, K); or bool (N,K), of which any counts.
        k: at least 1.

    Raises:
        ValueError: as :func:`check`, or ``k`` below 1.

    >>> scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    >>> top_k_accuracy(scores, np.array([1, 2])), top_k_accuracy(scores, np.array([1, 1]), k=2)
    (0.5, 0.5)
    """
    if np.asarray(labels).dtype == bool:
        scores, truth = check_several(scores, labels)
    else:
        scores, labels = check(scores, labels)
        truth = labels[:, None] == np.arange(scores.shape[1])
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(truth, best, axis=1).any(axis=1).mean())


def confusion(labels: Array, predicted: Array, *, num_classes: int) -> Array:
    """Return how often class i was taken for class j, int64 (K,K), labels down, answers across.

    Args:
        labels: int (N,), in [0, K).
        predicted: the same.
        num_classes: K.

    Raises:
        ValueError: lengths differ, or a class is out of range.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), num_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(f"as many answers as labels, got {predicted.shape} for {labels.shape}")
    for values in (labels, predicted):
        if len(values) and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(f"classes must lie in [0, {num_classes})")
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def per_class(counts: Array) -> Array:
    """Return the share that is right of every class, float64 (K,), NaN where it has no sample.

    Args:
        counts: of :func:`confusion`.

    >>> per_class(np.array([[1, 1], [0, 4]])).tolist()
    [0.5, 1.0]
    """
    counts = np.asarray(counts)
    sizes = counts.sum(axis=1)
    shares = np.full(len(counts), np.nan)
    np.divide(counts.diagonal(), sizes, out=shares, where=sizes > 0)
    return shares


def mean_class_accuracy(counts: Array) -> float:
    """Return the mean over the classes that have samples of the share that is right in each.

    Args:
        counts: of :func:`confusion`.

    Raises:
        ValueError: no class has a sample.

    >>> mean_class_accuracy(np.array([[1, 1, 0], [0, 4, 0], [0, 0, 0]]))
    0.75
    """
    shares = per_class(counts)
    if np.isnan(shares).all():
        raise ValueError("no class has a sample")
    return float(np.nanmean(shares))
