"""Whether an answer that is sure to 80 % is right 80 times in 100.

Source: Guo et al., ICML 2017, arXiv 1706.04599 (expected calibration error, eq. 3; temperature,
sec. 4.2). Letters: N samples, K classes, M bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.metrics.accuracy import check
from foveal.types import Array

NUM_BINS = 15
LEAST = 1e-12
"""What a probability of 0 counts as, so that its logarithm is finite."""
COLDEST, HOTTEST = 0.02, 50.0
"""Limits of a fitted temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Samples sorted by how sure the answer was, into M bins of equal width.

    Bin m holds confidences in (m / M, (m + 1) / M]; 0 is in the first.

    Args:
        counts: int64 (M,).
        confidence: mean of each bin, float64 (M,), NaN where it is empty.
        accuracy: share that is right in each, likewise.
    """

    counts: Array
    confidence: Array
    accuracy: Array

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence| in the mean over the samples."""
        held = self.counts > 0
        gaps = np.abs(self.accuracy[held] - self.confidence[held])
        return float((gaps * self.counts[held]).sum() / self.counts.sum())


def reliability(probs: Array, labels: Array, *, num_bins: int = NUM_BINS) -> Reliability:
    """Return how often answers are right beside how sure they are.

    Args:
        probs: (N,K), the largest of a row being the answer (ties: the lower index) and its
            confidence.
        labels: int (N,), in [0, K).
        num_bins: M, at least 1.

    Raises:
        ValueError: as :func:`~foveal.metrics.accuracy.check`, a probability outside [0, 1], or
            no bin.

    >>> found = reliability(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), num_bins=2)
    >>> found.counts.tolist(), found.accuracy.tolist()
    ([0, 2], [nan, 0.5])
    """
    probs, labels = check(probs, labels)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if probs.min() < 0 or probs.max() > 1 + 1e-6:
        raise ValueError("probabilities must lie in [0, 1]")
    sure = probs.max(axis=1)
    right = probs.argmax(axis=1) == labels
    places = np.clip(np.ceil(sure * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    means = []
    for values in (sure, right):
        sums = np.bincount(places, weights=values, minlength=num_bins)
        mean = np.full(num_bins, np.nan)
        np.divide(sums, counts, out=mean, where=counts > 0)
        means.append(mean)
    return Reliability(counts=counts, confidence=means[0], accuracy=means[1])


def expected_calibration_error(probs: Array, labels: Array, *, num_bins: int = NUM_BINS) -> float:
    """Return |accuracy - confidence| in the mean over the samples, by bins; in [0, 1].

    Args:
        probs: (N,K).
        labels: int (N,), in [0, K).
        num_bins: of equal width.

    Raises:
        ValueError: as :func:`reliability`.

    >>> round(expected_calibration_error(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1])), 6)
    0.35
    """
    return reliability(probs, labels, num_bins=num_bins).error


def cooled(probs: Array, temperature: float) -> Array:
    """Return softmax(log p / T), float64 (N,K); T above 1 is less sure, the order stays.

    Args:
        probs: (N,K); 0 counts as :data:`LEAST`.
        temperature: T, positive.

    Raises:
        ValueError: T is not positive.

    >>> cooled(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    scaled = _logs(probs) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exp = np.exp(scaled)
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def fit_temperature(probs: Array, labels: Array) -> float:
    """Return the temperature under which the labels are likeliest.

    The mean of -log p(label) is convex in 1/T, so the zero of its slope is found by halving, in
    [:data:`COLDEST`, :data:`HOTTEST`]; beyond them the limit is returned (all answers right ask
    for T towards 0).

    Args:
        probs: (N,K).
        labels: int (N,), in [0, K).

    Raises:
        ValueError: as :func:`~foveal.metrics.accuracy.check`.

    >>> sure = np.array([[0.99, 0.01]] * 4)
    >>> round(fit_temperature(sure, np.array([0, 0, 0, 1])), 3)  # three of four are right
    4.183
    """
    probs, labels = check(probs, labels)
    logs = _logs(probs)
    at_label = logs[np.arange(len(labels)), labels].mean()
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(logs, low, at_label) >= 0:
        return HOTTEST
    if _slope(logs, high, at_label) <= 0:
        return COLDEST
    for _ in range(80):
        middle = float(np.sqrt(low * high))
        if _slope(logs, middle, at_label) < 0:
            low = middle
        else:
            high = middle
    return float(1 / np.sqrt(low * high))


def _logs(probs: Array) -> Array:
    return np.asarray(np.log(np.maximum(np.asarray(probs, np.float64), LEAST)))


def _slope(logs: Array, inverse: float, at_label: float) -> float:
    """Return the slope of the mean of -log p(label) in 1/T, at ``inverse``."""
    scaled = logs * inverse
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return float((weights * logs).sum(axis=1).mean() - at_label)
