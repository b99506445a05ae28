"""The files the tagger is measured on: their halves, and the mixed videos made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import av
import numpy as np

from foveal.types import Array

Half = Literal["tune", "test"]
HALVES: tuple[Half, Half] = ("tune", "test")
MIXED_SOURCES = ("clips", "weizmann", "skateboard")
MIXED_PER_HALF = 10


def half_of(name: str) -> Half:
    """Return the half that a name below the data folder belongs to."""
    return HALVES[hashlib.sha256(name.encode()).digest()[0] % 2]


def video_files(data: Path, group: str) -> list[Path]:
    """Return the videos of ``group`` in a fixed order."""
    found = (p for p in (data / group).rglob("*") if p.suffix in (".avi", ".mp4"))
    return sorted(found, key=lambda p: p.relative_to(data).as_posix())


def name_of(path: Path, data: Path) -> str:
    """Return the name of a file below the data folder."""
    return path.relative_to(data).as_posix()


def write_mixed(data: Path, folder: Path) -> list[tuple[Path, Half]]:
    """Write the mixed videos of both halves and return them."""
    rng = np.random.default_rng(0)
    written: list[tuple[Path, Half]] = []
    for half in HALVES:
        pool = {
            group: [p for p in video_files(data, group) if half_of(name_of(p, data)) == half]
            for group in MIXED_SOURCES
        }
        for number in range(MIXED_PER_HALF):
            path = folder / f"{half}_{number}.mp4"
            _write_one_mixed(path, pool, rng)
            written.append((path, half))
    return written


def _write_one_mixed(path: Path, pool: Mapping[str, list[Path]], rng: np.random.Generator) -> None:
    total, seconds, number = float(rng.uniform(60, 90)), 0.0, 0
    with av.open(str(path), "w") as container:
        options = {"preset": "superfast", "crf": "23", "threads": "2"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = 250
        while seconds < total:
            files = pool[MIXED_SOURCES[int(rng.integers(len(MIXED_SOURCES)))]]
            source, length = files[int(rng.integers(len(files)))], float(rng.uniform(2, 10))
            frames, times = _read_small(source)
            length = min(length, times[-1] + 0.04)
            first = float(rng.uniform(0, times[-1] + 0.04 - length))
            for offset in np.arange(0, length - 1e-6, 0.04):
                index = max(0, int(np.searchsorted(times, first + offset, side="right")) - 1)
                frame = av.VideoFrame.from_ndarray(frames[index], format="rgb24")
                frame.pts = number
                number += 1
                container.mux(stream.encode(frame))
            seconds += length
        container.mux(stream.encode())


def _read_small(path: Path) -> tuple[list[Array], Array]:
    """Return all frames of a short file cut to 320x240, and their times from zero."""
    frames, times = [], []
    with av.open(str(path), metadata_errors="ignore") as container:
        for frame in container.decode(video=0):
            scale = max(320 / frame.width, 240 / frame.height)
            width, height = round(frame.width * scale), round(frame.height * scale)
            small = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
            top, left = (height - 240) // 2, (width - 320) // 2
            frames.append(np.ascontiguousarray(small[top : top + 240, left : left + 320]))
            times.append(float(frame.time))
    return frames, np.array(times) - times[0]
