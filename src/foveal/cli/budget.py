"""``foveal recognize`` with a budget: which operating point, and whether it held."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import TYPE_CHECKING

from foveal.budget import Budget, BudgetError, Choice
from foveal.cli.recognize import prediction_of
from foveal.cli.text import clean, count, exact_gmacs, milliseconds, percent
from foveal.records import Failure

if TYPE_CHECKING:
    from foveal.api import Model
    from foveal.cli.recognize import Options, Result


def within(model: Model, options: Options) -> Model:
    """Return ``model`` at the point that holds what was asked for; say which on standard error.

    Raises:
        BudgetError: none does, or two options contradict each other.
    """
    if options.check:
        raise BudgetError(
            "a budget and looking at everything contradict each other", hint="leave out --check"
        )
    limits = (options.max_gmacs, options.max_ms, options.min_confidence)
    if all(limit is None for limit in limits):
        raise BudgetError(
            "--hard and --reprofile need a budget",
            hint="give --max-gmacs, --max-ms or --min-confidence",
        )
    if options.hard and options.max_gmacs is None:
        raise BudgetError(
            "--hard caps the multiply-accumulates of a clip", hint="give --max-gmacs with it"
        )
    chosen = model.within(
        Budget(
            max_gmacs=options.max_gmacs,
            max_ms=options.max_ms,
            min_confidence=options.min_confidence,
            hard=options.hard,
        ),
        reprofile=options.reprofile,
    )
    assert chosen.choice is not None
    say(sentence(chosen.choice))
    if chosen.choice.note is not None:
        say(chosen.choice.note)
    return chosen


def say(line: str) -> None:
    """Print a line beside the output."""
    print(clean(line), file=sys.stderr, flush=True)


def sentence(choice: Choice) -> str:
    """Return which point was chosen and what to expect of it."""
    found = choice.measured
    expected = [f"{exact_gmacs(found.mean_macs)} GMACs in the mean"]
    if choice.held_ms is not None:
        expected.append(f"95 of 100 clips within {milliseconds(choice.held_ms)}")
    expected.append(f"{percent(found.accuracy)} right on the calibration clips")
    return f"Operating point {found.point.name!r}: {', '.join(expected)}"


def tallied(results: Iterable[Result], choice: Choice) -> Iterator[Result]:
    """Yield ``results``; then say on standard error what they cost beside what was allowed."""
    macs: list[int] = []
    ms: list[float] = []
    for result in results:
        if not isinstance(result, Failure):
            cost = prediction_of(result).cost
            macs.append(cost.total_macs)
            ms.append(cost.total_ms)
        yield result
    if len(macs) > 1:
        say(held(macs, ms, choice.budget))


def held(macs: list[int], ms: list[float], budget: Budget) -> str:
    """Return what clips cost beside what was allowed."""
    told = []
    if budget.max_gmacs is not None:
        most = f", {exact_gmacs(max(macs))} at most" if budget.hard else ""
        told.append(f"{exact_gmacs(fmean(macs))} of {budget.max_gmacs:g} GMACs in the mean{most}")
    if budget.max_ms is not None:
        ordered = sorted(ms)
        # Rank by rank, not between two: a clip was that slow or it was not.
        p95 = ordered[min(-(-95 * len(ordered) // 100), len(ordered)) - 1]
        told.append(f"{milliseconds(p95)} of {milliseconds(budget.max_ms)} at p95")
    if not told:
        told.append(f"{exact_gmacs(fmean(macs))} GMACs in the mean")
    return f"Budget, {count(len(macs), 'clip')}: {'; '.join(told)}"
