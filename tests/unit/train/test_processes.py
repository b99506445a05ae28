"""Two processes do what one does: the same weights, the same verdict, one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foveal
from foveal.train import load_weights
from tests.unit.train import in_processes, plain, toy

SOURCES = Path(foveal.__file__).parent.parent
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    plain.write_clips(folder)
    return folder


@pytest.fixture(scope="module")
def one(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return in_processes.work(clips, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(clips: Path, out: Path) -> list[dict[str, Any]]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.unit.train.rank", clips, out],
        env={**os.environ, "PYTHONPATH": f"{SOURCES}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in range(2)]


def furthest(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the largest difference between two networks' weights."""
    assert a.keys() == b.keys()
    return max(float(np.abs(np.subtract(a[name], b[name])).max()) for name in a)


def test_the_weights_are_those_of_one_process(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    """Without batch statistics; 41 samples do not divide by two, and one part gets no gradient."""
    assert [told["size"] for told in (one, *two)] == [1, 2, 2]
    for told in two:
        for name in ("weights", "parts", "clip_weights"):
            assert furthest(told[name], one[name]) < 1e-6
            assert told[name] == two[0][name]
    assert furthest(one["weights"], one["parts"]) < 1e-6  # a batch in parts is the same batch
    assert one["weights"] != one["clip_weights"]


def test_both_take_the_same_steps_and_draw_the_same_clips(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    """Though one of them meets a broken clip at a step where the other meets none."""
    assert two[0]["steps"] == two[1]["steps"] == one["steps"]
    assert len(one["steps"]) == 7
    assert two[0]["losses"] == two[1]["losses"] == pytest.approx(one["losses"], abs=1e-6)


def test_two_processes_judge_exactly_as_one(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    for told in (one, *two):
        assert told["num_clips"] == plain.NUM_CLIPS - len(plain.BROKEN)
        assert len(told["troubles"]) == len(plain.BROKEN)
        assert told["was_training"]
    for told in two:
        assert (told["accuracy"], told["loss"]) == (one["accuracy"], one["loss"])
        assert told["troubles"] != []
        assert told["validations"] == two[0]["validations"]
    for a, b in zip(one["validations"], two[0]["validations"], strict=True):
        assert (a is None) == (b is None)
        assert a is None or a["accuracy"] == b["accuracy"]


def test_what_is_validated_are_the_weights_that_are_stored(
    two: list[dict[str, Any]], out: Path
) -> None:
    """Though each process has statistics of its own batches while it trains."""
    network = toy.Network()
    load_weights(network, out / "toy" / "glance.last.safetensors")
    accuracy, loss = toy.judged_by_hand(network)
    for told in two:
        assert told["normed"][-1]["accuracy"] == pytest.approx(accuracy)
        assert told["normed"][-1]["loss"] == pytest.approx(loss, abs=1e-6)


def test_the_first_speaks_and_writes_each_broken_file_once(
    clips: Path, two: list[dict[str, Any]], out: Path
) -> None:
    assert two[1]["told"] == []
    names = [f"{clips}/{i:02}.mp4" for i in plain.BROKEN]
    assert sorted(line.split(": ")[0] for line in two[0]["told"]) == names
    rows = [json.loads(line) for line in (out / "clips" / "bad.jsonl").read_text().splitlines()]
    assert sorted(row["path"] for row in rows) == names
    assert {row["kind"] for row in rows} == {"not_video"}
    lines = (out / "clips" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 7


def test_a_batch_that_cannot_be_shared_evenly_is_one_clear_error(
    two: list[dict[str, Any]], out: Path
) -> None:
    for told in two:
        assert "takes 5 samples a step, which 2 processes cannot share evenly" in told["refused"]
        assert "batch_size" in told["refused"]
    assert not (out / "odd").exists()
