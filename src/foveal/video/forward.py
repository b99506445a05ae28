"""One forward run of the decoder from a keyframe on, decoding as little as exactness allows.

A packet is given to the decoder only when a frame that was asked for, at it or after it, needs
it; frames that nothing refers to and nobody asked for are skipped inside the decoder; frames
that were asked for and are passed on the way are handed over as they come.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from foveal.types import Meter
from foveal.video.schedule import Schedule
from foveal.video.seeking import Position
from foveal.video.timeline import Timeline

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

PENDING_BYTES = 32 * 2**20
"""Compressed packets held back while it is open whether anything needs them."""

SKIPPING_CODECS = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"})
"""Codecs whose decoder leaves out frames nothing refers to and keeps the others bit-exact."""

Keep = Callable[[int, int, "VideoFrame"], None]
"""Takes a tick, the timestamp of the frame on display then, and the frame."""


class Lost(Exception):  # noqa: N818 - a turn of the road, not a failure
    """The frame expected at ``tick`` does not come out of the decoder this way."""

    def __init__(self, tick: int) -> None:
        super().__init__(tick)
        self.tick = tick


class ForwardRun:
    """Decodes forward from one keyframe and answers asked times in ascending order.

    Args:
        context: the decoder, flushed.
        position: where to begin.
        timeline: the file's times.
        meter: decoded frames are counted here.
        ticks: the asked times; those before the keyframe are left out unless it is the first.
        keep: called for each asked time as it is answered.
        plain: decode every packet and trust only what comes out; for files whose packets do
            not say what frame they hold.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        position: Position,
        timeline: Timeline,
        meter: Meter,
        *,
        ticks: Iterable[int],
        keep: Keep,
        plain: bool = False,
    ) -> None:
        self._context = context
        self._timeline = timeline
        self._meter = meter
        self._keep = keep
        self._packets = position.packets
        self._plain = plain or timeline.counted
        self._may_skip = context.codec.canonical_name in SKIPPING_CODECS
        self._at_start = position.at_start
        self.start = self.group = position.stamp
        self._schedule = Schedule(t for t in ticks if self._at_start or t >= self.start)
        self._next = 0
        self._pending: deque[Packet[VideoStream]] = deque()
        self._pending_bytes = 0
        self._inside: set[int] = set()
        self._skipped: int | None = None
        self._emitted: deque[tuple[int, VideoFrame]] = deque()
        self._current: tuple[int, VideoFrame] | None = None
        self._stamped: int | None = None
        self._ended = self._drained = False
        self.damaged = 0
        self._queue(position.key)

    # --- what the reader asks ---------------------------------------------------------------

    @property
    def next_tick(self) -> int | None:
        """The earliest asked time that is not answered yet."""
        times = self._schedule.times
        return times[self._next] if self._next < len(times) else None

    @property
    def last_stamp(self) -> int | None:
        """Timestamp of the file's last frame, once the run has come to its end."""
        done = self._drained and self._ended and not self._emitted
        return self._current[0] if done and self._current is not None else None

    def expects(self, tick: int) -> bool:
        """Return whether ``tick`` is asked for and not answered yet."""
        times = self._schedule.times
        at = bisect.bisect_left(times, tick, self._next)
        return at < len(times) and times[at] == tick

    @property
    def reached(self) -> int:
        """Timestamp of the frame reached last."""
        return self.start if self._current is None else self._current[0]

    def advance(self, tick: int) -> None:
        """Answer all asked times up to ``tick``.

        Raises:
            Lost: a frame did not come; ask again with a plain run, or from further back.
        """
        while (target := self.next_tick) is not None and target <= tick:
            if self._emitted:
                self._take(*self._emitted.popleft())
            elif self._drained:
                self._answer_the_rest(target)
            elif self._plain:
                self._feed_plain()
            else:
                self._feed(target)

    def same_group(self, tick: int) -> bool:
        """Read on, without decoding, until it is known whether ``tick`` needs a new keyframe."""
        while not self._plain:
            if any(p.is_keyframe and p.pts is not None and p.pts <= tick for p in self._pending):
                return False
            if self._schedule.settled(tick) or self._ended:
                return True
            self._read()
        return False

    def replan(self, ticks: Iterable[int]) -> None:
        """Replace the asked times; those that this run can no longer answer are left out."""
        reachable = set(self._inside)
        reachable.update(p.pts for p in self._pending if p.pts is not None and not p.is_discard)
        reachable.update(pts for pts, _ in self._emitted)
        if self._current is not None:
            reachable.add(self._current[0])
        if self._skipped is not None:
            reachable = {pts for pts in reachable if pts > self._skipped}
        floor = min(reachable, default=None)
        times = [t for t in ticks if floor is not None and t >= floor]
        self._schedule.replace(times)
        self._next = 0
        self._answer_current()

    # --- packets in -------------------------------------------------------------------------

    def _queue(self, packet: Packet[VideoStream]) -> None:
        self._pending.append(packet)
        self._pending_bytes += packet.size
        if packet.pts is None:
            self._plain = True
        elif not packet.is_discard:
            self._schedule.see(packet.pts, packet.dts)

    def _read(self) -> None:
        """Take one packet from the file."""
        packet = next(self._packets, None)
        if packet is None:
            self._ended = True
            self._schedule.end()
            return
        self._queue(packet)
        while self._pending_bytes > PENDING_BYTES:
            self._send(self._pop())

    def _pop(self) -> Packet[VideoStream]:
        packet = self._pending.popleft()
        self._pending_bytes -= packet.size
        return packet

    def _feed_plain(self) -> None:
        if self._pending:
            self._send(self._pop())
        elif self._ended:
            self._drain()
        else:
            self._read()

    def _feed(self, tick: int) -> None:
        """Take one step towards the frame on display at ``tick``."""
        if not self._schedule.settled(tick):
            self._read()
            return
        want = self._schedule.frame_at(tick)
        if want is None:
            raise Lost(tick)
        for place, packet in enumerate(self._pending):
            if packet.pts == want and not packet.is_discard:
                self._send_through(place)
                return
        if want not in self._inside:
            raise Lost(tick)
        self._push_out(tick)

    def _send_through(self, place: int) -> None:
        """Send the pending packets up to ``place``, from the last keyframe that suffices."""
        fresh = self._clean_start(place)
        if fresh:
            for _ in range(fresh):
                packet = self._pop()
                if packet.pts is not None:
                    self._skipped = max(packet.pts, self._skipped or packet.pts)
            self._drain()
            self._context.flush_buffers()
            self._drained = False
            self._inside.clear()
        for _ in range(place - fresh + 1):
            self._send(self._pop())

    def _clean_start(self, place: int) -> int:
        """Return the place of the last pending keyframe that all wanted frames can start from."""
        pending = list(self._pending)
        for start in range(place, 0, -1):
            key = pending[start]
            if not key.is_keyframe or key.pts is None:
                continue
            if not any(
                p.pts is not None and p.pts < key.pts and self._schedule.wanted(p.pts)
                for p in pending
            ):
                return start
        return 0

    def _push_out(self, tick: int) -> None:
        """Make the decoder give the frame it holds, at the least cost to what comes later."""
        if not self._pending and not self._ended:
            self._read()
        elif not self._pending or self._new_group():
            self._drain()
            self._inside.clear()
            if self._pending:
                self._context.flush_buffers()
                self._drained = False
            if not any(pts <= tick for pts, _ in self._emitted):
                raise Lost(tick)
        else:
            self._send(self._pop())

    def _new_group(self) -> bool:
        """Return whether the next packet starts afresh, so that draining costs nothing."""
        key = self._pending[0]
        if not key.is_keyframe or key.pts is None:
            return False
        while not self._schedule.settled(key.pts):
            self._read()
        return self._pending[0] is key and not any(
            p.pts is not None and p.pts < key.pts and self._schedule.wanted(p.pts)
            for p in self._pending
        )

    def _send(self, packet: Packet[VideoStream]) -> None:
        import av

        pts = packet.pts
        may_skip = self._may_skip and not self._plain
        skip = may_skip and pts is not None and self._schedule.wanted(pts) is False
        if pts is not None and not packet.is_discard and not self._timeline.counted:
            if skip:
                self._skipped = max(pts, self._skipped if self._skipped is not None else pts)
            else:
                self._inside.add(pts)
            if packet.is_keyframe:
                self.group = pts
        self._context.skip_frame = "NONREF" if skip else "DEFAULT"
        try:
            self._emit(self._context.decode(packet))
        except av.FFmpegError:
            self.damaged += 1

    def _drain(self) -> None:
        """Take what the decoder still holds; it must be flushed before it is fed again."""
        import av

        self._drained = True
        try:
            self._emit(self._context.decode(None))
        except av.FFmpegError:
            self.damaged += 1

    # --- frames out -------------------------------------------------------------------------

    def _emit(self, frames: list[VideoFrame]) -> None:
        for frame in frames:
            self._meter.frames_decoded += 1
            self.damaged += frame.is_corrupt
            self._emitted.append((self._stamp(frame), frame))

    def _stamp(self, frame: VideoFrame) -> int:
        stamp = frame.pts
        if self._timeline.counted:
            delay = self._timeline.delay
            stamp = None if frame.dts is None or delay is None else frame.dts - delay
        if stamp is None:
            last = self._stamped
            stamp = self.start if last is None else last + self._timeline.frame_ticks
        self._stamped = stamp
        return stamp

    def _take(self, pts: int, frame: VideoFrame) -> None:
        """Make ``frame`` the current one; times before it were the last one's."""
        while (tick := self.next_tick) is not None and tick < pts:
            if self._current is None and not self._at_start:
                raise Lost(tick)
            if self._current is None:  # before the first frame of the file
                self._keep(tick, pts, frame)
            else:
                self._check(tick, self._current[0])
                self._keep(tick, *self._current)
            self._next += 1
        self._current = (pts, frame)
        self._inside = {p for p in self._inside if p > pts}
        self._schedule.forget_before(pts)
        self._answer_current()

    def _answer_current(self) -> None:
        """Answer the times that are known to show the current frame."""
        if self._plain or self._current is None:
            return
        while (tick := self.next_tick) is not None and self._schedule.settled(tick):
            if self._schedule.frame_at(tick) != self._current[0]:
                return
            self._keep(tick, *self._current)
            self._next += 1

    def _answer_the_rest(self, tick: int) -> None:
        """The file is at its end: all later times show the last frame."""
        if self._current is None:
            raise Lost(tick)
        self._check(tick, self._current[0])
        self._keep(tick, *self._current)
        self._next += 1

    def _check(self, tick: int, pts: int) -> None:
        if not self._plain and self._schedule.frame_at(tick) not in (pts, None):
            raise Lost(tick)
