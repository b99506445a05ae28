from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from foveal.cost import measure_latency


def ticking(seconds: list[float]) -> Callable[[], float]:
    """A clock whose n-th pair of readings is ``seconds[n]`` apart."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for length in seconds:
            yield now
            now += length
            yield now

    return ticks().__next__


def test_runs_take_turns_and_the_first_changes() -> None:
    order: list[str] = []
    measure_latency(
        {name: lambda name=name: order.append(name) for name in "abc"},  # type: ignore[misc]
        threads=1,
        batch=1,
        repeats=5,
        warmup=1,
    )
    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]


def test_medians_leave_the_warm_up_out() -> None:
    clock = ticking([9.0, 0.001, 0.003, 0.002, 0.005, 0.004])
    report = measure_latency(
        {"a": lambda: None}, threads=2, batch=16, repeats=5, warmup=1, clock=clock
    )
    a = report.latency["a"]
    assert (a.median_ms, a.min_ms, a.max_ms) == pytest.approx((3.0, 1.0, 5.0))
    assert report.to_json()["threads"] == 2
    assert report.to_json()["batch"] == 16
    assert report.to_json()["latency"]["a"]["median_ms"] == pytest.approx(3.0)


def test_the_ratio_is_of_medians() -> None:
    clock = ticking([0.004, 0.001] + [0.001, 0.004] + [0.004, 0.001] * 3)
    report = measure_latency(
        {"slow": lambda: None, "fast": lambda: None},
        threads=1,
        batch=1,
        repeats=5,
        warmup=0,
        clock=clock,
    )
    assert report.ratio("slow", "fast") == pytest.approx(4.0)


@pytest.mark.parametrize("options", [{"repeats": 4}, {"warmup": -1}])
def test_too_few_repeats_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 5 repeats"):
        measure_latency({"a": lambda: None}, threads=1, batch=1, **options)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_latency({}, threads=1, batch=1)
