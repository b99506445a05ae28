"""Exact frames: the frame on display, bit-exact, each group decoded once and no further."""

from __future__ import annotations

import gc
import random
import weakref
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.types import Canvas, Crop, Look, Plan
from foveal.video import FileSource, render
from tests.helpers_video import FPS, KINDS, keyframe_numbers, make_clip, plain_decode, read_number

CANVAS = Canvas(height=48, width=80)

COUNTED = ("h264.avi", "raw.h264")
"""Kinds whose packets carry no usable timestamps: frames come at a constant rate."""


def shown_frames(path: str) -> list[tuple[float, np.ndarray]]:
    """Return second (from the first shown frame) and picture of every frame, by reading through."""
    frames = plain_decode(path)
    if path.endswith(COUNTED):
        seconds = [number / FPS for number in range(len(frames))]
    else:
        frames.sort(key=lambda frame: frame.pts)
        seconds = [float((f.pts - frames[0].pts) * f.time_base) for f in frames]
    pictures = [render(frame, CANVAS) for frame in frames]
    return list(zip(seconds, pictures, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_any_looks_in_any_order_equal_reading_through(
    kind: str, threads: int, clip_of: Callable[[str], str]
) -> None:
    path = clip_of(kind)
    truth = shown_frames(path)
    seconds = [second for second, _ in truth]
    chance = random.Random(threads)
    with_gaps = FileSource(path, threads=threads)
    for share in (0.05, 0.3, 1.0):
        times = [t for t in seconds if chance.random() < share] or [seconds[7]]
        times += [chance.uniform(0, seconds[-1] + 1) for _ in range(3)]
        with_gaps.plan(Plan(times=tuple(times)))
        chance.shuffle(times)
        while times:
            count = chance.choice([1, 1, 4])
            part, times = times[:count], times[count:]
            rows, found = with_gaps.look(Look(times=tuple(part), view=CANVAS))
            for asked, second, row in zip(part, found, rows, strict=True):
                place = max(bisect_right(seconds, asked + 1e-6) - 1, 0)
                assert second == pytest.approx(seconds[place], abs=1e-9)
                np.testing.assert_array_equal(row, truth[place][1])
    assert with_gaps.warnings in ([], list(with_gaps.info.warnings))
    with_gaps.close()


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("cut_start.mp4",)])
def test_the_number_in_the_pixels_is_the_one_asked_for(
    kind: str, clip_of: Callable[[str], str]
) -> None:
    source = FileSource(clip_of(kind), threads=2)
    ticks = KINDS[kind].get("ticks")
    base = float(KINDS[kind].get("time_base", 1 / FPS))  # type: ignore[arg-type]
    times = [(t - ticks[0]) * base for t in ticks] if ticks else [i / FPS for i in range(60)]  # type: ignore[index,attr-defined]
    source.plan(Plan(times=tuple(times)))
    for number in (37, 0, 59, 12, 11, 13):
        rows, _ = source.look(Look(times=(times[number],), view=CANVAS))
        assert read_number(rows[0]) == number


def test_a_cut_start_begins_at_its_first_shown_frame(clip_of: Callable[[str], str]) -> None:
    source = FileSource(clip_of("cut_start.mp4"))
    source.plan(Plan(times=(0.0, 0.2)))
    rows, seconds = source.look(Look(times=(0.0, 0.2), view=CANVAS))
    assert [read_number(row) for row in rows] == [10, 15]
    assert seconds == (0.0, 0.2)


def test_before_the_first_frame_is_the_first_and_after_the_last_the_last(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"))
    source.plan(Plan(times=(0.0, 99.0)))
    rows, seconds = source.look(Look(times=(99.0, 0.0), view=CANVAS))
    assert [read_number(row) for row in rows] == [59, 0]
    assert seconds == pytest.approx((59 / FPS, 0.0))


def test_every_frame_of_an_all_intra_file_costs_itself_only(clip_of: Callable[[str], str]) -> None:
    for threads in (1, 3):
        source = FileSource(clip_of("mjpeg.avi"), threads=threads)
        times = (50 / FPS, 3 / FPS, 4 / FPS, 30 / FPS)
        source.plan(Plan(times=times))
        source.look(Look(times=times, view=CANVAS))
        assert source.meter.frames_decoded == 4


def test_decoding_stops_at_the_last_frame_looked_at(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=200, gop=200, options={"bf": "0"})
    source = FileSource(path, threads=1)
    source.plan(Plan(times=tuple(i / FPS for i in range(200))))
    source.look(Look(times=(20 / FPS,), view=CANVAS))
    assert source.meter.frames_decoded <= 23
    source.look(Look(times=(40 / FPS,), view=CANVAS))
    assert source.meter.frames_decoded <= 43


def test_frames_nobody_asked_for_are_skipped_where_nothing_refers_to_them(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mp4",
        num_frames=121,
        gop=250,
        options={"x264-params": "bframes=3:b-pyramid=none:b-adapt=0:scenecut=0"},
    )
    source = FileSource(path, threads=1)
    source.plan(Plan(times=(118 / FPS,)))
    rows, _ = source.look(Look(times=(118 / FPS,), view=CANVAS))
    assert read_number(rows[0]) == 118
    assert source.meter.frames_decoded <= 121 / 4 + 4


def test_only_what_is_looked_at_is_converted(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"), threads=1)
    source.plan(Plan(times=(0.01, *(i / FPS for i in range(60)))))
    source.look(Look(times=(59 / FPS,), view=CANVAS))
    source.look(Look(times=(0.0,), view=CANVAS))
    source.look(Look(times=(0.0, 0.01), view=CANVAS))
    assert source.meter.frames_converted == 2


def test_leaving_a_group_first_finishes_what_is_planned_in_it(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=96, gop=24, options={"bf": "0"})
    source = FileSource(path, threads=1)
    times = (5 / FPS, 15 / FPS, 80 / FPS)
    source.plan(Plan(times=times))
    source.look(Look(times=(5 / FPS,), view=CANVAS))
    source.look(Look(times=(80 / FPS,), view=CANVAS))
    spent = source.meter.frames_decoded
    rows, _ = source.look(Look(times=(15 / FPS,), view=CANVAS))
    assert read_number(rows[0]) == 15
    assert source.meter.frames_decoded == spent <= 16 + 9 + 2


def test_groups_in_between_are_never_decoded(tmp_path: Path) -> None:
    for ending in ("mp4", "ts"):
        path = make_clip(tmp_path / f"a.{ending}", num_frames=240, gop=12, options={"bf": "0"})
        source = FileSource(path, threads=1)
        times = (0.0, 120 / FPS, 228 / FPS)
        source.plan(Plan(times=times))
        source.look(Look(times=times, view=CANVAS))
        assert source.meter.frames_decoded <= 3 * 3


def test_walking_a_long_group_stretch_by_stretch_decodes_it_once(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=200, gop=300, options={"bf": "2"})
    for threads in (1, 3):
        source = FileSource(path, threads=threads)
        seen = []
        for start in range(0, 200, 10):
            times = tuple(i / FPS for i in range(start, start + 10))
            source.plan(Plan(times=times))
            rows, _ = source.look(Look(times=times, view=CANVAS))
            seen += [read_number(row) for row in rows]
        assert seen == list(range(200))
        assert source.meter.frames_decoded <= 1.1 * 200


def test_a_new_plan_forgets_what_is_outside_it(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"), threads=1)
    source.plan(Plan(times=(0.0, 0.4)))
    source.look(Look(times=(0.0, 0.4), view=CANVAS))
    source.plan(Plan(times=(0.4,)))
    with pytest.raises(ValueError, match="outside the plan"):
        source.look(Look(times=(0.0,), view=CANVAS))
    spent = source.meter.frames_decoded
    rows, _ = source.look(Look(times=(0.4,), view=CANVAS))
    assert read_number(rows[0]) == 10
    assert source.meter.frames_decoded == spent


def test_a_plan_that_goes_back_is_served(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"), threads=2)
    for number in (40, 3, 41, 44, 43, 59, 58):
        source.plan(Plan(times=(number / FPS,)))
        rows, _ = source.look(Look(times=(number / FPS,), view=CANVAS))
        assert read_number(rows[0]) == number


def test_kept_frames_are_bounded_and_shrink_to_the_canvas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.video import store

    frame_bytes = 160 * 96 * 3 // 2
    monkeypatch.setattr(store, "RAW_BYTES", 10 * frame_bytes)
    source = FileSource(make_clip(tmp_path / "a.mp4", gop=100), threads=1)
    times = tuple(i / FPS for i in range(60))
    source.plan(Plan(times=times))
    source.look(Look(times=(times[0],), view=CANVAS))
    source.look(Look(times=(times[59],), view=CANVAS))
    assert source._store.raw_total <= 14 * frame_bytes  # lines are padded in memory
    spent = source.meter.frames_decoded
    rows, _ = source.look(Look(times=times, view=CANVAS))
    assert [read_number(row) for row in rows] == list(range(60))
    assert source.meter.frames_decoded == spent
    crop = Crop(canvas=CANVAS, box=(0.0, 0.0, 1.0, 1.0), height=48, width=80)
    rows, _ = source.look(Look(times=(times[4],), view=crop))  # needs the native frame again
    assert read_number(rows[0]) == 4


def test_times_rounded_to_a_microsecond_still_mean_their_frame(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4", fps=30))
    times = tuple(round(i / 30, 6) for i in range(60))
    source.plan(Plan(times=times))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    assert [read_number(row) for row in rows] == list(range(60))


def test_closed_sources_say_so(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"))
    source.close()
    source.close()
    with pytest.raises(ValueError, match="closed"):
        source.plan(Plan(times=(0.0,)))


def test_keyframes_are_where_the_helper_says(clip_of: Callable[[str], str]) -> None:
    assert keyframe_numbers(clip_of("h264.mp4")) == [0, 12, 24, 36, 48]


@pytest.mark.parametrize("ending", ["mkv", "nut", "ts", "mp4"])
def test_a_clip_that_does_not_start_at_zero_lasts_as_long(tmp_path: Path, ending: str) -> None:
    ticks = [60 * FPS + i for i in range(60)]
    source = FileSource(make_clip(tmp_path / f"late.{ending}", ticks=ticks))
    assert source.info.duration_seconds == pytest.approx(60 / FPS, abs=0.1)
    times = tuple(i / FPS for i in range(60))
    source.plan(Plan(times=times))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    assert [read_number(row) for row in rows] == list(range(60))
    assert not source.warnings


def test_a_closed_source_leaves_no_frames_to_the_garbage_collector(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"))
    source.plan(Plan(times=(0.0, 1.0)))
    source.look(Look(times=(1.0,), view=CANVAS))
    store = weakref.ref(source._store)
    gc.disable()
    try:
        source.close()
        assert store() is None
    finally:
        gc.enable()
