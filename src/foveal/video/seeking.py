"""Go to the keyframe that a time needs, and not to one that is too late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.video.timeline import Timeline, demuxed

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    from foveal.video.opening import Opened


@dataclass(slots=True)
class Position:
    """A place to decode from.

    Args:
        key: the keyframe's packet.
        stamp: its tick.
        packets: what follows it, read as it is taken.
        at_start: whether nothing decodable comes before it.
    """

    key: Packet[VideoStream]
    stamp: int
    packets: Iterator[Packet[VideoStream]]
    at_start: bool


class Seeker:
    """Finds keyframes in one open file.

    Args:
        opened: the file.
        timeline: its times; corrected where the index was off.
    """

    def __init__(self, opened: Opened, timeline: Timeline) -> None:
        self._opened = opened
        self._timeline = timeline

    def before(self, tick: int) -> Position | None:
        """Go to the last keyframe shown at or before ``tick``, else to the first one.

        Returns:
            None if the file holds no packet there or before.
        """
        if not self._timeline.seekable:
            return self.first()
        found = self._by_index(tick) if self._timeline.keys else self._by_time(tick)
        return found or self.first()

    def first(self) -> Position | None:
        """Go to the first keyframe (to the first packet if none is marked as one)."""
        self._opened.rewind()
        position = self._next_key(at_start=True)
        if position is None:
            self._opened.rewind()
            position = self._next_key(at_start=True, any_packet=True)
        return position

    def key_at(self, index: int) -> Position | None:
        """Go to keyframe number ``index`` of the index, or to one before it.

        The seek aims between this keyframe and the next, since demuxers differ in whether
        they compare presentation or decoding times.
        """
        keys = self._timeline.keys
        assert keys is not None
        last = index + 1 == len(keys)
        end = keys[index] + 2 * self._timeline.frame_ticks if last else keys[index + 1]
        aim = (keys[index] + end) // 2
        if not self._seek(aim):
            return None
        position = self._next_key(at_start=False)
        if position is None:
            return None
        position.at_start = position.stamp <= self._timeline.first_key
        if index == 0 or position.stamp > keys[index - 1]:
            self._timeline.learn(position.stamp, index)
        return position

    def _by_index(self, tick: int) -> Position | None:
        index, back = self._timeline.key_before(tick), 1
        while index > 0:
            position = self.key_at(index)
            if position is not None and position.stamp <= tick:
                return position
            index -= back
            back = back if position is not None else 2 * back  # past the end of a cut-off file
        return None

    def _by_time(self, tick: int) -> Position | None:
        aim, back = tick, max(round(1 / self._timeline.time_base), 1)
        while aim > self._timeline.first_key:
            if not self._seek(aim):
                return None
            position = self._next_key(at_start=False)
            if position is not None and position.stamp <= tick:
                position.at_start = position.stamp <= self._timeline.first_key
                return position
            aim, back = aim - back, 2 * back
        return None

    def _seek(self, tick: int) -> bool:
        import av

        with contextlib.suppress(av.FFmpegError):
            self._opened.container.seek(tick, stream=self._opened.stream)
            return True
        return False

    def _next_key(self, *, at_start: bool, any_packet: bool = False) -> Position | None:
        packets = demuxed(self._opened)
        for packet in packets:
            if packet.is_keyframe or any_packet:
                stamp = self.stamp(packet)
                return Position(key=packet, stamp=stamp, packets=packets, at_start=at_start)
        return None

    def stamp(self, packet: Packet[VideoStream]) -> int:
        """Return the tick of a keyframe's packet."""
        stamp = packet.dts if self._timeline.counted else packet.pts
        return self._timeline.first_key if stamp is None else stamp
