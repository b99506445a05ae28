"""A folder of pictures behaves as a file does, and opens only what is looked at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.types import Canvas, Crop, Features, Look, Plan, Sound, Source
from foveal.video import (
    ArraySource,
    FrameFolderSource,
    MissingError,
    NoSoundError,
    NothingFoundError,
    UndecodableError,
    UnreadableError,
)
from tests.helpers_video import numbered_picture, read_number

CANVAS = Canvas(height=48, width=80)


def picture_bytes(number: int, codec: str, size: tuple[int, int] = (160, 96)) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "rgb24" if codec == "png" else "yuvj444p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), "rgb24")
    packets = [*encoder.encode(frame.reformat(format=encoder.pix_fmt)), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def folder(root: Path, count: int = 12, codec: str = "png", pattern: str = "f{}.png") -> str:
    for i in range(count):
        (root / pattern.format(i)).write_bytes(picture_bytes(i, codec))
    return str(root)


def numbers(source: Source, *times: float, keyframes: bool = False) -> list[int]:
    source.plan(Plan(times=times, keyframes=keyframes))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    return [read_number(row) for row in rows]


@pytest.mark.parametrize(("codec", "pattern"), [("png", "f{}.png"), ("mjpeg", "img_{:05d}.JPG")])
def test_pictures_come_in_the_order_of_their_numbers(
    tmp_path: Path, codec: str, pattern: str
) -> None:
    source = FrameFolderSource(folder(tmp_path, codec=codec, pattern=pattern), fps=10)
    assert isinstance(source, Source)
    assert numbers(source, 0.0, 0.19, 0.95, 1.1, 9.0) == [0, 1, 9, 11, 11]
    assert numbers(source, 0.16, keyframes=True) == [2]
    info = source.info
    assert (info.num_frames, info.height, info.width) == (12, 96, 160)
    assert info.duration_seconds == pytest.approx(1.2)
    assert info.keyframe_seconds is not None
    assert len(info.keyframe_seconds) == 12
    assert source.warnings == []


def test_only_what_is_looked_at_is_opened(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (tmp_path / "f5.png").write_bytes(b"not a picture")
    source = FrameFolderSource(path, fps=10)
    assert source.meter.frames_decoded == 0
    assert numbers(source, 0.3, 0.7, 0.3) == [3, 7, 3]
    assert (source.meter.frames_decoded, source.meter.frames_converted) == (2, 2)
    assert source.meter.bytes_read == sum((tmp_path / f"f{i}.png").stat().st_size for i in (3, 7))
    source.close()
    source.close()


def test_pixels_are_those_of_the_same_frames_in_memory(tmp_path: Path) -> None:
    source = FrameFolderSource(folder(tmp_path, 3), fps=10)
    frames = np.stack([numbered_picture(i).transpose(2, 0, 1) for i in range(3)])
    memory = ArraySource(frames, fps=10)
    crop = Crop(canvas=CANVAS, box=(0.2, 0.1, 0.7, 0.6), height=24, width=40)
    for view in (CANVAS, crop):
        for one in (source, memory):
            one.plan(Plan(times=(0.0, 0.2)))
        rows, seconds = source.look(Look(times=(0.0, 0.2), view=view))
        wanted, wanted_seconds = memory.look(Look(times=(0.0, 0.2), view=view))
        np.testing.assert_allclose(rows.astype(int), wanted.astype(int), atol=1)
        assert seconds == wanted_seconds


def test_hidden_files_other_files_and_optical_flow_are_passed_over(tmp_path: Path) -> None:
    path = folder(tmp_path, 3, pattern="img_{}.png")
    for name in (".f.png", "flow_x_1.png", "flow_y_1.png", "notes.txt"):
        (tmp_path / name).write_bytes(picture_bytes(9, "png"))
    assert FrameFolderSource(path).info.num_frames == 3


def test_what_is_wrong_with_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NothingFoundError, match="holds no picture"):
        FrameFolderSource(str(tmp_path))
    with pytest.raises(MissingError, match="no such folder"):
        FrameFolderSource(str(tmp_path / "gone"))
    (tmp_path / "file").touch()
    with pytest.raises(UnreadableError, match="cannot be read as a folder"):
        FrameFolderSource(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="fps must be positive"):
        FrameFolderSource(str(tmp_path), fps=0)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x00"], ids=range(4)
)
def test_a_first_picture_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "1.png").write_bytes(data)
    with pytest.raises(UndecodableError, match=r"1.png: not a picture that can be decoded"):
        FrameFolderSource(str(tmp_path))


@pytest.mark.parametrize("codec", ["png", "mjpeg"])
def test_a_damaged_picture_is_refused_when_looked_at(tmp_path: Path, codec: str) -> None:
    path = folder(tmp_path, 3, codec=codec)
    whole = (tmp_path / "f1.png").read_bytes()
    (tmp_path / "f1.png").write_bytes(whole[:40] if codec == "png" else whole[:20])
    source = FrameFolderSource(path, fps=10)
    assert numbers(source, 0.0, 0.2) == [0, 2]
    with pytest.raises(UndecodableError, match=r"f1.png: not a picture"):
        numbers(source, 0.1)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, 3)
    (tmp_path / "f1.png").write_bytes(picture_bytes(1, "png", (80, 48)))
    with pytest.raises(UndecodableError, match=r"80x48 px, but the first .* has 160x96"):
        numbers(FrameFolderSource(path, fps=10), 0.1)


def test_a_picture_that_vanishes_is_one_line(tmp_path: Path) -> None:
    source = FrameFolderSource(folder(tmp_path, 3), fps=10)
    (tmp_path / "f1.png").unlink()
    with pytest.raises(UnreadableError, match=r"f1.png: cannot be read"):
        numbers(source, 0.1)


def test_sound_and_stored_features_are_refused(tmp_path: Path) -> None:
    source = FrameFolderSource(folder(tmp_path, 1))
    source.plan(Plan(times=(0.0,)))
    with pytest.raises(NoSoundError, match="has no sound"):
        source.look(Look(times=(0.0,), view=Sound(rate=8000, seconds=0.1)))
    with pytest.raises(ValueError, match="no stored features"):
        source.look(Look(times=(0.0,), view=Features(name="cnn")))
    with pytest.raises(ValueError, match="outside the plan"):
        source.look(Look(times=(1.0,), view=CANVAS))
