"""Exact frames: for every planned time the frame on display, each group decoded once.

Frames are taken in one forward pass per group of pictures. The pass stops at the last frame
looked at so far; before the reader goes elsewhere it finishes the group up to its last planned
time, so that no order of looks makes it come back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from foveal.types import Canvas, Crop
from foveal.video.errors import TruncatedError, UndecodableError, VideoError, shown
from foveal.video.forward import ForwardRun, Lost
from foveal.video.seeking import Seeker
from foveal.video.store import FrameStore
from foveal.video.timeline import Timeline, no_frames

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

    from foveal.video.opening import Opened

_READ_ON_SECONDS = 10
"""Without an index: go on reading instead of seeking when the next time is this near."""


class ExactReader:
    """Answers planned ticks with the timestamp of the frame on display; frames go to the store.

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
        self._ticks: list[int] = []
        self._answers: dict[int, int] = {}
        self._run: ForwardRun | None = None
        self._last: int | None = None
        self.damaged = 0

    @property
    def last_stamp(self) -> int | None:
        """Timestamp of the last frame of the file, once it has been met."""
        return self._last

    def plan(self, ticks: Iterable[int]) -> set[int]:
        """Replace the planned ticks; return the timestamps of frames that stay of use."""
        self._ticks = sorted({self._clamped(t) for t in ticks})
        kept = set(self._ticks)
        self._answers = {t: pts for t, pts in self._answers.items() if t in kept}
        if self._run is not None:
            self._run.replan(t for t in self._ticks if t not in self._answers)
        return set(self._answers.values())

    def leave(self) -> None:
        """Forget the decoder's position; somebody else moves it."""
        self._run = None

    def fetch(self, tick: int, view: Canvas | Crop) -> int:
        """Return the timestamp of the frame on display at a planned tick; it is in the store.

        Raises:
            VideoError: no frame of the file can be decoded.
        """
        tick = self._clamped(tick)
        known = self._answers.get(tick)
        if known is not None and self._store.has(known, view):
            return known
        self._answers.pop(tick, None)
        self._reach(tick)
        return self._answers[tick]

    def _clamped(self, tick: int) -> int:
        return max(tick, self._timeline.origin)

    def _keep(self, tick: int, pts: int, frame: VideoFrame) -> None:
        self._answers[tick] = pts
        self._store.add(pts, frame)

    def _reach(self, tick: int) -> None:
        """Decode until ``tick`` is answered."""
        run = self._run
        if run is not None and (not run.expects(tick) or self._far(tick)):
            self._finish_group(run)
            run = self._run = None
        if tick not in self._answers and run is not None:
            try:
                self._advance(run, tick)
            except Lost as lost:
                self._start(tick, lost)
        elif tick not in self._answers:
            self._start(tick, None)

    def _advance(self, run: ForwardRun, tick: int) -> None:
        try:
            run.advance(tick)
        finally:
            self.damaged = max(self.damaged, run.damaged)
            if run.last_stamp is not None:
                self._last = run.last_stamp

    def _start(self, tick: int, lost: Lost | None) -> None:
        """Begin a run at the keyframe that ``tick`` needs; go further back if that fails."""
        plain, back = lost is not None, 0
        before = tick if lost is None else min(lost.tick, tick)
        before = before if self._last is None else min(before, self._last)
        while True:
            position = self._seeker.before(before)
            if position is None:
                raise no_frames(self._opened)
            self._open_decoder()
            timeline = self._timeline
            if timeline.counted and timeline.seekable and timeline.delay is None:
                self._learn_delay()
                continue
            open_ticks = [t for t in self._ticks if t not in self._answers]
            self._run = ForwardRun(
                self._opened.stream.codec_context,
                position,
                self._timeline,
                self._meter,
                ticks={*open_ticks, tick},
                keep=self._keep,
                plain=plain,
            )
            try:
                self._advance(self._run, tick)
                return
            except Lost as again:
                self._run = None
                if not plain:
                    plain, before = True, min(before, again.tick)
                elif position.at_start:
                    raise self._nothing() from None
                else:  # nothing decodable up to the tick: its frame is in an earlier group
                    back = max(2 * back, self._timeline.frame_ticks)
                    before = position.stamp - back

    def _learn_delay(self) -> None:
        """Decode the first frame to learn how late frames come out."""
        import av

        position = self._seeker.first()
        self._timeline.delay = 0
        if position is None:
            return
        context = self._opened.stream.codec_context
        context.skip_frame = "DEFAULT"
        for packet in chain((position.key,), position.packets):
            with contextlib.suppress(av.FFmpegError):
                frames = context.decode(packet)
                self._meter.frames_decoded += len(frames)
                if frames and frames[0].dts is not None:
                    self._timeline.delay = frames[0].dts - self._timeline.first_key
                    return

    def _open_decoder(self) -> None:
        """Open the decoder while nothing is skipped: some take that setting only then."""
        import av

        context = self._opened.stream.codec_context
        if not context.is_open:
            try:
                context.open()
            except av.FFmpegError as error:
                raise self._nothing() from error

    def _finish_group(self, run: ForwardRun) -> None:
        """Take what is still planned in the group that the decoder is in."""
        keys = self._timeline.keys
        after: int | None = None
        if keys:
            place = self._timeline.key_before(run.group) + 1
            after = keys[place] if place < len(keys) else None
        with contextlib.suppress(Lost):  # asked for again when it is looked at
            while (tick := run.next_tick) is not None:
                if (after is not None and tick >= after) or not (keys or run.same_group(tick)):
                    return
                self._advance(run, tick)

    def _far(self, tick: int) -> bool:
        """Return whether seeking to ``tick`` beats reading on."""
        run = self._run
        if run is None or not self._timeline.seekable:
            return False
        if self._timeline.keys:
            here = self._timeline.key_before(run.group)
            return self._timeline.key_before(tick) > here + 1
        return float((tick - run.reached) * self._timeline.time_base) > _READ_ON_SECONDS

    def _nothing(self) -> VideoError:
        """Return the error for a file of which no frame comes."""
        name = shown(self._opened.name)
        stated = len(self._opened.stream.index_entries)
        if stated > self._meter.packets_read + 1:
            return TruncatedError(
                f"{name}: cut off before its first picture ends", hint="copy or download it again"
            )
        codec = self._opened.stream.codec_context.codec.canonical_name
        return UndecodableError(
            f"{name}: none of its {codec} pictures can be decoded (damaged or encrypted)",
            hint="copy or download it again, or re-encode it from the original",
        )
