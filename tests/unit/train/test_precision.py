"""Half precision on a CPU: it learns, and goes on exactly, the scaler of losses included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveal.train import PrecisionName, Running, TrainResult, fit
from tests.unit.train import toy
from tests.unit.train.test_fit import StoppedError, same, stop_after


def train(out: Path, precision: PrecisionName, **options: object) -> TrainResult:
    running = Running(device="cpu", precision=precision, checkpoint_steps=2)
    return fit(toy.recipe(), toy.data(), out=out, seed=3, running=running, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_stopped_run_goes_on_exactly(tmp_path: Path, precision: PrecisionName) -> None:
    whole = train(tmp_path / "whole", precision)
    exact = train(tmp_path / "exact", "32-true")
    assert whole.history[0] != exact.history[0]
    with pytest.raises(StoppedError):
        train(tmp_path / "stopped", precision, log=stop_after(9))
    stored = json.loads((tmp_path / "stopped" / "checkpoint.json").read_text())
    assert ("scale" in stored["scaler"]) == (precision == "16-mixed")
    resumed = train(tmp_path / "stopped", precision, resume=True)
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)


def test_tensorboard_gets_every_step_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    running = Running(device="cpu", checkpoint_steps=2, tensorboard=True)
    with pytest.raises(StoppedError):
        fit(toy.recipe(), toy.data(), out=tmp_path, seed=3, running=running, log=stop_after(9))
    fit(toy.recipe(), toy.data(), out=tmp_path, seed=3, running=running, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("head/loss")] == list(range(7, 13))
