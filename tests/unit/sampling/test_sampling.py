"""Bad arguments are named, and the tie and threshold rules are what the docstrings say."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.sampling.checks import check_folds, check_pass
from foveal.sampling.choose import (
    key_bursts,
    key_times,
    segment_bursts,
    segment_centres,
    tag_stretches,
    top_k_in_order,
)
from foveal.sampling.confidence import ExitRule, confidence
from foveal.sampling.protocol import note
from foveal.types import ClipInfo, Note


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="need >= 1 segment"):
        segment_centres(1.0, 0)
    with pytest.raises(ValueError, match=r"k must be in 1\.\.3, got 4"):
        top_k_in_order(np.zeros(3), 4)
    with pytest.raises(ValueError, match="2 stretches need 3 edges, got 2"):
        tag_stretches(np.array([0.0, 1.0]), np.ones((2, 3)) / 3)
    with pytest.raises(ValueError, match="criterion must be"):
        confidence(np.ones(2) / 2, criterion="entropy")
    with pytest.raises(ValueError, match="NaN"):
        ExitRule(thresholds=(float("nan"),))
    with pytest.raises(ValueError, match="criterion must be"):
        ExitRule(thresholds=(0.5,), criterion="logits")


def test_joined_stretches_weigh_their_members_by_length():
    probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    segments = tag_stretches(np.array([0.0, 1.0, 4.0]), probs, top_k=1)
    assert segments.labels == (0,)
    assert segments.scores == pytest.approx(((0.9 + 3 * 0.6) / 4,))


def test_an_infinite_threshold_switches_an_exit_off():
    rule = ExitRule(thresholds=(float("inf"), 0.5))
    sure = np.array([1.0, 0.0])
    assert not rule.holds(0, sure)
    assert rule.holds(1, sure)


def burst_frames(clip: ClipInfo, fps: float, **asked) -> list[int]:
    return [round(t * fps - 0.5) for t in segment_bursts(clip, **asked)]


def test_bursts_begin_within_their_parts_and_end_within_the_clip():
    clip = ClipInfo(name="clip", duration_seconds=2.0, num_frames=20, fps=10.0)
    assert burst_frames(clip, 10, num_segments=2, length=5) == [*range(4, 9), *range(12, 17)]
    late = burst_frames(clip, 10, num_segments=2, length=5, places=[0.0, 0.999])
    assert late == [*range(5), *range(15, 20)]


def test_a_clip_that_says_little_still_has_bursts():
    nameless = ClipInfo(name="clip", duration_seconds=2.0)
    assert burst_frames(nameless, 25, num_segments=1, length=3) == [24, 25, 26]
    counted = ClipInfo(name="clip", duration_seconds=2.0, num_frames=20)
    assert burst_frames(counted, 10, num_segments=1, length=3) == [9, 10, 11]
    empty = ClipInfo(name="clip", duration_seconds=0.0)
    assert segment_bursts(empty, num_segments=2, length=3) == (0.0,) * 6
    with pytest.raises(ValueError, match="at least one segment"):
        segment_bursts(counted, num_segments=0, length=3)
    with pytest.raises(ValueError, match="2 segments need as many places, got 1"):
        segment_bursts(counted, num_segments=2, length=3, places=[0.5])


def test_heat_is_noted_row_by_row_with_four_decimals():
    (made,) = note(time=1.0, heat=np.array([[0.123456, 0.0], [0.5, 0.25]], np.float32))
    assert made == Note(time=1.0, heat=((0.1235, 0.0), (0.5, 0.25)))
    for rows in ((), ((1.0,), (1.0, 2.0)), ((),)):
        with pytest.raises(ValueError, match="rows of one length"):
            Note(heat=rows)
    for cell in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="finite and not negative"):
            Note(heat=((cell,),))


def long_clip(**told) -> ClipInfo:
    """Return a minute of 4 frames a second, 1,000 px each, with a keyframe every five seconds."""
    known = {
        "name": "clip",
        "duration_seconds": 60.0,
        "num_frames": 240,
        "fps": 4.0,
        "height": 20,
        "width": 50,
        "keyframe_seconds": tuple(5.0 * i for i in range(12)),
    }
    return ClipInfo(**{**known, **told})


def test_keyframes_stand_for_times_of_a_long_clip_alone():
    times = (0.1, 7.6, 54.9, 59.9)
    keys = ((0.0, 5.0, 50.0, 55.0), True)
    assert key_times(long_clip(), times, pass_megapixels=0.2, max_gap=0.1) == keys
    assert key_times(long_clip(), times, pass_megapixels=0.3, max_gap=0.1) == (times, False)
    assert key_times(long_clip(), times, pass_megapixels=0.2, max_gap=0.05) == (times, False)
    unknown = long_clip(keyframe_seconds=None)
    assert key_times(unknown, times, pass_megapixels=0.0, max_gap=1.0) == (times, False)
    late = long_clip(keyframe_seconds=(3.0, 8.0, *range(10, 60, 5)))
    assert key_times(late, times, pass_megapixels=0.2, max_gap=0.1)[0][0] == 3.0


def test_bursts_of_a_long_clip_begin_at_keyframes_and_stay_in_succession():
    clip = long_clip()
    bursts = segment_bursts(clip, num_segments=6, length=3)
    moved = key_bursts(clip, bursts, length=3, pass_megapixels=0.2)
    frames = [round(t * clip.fps - 0.5) for t in moved]
    begins = frames[::3]
    assert frames == [begin + j for begin in begins for j in range(3)]
    assert all(begin % 20 == 0 for begin in begins)  # keyframes: every 5 s at 4 frames a second
    assert len(set(begins)) == 6
    asked = [round(t * clip.fps - 0.5) for t in bursts[::3]]
    assert all(0 <= was - begin < 20 for was, begin in zip(asked, begins, strict=True))
    assert key_bursts(clip, bursts, length=3, pass_megapixels=1.0) == bursts
    crowded = segment_bursts(clip, num_segments=13, length=3)  # more than there are keyframes
    assert key_bursts(clip, crowded, length=3, pass_megapixels=0.0) == crowded


def test_settings_that_several_systems_share_are_checked_alike():
    for folds in (0, 2, 5):
        check_folds(folds)
    for folds in (-1, 1):
        with pytest.raises(ValueError, match=f"num_folds must be 0, or 2 and more, got {folds}"):
            check_folds(folds)
    for size in (0.0, 200.0, float("inf")):
        check_pass(size)
    for size in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="pass_megapixels must not be negative"):
            check_pass(size)
