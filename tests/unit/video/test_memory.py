"""Arrays and stored features behave as files do."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.types import Canvas, Crop, Features, Look, Plan, Sound, Source
from foveal.video import ArraySource, FeatureSource, FileSource
from tests.helpers_video import numbered_picture, read_number

CANVAS = Canvas(height=48, width=80)


def frames(count: int) -> np.ndarray:
    return np.stack([numbered_picture(i).transpose(2, 0, 1) for i in range(count)])


def test_all_sources_are_sources() -> None:
    array = ArraySource(frames(2), fps=10)
    features = FeatureSource({}, duration_seconds=1.0)
    assert isinstance(array, Source)
    assert isinstance(features, Source)
    assert {"info", "meter", "warnings", "plan", "look", "close"} <= set(dir(FileSource))


def test_an_array_shows_the_frame_on_display() -> None:
    source = ArraySource(frames(10), fps=10, name="clip")
    times = (0.0, 0.0999, 0.1, 0.35, 99.0)
    source.plan(Plan(times=times))
    rows, seconds = source.look(Look(times=times, view=CANVAS))
    assert [read_number(row) for row in rows] == [0, 0, 1, 3, 9]
    assert seconds == pytest.approx((0.0, 0.0, 0.1, 0.3, 0.9))
    assert source.meter.frames_converted == 4
    assert source.info.duration_seconds == 1.0
    assert source.warnings == []


def test_for_keyframes_an_array_gives_the_nearest_frame() -> None:
    source = ArraySource(frames(10), fps=10)
    times = (0.04, 0.05, 0.06)
    source.plan(Plan(times=times, keyframes=True))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    assert [read_number(row) for row in rows] == [0, 0, 1]


def test_crops_of_an_array_are_cut_from_it() -> None:
    source = ArraySource(frames(3), fps=10)
    source.plan(Plan(times=(0.2,)))
    crop = Crop(canvas=CANVAS, box=(0.0, 0.0, 1.0, 0.5), height=24, width=80)
    rows, _ = source.look(Look(times=(0.2,), view=crop))
    whole, _ = source.look(Look(times=(0.2,), view=CANVAS))
    np.testing.assert_allclose(rows[0, :, 2:-3], whole[0, :, 2:21].astype(int), atol=3)


def test_looks_outside_the_plan_or_of_the_wrong_kind_are_refused() -> None:
    source = ArraySource(frames(3), fps=10)
    with pytest.raises(ValueError, match="outside the plan"):
        source.look(Look(times=(0.0,), view=CANVAS))
    source.plan(Plan(times=(0.0,)))
    with pytest.raises(ValueError, match="stored features"):
        source.look(Look(times=(0.0,), view=Features(name="x")))


def test_wrong_arrays_are_refused() -> None:
    for wrong in (np.zeros((0, 3, 4, 4), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="frames must be"):
            ArraySource(wrong, fps=10)
    with pytest.raises(ValueError, match="fps"):
        ArraySource(frames(2), fps=0)
    with pytest.raises(ValueError, match="sound"):
        ArraySource(frames(2), fps=10, sound=np.zeros(3))


def test_features_give_the_nearest_vector_ties_to_the_earlier() -> None:
    vectors = np.arange(8).reshape(4, 2)
    seconds = np.array([0.0, 1.0, 2.0, 3.0])
    source = FeatureSource({"cnn": (seconds, vectors)}, duration_seconds=4.0, name="clip")
    source.plan(Plan(times=(0.5, 0.6, 9.0)))
    rows, found = source.look(Look(times=(0.5, 0.6, 9.0), view=Features(name="cnn")))
    np.testing.assert_array_equal(rows, vectors[[0, 1, 3]])
    assert rows.dtype == np.float32
    assert found == (0.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="cnn"):
        source.look(Look(times=(0.5,), view=Features(name="flow")))
    with pytest.raises(ValueError, match="cnn"):
        source.look(Look(times=(0.5,), view=Sound(rate=8000, seconds=1.0)))
    with pytest.raises(ValueError, match="outside the plan"):
        source.look(Look(times=(1.5,), view=Features(name="cnn")))


def test_wrong_features_are_refused() -> None:
    with pytest.raises(ValueError, match="need seconds"):
        FeatureSource({"x": (np.zeros(3), np.zeros((2, 4)))}, duration_seconds=1.0)
    with pytest.raises(ValueError, match="ascend"):
        FeatureSource({"x": (np.zeros(2), np.zeros((2, 4)))}, duration_seconds=1.0)
