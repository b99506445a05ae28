"""What the header of a JPEG or PNG says: its size, how it is turned, whether it is whole."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from foveal.video.geometry import UPRIGHT, Orientation

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND"
_NO_SIZE_MARKERS = frozenset({0xC4, 0xC8, 0xCC})
"""Of a JPEG's markers 0xC0 to 0xCF, those that do not begin a frame."""
_SCAN, _APP1, _PADDING = 0xDA, 0xE1, 0xFF
_END_OF_IMAGE = b"\xff\xd9"
_EXIF = b"Exif\x00\x00"
_ORIENTATION_TAG = 0x0112

_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (1, False), 7: (1, True)}
_TURNS[8] = (3, False)
"""Exif's orientation to clockwise quarter turns, and whether left and right are swapped first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHead:
    """What a picture says of itself.

    Args:
        codec: FFmpeg's name of its decoder.
        height, width: in px, as stored.
        orientation: how it is displayed.
        whole: whether its end is there.
    """

    codec: str
    height: int
    width: int
    orientation: Orientation
    whole: bool


def is_picture(name: str) -> bool:
    """Return whether a file of that name is taken for a picture (JPEG or PNG)."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def read_head(data: bytes) -> PictureHead | None:
    """Return what a JPEG's or PNG's header says, or None if ``data`` is neither."""
    if data.startswith(_PNG):
        if len(data) < 24:
            return None
        width, height = struct.unpack_from(">II", data, 16)
        return PictureHead(
            codec="png",
            height=height,
            width=width,
            orientation=UPRIGHT,
            whole=_PNG_END in data[-64:],
        )
    if not data.startswith(_JPEG):
        return None
    size: tuple[int, int] | None = None
    orientation, scan = UPRIGHT, len(data)
    for marker, at in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE_MARKERS and at + 9 <= len(data):
            size = struct.unpack_from(">HH", data, at + 5)
        elif marker == _APP1:
            orientation = _exif_orientation(data[at + 4 :]) or orientation
        elif marker == _SCAN:
            scan = at
    if size is None:
        return None
    return PictureHead(
        codec="mjpeg",
        height=size[0],
        width=size[1],
        orientation=orientation,
        whole=data.find(_END_OF_IMAGE, scan) >= 0,
    )


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and place of every segment of a JPEG up to its first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _PADDING:
            at += 1
            continue
        yield marker, at
        if marker == _SCAN:
            return
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])


def _exif_orientation(segment: bytes) -> Orientation | None:
    """Return the orientation that an APP1 segment (behind its length) names, if it does."""
    if not segment.startswith(_EXIF):
        return None
    tiff = segment[len(_EXIF) :]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for i in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * i)
            if tag == _ORIENTATION_TAG and value in _TURNS:
                turns, mirrored = _TURNS[value]
                return Orientation(quarter_turns=turns, mirrored=mirrored)
    except struct.error:
        return None  # cut off: a damaged note is no reason not to show the picture
    return None
