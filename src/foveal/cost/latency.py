"""The latency meter: medians of several things measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

MIN_REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Wall time of one callable in milliseconds, over all repeats."""

    median_ms: float
    min_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """What was measured, and under which conditions.

    Args:
        latency: by name, in the order given.
        repeats: timed runs of each.
        warmup: untimed runs of each before the first timed one.
        threads: compute threads, as the caller set them.
        batch: rows in each run.
    """

    latency: Mapping[str, Latency]
    repeats: int
    warmup: int
    threads: int
    batch: int

    def ratio(self, slower: str, faster: str) -> float:
        """Return how many times longer ``slower`` took than ``faster``, by medians."""
        return self.latency[slower].median_ms / self.latency[faster].median_ms

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        return asdict(self)


def measure_latency(
    callables: Mapping[str, Callable[[], object]],
    *,
    threads: int,
    batch: int,
    repeats: int = 7,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyReport:
    """Time ``callables`` in turns, so that a busy moment of the machine meets all of them.

    Each round starts with the next one, so none always runs first.

    Args:
        callables: what to run, by name.
        threads: recorded; set them where the callables are made.
        batch: recorded; rows in each run.
        repeats: timed rounds, at least 5.
        warmup: untimed rounds first.
        clock: returns seconds.

    Raises:
        ValueError: nothing to measure, or fewer than 5 repeats.

    Example:
        >>> report = measure_latency({"nothing": lambda: None}, threads=1, batch=1)
        >>> report.repeats
        7
    """
    if not callables:
        raise ValueError("nothing to measure")
    if repeats < MIN_REPEATS or warmup < 0:
        raise ValueError(
            f"at least {MIN_REPEATS} repeats and no negative warmup, got {repeats} and {warmup}"
        )
    names = list(callables)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + repeats):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = clock()
            callables[name]()
            elapsed = clock() - start
            if turn >= warmup:
                times[name].append(1000 * elapsed)
    return LatencyReport(
        latency={
            name: Latency(median_ms=statistics.median(t), min_ms=min(t), max_ms=max(t))
            for name, t in times.items()
        },
        repeats=repeats,
        warmup=warmup,
        threads=threads,
        batch=batch,
    )
