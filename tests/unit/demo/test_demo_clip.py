"""The demo clip: drawn the same each time, at the times it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.demo import DemoObject, make_demo_clip
from foveal.demo import clip as demo_clip
from foveal.demo.draw import Pen, rgb
from foveal.types import Array


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[DemoObject, ...]]:
    path = tmp_path_factory.mktemp("demo") / "demo.mp4"
    return path, make_demo_clip(path)


def test_file_is_a_minute_with_regular_keyframes(
    demo: tuple[Path, tuple[DemoObject, ...]],
) -> None:
    with av.open(str(demo[0])) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (640, 360, 25)
        packets = [p for p in container.demux(stream) if p.pts is not None]
    keys = sorted(float(p.pts * p.time_base) for p in packets if p.is_keyframe)
    assert len(packets) == 1500
    assert keys[0] == 0
    assert np.diff([*keys, 60.0]).max() <= 2.0 + 1e-9


def test_objects_follow_each_other_with_pauses(demo: tuple[Path, tuple[DemoObject, ...]]) -> None:
    objects = demo[1]
    borders = [t for o in objects for t in (o.start_seconds, o.end_seconds)]
    assert len({o.label for o in objects}) == len(objects) == 5
    assert borders == sorted(borders)
    assert 0 < borders[0] < borders[-1] < demo_clip.DURATION_SECONDS


def test_pictures_change_only_while_an_object_is_shown(
    demo: tuple[Path, tuple[DemoObject, ...]],
) -> None:
    scenery = demo_clip._scenery()
    middle = np.s_[120:240, 260:380]
    with av.open(str(demo[0])) as container:
        for frame in container.decode(video=0):
            if frame.pts % 4:
                continue
            time = float(frame.time)
            empty = demo_clip._background(scenery, time)[middle].astype(float)
            change = np.abs(frame.to_ndarray(format="rgb24")[middle] - empty).mean()
            shown = any(o.start_seconds <= time < o.end_seconds for o in demo[1])
            assert change > 15 if shown else change < 5, (time, change)


@pytest.mark.parametrize("draw", [draw for _, draw in demo_clip._SCENES])
def test_drawings_are_premultiplied_and_repeatable(draw: Callable[[int], Array]) -> None:
    picture = draw(64)
    assert picture.shape == (64, 64, 4)
    assert picture.dtype == np.float32
    assert picture[..., 3].min() >= 0
    assert picture[..., 3].max() <= 1 + 1e-6
    assert (picture[..., :3] <= 255 * picture[..., 3:] + 1e-2).all()
    np.testing.assert_array_equal(picture, draw(64))


def test_shapes_cover_their_area() -> None:
    pen = Pen(200)
    pen.fill(pen.disc(0.1, -0.2, 0.5), rgb("#ff0000"))
    assert pen.rgba[..., 3].mean() * 4 == pytest.approx(np.pi * 0.25, rel=1e-3)
    pen = Pen(200)
    pen.fill(pen.box(-0.5, -0.25, 0.5, 0.75), rgb("#00ff00"))
    assert pen.rgba[..., 3].mean() * 4 == pytest.approx(1.0, rel=1e-2)
    pen = Pen(200)
    pen.fill(pen.stroke([(-0.5, 0), (0.5, 0)], 0.2), rgb("#0000ff"))
    assert pen.rgba[..., 3].mean() * 4 == pytest.approx(0.2 + np.pi * 0.01, rel=1e-2)


def test_opacity_mixes_colours() -> None:
    pen = Pen(8)
    everything = np.full((8, 8), -1.0, np.float32)
    pen.fill(everything, rgb("#000000"))
    pen.fill(everything, rgb("#ffffff"), opacity=0.25)
    np.testing.assert_allclose(pen.rgba[4, 4], [63.75, 63.75, 63.75, 1.0])
