"""One function makes every pixel: right colours, right way up, no full-size RGB on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from foveal.types import Canvas, Crop, Look, Plan
from foveal.video import ArraySource, FileSource, probe, render
from foveal.video import render as render_module
from foveal.video.geometry import Orientation
from tests.helpers_video import make_clip, numbered_picture, read_number

FORMATS = (
    "yuv420p", "yuv422p", "yuv444p", "yuv410p", "yuv420p10le", "yuv422p12le", "yuva420p", "nv12",
    "p010le", "gray", "gray10le", "rgb24", "bgra", "gbrp", "gbrap10le", "rgb48le",
)  # fmt: skip


def flat_frame(y: int, u: int, v: int, *, matrix: int, full: bool) -> av.VideoFrame:
    frame = av.VideoFrame(64, 64, "yuv420p")
    for plane, value in zip(frame.planes, (y, u, v), strict=True):
        np.frombuffer(memoryview(plane), np.uint8)[:] = value
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


def test_colours_follow_the_matrix_and_the_range() -> None:
    for matrix, kr, kb in ((1, 0.2126, 0.0722), (5, 0.299, 0.114), (6, 0.299, 0.114)):
        for full in (False, True):
            y, u, v = 120, 100, 150
            luma = y / 255 if full else (y - 16) / 219
            cb, cr = (np.array([u, v]) - 128) / (255 if full else 224)
            red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
            green = (luma - kr * red - kb * blue) / (1 - kr - kb)
            got = render(flat_frame(y, u, v, matrix=matrix, full=full), Canvas(height=8, width=8))
            expected = np.array([red, green, blue]) * 255
            np.testing.assert_allclose(got[:, 4, 4], expected, atol=1.0)


def test_untagged_pictures_go_by_their_size() -> None:
    def red_of(width: int, height: int) -> int:
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, value in zip(frame.planes, (120, 100, 180), strict=True):
            np.frombuffer(memoryview(plane), np.uint8)[:] = value
        return int(render(frame, Canvas(height=4, width=4))[0, 2, 2])

    assert red_of(640, 480) == pytest.approx((120 - 16) / 219 * 255 + 1.402 * 52 * 255 / 224, abs=1)
    assert red_of(1280, 720) == pytest.approx(
        (120 - 16) / 219 * 255 + 1.5748 * 52 * 255 / 224, abs=1
    )


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (101, 57), (160, 96)])
def test_every_format_and_size_renders_whole_and_cut(
    pixel_format: str, size: tuple[int, int]
) -> None:
    width, height = size
    source = av.VideoFrame.from_ndarray(numbered_picture(5, 160, 96), "rgb24")
    frame = source.reformat(width=width, height=height, format=pixel_format)
    plain = source.reformat(width=width, height=height, format="rgb24")
    canvas = Canvas(height=32, width=40)
    box = (0.1, 0.3, 0.6, 0.8)
    for options in ({}, {"box": box, "size": (12, 10)}):
        picture = render(frame, canvas, **options)  # type: ignore[arg-type]
        expected = render(plain, canvas, **options)  # type: ignore[arg-type]
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        if pixel_format.startswith("gray"):
            assert np.ptp(picture, axis=0).max() == 0
        else:  # coarse colour differs at edges, not on the whole
            means = np.abs(picture.mean((1, 2)) - expected.mean((1, 2)))
            coarse = pixel_format == "yuv410p"
            assert means.max() < (60 if width <= 5 else 8 if coarse else 3)


def test_a_cut_is_the_native_pixels_the_canvas_shows_there() -> None:
    picture = np.zeros((3, 80, 120), np.uint8)
    picture[0, 20:40, 30:60] = 255  # a red box with edges on whole pixels
    for canvas in (Canvas(height=40, width=60), Canvas(height=40, width=40, short_side=40)):
        left = 0 if canvas.short_side is None else 10
        box = ((15 - left) / canvas.width, 10 / 40, (30 - left) / canvas.width, 20 / 40)
        cut = render(picture, canvas, box=box, size=(20, 30))
        np.testing.assert_array_equal(cut[0], 255)
        np.testing.assert_array_equal(cut[1:], 0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_turned_pictures_equal_pictures_turned(turns: int, mirrored: bool) -> None:
    upright = np.ascontiguousarray(numbered_picture(77).transpose(2, 0, 1))
    stored = np.rot90(upright, turns, axes=(1, 2))
    stored = np.ascontiguousarray(stored[:, :, ::-1] if mirrored else stored)
    view = Orientation(quarter_turns=turns, mirrored=mirrored)
    canvas = Canvas(height=48, width=64, short_side=64)
    whole = render(stored, canvas, orientation=view)
    np.testing.assert_allclose(whole, render(upright, canvas).astype(int), atol=2)
    box, size = (0.25, 0.0, 0.75, 0.5), (24, 32)
    cut = render(stored, canvas, box=box, size=size, orientation=view)
    expected = render(upright, canvas, box=box, size=size)
    np.testing.assert_allclose(cut, expected.astype(int), atol=2)


@pytest.mark.parametrize("kernel", ["area", "bilinear", "bicubic"])
def test_large_reductions_do_not_alias(kernel: Any) -> None:
    rows, columns = np.mgrid[:512, :512]
    checks = np.broadcast_to(((rows + columns) % 2 * 255).astype(np.uint8), (3, 512, 512))
    small = render(checks, Canvas(height=32, width=32, kernel=kernel))
    inner = small[:, 4:-4, 4:-4]
    assert np.abs(inner.astype(int) - 127).max() <= 8


def test_no_full_size_rgb_is_ever_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    convert = render_module.__globals__["_convert"]

    def counted(frame: Any, width: int, height: int, *rest: Any, **options: Any) -> Any:
        made.append((width, height))
        return convert(frame, width, height, *rest, **options)

    monkeypatch.setitem(render_module.__globals__, "_convert", counted)
    path = make_clip(tmp_path / "a.mp4", width=320, height=180, num_frames=3, rotation=90)
    canvas = Canvas(height=32, width=32, short_side=36)
    source = FileSource(path)
    source.plan(Plan(times=(0.0,)))
    source.look(Look(times=(0.0,), view=canvas))
    crop = Crop(canvas=canvas, box=(0.2, 0.2, 0.7, 0.7), height=24, width=20)
    source.look(Look(times=(0.0,), view=crop))
    assert made == [(64, 36), (24, 20)] or made == [(64, 36), (20, 24)[::-1]]


def test_an_extreme_shape_does_not_explode() -> None:
    strip = np.zeros((3, 1, 5000), np.uint8)
    assert render(strip, Canvas(height=64, width=64, short_side=64)).shape == (3, 64, 64)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_files_come_out_the_right_way_up(tmp_path: Path, rotation: int, ending: str) -> None:
    path = make_clip(tmp_path / f"a.{ending}", num_frames=4, rotation=rotation)
    info = probe(path)
    sideways = rotation in (90, 270)
    assert (info.width, info.height) == ((96, 160) if sideways else (160, 96))
    assert info.rotation_degrees == (360 - rotation) % 360  # clockwise
    source = FileSource(path)
    source.plan(Plan(times=(0.12,)))
    canvas = Canvas(height=info.height, width=info.width)
    rows, _ = source.look(Look(times=(0.12,), view=canvas))
    stored = np.rot90(rows[0], -rotation // 90, axes=(1, 2))
    assert read_number(stored) == 3


def test_a_copy_in_memory_has_the_same_pixels(tmp_path: Path) -> None:
    canvas = Canvas(height=40, width=48, short_side=50)
    times = tuple(i / 25 for i in range(20))
    file = FileSource(make_clip(tmp_path / "a.mp4", num_frames=20))
    file.plan(Plan(times=times))
    clip, _ = file.look(Look(times=times, view=canvas))
    copy = ArraySource(clip, fps=25)
    copy.plan(Plan(times=times))
    again, seconds = copy.look(Look(times=times, view=canvas))
    np.testing.assert_array_equal(clip, again)
    assert seconds == pytest.approx(times)


def test_wrong_requests_are_refused() -> None:
    canvas = Canvas(height=8, width=8)
    frame = np.zeros((3, 16, 16), np.uint8)
    with pytest.raises(ValueError, match="go together"):
        render(frame, canvas, box=(0.0, 0.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="box must"):
        render(frame, canvas, box=(0.5, 0.0, 0.5, 1.0), size=(4, 4))
    with pytest.raises(ValueError, match="uint8"):
        render(frame.transpose(1, 2, 0), canvas)
