"""Exit thresholds from a budget: how many samples should leave where, and what that takes.

The family of MSDNet, GFNet and AdaFocusV2: one number ``r`` sets the share of samples that leave
at every exit, and thresholds that give these shares are read off a calibration set. Letters:
T exits, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.sampling.confidence import Criterion, ExitRule
from foveal.types import Array

Ties: TypeAlias = Literal["count", "value"]

NEVER = 1e8
"""A confidence nobody reaches."""


def exit_shares(r: float, *, num_exits: int) -> Array:
    """Return the share of samples that leaves at each exit, proportional to ``r ** t``, (T,).

    Args:
        r: positive; below 1 most leave early, above 1 most leave late.
        num_exits: T.

    Returns:
        float32, as the official code computes them: their product with N is rounded down, so
        the precision decides ties.

    Raises:
        ValueError: ``r`` is not positive or there is no exit.

    >>> exit_shares(0.5, num_exits=3).round(3).tolist()
    [0.5709999799728394, 0.28600001335144043, 0.14300000667572021]
    """
    if not r > 0 or num_exits < 1:
        raise ValueError(f"need a positive r and at least one exit, got {r}, {num_exits}")
    # Divided by the largest power first, so that no r overflows.
    exponents = np.arange(1, num_exits + 1) - (num_exits if r > 1 else 1)
    powers = np.float64(r) ** exponents
    return np.asarray(powers / powers.sum(), np.float32)


def solve_thresholds(confidences: Array, shares: Array, *, ties: Ties = "count") -> Array:
    """Return the confidence at which a sample leaves, for each exit, float64 (T,).

    At every exit but the last, the ``floor(N * share)`` surest of the samples that are still
    there leave, and the threshold is the confidence of the last of them. An exit nobody leaves
    at has threshold ``inf``, the last one ``-inf``.

    Args:
        confidences: (T, N) on a calibration set; larger is surer.
        shares: (T,) as :func:`exit_shares` gives them.
        ties: what the solver assumes of samples as sure as the threshold. ``count``
            (AdaFocusV2): exactly the share leaves. ``value`` (GFNet): they all leave, as they
            will when the thresholds are used, and an exit with fewer samples left than its
            share stays shut.

    Raises:
        ValueError: shapes differ, a confidence is NaN, or ``ties`` is unknown.

    >>> sure = np.array([[0.9, 0.5, 0.7, 0.1], [0.9, 0.8, 0.9, 0.6]])
    >>> solve_thresholds(sure, np.array([0.5, 0.5])).tolist()
    [0.7, -inf]
    """
    values = np.asarray(confidences)
    if values.ndim != 2 or len(shares) != len(values):
        raise ValueError(f"need (T,N) and (T,), got {values.shape} and {len(shares)} shares")
    if np.isnan(values).any():
        raise ValueError("confidences must not be NaN")
    if ties not in ("count", "value"):
        raise ValueError(f"ties must be count or value, got {ties!r}")
    num_exits, num_samples = values.shape
    thresholds = np.full(num_exits, np.inf)
    thresholds[-1] = -np.inf
    gone = np.zeros(num_samples, bool)
    for exit_index in range(num_exits - 1):
        quota = int(np.float32(num_samples) * np.float32(shares[exit_index]))
        order = np.argsort(-values[exit_index], kind="stable")
        leaving = order[~gone[order]][:quota]
        if quota == 0 or len(leaving) < quota:
            continue
        threshold = values[exit_index, leaving[-1]]
        thresholds[exit_index] = threshold
        gone[leaving if ties == "count" else values[exit_index] >= threshold] = True
    return thresholds


def exit_indices(confidences: Array, thresholds: Array) -> Array:
    """Return the first exit at which each sample reaches the threshold, int64 (N,).

    Args:
        confidences: (T, N).
        thresholds: (T,); a sample that reaches none leaves at the last exit.

    >>> exit_indices(np.array([[0.9, 0.5], [0.9, 0.8]]), np.array([0.7, -np.inf])).tolist()
    [0, 1]
    """
    holds = np.asarray(confidences) >= np.asarray(thresholds)[:, None]
    holds[-1] = True
    return np.asarray(holds.argmax(axis=0), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPoint:
    """One setting of the exits and what it costs on the calibration set.

    Args:
        r: the budget parameter.
        thresholds: (T,) as :func:`solve_thresholds` gives them.
        mean_cost: of a sample, in the unit of the costs given.
    """

    r: float
    thresholds: tuple[float, ...]
    mean_cost: float


def exit_curve(
    confidences: Array, costs: Array, *, rs: Array, ties: Ties = "count"
) -> tuple[ExitPoint, ...]:
    """Return one point for every ``r``: thresholds, and the mean cost they have.

    Args:
        confidences: (T, N) on a calibration set.
        costs: (T,) of leaving at each exit, ascending.
        rs: budget parameters, positive.
        ties: see :func:`solve_thresholds`.
    """
    points: list[ExitPoint] = []
    for r in rs:
        shares = exit_shares(float(r), num_exits=len(confidences))
        thresholds = solve_thresholds(confidences, shares, ties=ties)
        spent = np.asarray(costs, np.float64)[exit_indices(confidences, thresholds)]
        points.append(
            ExitPoint(
                r=float(r),
                thresholds=tuple(float(t) for t in thresholds),
                mean_cost=float(spent.mean()),
            )
        )
    return tuple(points)


def rule_of(thresholds: Array, *, criterion: Criterion = "max_prob") -> ExitRule:
    """Return solved ``thresholds`` (T,) as the rule the executor follows, fit to be stored.

    The last exit is left out: whoever gets there is done anyway. An exit nobody leaves at gets
    :data:`NEVER`, for JSON has no infinity.

    >>> rule_of(np.array([np.inf, 0.7, -np.inf])).thresholds
    (100000000.0, 0.7)
    """
    kept = np.minimum(np.asarray(thresholds, np.float64)[:-1], NEVER)
    return ExitRule(thresholds=tuple(float(t) for t in kept), criterion=criterion)
