"""Every working system on files of ten minutes and more: constant memory, few frames decoded.

The files are Haystack clips, one a group of pictures, in an order drawn at random. What the codec
holds is counted by the reader's own store, all else by Python; the index of a file grows with it,
some bytes a frame.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest

from foveal.haystack import find, sample
from foveal.haystack.files import KEYFRAME_INTERVAL, write_clip
from foveal.systems.index import System
from foveal.video import open_source
from foveal.video.store import FrameStore
from tests.contract.subjects import WORKING, Ran, module_of, run
from tests.contract.test_running import Ready

ALL = pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
FPS = 1
MINUTES = (10, 20, 40)
"""Up to twenty a system may look at more frames: from there on it must be as many."""
MORE = 1.1
"""Allowed from twenty to forty minutes, of bytes and of frames looked at."""
INDEX_BYTES = 200
"""A frame, at most, of what is kept of a container's index."""
REORDER = 4
"""Frames that the codec may hold back before it gives one."""


@dataclass(frozen=True, slots=True)
class Long:
    """A file, and how many frames it has."""

    path: str
    num_frames: int


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Long]:
    """Return a file of each length."""
    clips = sample(find("salient-frames-v1"), split="test", count=100, seed=0).frames
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("long")
    made = []
    for minutes in MINUTES:
        num_frames = minutes * 60 * FPS
        order = rng.integers(len(clips), size=num_frames // KEYFRAME_INTERVAL)
        places = np.arange(KEYFRAME_INTERVAL) % clips.shape[1]
        frames = clips[order][:, places].reshape(num_frames, *clips.shape[2:])
        path = folder / f"{minutes}.mp4"
        write_clip(path, frames, fps=FPS, sound=None, sound_rate=0)
        made.append(Long(str(path), num_frames))
    return made


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of one number: the most bytes that a reader held as the codec gave them."""
    most = [0]
    add = FrameStore.add

    def adding(self: FrameStore, *arguments: object) -> None:
        add(self, *arguments)  # type: ignore[arg-type]
        most[0] = max(most[0], self.raw_total)

    monkeypatch.setattr(FrameStore, "add", adding)
    return most


def watched(row: System, ready: Ready, path: str, held: list[int]) -> tuple[Ran, int, int]:
    """Return what became of a file, the peak of what Python holds and that of the store, bytes."""
    subject = ready(row)
    runner = subject.onnx()
    held[0] = 0
    tracemalloc.start()
    try:
        (ran,) = run(subject, runner, [open_source(path)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return ran, peak, held[0]


GLANCING = [row for row in WORKING if hasattr(module_of(row, "protocol").Config, "pass_megapixels")]


@pytest.mark.parametrize("row", GLANCING, ids=lambda row: row.name)
def test_a_long_file_is_glanced_at_by_its_keyframes(
    row: System, ready: Ready, files: list[Long]
) -> None:
    """No frame is decoded that is not looked at, but those that the codec holds back."""
    subject = ready(row)
    glancing = replace(subject, cfg=replace(subject.cfg, pass_megapixels=0.0))
    (ran,) = run(glancing, subject.onnx(), [open_source(files[0].path)])
    times = ran.outcome.trace.frame_seconds()
    begins = [t for t in times if round(t * FPS) % KEYFRAME_INTERVAL == 0]
    assert len(begins) > 1
    assert ran.outcome.cost.frames_decoded <= len(times) + REORDER * len(begins)
    (exact,) = run(subject, subject.onnx(), [open_source(files[0].path)])
    assert ran.outcome.cost.frames_decoded < exact.outcome.cost.frames_decoded


@ALL
def test_twice_the_length_takes_no_more_memory_and_decodes_no_more(
    row: System, ready: Ready, files: list[Long], held: list[int]
) -> None:
    ran = [watched(row, ready, file.path, held) for file in files]  # the first makes what is kept
    (_, some_bytes, some_raw), (_, more_bytes, more_raw) = ran[1:]
    index = INDEX_BYTES * (files[2].num_frames - files[1].num_frames)
    assert more_bytes <= MORE * some_bytes + index
    assert 0 < more_raw <= MORE * some_raw
    shown = [one.outcome.trace.frame_seconds() for one, _, _ in ran]
    assert len(shown[0]) <= len(shown[1])
    assert len(shown[2]) <= MORE * len(shown[1])
    for (one, _, _), times, file in zip(ran, shown, files, strict=True):
        # Of a group of pictures, what leads to a frame looked at, and not what comes after it.
        needed = [round(t * FPS) % KEYFRAME_INTERVAL + 1 + REORDER for t in times]
        assert 0 < one.outcome.cost.frames_decoded <= sum(needed)
        assert one.outcome.cost.frames_decoded < file.num_frames / 3
