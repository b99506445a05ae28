"""The edges: what is refused, empty bins and classes, limits of a temperature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from foveal.metrics import (
    average_precision,
    confusion,
    cooled,
    expected_calibration_error,
    fit_temperature,
    mean_average_precision,
    mean_class_accuracy,
    per_class,
    reliability,
    spread,
    top_k_accuracy,
)
from foveal.metrics.calibration import COLDEST, HOTTEST

SCORES = np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
LABELS = np.array([0, 1, 1])


def test_top_k_counts_each_label_once_and_ties_go_to_the_lower() -> None:
    assert [top_k_accuracy(SCORES, LABELS, k=k) for k in (1, 2, 3, 9)] == [1 / 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: top_k_accuracy(SCORES, LABELS, k=0), "k must be at least 1"),
        (lambda: top_k_accuracy(SCORES, LABELS[:2]), r"labels \(N,\), got \(3, 3\) and \(2,\)"),
        (lambda: top_k_accuracy(SCORES[:0], LABELS[:0]), r"got \(0, 3\)"),
        (lambda: top_k_accuracy(SCORES * np.nan, LABELS), "finite"),
        (lambda: top_k_accuracy(SCORES, LABELS.astype(float)), "integers, got float64"),
        (lambda: top_k_accuracy(SCORES, LABELS + 2), r"lie in \[0, 3\)"),
        (lambda: top_k_accuracy(SCORES, LABELS - 1), r"lie in \[0, 3\)"),
        (lambda: confusion(LABELS, LABELS[:1], num_classes=3), "as many answers as labels"),
        (lambda: confusion(LABELS, LABELS, num_classes=1), r"lie in \[0, 1\)"),
        (lambda: mean_class_accuracy(np.zeros((2, 2))), "no class has a sample"),
        (lambda: average_precision(np.array([True]), np.array([1]), num_positives=0), "1 right"),
        (lambda: mean_average_precision(SCORES, np.zeros((3, 3))), "no class has a sample"),
        (lambda: mean_average_precision(SCORES, np.zeros((3, 2))), r"labels \(3, 2\)"),
        (lambda: reliability(SCORES * 2, LABELS), r"lie in \[0, 1\]"),
        (lambda: reliability(SCORES, LABELS, num_bins=0), "at least 1"),
        (lambda: cooled(SCORES, 0.0), "must be positive"),
        (lambda: spread([]), "N at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_class_without_samples_counts_nowhere() -> None:
    counts = confusion(LABELS, SCORES.argmax(axis=1), num_classes=3)
    assert counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert per_class(counts)[:2].tolist() == [1.0, 0.0]
    assert math.isnan(per_class(counts)[2])
    assert mean_class_accuracy(counts) == 0.5
    mean, values = mean_average_precision(SCORES, LABELS)
    assert math.isnan(values[2])
    assert mean == pytest.approx(values[:2].mean())


def test_one_label_a_sample_and_a_table_of_truth_are_the_same() -> None:
    table = LABELS[:, None] == np.arange(3)
    np.testing.assert_equal(
        mean_average_precision(SCORES, table)[1], mean_average_precision(SCORES, LABELS)[1]
    )


def test_confidences_on_an_edge_belong_to_the_bin_below() -> None:
    probs = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert reliability(probs, np.array([0, 0]), num_bins=4).counts.tolist() == [0, 1, 0, 1]


def test_what_is_as_sure_as_it_is_right_has_no_error() -> None:
    probs = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(probs, np.array([0, 0, 0, 1])) == pytest.approx(0)
    assert fit_temperature(probs, np.array([0, 0, 0, 1])) == pytest.approx(1, abs=1e-9)


def test_a_temperature_that_would_run_away_stops_at_its_limit() -> None:
    probs = np.array([[0.6, 0.4], [0.4, 0.6]])
    assert fit_temperature(probs, np.array([0, 1])) == COLDEST
    assert fit_temperature(probs, np.array([1, 0])) == HOTTEST


def test_zeros_are_no_trouble_and_the_order_stays() -> None:
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 0.9, 0.1]])
    temperature = fit_temperature(probs, np.array([1, 1]))
    made = cooled(probs, temperature)
    np.testing.assert_allclose(made.sum(axis=1), 1)
    assert made.argmax(axis=1).tolist() == [0, 1]
    assert made[0, 0] < 1
