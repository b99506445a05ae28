"""Frames from the cache are those of the file, bit for bit, and never those of another file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foveal.dataset import Sample, open_sample
from foveal.train import FrameCache
from foveal.types import Array, Canvas, Look, Plan
from foveal.video import MissingError, VideoError
from tests.helpers_video import KINDS, make_clip

CANVAS = Canvas(height=24, width=40)
ALL = 1 << 40
TIMED = (
    "h264.mp4",
    "pyramid.mp4",
    "open_gop.mp4",
    "cut_start.mp4",
    "late_start.mp4",
    "variable_rate.mp4",
    "variable_rate.mkv",
    "h264.ts",
    "mpeg4.mp4",
    "mpeg4.avi",
    "no_b_frames.avi",
    "rotated.mp4",
)
UNTIMED = ("h264.avi", "mpeg2.mpg")
"""Their packets do not say which frame they hold."""

OPTIONS = {**KINDS, "rotated.mp4": {"rotation": 90.0, "options": {"bf": "2"}}}


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("clips")

    def get(kind: str) -> str:
        path = folder / kind
        return str(path) if path.exists() else make_clip(path, **OPTIONS[kind])  # type: ignore[arg-type]

    return get


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return FrameCache(tmp_path / "cache", limit_bytes=ALL)


def live(sample: Sample, times: tuple[float, ...], canvas: Canvas) -> Array:
    """Return what a source shows at ``times``."""
    source = open_sample(sample, kind="video", threads=1)
    source.plan(Plan(times=times))
    pictures, _ = source.look(Look(times=times, view=canvas))
    source.close()
    return pictures


def seconds_of(sample: Sample) -> float:
    source = open_sample(sample, kind="video", threads=1)
    source.close()
    return source.info.duration_seconds


def drawn(seed: int, end: float, num: int = 80) -> tuple[float, ...]:
    """Return times all over a clip, and others a hair beside those at which frames begin."""
    chance = np.random.default_rng(seed)
    near = np.arange(0, end, 0.04) + chance.normal(0, 2e-6, len(np.arange(0, end, 0.04)))
    every = np.concatenate([[0.0, end], near.clip(0), chance.uniform(0, end + 0.2, num)])
    return tuple(sorted({float(t) for t in every}))


def assert_equal_to_live(cache: FrameCache, sample: Sample, seed: int) -> None:
    times = drawn(seed, seconds_of(sample))
    stretch = (sample.start_seconds, sample.end_seconds)
    frames = cache.frames(sample.path, CANVAS, stretch=stretch)
    assert frames is not None
    assert np.array_equal(frames.at(np.array(times)), live(sample, times, CANVAS))


@pytest.mark.parametrize("kind", TIMED)
def test_stored_frames_are_those_of_the_file(
    clip_of: Callable[[str], str], cache: FrameCache, kind: str
) -> None:
    assert_equal_to_live(cache, Sample(path=clip_of(kind), label=0, where=kind), 0)


@pytest.mark.parametrize("kind", ["h264.mp4", "pyramid.mp4", "variable_rate.mp4", "late_start.mp4"])
@pytest.mark.parametrize(
    ("start", "end"), [(0.4, 1.2), (0.41, 0.43), (None, 0.7), (1.03, None), (0.0, 99.0)]
)
def test_a_stretch_shows_what_a_window_shows(
    clip_of: Callable[[str], str],
    cache: FrameCache,
    kind: str,
    start: float | None,
    end: float | None,
) -> None:
    sample = Sample(path=clip_of(kind), label=0, where=kind, start_seconds=start, end_seconds=end)
    assert_equal_to_live(cache, sample, 1)


@pytest.mark.parametrize("kind", UNTIMED)
def test_a_file_without_times_is_not_stored(
    clip_of: Callable[[str], str], cache: FrameCache, kind: str
) -> None:
    assert cache.frames(clip_of(kind), CANVAS) is None
    assert not cache.folder.exists()


# --- which clip it is -------------------------------------------------------------------------


def stored(cache: FrameCache) -> dict[str, int]:
    """Return the stored files and when each was written."""
    return {f.name: f.stat().st_mtime_ns for f in cache.folder.iterdir()}


def test_a_clip_is_decoded_once(
    tmp_path: Path, cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=8)
    first = cache.frames(path, CANVAS)
    assert first is not None
    before = stored(cache)
    assert len(before) == 2
    monkeypatch.setattr("foveal.train.cache.FileSource", None)
    again = FrameCache(cache.folder, limit_bytes=ALL).frames(path, CANVAS)
    assert again is not None
    assert np.array_equal(again.pictures, first.pictures)
    assert stored(cache) == before


def test_a_changed_file_another_canvas_and_another_stretch_are_decoded_anew(
    tmp_path: Path, cache: FrameCache
) -> None:
    path = tmp_path / "a.mp4"
    make_clip(path, num_frames=8)
    first = cache.frames(str(path), CANVAS)
    assert first is not None
    other = cache.frames(str(path), replace(CANVAS, height=16))
    assert other is not None
    assert other.pictures.shape[2:] == (16, 40)
    short = cache.frames(str(path), CANVAS, stretch=(0.1, 0.2))
    assert short is not None
    assert len(short.pictures) < len(first.pictures)
    assert len(stored(cache)) == 6
    old = path.stat()
    make_clip(path, num_frames=8, options={"crf": "50"})  # another size
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size != old.st_size
    changed = cache.frames(str(path), CANVAS)
    assert changed is not None
    assert not np.array_equal(changed.pictures, first.pictures)
    assert_equal_to_live(cache, Sample(path=str(path), label=0, where="a"), 2)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))  # another time
    assert cache.frames(str(path), CANVAS) is not None
    assert len(stored(cache)) == 10


@pytest.mark.parametrize("which", ["pictures", "seconds"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.7])
def test_stored_files_that_were_cut_off_are_made_anew(
    tmp_path: Path, cache: FrameCache, which: str, share: float
) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=8)
    first = cache.frames(path, CANVAS)
    assert first is not None
    wanted = np.array(first.pictures)
    (target,) = [
        f for f in cache.folder.iterdir() if f.name.endswith(".seconds.npy") == (which == "seconds")
    ]
    data = target.read_bytes()
    target.unlink()
    target.write_bytes(data[: int(len(data) * share)])
    again = cache.frames(path, CANVAS)
    assert again is not None
    assert np.array_equal(again.pictures, wanted)
    assert target.read_bytes() == data


def test_pictures_and_times_of_two_lengths_are_no_clip(tmp_path: Path, cache: FrameCache) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=8)
    assert cache.frames(path, CANVAS) is not None
    (target,) = cache.folder.glob("*.seconds.npy")
    np.save(target, np.arange(5.0))
    again = cache.frames(path, CANVAS)
    assert again is not None
    assert len(again.seconds) == len(again.pictures) == 8


def test_a_file_that_went_or_is_broken_leaves_nothing(tmp_path: Path, cache: FrameCache) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(MissingError, match=r"a\.mp4: no such file"):
        cache.frames(str(path), CANVAS)
    path.write_bytes(b"no video" * 50)
    with pytest.raises(VideoError):
        cache.frames(str(path), CANVAS)
    assert not cache.folder.exists()


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, cache: FrameCache) -> None:
    assert cache.make_room() == 0
    for i in range(3):
        path = make_clip(tmp_path / f"{i}.mp4", num_frames=8)
        before = set(cache.folder.glob("*.npy"))
        assert cache.frames(path, CANVAS) is not None
        for file in set(cache.folder.glob("*.npy")) - before:
            os.utime(file, (1000 - i, 1000 - i))  # the first is the newest
    everything = sum(f.stat().st_size for f in cache.folder.iterdir())
    third = everything // 3
    assert FrameCache(cache.folder, limit_bytes=everything).make_room() == 0
    assert FrameCache(cache.folder, limit_bytes=everything - third).make_room() == 2
    left = {f.stat().st_mtime for f in cache.folder.iterdir()}
    assert left == {1000, 999}
    assert FrameCache(cache.folder, limit_bytes=0).make_room() == 4
    assert not any(cache.folder.iterdir())


def test_room_is_made_for_what_is_about_to_be_stored(tmp_path: Path, cache: FrameCache) -> None:
    paths = [make_clip(tmp_path / f"{i}.mp4", num_frames=8) for i in range(4)]
    sizes = []
    for i, path in enumerate(paths[:3]):
        before = set(cache.folder.glob("*.npy"))
        assert cache.frames(path, CANVAS) is not None
        new = set(cache.folder.glob("*.npy")) - before
        sizes.append(sum(f.stat().st_size for f in new))
        for file in new:
            os.utime(file, (1000 + i, 1000 + i))  # the first is the oldest
    # The run uses the oldest, which is stored, and the last, which is not yet.
    clips = [(paths[i], CANVAS, (None, None)) for i in (0, 3)]
    limit = FrameCache(cache.folder, limit_bytes=sum(sizes))
    assert limit.make_room(clips, wanted_bytes=2 * sizes[0]) == 2
    assert {f.stat().st_mtime for f in cache.folder.iterdir()} == {1000, 1002}
    assert cache.frames(paths[3], CANVAS) is not None
    assert sum(f.stat().st_size for f in cache.folder.iterdir()) <= limit.limit_bytes


def test_a_clip_that_went_takes_no_room_from_others(tmp_path: Path, cache: FrameCache) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=8)
    assert cache.frames(path, CANVAS) is not None
    assert cache.make_room([(str(tmp_path / "gone.mp4"), CANVAS, (None, None))]) == 0
    assert len(stored(cache)) == 2


def test_clips_of_a_run_go_last_and_only_over_the_limit(tmp_path: Path, cache: FrameCache) -> None:
    own, other = (make_clip(tmp_path / f"{i}.mp4", num_frames=8) for i in range(2))
    assert cache.frames(own, CANVAS) is not None
    mine = set(stored(cache))
    assert cache.frames(other, CANVAS) is not None
    for name in mine:
        os.utime(cache.folder / name, (1000, 1000))
    half = FrameCache(
        cache.folder, limit_bytes=sum(f.stat().st_size for f in cache.folder.iterdir()) - 1
    )
    assert half.make_room([(own, CANVAS, (None, None))]) == 1
    assert mine < set(stored(cache))
    none = FrameCache(cache.folder, limit_bytes=0)
    assert none.make_room([(own, CANVAS, (None, None))]) == 3
