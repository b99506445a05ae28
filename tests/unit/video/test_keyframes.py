"""Keyframe mode: the nearest keyframe, each decoded once, nothing else decoded at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.types import Canvas, Look, Plan
from foveal.video import FileSource, probe, render
from tests.helpers_video import FPS, KINDS, keyframe_numbers, make_clip, plain_decode, read_number

CANVAS = Canvas(height=48, width=80)

KEYED = [kind for kind in KINDS if kind not in ("cut_start.mp4", "raw.h264")]


def frame_seconds(kind: str, path: str) -> list[float]:
    """Return the second of every frame, in order of display."""
    if kind == "h264.avi":
        return [number / FPS for number in range(60)]
    frames = plain_decode(path)
    pts = sorted(frame.pts for frame in frames)
    return [float((p - pts[0]) * frames[0].time_base) for p in pts]


@pytest.mark.parametrize("kind", KEYED)
def test_the_nearest_keyframe_is_taken_and_only_keyframes_are_decoded(
    kind: str, clip_of: Callable[[str], str]
) -> None:
    path = clip_of(kind)
    seconds = frame_seconds(kind, path)
    keys = keyframe_numbers(path)
    truth = {number: render(plain_decode(path)[number], CANVAS) for number in keys}
    times = tuple(seconds[-1] * i / 23 for i in range(24))
    source = FileSource(path, threads=2)
    source.plan(Plan(times=times, keyframes=True))
    rows, found = source.look(Look(times=times, view=CANVAS))
    for asked, second, row in zip(times, found, rows, strict=True):
        nearest = min(keys, key=lambda n: (round(abs(seconds[n] - asked), 9), n))
        assert second == pytest.approx(seconds[nearest], abs=1e-6)
        np.testing.assert_array_equal(row, truth[nearest])
    assert source.meter.frames_decoded == len(set(found)) == min(len(keys), len(times))
    assert source.warnings == list(source.info.warnings)


@pytest.mark.parametrize("kind", KEYED)
def test_the_index_names_the_keyframes_where_the_container_has_one(
    kind: str, clip_of: Callable[[str], str]
) -> None:
    path = clip_of(kind)
    found = probe(path).keyframe_seconds
    if kind.endswith((".ts", ".mpg", ".flv")):
        assert found is None
    elif kind != "mpeg4.avi":  # the index of AVI has decoding times and nothing else
        seconds = frame_seconds(kind, path)
        assert found == pytest.approx([seconds[n] for n in keyframe_numbers(path)], abs=1e-6)


def test_a_tie_goes_to_the_earlier_keyframe(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"))
    source.plan(Plan(times=(6 / FPS,), keyframes=True))
    rows, _ = source.look(Look(times=(6 / FPS,), view=CANVAS))
    assert read_number(rows[0]) == 0


def test_looking_again_costs_nothing(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"))
    source.plan(Plan(times=(0.5, 1.5), keyframes=True))
    source.look(Look(times=(0.5,), view=CANVAS))
    source.look(Look(times=(1.5, 0.5), view=CANVAS))
    decoded, read = source.meter.frames_decoded, source.meter.packets_read
    source.look(Look(times=(1.5, 0.5), view=CANVAS))
    assert (source.meter.frames_decoded, source.meter.packets_read) == (decoded, read)
    assert decoded == 2


def test_packets_between_keyframes_are_not_even_read(tmp_path: Path) -> None:
    for ending in ("mp4", "mkv"):
        path = make_clip(tmp_path / f"a.{ending}", num_frames=400, gop=50)
        source = FileSource(path)
        times = tuple(i * 2.0 for i in range(8))
        source.plan(Plan(times=times, keyframes=True))
        source.look(Look(times=times, view=CANVAS))
        assert source.meter.packets_read <= 2 * 8
        assert source.meter.frames_decoded == 8


def test_exact_frames_can_follow_keyframes_and_the_other_way_round(tmp_path: Path) -> None:
    source = FileSource(make_clip(tmp_path / "a.mp4"), threads=2)
    for keyframes, expected in ((True, 24), (False, 26), (True, 24), (False, 26)):
        source.plan(Plan(times=(26 / FPS,), keyframes=keyframes))
        rows, _ = source.look(Look(times=(26 / FPS,), view=CANVAS))
        assert read_number(rows[0]) == expected


def test_keyframes_that_the_edit_list_hides_are_not_taken(clip_of: Callable[[str], str]) -> None:
    path = clip_of("cut_start.mp4")  # frames 0 to 9 are hidden, frame 0 is a keyframe
    assert probe(path).keyframe_seconds == pytest.approx([(n - 10) / FPS for n in (12, 24, 36, 48)])
    source = FileSource(path)
    source.plan(Plan(times=(0.0, 1.0), keyframes=True))
    rows, _ = source.look(Look(times=(0.0, 1.0), view=CANVAS))
    assert [read_number(row) for row in rows] == [12, 36]
    assert source.meter.frames_decoded == 2
    assert source.warnings == []


def test_many_keyframes_are_kept_as_pictures_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.video import store

    frame_bytes = 160 * 96 * 3 // 2
    monkeypatch.setattr(store, "KEYFRAME_RAW_BYTES", 3 * frame_bytes)
    source = FileSource(make_clip(tmp_path / "a.mp4", gop=5), threads=1)
    times = tuple(5 * i / FPS for i in range(12))
    source.plan(Plan(times=times, keyframes=True))
    source.look(Look(times=times, view=CANVAS))
    assert source._store.raw_total <= 5 * frame_bytes  # lines are padded in memory
    source.look(Look(times=times, view=CANVAS))
    assert source.meter.frames_decoded == 12
