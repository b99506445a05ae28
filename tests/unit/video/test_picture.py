"""One JPEG or PNG is a clip of one frame: turned as it says, refused when it is cut off."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.types import Canvas, Look, Plan
from foveal.video import VideoError, open_source
from foveal.video.picture import read_head

SIZE = (48, 80)
CANVAS = Canvas(height=32, width=32)


def drawn() -> np.ndarray:
    """A picture whose four corners have colours of their own."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:24, :40], picture[:24, 40:] = (250, 30, 30), (30, 250, 30)
    picture[24:, :40], picture[24:, 40:] = (30, 30, 250), (240, 240, 240)
    return picture


def encoded(picture: np.ndarray, codec: str, pix_fmt: str) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = picture.shape[1], picture.shape[0]
    encoder.pix_fmt, encoder.time_base = pix_fmt, 1
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
    return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])


def jpeg(picture: np.ndarray, orientation: int | None = None) -> bytes:
    data = encoded(picture, "mjpeg", "yuvj444p")
    if orientation is None:
        return data
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + bytes(4)
    note = b"Exif\x00\x00" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + data[2:]


def shown(path: Path) -> np.ndarray:
    source = open_source(str(path))
    source.plan(Plan(times=(0.0,)))
    pixels, seconds = source.look(Look(times=(0.0,), view=CANVAS))
    assert seconds == (0.0,)
    assert source.info.num_frames == 1
    return pixels[0].transpose(1, 2, 0)


def corners(picture: np.ndarray) -> np.ndarray:
    h, w = picture.shape[:2]
    rows, columns = (h // 4, 3 * h // 4), (w // 4, 3 * w // 4)
    return np.array([[picture[r, c] for c in columns] for r in rows], np.int64)


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, 1),
}
"""By Exif's orientation, what the picture is displayed as."""


@pytest.mark.parametrize("orientation", TURNED)
def test_a_jpeg_is_turned_as_its_note_says(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.JPG"
    path.write_bytes(jpeg(drawn(), orientation))
    assert np.abs(corners(shown(path)) - corners(TURNED[orientation](drawn()))).max() < 12


def test_a_png_and_a_jpeg_without_a_note(tmp_path: Path) -> None:
    for name, data in (("a.png", encoded(drawn(), "png", "rgb24")), ("a.jpeg", jpeg(drawn()))):
        (tmp_path / name).write_bytes(data)
        assert np.abs(corners(shown(tmp_path / name)) - corners(drawn())).max() < 12


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_picture_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    data = jpeg(noise, 6) if name == "a.jpg" else encoded(noise, "png", "rgb24")
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="not a picture that can be decoded"):
        shown(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "no such file"), (b"", "is empty"), (b"hello", "not a picture")]
)
def test_what_is_no_picture_is_one_line(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=told) as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)


def test_a_damaged_note_leaves_the_picture_upright() -> None:
    data = jpeg(drawn(), 6)
    broken = data.replace(b"II*\x00" + struct.pack("<I", 8), b"II*\x00" + struct.pack("<I", 10**6))
    head = read_head(broken)
    assert head is not None
    assert head.orientation.quarter_turns == 0
    assert read_head(data).orientation.quarter_turns == 1
