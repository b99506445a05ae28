"""Which operating point a budget picks, and what a refusal says."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from foveal.budget import Budget, BudgetError, choose
from tests.unit.budget.made import calibration, measured

EXITS = measured(
    "exits",
    0.9,
    2.0,
    family="exits",
    held_macs=2.2e9,
    p95_macs=3.0e9,
    held_ms=21.0,
    max_macs=4_000_000_000,
    first_macs=1_000_000_000,
)
CURVE = calibration(
    measured("all", 0.9, 4.0),
    EXITS,
    measured("two", 0.8, 2.0),
    measured("one", 0.7, 1.0),
    measured("chance", 0.99, 0.5, family="random"),
)


def picked(**budget: Any) -> str:
    return choose(CURVE, Budget(**budget), ms=MS).measured.point.name


MS = {"all": 40.0, "exits": 30.0, "two": 20.0, "one": 10.0, "chance": 1.0}


@pytest.mark.parametrize(
    ("budget", "name"),
    [
        ({"max_gmacs": 100}, "exits"),  # as accurate as all, and cheaper
        ({"max_gmacs": 2.2}, "exits"),
        ({"max_gmacs": 2.1}, "two"),  # the mean of exits is below, what other clips may cost not
        ({"max_gmacs": 1.0}, "one"),
        ({"max_ms": 30}, "exits"),
        ({"max_ms": 29.9}, "two"),
        ({"max_ms": 100, "max_gmacs": 1.5}, "one"),
        ({"min_confidence": 0.75}, "two"),
        ({"min_confidence": 0.75, "max_gmacs": 2.0}, "two"),
        ({"min_confidence": 0.9}, "exits"),
        ({"max_gmacs": 4.0, "hard": True}, "exits"),
        ({"max_gmacs": 3.9, "hard": True}, "two"),  # exits may reach 4, so their accuracy is open
        ({"max_gmacs": 1.0, "hard": True}, "one"),
    ],
)
def test_the_most_accurate_point_that_holds_a_budget(budget: dict[str, Any], name: str) -> None:
    assert picked(**budget) == name


def test_frames_by_chance_are_never_picked() -> None:
    with pytest.raises(BudgetError):
        picked(max_gmacs=0.5)


@pytest.mark.parametrize(
    ("budget", "told", "hint"),
    [
        ({"max_gmacs": 0.2}, "holds 0.2 GMACs: the smallest feasible is 1 GMACs", "--max-gmacs 1"),
        ({"max_ms": 3.5}, "holds 3.5 ms: the smallest feasible is 10 ms", "--max-ms 10"),
        (
            {"min_confidence": 0.95},
            "holds 0.95 confidence: the largest feasible is 0.9 confidence",
            "--min-confidence 0.9",
        ),
        (
            {"max_gmacs": 1.5, "max_ms": 5},
            "holds 5 ms with --max-gmacs: the smallest feasible is 10 ms",
            "--max-ms 10",
        ),
        ({"max_gmacs": 0.5, "max_ms": 5}, "no operating point holds this", "--max-gmacs 1, --max"),
        ({"max_gmacs": 0.9, "hard": True}, "the smallest feasible is 1 GMACs", "--max-gmacs 1"),
    ],
)
def test_a_refusal_is_one_line_with_what_is_feasible(
    budget: dict[str, Any], told: str, hint: str
) -> None:
    with pytest.raises(BudgetError) as refused:
        picked(**budget)
    assert told in refused.value.message
    assert hint in refused.value.hint
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("macs", [768, 123_456_789, 9_999_999_999, 1])
def test_what_a_refusal_names_is_granted(macs: int) -> None:
    curve = calibration(measured("only", 0.5, macs / 1e9))
    with pytest.raises(BudgetError) as refused:
        choose(curve, Budget(max_gmacs=macs / 2e9))
    named = re.search(r"--max-gmacs ([0-9.]+)", refused.value.hint)
    assert named is not None
    assert choose(curve, Budget(max_gmacs=float(named[1]))).measured.point.name == "only"
    assert float(named[1]) <= macs / 1e9 * 1.002


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max_gmacs": 0.0},
        {"max_gmacs": -1.0},
        {"max_ms": math.inf},
        {"max_ms": math.nan},
        {"min_confidence": 1.5},
        {"max_ms": 5.0, "hard": True},
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BudgetError):
        Budget(**wrong)


def test_milliseconds_need_those_of_this_machine() -> None:
    with pytest.raises(ValueError, match="this machine"):
        choose(CURVE, Budget(max_ms=5.0))


# --- a policy that costs more than it saves -----------------------------------------------------


def test_a_policy_gives_way_to_a_plain_point_as_accurate_and_quicker() -> None:
    curve = calibration(measured("plain", 0.9, 3.0), measured("policy", 0.9, 2.0, family="policy"))
    slow = choose(curve, Budget(max_gmacs=5), ms={"plain": 10.0, "policy": 11.0})
    assert slow.measured.point.name == "plain"
    assert slow.note is not None
    assert "'policy' costs more than it saves on this machine" in slow.note
    assert "the plain model runs, 'plain'" in slow.note
    quick = choose(curve, Budget(max_gmacs=5), ms={"plain": 12.0, "policy": 11.0})
    assert (quick.measured.point.name, quick.note) == ("policy", None)


def test_what_is_saved_counts_only_inside_the_budget() -> None:
    curve = calibration(measured("plain", 0.9, 3.0), measured("policy", 0.9, 2.0, family="policy"))
    held = choose(curve, Budget(max_gmacs=2.5), ms={"plain": 10.0, "policy": 11.0})
    assert (held.measured.point.name, held.note) == ("policy", None)


def test_under_milliseconds_the_plain_point_is_told_why_it_runs() -> None:
    curve = calibration(measured("plain", 0.9, 3.0), measured("policy", 0.9, 2.0, family="policy"))
    choice = choose(curve, Budget(max_ms=10.5), ms={"plain": 10.0, "policy": 11.0})
    assert choice.measured.point.name == "plain"
    assert choice.note is not None
    assert choice.held_ms == 10.0


def test_on_a_machine_that_was_not_timed_nothing_is_claimed_of_it() -> None:
    curve = calibration(measured("plain", 0.9, 3.0), measured("policy", 0.9, 2.0, family="policy"))
    choice = choose(curve, Budget(max_gmacs=5))
    assert (choice.measured.point.name, choice.held_ms, choice.note) == ("policy", None, None)
