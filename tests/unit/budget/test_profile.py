"""The profile of a machine: measured once, kept, measured again when it has to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import foveal.budget.profiles as module
from foveal.api import Model
from foveal.budget import Budget, measure_machine, profile, times_here
from foveal.budget.profiles import profile_path
from foveal.bundle import Bundle, Machine
from tests.helpers_bundle import write_colour_bundle, write_exits_bundle
from tests.unit.budget.made import MACHINE, calibration, measured


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_colour_bundle(tmp_path / "colour.foveal", answer="mean")


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The number of threads of every measurement; the cache is a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: list[int] = []

    def counted(bundle: Bundle, *, threads: int | None = None) -> Machine:
        made.append(threads or 0)
        return replace(MACHINE, part_ms={"colour": float(len(made))})

    monkeypatch.setattr(module, "measure_machine", counted)
    return made


def test_a_machine_is_measured_once_and_then_known(bundle: Bundle, count: list[int]) -> None:
    first = profile(bundle, threads=1)
    assert profile(bundle, threads=1) == first
    assert count == [1]


def test_other_threads_and_other_bundles_are_measured_anew(
    bundle: Bundle, count: list[int], tmp_path: Path
) -> None:
    profile(bundle, threads=1)
    profile(bundle, threads=2)
    profile(write_colour_bundle(tmp_path / "other.foveal", num_frames=5), threads=2)
    assert count == [1, 2, 2]


def test_a_calibration_does_not_change_what_was_timed(bundle: Bundle, tmp_path: Path) -> None:
    machine = replace(MACHINE, part_ms={"colour": 1.0})
    curve = calibration(measured("uniform 4", 0.5, 1.0, rows={"colour": 4.0}), machine=machine)
    again = bundle.calibrated(tmp_path / "calibrated.foveal", curve)
    assert profile_path(again, threads=1) == profile_path(bundle, threads=1)


def test_asking_again_measures_again(bundle: Bundle, count: list[int]) -> None:
    before = profile(bundle, threads=1)
    after = profile(bundle, threads=1, again=True)
    assert (before.part_ms, after.part_ms) == ({"colour": 1.0}, {"colour": 2.0})
    assert profile(bundle, threads=1) == after


@pytest.mark.parametrize("content", ["", "[" * 100_000, '{"name": 3}', "\x00"])
def test_a_damaged_file_is_measured_anew(bundle: Bundle, count: list[int], content: str) -> None:
    profile(bundle, threads=1)
    profile_path(bundle, threads=1).write_text(content)
    assert profile(bundle, threads=1).part_ms == {"colour": 2.0}
    assert profile(bundle, threads=1).part_ms == {"colour": 2.0}


def test_a_cache_that_cannot_be_written_stops_nobody(
    bundle: Bundle, count: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert profile(bundle, threads=1).part_ms == {"colour": 1.0}
    assert profile(bundle, threads=1).part_ms == {"colour": 2.0}


def test_parts_and_reading_are_really_timed(tmp_path: Path) -> None:
    machine = measure_machine(write_exits_bundle(tmp_path / "exits.foveal"), threads=1)
    assert set(machine.part_ms) == {"colour"}
    assert min(*machine.part_ms.values(), machine.read_ms) > 0


def test_parts_are_scaled_by_parts_and_the_rest_by_reading() -> None:
    there = replace(MACHINE, part_ms={"head": 2.0, "tail": 1.0})
    curve = calibration(
        measured("a", 0.5, 1.0, rows={"head": 3.0, "tail": 0.0}),  # 4 ms of 10 in the parts
        measured("b", 0.5, 1.0, rows={"head": 1.0, "tail": 2.0}),
        measured("c", 0.5, 1.0, rows={}),
        machine=there,
    )
    here = replace(there, part_ms={"head": 4.0, "tail": 0.5}, read_ms=5.0)
    times = times_here(curve, here)
    assert times == pytest.approx({"a": 4 * 2 + 6 / 2, "b": 4 * 5 / 4 + 6 / 2, "c": 4 + 6 / 2})
    assert times_here(curve, there) == pytest.approx({"a": 10.0, "b": 10.0, "c": 10.0})


def test_a_budget_of_macs_times_nothing(bundle: Bundle, count: list[int], tmp_path: Path) -> None:
    machine = replace(MACHINE, part_ms={"colour": 1.0})
    curve = calibration(
        measured("uniform 4", 0.5, 1.0, rows={"colour": 4.0}, family="uniform"), machine=machine
    )
    model = Model(bundle.calibrated(tmp_path / "calibrated.foveal", curve), threads=1)
    assert model.within(Budget(max_gmacs=1)).choice is not None
    assert count == []
    assert model.within(Budget(max_ms=100)).choice is not None
    assert model.within(Budget(max_ms=100)).choice is not None
    assert count == [1]
    model.within(Budget(max_ms=100), reprofile=True)
    assert count == [1, 1]
