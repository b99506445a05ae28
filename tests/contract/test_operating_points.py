"""Every working system lists settings its bundle can really run, from dear to cheap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby, pairwise

import pytest

from foveal.api import Model
from foveal.engine.executor import Executor, Job, Outcome
from foveal.sampling.operating import OperatingPoint
from foveal.systems.index import System
from tests.contract.subjects import WORKING, Subject, module_of, source_of

ALL = pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
Ready = Callable[[System], Subject]
NUM_CLIPS = 3


def points_of(subject: Subject) -> tuple[OperatingPoint, ...]:
    points = module_of(subject.row, "protocol").operating_points(subject.cfg)
    assert points
    assert all(isinstance(point, OperatingPoint) for point in points)
    return tuple(points)


def bills(model: Model, subject: Subject) -> list[int]:
    """Return what each of a few clips costs."""
    jobs = [
        Job(
            name=str(seed),
            open=lambda seed=seed: source_of(seed, subject.canvas),
            steps=model.steps,
        )
        for seed in range(NUM_CLIPS)
    ]
    executor = Executor(model.runner, exit_rule=model.exit_rule, fetch_threads=0)
    done = list(executor.run(jobs))
    assert all(isinstance(outcome, Outcome) for outcome in done), done
    return [o.cost.total_macs for o in sorted(done, key=lambda o: o.name)]


@ALL
def test_points_have_names_of_their_own(row: System, ready: Ready) -> None:
    names = [point.name for point in points_of(ready(row))]
    assert len(set(names)) == len(names)


@ALL
def test_every_point_is_a_valid_config_whose_parts_are_exported_and_counted(
    row: System, ready: Ready
) -> None:
    subject = ready(row)
    model = Model(subject.bundle, threads=1)
    for point in points_of(subject):
        at = model.at(point)
        for name, value in point.settings.items():
            assert getattr(at.config, name) == value, point.name
        assert min(bills(at, subject)) > 0


@ALL
def test_macs_do_not_rise_as_the_budget_falls(row: System, ready: Ready) -> None:
    subject = ready(row)
    model = Model(subject.bundle, threads=1)
    ordered = sorted(points_of(subject), key=lambda point: point.family)  # stable: in their order
    for family, points in groupby(ordered, key=lambda point: point.family):
        costs = [bills(model.at(point), subject) for point in points]
        for dear, cheap in pairwise(costs):
            assert all(a >= b for a, b in zip(dear, cheap, strict=True)), family
