"""A minute of video drawn by code: five objects, one after the other, at known times."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from foveal.demo import objects
from foveal.haystack.files import SAME_BYTES
from foveal.types import Array

WIDTH_PX, HEIGHT_PX, FPS = 640, 360, 25
DURATION_SECONDS = 60
KEYFRAME_INTERVAL = 50
"""Frames from one keyframe to the next."""

_OBJECT_PX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoObject:
    """One object of the demo clip: its ImageNet name and when it is in the picture."""

    label: str
    start_seconds: float
    end_seconds: float


_SCENES: tuple[tuple[DemoObject, Callable[[int], Array]], ...] = (
    (DemoObject(label="analog clock", start_seconds=4.4, end_seconds=15.0), objects.clock),
    (DemoObject(label="crossword puzzle", start_seconds=15.4, end_seconds=25.4), objects.crossword),
    (DemoObject(label="soccer ball", start_seconds=29.4, end_seconds=41.0), objects.football),
    (DemoObject(label="jack-o'-lantern", start_seconds=41.4, end_seconds=51.4), objects.pumpkin),
    (DemoObject(label="parachute", start_seconds=51.8, end_seconds=59.4), objects.parachute),
)
"""In time order; no two objects are in the picture at once."""


def make_demo_clip(path: str | os.PathLike[str]) -> tuple[DemoObject, ...]:
    """Write the demo clip to ``path`` (MP4, 640x360, 25 frames a second, 60 s).

    H.264 where PyAV can write it, else MPEG-4; the same file each time with the same PyAV.

    Returns:
        What is in it and when, in time order.
    """
    scenery = _scenery()
    scenes = [(thing, draw(_OBJECT_PX)) for thing, draw in _SCENES]
    with av.open(os.fspath(path), "w", format="mp4") as container:
        stream = _add_stream(container)
        for number in range(DURATION_SECONDS * FPS):
            time = number / FPS
            picture = _background(scenery, time)
            for thing, sprite in scenes:
                if thing.start_seconds <= time < thing.end_seconds:
                    _paste(picture, sprite, time, thing)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return tuple(thing for thing, _ in scenes)


def _add_stream(container: av.container.OutputContainer) -> av.VideoStream:
    h264 = "libx264" in av.codecs_available
    # two threads, a fixed number, so that the bytes are the same each time
    x264 = {"preset": "superfast", "crf": "20", **SAME_BYTES, "threads": "2"}
    options = x264 if h264 else {"qscale": "3"}
    stream = container.add_stream("libx264" if h264 else "mpeg4", rate=FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
    stream.time_base = Fraction(1, FPS)
    stream.codec_context.gop_size = KEYFRAME_INTERVAL
    return stream


def _scenery() -> Array:
    """Return sky and hills, uint8 (H, 2W, 3), whose right edge continues at the left one."""
    x = np.arange(2 * WIDTH_PX, dtype=np.float32)[None, :, None] / (2 * WIDTH_PX)
    y = np.arange(HEIGHT_PX, dtype=np.float32)[:, None, None] / HEIGHT_PX
    sky = np.array([132, 176, 224], np.float32) + y * np.array([90, 60, 20], np.float32)
    picture = np.broadcast_to(sky, (HEIGHT_PX, 2 * WIDTH_PX, 3))
    for base, height, waves, phase, colour in (
        (0.66, 0.07, 2, 0.1, (142, 164, 158)),
        (0.76, 0.06, 3, 0.5, (118, 146, 120)),
        (0.88, 0.04, 5, 0.8, (96, 128, 88)),
    ):
        ridge = base + height * np.sin(2 * np.pi * (waves * x + phase))
        cover = np.clip((y - ridge) * HEIGHT_PX, 0, 1)
        picture = picture + (np.array(colour, np.float32) - picture) * cover
    return picture.astype(np.uint8)


def _background(scenery: Array, time: float) -> Array:
    """Return the part of the scenery that drifts past at ``time``, a fresh (H,W,3)."""
    left = round(4 * time) % scenery.shape[1]
    return np.roll(scenery, -left, axis=1)[:, :WIDTH_PX].copy()


def _paste(picture: Array, sprite: Array, time: float, thing: DemoObject) -> None:
    """Draw ``sprite`` into ``picture`` where it floats at ``time``."""
    since = time - thing.start_seconds
    progress = since / (thing.end_seconds - thing.start_seconds)
    size = sprite.shape[0]
    x = (WIDTH_PX - size) // 2 + round(16 * (2 * progress - 1))
    y = (HEIGHT_PX - size) // 2 + round(6 * float(np.sin(2 * np.pi * since / 4)))
    region = picture[y : y + size, x : x + size]
    region[:] = region * (1 - sprite[..., 3:]) + sprite[..., :3] + 0.5
