"""The part of the demo in which it is known where to look."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.cli.demo import search, show_search
from foveal.demo import TASKS, Needle, Task, make_needle_clip, working_tasks
from foveal.systems import index
from foveal.types import Event, Trace

MAX_BUNDLE_BYTES = 300_000


def looks(*rows: tuple[str, list[int], list[float] | None], fps: float) -> Trace:
    """Return a trace of looks: role, frames, and the box of a crop."""
    events = [
        Event(
            "look",
            {
                "role": role,
                "view": "crop" if box else "canvas",
                "seconds": [frame / fps for frame in frames],
                **({"box": box} if box else {}),
            },
        )
        for role, frames, box in rows
    ]
    return Trace((Event("plan", {}), *events), exit_index=0, stopped_early=False)


@pytest.fixture(scope="module")
def needle(tmp_path_factory: pytest.TempPathFactory) -> Needle:
    task = Task(system="any", preset="salient-frames-v1", number=0)
    return make_needle_clip(task, tmp_path_factory.mktemp("needle") / "clip.mp4")


def test_the_clip_holds_what_the_needle_says(tmp_path: Path) -> None:
    task = Task(system="any", preset="modalities-v1", number=2)
    needle = make_needle_clip(task, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert len(list(container.decode(video=0))) == needle.num_frames == 8
        assert len(container.streams.audio) == 1
    assert len(needle.frames) == needle.truth.evidence.sum()


def test_only_close_looks_count(needle: Needle) -> None:
    fps = needle.truth.fps
    first, second = sorted(needle.frames)
    other = next(i for i in range(10) if i not in needle.frames)
    trace = looks(
        ("glance", list(range(10)), None), ("focus", sorted({first, other}), None), fps=fps
    )
    assert needle.focused(trace) == {first, other}
    assert needle.found(trace) == {first}
    assert second not in needle.found(trace)


def test_a_crop_must_hold_the_middle_of_the_evidence(needle: Needle) -> None:
    fps = needle.truth.fps
    first, second = sorted(needle.frames)
    x0, y0, x1, y1 = (float(side) for side in needle.truth.boxes[0, first])
    beside = [0.0, 0.0, (x0 + x1) / 2 - 0.01, 1.0]
    trace = looks(("focus", [first], [x0, y0, x1, y1]), fps=fps)
    assert needle.found(trace) == {first}
    assert needle.found(looks(("focus", [first], beside), fps=fps)) == set()
    assert np.isfinite(needle.truth.boxes[0, second]).all()


@pytest.fixture
def all_working(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(replace(row, status="working") for row in index.ALL)
    monkeypatch.setattr(index, "ALL", rows)


@pytest.mark.usefixtures("all_working")
def test_each_system_that_ships_a_bundle_finds_its_needle(tmp_path: Path) -> None:
    assert working_tasks() == TASKS
    for task in TASKS:
        assert len(task.bundle.read_bytes()) < MAX_BUNDLE_BYTES
        found = search(task, tmp_path)
        assert found.prediction.predictions[0].label == found.needle.label
        assert found.needle.found(found.prediction.trace) == found.needle.frames
        assert len(found.needle.focused(found.prediction.trace)) < found.needle.num_frames


@pytest.mark.usefixtures("all_working")
def test_the_command_shows_where_the_evidence_was_and_who_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task in TASKS:
        assert show_search(search(task, tmp_path)) == 0
        out = capsys.readouterr().out
        rows = dict(re.findall(r"^ (evidence|focused on) *\|([.#^]+)\|$", out, re.MULTILINE))
        assert {"#", "."} == set(rows["evidence"])
        assert all(
            looked == "^"
            for is_evidence, looked in zip(rows["evidence"], rows["focused on"], strict=True)
            if is_evidence == "#"
        )
        assert ", right." in out


def test_a_planned_system_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(replace(row, status="planned") for row in index.ALL)
    monkeypatch.setattr(index, "ALL", rows)
    assert working_tasks() == ()
