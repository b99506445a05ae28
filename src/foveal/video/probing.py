"""What is known of a video before anything is decoded."""

from __future__ import annotations

import os

from foveal.types import ClipInfo
from foveal.video.geometry import Orientation
from foveal.video.names import is_url
from foveal.video.opening import Opened, open_video
from foveal.video.timeline import Timeline, demuxed, length_ticks, read_timeline

_MAX_FPS = 1000
"""A rate above this is the tick of a clock that was taken for one."""


def probe(path: str) -> ClipInfo:
    """Return what the container says of ``path``, a file or an http(s) URL; nothing is decoded.

    Times count from the first shown frame. ``keyframe_seconds`` comes from the container's
    own index and is None where it has none (AVI with B-frames: a few frames off at most).

    Raises:
        VideoError: with the kind that says why it cannot be used.
    """
    opened = open_video(path)
    try:
        return describe(opened, read_timeline(opened))
    finally:
        opened.close()


def frame_seconds(path: str) -> tuple[float, ...]:
    """Return the second at which each frame of ``path`` begins to show, ascending.

    Packets are read and nothing is decoded. Nothing is returned where packets do not say which
    frame they hold (AVI with B-frames, MPEG programme streams).

    Raises:
        VideoError: with the kind that says why it cannot be used.
    """
    opened = open_video(path)
    try:
        timeline = read_timeline(opened)
        if timeline.counted or not timeline.seekable:
            return ()
        opened.rewind()
        stamps = {p.pts for p in demuxed(opened) if p.pts is not None and not p.is_discard}
        return tuple(timeline.seconds(t) for t in sorted(stamps) if t >= timeline.origin)
    finally:
        opened.close()


def describe(opened: Opened, timeline: Timeline) -> ClipInfo:
    """Return the clip info of an open file."""
    stream = opened.stream
    length, count = length_ticks(opened, timeline), int(stream.frames) or None
    warnings: list[str] = []
    if length is None:
        length, count = _measure(opened, timeline)
        warnings.append("the file does not state its length; it was read through to find it")
    view = opened.orientation or Orientation(pixel_aspect=opened.pixel_aspect)
    width, height = view.displayed_size(stream.width, stream.height)
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    keys = None
    if timeline.keys is not None:
        keys = tuple(timeline.seconds(k) for k in timeline.keys if k >= timeline.origin)
    return ClipInfo(
        name=opened.name,
        duration_seconds=max(float(length * timeline.time_base), 0.0),
        num_frames=count,
        fps=rate if rate <= _MAX_FPS else 0.0,
        height=height if stream.height else 0,
        width=width if stream.width else 0,
        rotation_degrees=90 * view.quarter_turns,
        keyframe_seconds=keys,
        has_sound=opened.has_sound,
        codec=str(stream.codec_context.codec.canonical_name),
        container=opened.format,
        size_bytes=None if is_url(opened.name) else os.stat(opened.name).st_size,
        warnings=tuple(warnings),
    )


def _measure(opened: Opened, timeline: Timeline) -> tuple[int, int]:
    """Return length in ticks and number of frames by reading (not decoding) all packets."""
    opened.rewind()
    last, count = timeline.origin, 0
    for packet in demuxed(opened):
        count += 1
        if packet.pts is not None and not timeline.counted:
            last = max(last, packet.pts + (packet.duration or timeline.frame_ticks))
    if timeline.counted:
        last = timeline.origin + count * timeline.frame_ticks
    return last - timeline.origin, count
