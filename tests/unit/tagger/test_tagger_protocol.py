"""The tagger's decisions, with a fake network: where it glances, what it groups, what it asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foveal.systems.tagger import protocol
from foveal.types import Answer, Array, Call, Canvas, ClipInfo, Look, Note, Plan

CFG = protocol.Config(
    canvas=Canvas(height=32, width=32, short_side=32),
    num_classes=4,
    thumbnail_size=8,
    max_stretch=8,
)


def clip(duration: float, *, keys: tuple[float, ...] | None = None, frames: int | None = None):
    return ClipInfo(name="x", duration_seconds=duration, num_frames=frames, keyframe_seconds=keys)


def run(info: ClipInfo, levels: dict[float, int], cfg: protocol.Config = CFG) -> list[Any]:
    """Drive the protocol: flat pictures with a level by time; the class is the level // 64."""

    def picture(time: float) -> Array:
        level = levels[max(t for t in levels if t <= time)]
        return np.full((3, cfg.canvas.height, cfg.canvas.width), level, np.uint8)

    steps = protocol.steps(cfg, {}, info)
    seen: list[Any] = []
    value: Any = None
    while True:
        try:
            step = steps.send(value)
        except StopIteration:
            return seen
        seen.append(step)
        value = None
        if isinstance(step, Look):
            value = np.stack([picture(t) for t in step.times])
        elif isinstance(step, Call):
            classes = step.inputs[0][:, 0, 0, 0] // 64
            value = (np.eye(cfg.num_classes, dtype=np.float32)[classes] * 0.9 + 0.025,)


def test_one_look_names_a_stretch_and_borders_lie_between() -> None:
    seen = run(clip(16.0), {0.0: 10, 6.0: 200})
    plan, glance, note, focus, call, answer = seen
    assert isinstance(plan, Plan)
    assert not plan.keyframes
    assert isinstance(glance, Look)
    assert glance.role == "glance"
    assert glance.times == plan.times == tuple(i + 0.5 for i in range(16))
    assert isinstance(note, Note)
    assert note.chosen == (2, 9, 14)  # 0-5, then 6-13 (eight at most), then 14-15
    assert isinstance(focus, Look)
    assert focus.times == (2.5, 9.5, 14.5)
    assert focus.view == glance.view
    assert isinstance(call, Call)
    assert call.rows == 3
    assert isinstance(answer, Answer)
    segments = answer.segments
    assert segments is not None
    best = [i for i in range(len(segments)) if segments.scores[i] > 0.5]
    assert [segments.labels[i] for i in best] == [0, 3]  # equal neighbours are joined
    assert [segments.start_seconds[i] for i in best] == [0.0, 6.0]
    assert [segments.end_seconds[i] for i in best] == [6.0, 16.0]


def test_a_still_clip_needs_one_look_per_longest_stretch() -> None:
    for longest, rows in ((16, 1), (8, 2), (4, 4), (1, 16)):
        seen = run(clip(16.0), {0.0: 10}, replace(CFG, max_stretch=longest))
        assert [s.rows for s in seen if isinstance(s, Call)] == [rows]


def test_every_picture_different_is_looked_at() -> None:
    levels = {float(t): 60 * (t % 4) for t in range(16)}
    seen = run(clip(16.0), levels)
    assert [s.rows for s in seen if isinstance(s, Call)] == [16]


@pytest.mark.parametrize(
    ("duration", "keys", "expected"),
    [
        (60.0, tuple(float(t) for t in range(0, 60, 2)), True),  # the demo clip
        (300.0, tuple(float(t) for t in range(0, 300, 10)), True),  # gap 10 s < 37.5 s
        (10.0, tuple(float(t) for t in range(10)), True),
        (10.0, tuple(2.0 * t for t in range(5)), False),  # gap 2 s > 1.25 s
        (10.0, (0.0, 8.3), False),  # most short clips
        (4.0, (0.0,), False),
        (300.0, tuple(float(t) for t in range(0, 240, 10)), False),  # nothing near the end
        (60.0, None, False),  # no index
    ],
)
def test_keyframes_only_where_they_cover_the_clip(
    duration: float, keys: tuple[float, ...] | None, expected: bool
) -> None:
    times, keyframes = protocol.glance(CFG, clip(duration, keys=keys))
    assert keyframes is expected
    assert list(times) == sorted(set(times))
    if keyframes:
        assert keys is not None
        assert set(times) <= set(keys)
    else:
        assert len(times) == 16


@pytest.mark.parametrize(
    ("frames", "height", "width", "expected"),
    [
        (1500, 240, 320, False),  # 115 million pixels: one pass is quick
        (1500, 360, 640, True),  # 346 million
        (7500, 720, 1280, True),
        (None, 240, 320, True),  # how long it is, nobody knows
    ],
)
def test_small_clips_are_read_in_one_pass(
    frames: int | None, height: int, width: int, expected: bool
) -> None:
    info = replace(
        clip(60.0, keys=tuple(float(t) for t in range(60)), frames=frames),
        height=height,
        width=width,
    )
    assert protocol.glance(CFG, info)[1] is expected


def test_a_keyframe_stands_for_what_follows_it() -> None:
    keys = (0.0, 1.1, 2.0, 3.5, 4.6, 6.0, 7.0, 8.2, 9.0)
    info = clip(10.0, keys=keys)
    cfg = replace(CFG, num_glances=8, max_gap=0.16)
    times, keyframes = protocol.glance(cfg, info)
    assert keyframes
    # Centres 0.625, 1.875, 3.125, ...: the keyframe on display then.
    assert times == (0.0, 1.1, 2.0, 3.5, 4.6, 6.0, 7.0, 9.0)
    segments = run(info, {0.0: 10, 4.5: 200}, cfg)[-1].segments
    assert segments is not None
    assert sorted(set(segments.start_seconds)) == [0.0, 4.6]


def test_five_minutes_and_an_hour_and_a_day_take_bounded_glances() -> None:
    counts = {}
    for seconds in (10.0, 300.0, 600.0, 3600.0, 86400.0):
        keys = tuple(float(t) for t in np.arange(0.0, seconds, min(10.0, seconds / 32)))
        counts[seconds] = len(protocol.glance(CFG, clip(seconds, keys=keys))[0])
    assert counts == {10.0: 16, 300.0: 16, 600.0: 30, 3600.0: 64, 86400.0: 64}


def test_clips_of_one_frame_and_of_no_length() -> None:
    for info in (clip(0.04, frames=1), clip(0.0), clip(0.0, frames=1), clip(0.1, frames=3)):
        seen = run(info, {0.0: 100})
        assert len(seen[0].times) <= 3
        answer = seen[-1].segments
        assert answer is not None
        assert answer.labels[0] == 1
        assert answer.start_seconds[0] == 0.0


def test_difference_is_the_root_mean_square_of_small_pictures() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    small = pictures.reshape(5, 3, 8, 4, 8, 4).astype(np.float64).mean(axis=(3, 5))
    expected = [np.sqrt(((small[i + 1] - small[i]) ** 2).mean()) for i in range(4)]
    np.testing.assert_allclose(protocol.neighbour_difference(pictures, size=8), expected)
    flat = np.stack([np.zeros((3, 224, 224), np.uint8), np.full((3, 224, 224), 255, np.uint8)])
    assert protocol.neighbour_difference(flat, size=16).tolist() == [255.0]


@pytest.mark.parametrize(
    "change",
    [
        {"num_glances": 0},
        {"max_glances": 8},
        {"thumbnail_size": 7},
        {"max_stretch": 0},
        {"max_gap": 0.0},
        {"glance_seconds": 0.0},
        {"pass_megapixels": -1.0},
        {"max_difference": -1.0},
        {"max_difference": float("nan")},
        {"canvas": Canvas(height=32, width=64)},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        replace(CFG, **change)


def test_the_dense_reference_calls_the_same_part() -> None:
    reference = protocol.reference(CFG)
    (spec,) = protocol.parts(CFG)
    assert (reference.part, reference.canvas, reference.num_frames) == (spec.name, CFG.canvas, 16)
