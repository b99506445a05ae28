"""A run that is stopped goes on exactly, whatever is validated, averaged or kept."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from foveal.recipe import Recipe
from foveal.train import Progress, Running, TrainResult, fit, load_weights
from foveal.train.judge import Average
from tests.unit.train import toy


class StoppedError(Exception):
    """Stands for a killed process."""


def changed(**stage_fields: object) -> Recipe:
    """Return the toy's recipe with something else about both stages."""
    plain = toy.recipe()
    return replace(plain, stages=tuple(replace(s, **stage_fields) for s in plain.stages))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to carry out the toy's two stages of six steps."""

    running: Running
    recipe: Recipe
    validated: bool = True

    def train(
        self,
        out: Path,
        *,
        resume: bool = False,
        log: Callable[[Progress], None] | None = None,
    ) -> TrainResult:
        return fit(
            self.recipe,
            toy.data(),
            out=out,
            seed=3,
            validation=toy.held_out() if self.validated else None,
            running=self.running,
            resume=resume,
            log=log,
            tell=lambda line: None,
        )


CPU = Running(device="cpu", checkpoint_steps=4, validations=3)
CASES = {
    "best": Case(running=CPU, recipe=toy.recipe()),
    "last": Case(running=replace(CPU, keep="last"), recipe=toy.recipe()),
    "patience": Case(
        running=replace(CPU, validations=6, patience=2), recipe=changed(epochs=None, steps=9)
    ),
    "average": Case(running=CPU, recipe=changed(ema_decay=0.7)),
    "average alone": Case(running=CPU, recipe=changed(ema_decay=0.7), validated=False),
    "parts": Case(running=CPU, recipe=changed(accumulate=3)),
    "worker": Case(running=replace(CPU, workers=1), recipe=changed(ema_decay=0.7)),
}


def stop_after(num_steps: int) -> Callable[[Progress], None]:
    left = itertools.count(num_steps - 1, -1)

    def log(_progress: Progress) -> None:
        if next(left) == 0:
            raise StoppedError

    return log


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that a run leaves but its clock."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.name != "metrics.csv"}


def metrics(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row for row in csv.reader(file) if row[3] not in ("ms_per_step", "data_wait")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TrainResult]:
    """Return the run of a case that nothing stopped, made once."""
    made: dict[str, TrainResult] = {}

    def get(name: str) -> TrainResult:
        if name not in made:
            made[name] = CASES[name].train(tmp_path_factory.mktemp("whole") / "run")
        return made[name]

    return get


def assert_same(resumed: TrainResult, whole: TrainResult) -> None:
    assert resumed.history == whole.history
    ours, theirs = resumed.weights.parent, whole.weights.parent
    assert contents(ours) == contents(theirs)
    assert metrics(ours) == metrics(theirs)
    state, wanted = resumed.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("stop", [1, 8])
@pytest.mark.parametrize("name", CASES)
def test_stopped_twice_it_goes_on_exactly(
    whole: Callable[[str], TrainResult], tmp_path: Path, name: str, stop: int
) -> None:
    case = CASES[name]
    with pytest.raises(StoppedError):
        case.train(tmp_path, log=stop_after(stop))
    with pytest.raises(StoppedError):
        case.train(tmp_path, resume=True, log=stop_after(2))
    assert_same(case.train(tmp_path, resume=True), whole(name))


@pytest.mark.parametrize("stop", range(1, 23, 3))
def test_stopped_while_it_writes_it_goes_on_exactly(
    whole: Callable[[str], TrainResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    """Whichever file was to be put in place next: best weights, average, checkpoint."""
    left = itertools.count(stop - 1, -1)

    def replace_or_stop(source: Path, target: Path) -> None:
        if next(left) == 0:
            raise StoppedError
        source.rename(target)

    case = CASES["average"]
    with monkeypatch.context() as patch:
        patch.setattr("foveal.train.checkpoint.os.replace", replace_or_stop)
        with pytest.raises(StoppedError):
            case.train(tmp_path)
    resumed = case.train(tmp_path, resume=True)
    for half in tmp_path.glob(".*.part"):  # what was being written when it was killed
        half.unlink()
    assert_same(resumed, whole("average"))


# --- what a stage keeps -----------------------------------------------------------------------


def validations(result: TrainResult, stage: str) -> list[tuple[float, float]]:
    found = [p.validation for p in result.history if p.stage == stage and p.validation]
    return [(v["accuracy"], v["loss"]) for v in found]


@pytest.mark.parametrize("name", ["best", "last", "average"])
def test_a_stage_leaves_the_weights_it_says(whole: Callable[[str], TrainResult], name: str) -> None:
    result = whole(name)
    for stage in ("glance", "head"):
        found = validations(result, stage)
        assert len(found) == 3
        best = max(found, key=lambda v: (v[0], -v[1]))
        kept, last = toy.Network(), toy.Network()
        load_weights(kept, result.weights.parent / f"{stage}.safetensors")
        load_weights(last, result.weights.parent / f"{stage}.last.safetensors")
        assert toy.judged_by_hand(last) == pytest.approx(found[-1], abs=1e-6)
        wanted = found[-1] if name == "last" else best
        assert toy.judged_by_hand(kept) == pytest.approx(wanted, abs=1e-6)


def test_some_validation_before_the_last_was_the_best(
    whole: Callable[[str], TrainResult],
) -> None:
    """Else the tests above would not tell the best from the last."""
    found = [validations(whole(name), stage) for name in ("best", "patience") for stage in
             ("glance", "head")]  # fmt: skip
    assert any(max(each, key=lambda v: (v[0], -v[1])) != each[-1] for each in found)


def test_patience_ends_a_stage_and_says_so(tmp_path: Path) -> None:
    case, told = CASES["patience"], list[str]()
    result = fit(
        case.recipe, toy.data(), out=tmp_path, seed=3, validation=toy.held_out(),
        running=replace(case.running, patience=1), tell=told.append,
    )  # fmt: skip
    for stage in ("glance", "head"):
        found = validations(result, stage)
        best = max(range(len(found)), key=lambda i: (found[i][0], -found[i][1]))
        ended = f"stage '{stage}' ends early: 1 validations brought nothing better"
        assert (ended in told) == (best == len(found) - 2)
        assert best >= len(found) - 2
    assert told


def test_validation_changes_nothing_about_the_steps(
    whole: Callable[[str], TrainResult], tmp_path: Path
) -> None:
    plain = replace(CASES["last"], validated=False).train(tmp_path)
    assert [p.values for p in plain.history] == [p.values for p in whole("last").history]


def test_a_batch_in_parts_and_a_worker_change_little_and_nothing(
    whole: Callable[[str], TrainResult],
) -> None:
    average, worker = whole("average"), whole("worker")
    assert worker.history == average.history
    assert len(whole("parts").history) == len(whole("best").history)


def test_an_average_by_hand() -> None:
    network = nn.BatchNorm1d(2)
    average = Average(network, decay=0.75)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([5.0, -3.0]))
        network.num_batches_tracked += 4
    average.update(network)
    assert average.state["weight"].tolist() == [2.0, 0.0]  # 3/4 of 1, and 1/4 of the new
    assert average.state["num_batches_tracked"] == 4
    with average.applied(network):
        assert network.weight.tolist() == [2.0, 0.0]
    assert network.weight.tolist() == [5.0, -3.0]
    again = Average(nn.BatchNorm1d(2), decay=0.75, state=average.state)
    assert all(torch.equal(again.state[k], t) for k, t in average.state.items())
