"""Exit thresholds keep their promises for any confidences, not only for the golden ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.sampling.budget import (
    exit_curve,
    exit_indices,
    exit_shares,
    rule_of,
    solve_thresholds,
)
from foveal.sampling.confidence import ExitRule


@st.composite
def tables(draw, *, distinct=True):
    """Return confidences (T,N), all different or with many ties."""
    num_exits, num_samples = draw(st.integers(1, 6)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if distinct:
        return rng.permuted(np.arange(num_exits * num_samples)).reshape(num_exits, -1) / 7.0
    return rng.integers(0, 4, (num_exits, num_samples)) / 4.0


ratios = st.floats(0.05, 20.0)


@given(ratios, st.integers(1, 40))
def test_shares_add_up_and_follow_the_ratio(r, num_exits):
    shares = exit_shares(r, num_exits=num_exits)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (shares[1:] == pytest.approx(r * shares[:-1], rel=1e-3, abs=1e-12)) or num_exits == 1


@given(tables(), ratios)
def test_as_many_leave_as_planned(confidences, r):
    num_exits, num_samples = confidences.shape
    shares = exit_shares(r, num_exits=num_exits)
    for ties in ("count", "value"):
        thresholds = solve_thresholds(confidences, shares, ties=ties)
        left = np.bincount(exit_indices(confidences, thresholds), minlength=num_exits)
        planned = np.floor(np.float32(num_samples) * shares[:-1]).astype(int)
        # With distinct values the last exits of "value" stay shut only where too few are left.
        assert left[:-1].tolist() == planned.tolist()
        assert left.sum() == num_samples


@given(tables(distinct=False), ratios)
def test_ties_leave_early_never_late(confidences, r):
    num_exits, num_samples = confidences.shape
    shares = exit_shares(r, num_exits=num_exits)
    planned = np.floor(np.float32(num_samples) * shares[:-1]).astype(int).cumsum()
    thresholds = solve_thresholds(confidences, shares, ties="count")
    left = np.bincount(exit_indices(confidences, thresholds), minlength=num_exits)[:-1].cumsum()
    assert (left >= planned).all()


@given(tables())
def test_a_larger_ratio_never_costs_less_and_nothing_costs_more_than_all(confidences):
    num_exits, num_samples = confidences.shape
    costs = np.arange(1, num_exits + 1, dtype=float)
    points = exit_curve(confidences, costs, rs=np.array([0.1, 0.5, 1.0, 2.0, 3.9, 1e9]))
    spent = [point.mean_cost for point in points]
    # Shares are rounded down, and what is left over leaves at the last exit.
    slack = num_exits * (num_exits - 1) / 2 / num_samples
    assert all(later >= before - slack for before, later in pairwise(spent))
    assert max(spent) <= costs[-1]
    # In the limit nobody leaves early: the static network.
    assert spent[-1] == costs[-1]


@given(tables(), ratios)
def test_the_rule_of_the_executor_stops_where_the_solver_says(confidences, r):
    probs = np.stack([1 - 0.5 * np.exp(-confidences), 0.5 * np.exp(-confidences)], axis=-1)
    sure = probs.max(axis=-1)
    thresholds = solve_thresholds(sure, exit_shares(r, num_exits=len(sure)))
    rule = ExitRule(thresholds=tuple(thresholds))
    for sample, left in enumerate(exit_indices(sure, thresholds)):
        stops = [rule.holds(t, probs[t, sample]) for t in range(len(sure))]
        assert stops.index(True) == left


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="positive r"):
        exit_shares(0.0, num_exits=3)
    with pytest.raises(ValueError, match=r"need \(T,N\) and \(T,\)"):
        solve_thresholds(np.zeros((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        solve_thresholds(np.full((2, 3), np.nan), np.ones(2))
    with pytest.raises(ValueError, match="ties must be"):
        solve_thresholds(np.zeros((2, 3)), np.ones(2), ties="both")


def test_an_exit_with_too_few_left_stays_shut_where_ties_all_leave():
    same = np.array([[0.5] * 4, [0.9, 0.8, 0.7, 0.6], [1.0] * 4])
    shares = np.array([0.25, 0.5, 0.25], np.float32)
    assert solve_thresholds(same, shares, ties="count").tolist() == [0.5, 0.7, -np.inf]
    assert solve_thresholds(same, shares, ties="value").tolist() == [0.5, np.inf, -np.inf]


@given(tables(), ratios)
def test_the_stored_rule_leaves_where_the_thresholds_do(confidences, r):
    sure = 1 - 0.5 * np.exp(-confidences)
    thresholds = solve_thresholds(sure, exit_shares(r, num_exits=len(sure)))
    rule = rule_of(thresholds)
    assert np.isfinite(rule.thresholds).all()
    for sample, left in enumerate(exit_indices(sure, thresholds)):
        column = [np.array([p, 1 - p]) for p in sure[:, sample]]
        stops = [t for t, probs in enumerate(column) if rule.holds(t, probs)]
        assert min([*stops, len(sure) - 1]) == left
