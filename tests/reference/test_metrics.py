"""The metrics' equations once more in plain Python, one sample at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.metrics import (
    average_precision,
    cooled,
    expected_calibration_error,
    fit_temperature,
    mean_average_precision,
    mean_class_accuracy,
    spread,
    top_k_accuracy,
)
from foveal.metrics.accuracy import confusion

SEEDS = (0, 1, 2)


def drawn(seed: int, *, num: int = 40, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num, classes)) * 2
    labels = rng.integers(0, classes, num)
    logits[np.arange(num), labels] += 1.5
    exp = np.exp(logits)
    return exp / exp.sum(axis=1, keepdims=True), labels


def slow_average_precision(right: list[bool], scores: list[float], total: int) -> float:
    """At every recall the best precision at that recall or beyond, times the step of recall."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], -i))
    points = []
    found = 0
    for rank, i in enumerate(order, start=1):
        found += right[i]
        points.append((found / total, found / rank))
    area, before = 0.0, 0.0
    for recall, _ in points:
        if recall > before:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
    return area


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, 30) / 12  # many ties
    right = rng.random(30) < 0.3
    total = int(right.sum()) + seed
    wanted = slow_average_precision(right.tolist(), scores.tolist(), total)
    assert average_precision(right, scores, num_positives=total) == pytest.approx(wanted)


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_average_precision(seed: int) -> None:
    probs, labels = drawn(seed)
    labels[labels == 4] = 0  # a class without samples
    wanted = [
        slow_average_precision(
            (labels == k).tolist(), probs[:, k].tolist(), int((labels == k).sum())
        )
        for k in range(4)
    ]
    assert mean_average_precision(probs, labels)[0] == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize("seed", SEEDS)
def test_accuracies(seed: int) -> None:
    probs, labels = drawn(seed)
    ranks = [
        sorted(range(5), key=lambda k, row=row: (-row[k], k)).index(label)
        for row, label in zip(probs.tolist(), labels, strict=True)
    ]
    for k in (1, 2, 5):
        wanted = sum(rank < k for rank in ranks) / len(ranks)
        assert top_k_accuracy(probs, labels, k=k) == pytest.approx(wanted)
    shares = [
        np.mean([rank == 0 for rank, label in zip(ranks, labels, strict=True) if label == c])
        for c in set(labels.tolist())
    ]
    counts = confusion(labels, probs.argmax(axis=1), num_classes=5)
    assert mean_class_accuracy(counts) == pytest.approx(np.mean(shares))


@pytest.mark.parametrize("num_bins", [4, 15])
def test_expected_calibration_error(num_bins: int) -> None:
    probs, labels = drawn(3)
    total = 0.0
    for m in range(num_bins):
        inside = [
            (max(row), row.index(max(row)) == label)
            for row, label in zip(probs.tolist(), labels, strict=True)
            if m / num_bins < max(row) <= (m + 1) / num_bins
        ]
        if inside:
            confidence = sum(sure for sure, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(probs, labels, num_bins=num_bins) == pytest.approx(total)


@pytest.mark.parametrize("seed", SEEDS)
def test_temperature_is_where_the_labels_are_likeliest(seed: int) -> None:
    probs, labels = drawn(seed)

    def loss(temperature: float) -> float:
        total = 0.0
        for row, label in zip(probs.tolist(), labels, strict=True):
            scaled = [p ** (1 / temperature) for p in row]
            total -= math.log(scaled[label] / sum(scaled))
        return total / len(labels)

    found = fit_temperature(probs, labels)
    assert loss(found) <= min(loss(t) for t in np.linspace(0.2, 6, 300)) + 1e-9
    scaled = probs ** (1 / found)
    np.testing.assert_allclose(cooled(probs, found), scaled / scaled.sum(axis=1, keepdims=True))


def test_spread() -> None:
    values = sorted(np.random.default_rng(0).random(21).tolist(), reverse=True)
    ascending = sorted(values)
    found = spread(values)
    assert found.mean == pytest.approx(sum(values) / 21)
    assert found.p50 == pytest.approx(ascending[10])
    assert found.p95 == pytest.approx(ascending[19])
