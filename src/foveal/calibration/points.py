"""From what every answer cost to operating points: exits solved, figures, the Pareto front.

Letters: A answers, N clips, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np

from foveal.bundle import MeasuredPoint
from foveal.calibration.measure import Measured
from foveal.metrics import (
    COLDEST,
    HOTTEST,
    cooled,
    fit_temperature,
    mean_average_precision,
)
from foveal.sampling.budget import exit_curve, exit_indices, exit_shares, rule_of, solve_thresholds
from foveal.sampling.confidence import Criterion, ExitRule, confidence
from foveal.sampling.operating import OperatingPoint
from foveal.types import Array

RS = np.geomspace(0.05, 8.0, 60)
"""Budget parameters tried; below the first nearly all leave at once, above the last nearly none."""
NUM_RUNGS = 12
"""Budgets that exits are solved for, at equal distances between the first and the last answer."""
KEPT = 0.95
"""Share of the right answers on the calibration clips that stay known."""
SURE = 2.326
"""Standard errors above a mean that 99 of 100 means stay below."""


def measured_points(point: OperatingPoint, found: Measured) -> list[MeasuredPoint]:
    """Return ``point`` with its figures, or one point for each budget its exits are solved for."""
    if point.solve is None:
        indices = np.full(len(found.names), found.num_answers - 1)
        if point.exit_rule is not None:
            indices = _indices(confidences(found, point.exit_rule.criterion), point.exit_rule)
        return [figures(point, found, indices)]
    sure = confidences(found, point.solve)
    points = []
    for r, share in _rungs(sure, found.macs.mean(axis=1)):
        shares = exit_shares(r, num_exits=len(sure))
        rule = rule_of(solve_thresholds(sure, shares), criterion=point.solve)
        solved = replace(point, name=f"{point.name} at {share} %", solve=None, exit_rule=rule)
        points.append(figures(solved, found, _crossed(sure, shares)))
    return points


def confidences(found: Measured, criterion: Criterion) -> Array:
    """Return how sure every answer is, float64 (A,N)."""
    return np.array(
        [
            [
                confidence(
                    np.asarray(clip[i].probs),
                    criterion=criterion,
                    logits=clip[i].logits,
                    sure=clip[i].sure,
                )
                for clip in found.answers
            ]
            for i in range(found.num_answers)
        ]
    )


def _indices(sure: Array, rule: ExitRule) -> Array:
    thresholds = np.full(len(sure), np.inf)
    known = rule.thresholds[: len(sure)]
    thresholds[: len(known)] = known
    return exit_indices(sure, thresholds)


def _rungs(sure: Array, costs: Array) -> list[tuple[float, int]]:
    """Return (r, percent of the full cost) of the points nearest below a ladder of budgets."""
    curve = exit_curve(sure, costs, rs=RS)
    rungs: dict[int, float] = {}
    for budget in np.linspace(costs[0], costs[-1], NUM_RUNGS):
        held = [point for point in curve if point.mean_cost <= budget]
        if held:
            nearest = max(held, key=lambda point: point.mean_cost)
            rungs.setdefault(round(100 * nearest.mean_cost / max(costs[-1], 1)), nearest.r)
    return [(r, share) for share, r in rungs.items()]


def _crossed(sure: Array, shares: Array) -> Array:
    """Return where each clip leaves under thresholds solved on the other half, int64 (N,).

    Half of the clips being every other one, and each half of classes in a list by class.
    """
    num_clips = sure.shape[1]
    indices = np.zeros(num_clips, np.int64)
    for half in (0, 1):
        mine, others = np.arange(num_clips) % 2 == half, np.arange(num_clips) % 2 != half
        solved = solve_thresholds(sure[:, others], shares)
        indices[mine] = exit_indices(sure[:, mine], solved)
    return indices


def figures(point: OperatingPoint, found: Measured, indices: Array) -> MeasuredPoint:
    """Return ``point`` with what its clips got and cost when each leaves at ``indices`` (N,)."""
    clips = np.arange(len(indices))
    probs = np.stack([np.asarray(found.answers[n][i].probs) for n, i in enumerate(indices)])
    macs, ms = found.macs[indices, clips], found.ms[indices, clips]
    compute = found.compute_ms[indices, clips]
    # Any clip may stay to the end under solved thresholds, even if none of these did.
    most = found.macs[-1] if point.family == "exits" else macs
    mean, p95_ms = float(macs.mean()), float(np.percentile(ms, 95))
    doubt = SURE * float(macs.std()) * (2 / len(macs)) ** 0.5
    return MeasuredPoint(
        point=point,
        accuracy=accuracy(probs, found),
        **_sureness(probs, found),
        mean_macs=mean,
        p95_macs=float(np.percentile(macs, 95)),
        max_macs=int(most.max()),
        held_macs=min(mean + doubt, float(most.max())),
        first_macs=int(found.macs[0].max()),
        p50_ms=float(np.percentile(ms, 50)),
        p95_ms=p95_ms,
        held_ms=max(_held_rank(ms), p95_ms),
        p95_compute_ms=min(float(np.percentile(compute, 95)), p95_ms),
        rows={part: float(rows[indices, clips].mean()) for part, rows in found.rows.items()},
    )


def accuracy(probs: Array, found: Measured) -> float:
    """Return the share of the clips that are right; of several classes, how well they are ranked.

    Where a clip may show several, one that nearly all of them show is right for nearly all.
    """
    if found.several:
        return mean_average_precision(probs, found.truth)[0]
    return float(found.truth[np.arange(len(probs)), probs.argmax(axis=1)].mean())


class _Sureness(TypedDict):
    temperature: float
    known_from: float
    confidence: float


def _sureness(probs: Array, found: Measured) -> _Sureness:
    """Return what is fitted to how often answers are right.

    Nothing is where clips may show several classes: a temperature is for probabilities of which
    one is right, and the limit of what is known is one half for every class.
    """
    if found.several:
        sure = min(float(probs.max(axis=1).mean()), 1.0)
        return {"temperature": 1.0, "known_from": 0.0, "confidence": sure}
    labels = found.truth.argmax(axis=1)
    temperature = usable_temperature(probs, labels)
    return {
        "temperature": temperature,
        "known_from": _known_from(cooled(probs, temperature), labels),
        "confidence": _confidence(probs, labels),
    }


def usable_temperature(probs: Array, labels: Array) -> float:
    """Return the temperature that fits, or 1 where the fit runs away.

    It does where all clips are right, or sure ones wrong: so few say nothing of how sure to be.
    """
    found = fit_temperature(probs, labels)
    return found if COLDEST < found < HOTTEST else 1.0


def _known_from(probs: Array, labels: Array) -> float:
    """Return the probability that :data:`KEPT` of the right answers reach; 0 if none is right."""
    right = np.sort(probs.max(axis=1)[probs.argmax(axis=1) == labels])
    # The small step down keeps the answer at the threshold whatever it is rounded to.
    return max(float(right[int((1 - KEPT) * len(right))]) - 1e-6, 0.0) if len(right) else 0.0


def _held_rank(ms: Array) -> float:
    """Return the time of the clip at the rank that the p95 of other clips hardly reaches.

    How many of N clips lie above a percentile is binomial, whatever the times are like.
    """
    num_clips = len(ms)
    rank = 0.95 * num_clips + SURE * (2 * num_clips * 0.95 * 0.05) ** 0.5
    return float(np.sort(ms)[min(math.ceil(rank), num_clips) - 1])


def _confidence(probs: Array, labels: Array) -> float:
    """Return how sure answers are in the mean, each half with the temperature of the other."""
    sure = np.zeros(len(labels))
    for half in (0, 1):
        mine, others = np.arange(len(labels)) % 2 == half, np.arange(len(labels)) % 2 != half
        temperature = fit_temperature(probs[others], labels[others])
        sure[mine] = cooled(probs[mine], temperature).max(axis=1)
    return min(float(sure.mean()), 1.0)


def front(points: Iterable[MeasuredPoint]) -> tuple[MeasuredPoint, ...]:
    """Return ``points`` from dear to cheap, those marked that nothing is better than.

    Points that place frames by chance are only there to be compared with, and never on it.
    """
    ordered = sorted(points, key=lambda p: (-p.mean_macs, p.accuracy, p.point.name))
    rivals = [p for p in ordered if not p.point.is_chance]
    return tuple(
        replace(
            p, is_on_front=not p.point.is_chance and not any(_beats(other, p) for other in rivals)
        )
        for p in ordered
    )


def _beats(one: MeasuredPoint, other: MeasuredPoint) -> bool:
    no_worse = one.accuracy >= other.accuracy and one.mean_macs <= other.mean_macs
    return no_worse and (one.accuracy, one.mean_macs) != (other.accuracy, other.mean_macs)


def verdicts(points: Sequence[MeasuredPoint], *, several: bool = False) -> list[str]:
    """Return what a user should know of policies and exits that are not worth it, a line each.

    Args:
        points: with their figures.
        several: whether a clip may show several classes.
    """
    lines: list[str] = []
    adaptive = [p for p in points if not p.point.is_plain]
    plain = [p for p in points if p.point.is_plain and not p.point.is_chance]
    for family in dict.fromkeys(p.point.family for p in adaptive):
        mine = [p for p in adaptive if p.point.family == family]
        lines += _verdict(family, mine, plain, word="mAP" if several else "right")
    return lines


def unsure(points: Sequence[MeasuredPoint], num_clips: int) -> list[str]:
    """Return a line if the clips are too few to say how sure answers should be."""
    lost = [p for p in points if p.temperature == 1.0 and not p.point.is_chance]
    if not lost:
        return []
    which = "any point" if len(lost) == len(points) else f"{len(lost)} of {len(points)} points"
    return [
        f"no temperature fits {which} on {num_clips} clips (all right, or sure ones wrong): their "
        "probabilities stay those of the network"
    ]


def _verdict(
    family: str, mine: Sequence[MeasuredPoint], plain: Sequence[MeasuredPoint], *, word: str
) -> list[str]:
    what = {"policy": "policies", "exits": "exits"}[family]
    beaten = {p.point.name: [q for q in plain if _as_good(q, p)] for p in mine}
    if plain and all(beaten.values()):
        best = max(mine, key=lambda p: (p.accuracy, -p.mean_macs))
        rival = min(beaten[best.point.name], key=lambda p: p.mean_macs)
        return [
            f"static points dominate {what}: none of {len(mine)} is better than a plain point, "
            f"{rival.point.name!r} is {100 * rival.accuracy:.1f} % {word} at "
            f"{rival.mean_macs / 1e9:.4g} GMACs where {best.point.name!r} is "
            f"{100 * best.accuracy:.1f} % {word} at {best.mean_macs / 1e9:.4g}"
        ]
    slow = [
        p
        for p in mine
        if not beaten[p.point.name]
        and any(q.accuracy >= p.accuracy and q.p95_ms <= p.p95_ms for q in plain)
    ]
    if slow and len(slow) == sum(not found for found in beaten.values()):
        return [
            f"multiply-accumulates that {what} save are no time on this machine: for each point a "
            "plain one is as accurate and as quick"
        ]
    return []


def _as_good(one: MeasuredPoint, other: MeasuredPoint) -> bool:
    return one.accuracy >= other.accuracy and one.mean_macs <= other.mean_macs
