"""When the keyframes of an MP4 file are shown, from its own tables.

FFmpeg's index of MP4 holds decoding times. Where frames are reordered across keyframes (open
groups of pictures) the time shown is a few frames later, by an amount that differs from one
keyframe to the next and stands in the file's ``ctts`` table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_PATH = (b"mdia", b"minf", b"stbl")
_MAX_TABLE_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    end: int


def keyframe_delays(path: str, track_id: int) -> NDArray[np.int64] | None:
    """Return for each keyframe of a track how long after decoding it is shown.

    Args:
        path: an MP4 or MOV file.
        track_id: the track's number in the file.

    Returns:
        ticks of the track's time scale (the smallest is not 0 in general), or None if the
        tables are absent (fragmented files) or make no sense.
    """
    with open(path, "rb") as file:
        table = _sample_table(file, track_id)
        if table is None:
            return None
        tables = {box.kind: box for box in _boxes(file, table.start, table.end)}
        syncs = _numbers(file, tables.get(b"stss"), ">u4")
        runs = _numbers(file, tables.get(b"ctts"), ">u4,>i4")
    if syncs is None:
        return None
    if runs is None:
        return np.zeros(len(syncs), np.int64)
    last_of_run = np.cumsum(runs["f0"].astype(np.int64))
    run = np.searchsorted(last_of_run, syncs.astype(np.int64))
    if not len(run) or run.max() >= len(runs):
        return None
    return runs["f1"].astype(np.int64)[run]


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two places of the file; a broken one ends the walk."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        header = 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            header = 16
        elif size == 0:
            size = end - start
        if size < header or start + size > end:
            return
        yield _Box(kind, start + header, start + size)
        start += size


def _sample_table(file: BinaryIO, track_id: int) -> _Box | None:
    size = file.seek(0, os.SEEK_END)
    movie = next((box for box in _boxes(file, 0, size) if box.kind == b"moov"), None)
    if movie is None:
        return None
    for track in _boxes(file, movie.start, movie.end):
        if track.kind != b"trak":
            continue
        header = _child(file, track, b"tkhd")
        if header is None or _track_number(file, header) != track_id:
            continue
        box: _Box | None = track
        for kind in _PATH:
            box = None if box is None else _child(file, box, kind)
        return box
    return None


def _child(file: BinaryIO, parent: _Box, kind: bytes) -> _Box | None:
    return next((box for box in _boxes(file, parent.start, parent.end) if box.kind == kind), None)


def _track_number(file: BinaryIO, header: _Box) -> int:
    file.seek(header.start)
    body = file.read(24)
    if len(body) < 24:
        return -1
    place = 20 if body[0] == 1 else 12  # version 1 has 64-bit dates before it
    return int(struct.unpack_from(">I", body, place)[0])


def _numbers(file: BinaryIO, box: _Box | None, layout: str) -> NDArray[np.void] | None:
    """Return the entries of a table box: version and flags, a count, then ``layout`` each."""
    if box is None or box.end - box.start > _MAX_TABLE_BYTES:
        return None
    file.seek(box.start)
    body = file.read(box.end - box.start)
    kind = np.dtype(layout)
    if len(body) < 8:
        return None
    (count,) = struct.unpack_from(">I", body, 4)
    if 8 + count * kind.itemsize > len(body):
        return None
    return np.frombuffer(body, kind, count=count, offset=8)
