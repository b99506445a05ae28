"""A window shows [start, end) of another source on its own clock, and nothing outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from foveal.types import Canvas, ClipInfo, Features, Look, Plan, Sound, Source
from foveal.video import ArraySource, FeatureSource, FileSource, OutsideError, WindowSource
from tests.helpers_video import numbered_picture, read_number

CANVAS = Canvas(height=48, width=80)


def clip(count: int = 50, **more: object) -> ArraySource:
    frames = np.stack([numbered_picture(i).transpose(2, 0, 1) for i in range(count)])
    return ArraySource(frames, fps=25, name="clip", **more)  # type: ignore[arg-type]


def numbers(source: Source, *times: float, keyframes: bool = False) -> list[int]:
    source.plan(Plan(times=times, keyframes=keyframes))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    return [read_number(row) for row in rows]


def test_it_is_a_clip_of_its_own_length() -> None:
    source = WindowSource(clip(), start_seconds=0.4, end_seconds=1.2)
    assert isinstance(source, Source)
    info = source.info
    assert isinstance(info, ClipInfo)
    assert info.duration_seconds == pytest.approx(0.8)
    assert info.num_frames == 20
    assert info.keyframe_seconds is not None
    assert info.keyframe_seconds[0] == pytest.approx(0.0)
    assert len(info.keyframe_seconds) == 20
    assert (info.height, info.width, info.name) == (96, 160, "clip")


def test_times_count_from_its_start_and_nothing_outside_is_shown() -> None:
    source = WindowSource(clip(), start_seconds=0.41, end_seconds=1.2)
    assert numbers(source, 0.0, 0.03, 0.4, 0.79, 99.0) == [10, 11, 20, 29, 29]
    source.plan(Plan(times=(0.0, 0.03)))
    _, seconds = source.look(Look(times=(0.0, 0.03), view=CANVAS))
    assert seconds == pytest.approx((0.0, 0.03))


@pytest.mark.parametrize("kind", ["h264.mp4", "mpeg4.avi"])
def test_a_file_is_windowed_alike(clip_of: Callable[[str], str], kind: str) -> None:
    with_file = WindowSource(FileSource(clip_of(kind)), start_seconds=0.4, end_seconds=1.2)
    assert numbers(with_file, 0.0, 0.2, 0.8) == [10, 15, 29]
    assert with_file.meter.frames_converted == 3
    with_file.close()
    with_file.close()


def test_keyframes_are_those_inside(clip_of: Callable[[str], str]) -> None:
    # A keyframe every 12 frames: 0, 12, 24, 36, 48.
    source = WindowSource(FileSource(clip_of("h264.mp4")), start_seconds=0.4, end_seconds=1.2)
    assert source.info.keyframe_seconds == pytest.approx((0.08, 0.56))
    assert numbers(source, 0.0, 0.3, 0.4, 0.8, keyframes=True) == [12, 12, 24, 24]
    assert source.warnings == []
    source.close()


def test_without_a_keyframe_inside_the_exact_frames_are_taken(
    clip_of: Callable[[str], str],
) -> None:
    source = WindowSource(FileSource(clip_of("h264.mp4")), start_seconds=0.56, end_seconds=0.8)
    assert source.info.keyframe_seconds == ()
    assert numbers(source, 0.0, 0.12, keyframes=True) == [14, 17]
    assert source.warnings == [
        "no keyframe is known inside the stretch; exact frames were taken instead"
    ]
    source.close()


def test_sound_is_silent_after_the_end() -> None:
    source = WindowSource(
        clip(sound=np.ones(2000, np.float32), sound_rate=1000), start_seconds=0.5, end_seconds=1.0
    )
    source.plan(Plan(times=(0.0, 0.4)))
    heard, seconds = source.look(Look(times=(0.0, 0.4), view=Sound(rate=1000, seconds=0.2)))
    assert heard.sum(axis=1) == pytest.approx((200, 100))
    assert heard.dtype == np.float32
    assert seconds == (0.0, 0.4)


def test_sound_is_silent_before_the_beginning() -> None:
    source = WindowSource(
        clip(sound=np.ones(2000, np.float32), sound_rate=1000), start_seconds=0.5, end_seconds=1.0
    )
    source.plan(Plan(times=(0.0, 0.3)))
    view = Sound(rate=1000, seconds=0.2, lead_seconds=0.1)
    heard, _ = source.look(Look(times=(0.0, 0.3), view=view))
    assert heard.sum(axis=1) == pytest.approx((100, 200))
    assert not heard[0, :100].any()


def test_stored_features_are_shifted_too() -> None:
    at = np.arange(10.0)
    source = WindowSource(
        FeatureSource({"cnn": (at, at[:, None])}, duration_seconds=10.0), start_seconds=4.0
    )
    source.plan(Plan(times=(0.0, 2.2)))
    rows, seconds = source.look(Look(times=(0.0, 2.2), view=Features(name="cnn")))
    assert rows[:, 0].tolist() == [4.0, 6.0]
    assert seconds == (0.0, 2.0)
    assert source.info.duration_seconds == 6.0


def test_an_end_beyond_the_clip_is_its_end_with_a_warning() -> None:
    source = WindowSource(clip(), start_seconds=1.0, end_seconds=7.0)
    assert source.info.duration_seconds == pytest.approx(1.0)
    assert source.warnings == ["the stretch should end at 7 s, the video ends at 2.00 s"]
    assert source.info.warnings == tuple(source.warnings)


def test_windows_that_show_nothing_are_refused() -> None:
    with pytest.raises(OutsideError, match=r"clip: a stretch from 2 s on .* it ends at 2.00 s"):
        WindowSource(clip(), start_seconds=2.0)
    for start, end in ((-0.1, 1.0), (1.0, 1.0), (1.0, 0.5), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="a window needs 0 <= start < end"):
            WindowSource(clip(), start_seconds=start, end_seconds=end)


def test_looks_outside_the_plan_are_refused() -> None:
    source = WindowSource(clip(), start_seconds=0.4)
    source.plan(Plan(times=(0.0,)))
    with pytest.raises(ValueError, match=r"look at 0.4 s, which is outside the plan"):
        source.look(Look(times=(0.4,), view=CANVAS))
