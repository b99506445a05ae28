"""Every working system on files of ten minutes and more: constant memory, little decoded.

The files are Haystack clips, one a group of pictures, in an order drawn at random, and noise to be
heard all the time. What the codec holds of pictures is counted by the reader's own store, all else
by Python; the index of a file grows with it, some bytes a frame. A packet of sound is a frame of
it: what is read is decoded, and the windows are all that is.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from foveal.haystack import find, sample
from foveal.haystack.files import KEYFRAME_INTERVAL, write_clip
from foveal.systems.index import System
from foveal.types import Sound
from foveal.video import open_source
from foveal.video.sound import SoundReader
from foveal.video.store import FrameStore
from tests.contract.subjects import WORKING, Ran, module_of, run
from tests.contract.test_running import Ready
from tests.helpers_video import with_sound

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
RATE = 8000
PACKET_SECONDS = 1024 / RATE
"""Of a packet of AAC."""
SETTLES_SECONDS = 0.25
"""Decoded before a window, for the codec to settle."""
MORE_PACKETS = 3
"""Decoded besides: the two a window begins and ends in, and one that tells that it has ended."""


@dataclass(frozen=True, slots=True)
class Long:
    """A file, and how many frames it has."""

    path: str
    num_frames: int


@dataclass(slots=True)
class Held:
    """What a reader was seen to hold and to read.

    Args:
        most_bytes: of pictures as the codec gave them, at a time.
        packets: of sound, of each window.
    """

    most_bytes: int = 0
    packets: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Long]:
    """Return a file of each length."""
    clips = sample(find("salient-frames-v1"), split="test", count=100, seed=0).frames
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(RATE)).astype(np.float32)
    folder = tmp_path_factory.mktemp("long")
    made = []
    for minutes in MINUTES:
        num_frames = minutes * 60 * FPS
        order = rng.integers(len(clips), size=num_frames // KEYFRAME_INTERVAL)
        places = np.arange(KEYFRAME_INTERVAL) % clips.shape[1]
        frames = clips[order][:, places].reshape(num_frames, *clips.shape[2:])
        pictures = folder / "pictures.mp4"
        write_clip(pictures, frames, fps=FPS, sound=None, sound_rate=0)
        made.append(Long(with_sound(pictures, folder / f"{minutes}.mp4", noise), num_frames))
    return made


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Return what is written down of every file that is read from now on."""
    seen = Held()
    add, window = FrameStore.add, SoundReader.window

    def adding(self: FrameStore, *arguments: object) -> None:
        add(self, *arguments)  # type: ignore[arg-type]
        seen.most_bytes = max(seen.most_bytes, self.raw_total)

    def hearing(self: SoundReader, *arguments: object) -> object:
        before = self._meter.packets_read
        heard = window(self, *arguments)  # type: ignore[arg-type]
        seen.packets.append(self._meter.packets_read - before)
        return heard

    monkeypatch.setattr(FrameStore, "add", adding)
    monkeypatch.setattr(SoundReader, "window", hearing)
    return seen


def watched(row: System, ready: Ready, path: str, held: Held) -> tuple[Ran, int, Held]:
    """Return what became of a file, the peak of what Python holds in bytes, and the reader's."""
    subject = ready(row)
    runner = subject.onnx()
    held.most_bytes, held.packets = 0, []
    tracemalloc.start()
    try:
        (ran,) = run(subject, runner, [open_source(path)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return ran, peak, replace(held)


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
    row: System, ready: Ready, files: list[Long], held: Held
) -> None:
    ran = [watched(row, ready, file.path, held) for file in files]  # the first makes what is kept
    (_, some_bytes, some), (_, more_bytes, more) = ran[1:]
    index = INDEX_BYTES * (files[2].num_frames - files[1].num_frames)
    assert more_bytes <= MORE * some_bytes + index
    assert 0 < more.most_bytes <= MORE * some.most_bytes
    shown = [one.outcome.trace.frame_seconds() for one, _, _ in ran]
    assert len(shown[0]) <= len(shown[1])
    assert len(shown[2]) <= MORE * len(shown[1])
    for (one, _, _), times, file in zip(ran, shown, files, strict=True):
        # Of a group of pictures, what leads to a frame looked at, and not what comes after it.
        needed = [round(t * FPS) % KEYFRAME_INTERVAL + 1 + REORDER for t in times]
        assert 0 < one.outcome.cost.frames_decoded <= sum(needed)
        assert one.outcome.cost.frames_decoded < file.num_frames / 3
    for one, _, seen in ran:
        windows = [
            look.view
            for look, _ in one.log.looks
            for _ in look.times
            if isinstance(look.view, Sound)
        ]
        assert len(seen.packets) == len(windows)
        for packets, view in zip(seen.packets, windows, strict=True):
            seconds = view.seconds + SETTLES_SECONDS
            assert 0 < packets <= seconds / PACKET_SECONDS + MORE_PACKETS
