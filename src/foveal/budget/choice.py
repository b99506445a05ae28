"""From a budget to an operating point, by what was measured on calibration clips alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from foveal.bundle import Calibration, MeasuredPoint
from foveal.types import FovealError


class BudgetError(FovealError):
    """No operating point holds what was asked for; the message says what is feasible."""

    kind = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a clip may cost, and how sure its answer should be.

    Args:
        max_gmacs: billions of multiply-accumulates of a clip, in the mean over clips.
        max_ms: milliseconds that 95 of 100 clips stay below, each run alone on this machine.
        min_confidence: in (0, 1]; how sure answers are in the mean, after a temperature.
        hard: ``max_gmacs`` is a cap for every single clip besides.

    Raises:
        BudgetError: a limit is out of range, none is given, or ``hard`` has nothing to cap.
    """

    max_gmacs: float | None = None
    max_ms: float | None = None
    min_confidence: float | None = None
    hard: bool = False

    def __post_init__(self) -> None:
        limits = (self.max_gmacs, self.max_ms, self.min_confidence)
        if all(limit is None for limit in limits):
            raise BudgetError(
                "no budget was given", hint="give max_gmacs, max_ms or min_confidence"
            )
        if not all(limit is None or (math.isfinite(limit) and limit > 0) for limit in limits):
            raise BudgetError(f"a budget must be positive, got {limits}", hint="correct it")
        if self.min_confidence is not None and self.min_confidence > 1:
            raise BudgetError(
                f"min_confidence must be at most 1, got {self.min_confidence}", hint="say 0.9"
            )
        if self.hard and self.max_gmacs is None:
            raise BudgetError("there is nothing to cap", hint="give max_gmacs with hard")

    @property
    def cap_macs(self) -> int | None:
        """What no clip may exceed."""
        return int(self.max_gmacs * 1e9) if self.hard and self.max_gmacs is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The point that holds a budget.

    Args:
        measured: the point, and what it was worth on the calibration clips.
        budget: what it holds.
        held_ms: what 95 of 100 clips are expected to stay below here; None where this machine was
            not timed.
        note: one line where a policy would cost more time than it saves, else None.
    """

    measured: MeasuredPoint
    budget: Budget
    held_ms: float | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """One line of a budget: what a point needs, and what may be asked for so that it fits."""

    option: str
    unit: str
    allowed: float
    needs: Callable[[MeasuredPoint], float]
    at_least: bool = False

    def fits(self, point: MeasuredPoint) -> bool:
        needed = self.needs(point)
        return needed >= self.allowed if self.at_least else needed <= self.allowed

    def nearest(self, points: Sequence[MeasuredPoint]) -> MeasuredPoint:
        return (max if self.at_least else min)(points, key=self.needs)

    def feasible(self, point: MeasuredPoint) -> str:
        """Return what to ask for to get ``point``, rounded to its side, four digits."""
        needed = self.needs(point)
        scale = 10.0 ** (3 - math.floor(math.log10(needed))) if needed > 0 else 1.0
        rounded = (math.floor if self.at_least else math.ceil)(needed * scale) / scale
        return f"{rounded:.10f}".rstrip("0").rstrip(".")


def choose(
    calibration: Calibration, budget: Budget, *, ms: Mapping[str, float] | None = None
) -> Choice:
    """Return the most accurate point that holds ``budget``; among equals the cheapest.

    With ``min_confidence`` it is the cheapest that is sure enough. A point that decides by the clip
    gives way to a plain one that is as accurate and quicker here.

    Args:
        calibration: of the bundle.
        budget: what was asked for.
        ms: milliseconds that 95 of 100 clips are expected to stay below here, by point.

    Raises:
        BudgetError: no point holds it; the message names the smallest budget that is feasible.
        ValueError: ``max_ms`` is asked for and ``ms`` is not known.
    """
    if budget.max_ms is not None and ms is None:
        raise ValueError("a budget of milliseconds needs those of this machine")
    points = [point for point in calibration.points if not point.point.is_chance]
    limits = _limits(budget, ms)
    held = [point for point in points if all(limit.fits(point) for limit in limits)]
    if not held:
        raise _refusal(points, limits)
    if budget.hard:
        # A point that fits as a whole keeps the accuracy it was measured with.
        held = [p for p in held if p.max_macs <= (budget.cap_macs or 0)] or held
    by_cost = _cost_of(budget, ms)
    if budget.min_confidence is not None:
        best = min(held, key=by_cost)
    else:
        best = min(held, key=lambda point: (-point.accuracy, by_cost(point)))
    best, note = _plain_if_quicker(best, held, points, ms)
    return Choice(
        measured=best, budget=budget, held_ms=ms[best.point.name] if ms else None, note=note
    )


_Costs: TypeAlias = Callable[[MeasuredPoint], tuple[float, float]]


def _cost_of(budget: Budget, ms: Mapping[str, float] | None) -> _Costs:
    if ms is not None and budget.max_ms is not None and budget.max_gmacs is None:
        return lambda point: (ms[point.point.name], point.held_macs)
    return lambda point: (point.held_macs, point.held_ms)


def _limits(budget: Budget, ms: Mapping[str, float] | None) -> list[_Limit]:
    limits: list[_Limit] = []
    if budget.max_gmacs is not None:
        limits.append(
            _Limit(
                option="--max-gmacs",
                unit="GMACs",
                allowed=budget.max_gmacs,
                needs=(lambda p: _hard_need(p) / 1e9) if budget.hard else _mean_gmacs,
            )
        )
    if budget.max_ms is not None:
        known = ms or {}
        limits.append(
            _Limit(
                option="--max-ms",
                unit="ms",
                allowed=budget.max_ms,
                needs=lambda p: known[p.point.name],
            )
        )
    if budget.min_confidence is not None:
        limits.append(
            _Limit(
                option="--min-confidence",
                unit="confidence",
                allowed=budget.min_confidence,
                needs=lambda p: p.confidence,
                at_least=True,
            )
        )
    return limits


def _mean_gmacs(point: MeasuredPoint) -> float:
    return point.held_macs / 1e9


def _hard_need(point: MeasuredPoint) -> float:
    """Return the least cap: under it the mean is held too, for no clip exceeds it."""
    return point.first_macs


def _refusal(points: Sequence[MeasuredPoint], limits: Sequence[_Limit]) -> BudgetError:
    for limit in limits:
        others = [each for each in limits if each is not limit]
        rest = [point for point in points if all(each.fits(point) for each in others)]
        if not rest:
            continue
        nearest = limit.nearest(rest)
        value = limit.feasible(nearest)
        asked = f"{limit.allowed:g} {limit.unit}"
        besides = f" with {' and '.join(each.option for each in others)}" if others else ""
        side = "largest" if limit.at_least else "smallest"
        return BudgetError(
            f"no operating point holds {asked}{besides}: the {side} feasible is {value} "
            f"{limit.unit} ({nearest.point.name!r}, {100 * nearest.accuracy:.1f} % right on the "
            "calibration clips)",
            hint=f"ask for {limit.option} {value}{_timed(limits)}",
        )
    # No two limits can be met together: each is told alone.
    told = ", ".join(f"{x.option} {x.feasible(x.nearest(points))}" for x in limits)
    return BudgetError(
        "no operating point holds this", hint=f"feasible, each alone, are {told}{_timed(limits)}"
    )


def _timed(limits: Sequence[_Limit]) -> str:
    """Return what to know of milliseconds that are asked for: they were timed, and may change."""
    if not any(limit.unit == "ms" for limit in limits):
        return ""
    return " (as this machine was timed; --reprofile times it again, and then others are feasible)"


def _plain_if_quicker(
    best: MeasuredPoint,
    held: Sequence[MeasuredPoint],
    points: Sequence[MeasuredPoint],
    ms: Mapping[str, float] | None,
) -> tuple[MeasuredPoint, str | None]:
    """Return ``best`` or the plain point that runs in its place, and why if a policy is beaten."""
    if ms is None:
        return best, None
    name = best.point.name
    if not best.point.is_plain:
        quicker = [
            p
            for p in held
            if p.point.is_plain
            and p.accuracy >= best.accuracy
            and p.confidence >= best.confidence
            and ms[p.point.name] <= ms[name]
        ]
        if not quicker:
            return best, None
        plain = min(quicker, key=lambda p: ms[p.point.name])
        return plain, _beaten(best, plain, ms)
    slower = [
        p
        for p in points
        if not p.point.is_plain
        and p.mean_macs < best.mean_macs
        and p.accuracy >= best.accuracy
        and ms[p.point.name] >= ms[name]
    ]
    if not slower:
        return best, None
    return best, _beaten(min(slower, key=lambda p: ms[p.point.name]), best, ms)


def _beaten(policy: MeasuredPoint, plain: MeasuredPoint, ms: Mapping[str, float]) -> str:
    return (
        f"{policy.point.name!r} costs more than it saves on this machine "
        f"({ms[policy.point.name]:.1f} ms against {ms[plain.point.name]:.1f} ms): "
        f"the plain model runs, {plain.point.name!r}"
    )
