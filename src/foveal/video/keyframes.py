"""The keyframe nearest to a time: one packet is decoded, the others never reach the decoder."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from foveal.types import Canvas, Crop
from foveal.video.seeking import Seeker
from foveal.video.store import FrameStore
from foveal.video.timeline import Timeline

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from foveal.video.opening import Opened

_DOUBT_SECONDS = 0.5
"""Index entries may be this far off; nearer ties are settled by reading both packets."""


class KeyframeReader:
    """Answers times with the timestamp of the nearest keyframe; frames go to the store.

    Args:
        opened: the file.
        timeline: its times.
        seeker: finds keyframes in it.
        store: takes the frames.
    """

    def __init__(
        self, opened: Opened, timeline: Timeline, seeker: Seeker, store: FrameStore
    ) -> None:
        self._opened = opened
        self._timeline = timeline
        self._seeker = seeker
        self._store = store
        self._meter = opened.meter
        self._nearest: dict[float, int] = {}

    def plan(self, times: set[float]) -> set[int]:
        """Forget what is outside ``times``; return the timestamps of frames that stay of use."""
        self._nearest = {t: pts for t, pts in self._nearest.items() if t in times}
        return set(self._nearest.values())

    def fetch(self, seconds: float, view: Canvas | Crop) -> int | None:
        """Return the timestamp of the nearest keyframe (ties: the earlier), now in the store.

        Returns:
            None if no keyframe can be decoded alone there.
        """
        stamp = self._nearest.get(seconds)
        if stamp is None or not self._store.has(stamp, view):
            by_index = self._timeline.keys is not None
            stamp = self._by_index(seconds, view) if by_index else self._by_time(seconds, view)
        if stamp is not None:
            self._nearest[seconds] = stamp
        return stamp

    def _distance(self, seconds: float, stamp: int) -> float:
        """Return how far a keyframe is, coarse enough that rounding breaks no tie."""
        return round(abs(self._timeline.seconds(stamp) - seconds), 6)

    def _by_index(self, seconds: float, view: Canvas | Crop) -> int | None:
        """Choose by the index, and settle by the packets where the index may be off."""
        keys = self._timeline.keys
        assert keys is not None
        first_shown = bisect.bisect_left(keys, self._timeline.origin)
        if first_shown == len(keys):  # the file's edit list hides every keyframe
            return None
        low = max(self._timeline.key_before(self._timeline.ticks(seconds)), first_shown)
        high = min(low + 1, len(keys) - 1)
        for index in (low, high):
            margin = self._distance(seconds, keys[low]) - self._distance(seconds, keys[high])
            if abs(margin) <= _DOUBT_SECONDS and keys[index] not in self._timeline.exact_keys:
                self._seeker.key_at(index)  # corrects the entry
        before, after = (self._distance(seconds, keys[index]) for index in (low, high))
        return self._load(low if before <= after else high, view)

    def _load(self, index: int, view: Canvas | Crop) -> int | None:
        """Return the timestamp of keyframe ``index`` once it is in the store."""
        keys = self._timeline.keys
        assert keys is not None
        if keys[index] in self._timeline.exact_keys and self._store.has(keys[index], view):
            return keys[index]
        position = self._seeker.key_at(index)
        return self._decoded(position.key, position.stamp, view) if position else None

    def _by_time(self, seconds: float, view: Canvas | Crop) -> int | None:
        """Read from the keyframe before to the one after, and take the nearer."""
        tick = self._timeline.ticks(seconds)
        position = self._seeker.before(tick)
        if position is None:
            return None
        best, stamp = position.key, position.stamp
        for packet in position.packets:
            if packet.is_keyframe:
                other = self._seeker.stamp(packet)
                if self._distance(seconds, other) < self._distance(seconds, stamp):
                    best, stamp = packet, other
                if other > tick:
                    break
        return self._decoded(best, stamp, view)

    def _decoded(self, key: Packet[VideoStream], stamp: int, view: Canvas | Crop) -> int | None:
        """Decode one keyframe alone into the store; return its stamp if it gave a frame."""
        if not self._store.has(stamp, view):
            frames = self._decode_alone(key)
            self._meter.frames_decoded += len(frames)
            if not frames:
                return None
            self._store.add(stamp, frames[0])
        return stamp

    def _decode_alone(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        import av

        context = self._opened.stream.codec_context
        context.flush_buffers()
        context.skip_frame = "DEFAULT"
        try:
            frames = context.decode(packet)
            return [*frames, *context.decode(None)]
        except av.FFmpegError:
            return []
        finally:
            context.flush_buffers()
