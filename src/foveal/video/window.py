"""A stretch of another source, as a source of its own."""

from __future__ import annotations

import bisect
from dataclasses import replace

import numpy as np

from foveal.types import Array, ClipInfo, Look, Meter, Plan, Sound, Source
from foveal.video.errors import OutsideError, shown
from foveal.video.planned import check_planned
from foveal.video.timeline import TOLERANCE_SECONDS

_BEYOND_SECONDS = 0.5
"""An end this far after the end of the video is worth a warning."""


class WindowSource:
    """What another source shows in [start, end); to a protocol it is a clip of that length.

    There is one clock: everything (``info``, plans, looks, the times in a trace, the segments of
    an answer) counts from the start of the window; add ``start_seconds`` for the time in the
    file. The frame that is on display as the window opens began before it; its time is 0.
    Nothing outside is shown: times after the end get the last frame before it, sound is zero
    there, and of the keyframes only those inside count. Where none is inside, or the container
    does not say where they are, exact frames are taken and a warning says so.

    Args:
        source: what is shown; closed with the window.
        start_seconds: where the window opens.
        end_seconds: where it ends, exclusive; None, or later than the source: at its end.

    Raises:
        ValueError: the window does not begin at or after 0, or is empty.
        OutsideError: it begins after the source ends. The source is closed then.
    """

    def __init__(
        self, source: Source, *, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> None:
        whole = source.info
        end = whole.duration_seconds if end_seconds is None else end_seconds
        if not start_seconds >= 0 or (end_seconds is not None and not end > start_seconds):
            raise ValueError(f"a window needs 0 <= start < end, got {start_seconds} and {end}")
        if start_seconds >= whole.duration_seconds:
            source.close()
            raise OutsideError(
                f"{shown(whole.name)}: a stretch from {start_seconds:g} s on was asked for, but it "
                f"ends at {whole.duration_seconds:.2f} s",
                hint="correct the times, or check that it is the right file",
            )
        self._source = source
        self._start = start_seconds
        self._end = min(end, whole.duration_seconds)
        keys = whole.keyframe_seconds
        if keys is not None:
            keys = tuple(k for k in keys if self._start <= k < self._end)
        self._keys = keys
        self._planned: set[float] = set()
        self._keyframes = False
        self._warnings: list[str] = []
        if end > whole.duration_seconds + _BEYOND_SECONDS:
            self._warnings.append(
                f"the stretch should end at {end:g} s, the video ends at {self._end:.2f} s"
            )
        self._info = self._windowed(whole)

    @property
    def info(self) -> ClipInfo:
        """What is known of the stretch."""
        return self._info

    @property
    def meter(self) -> Meter:
        """What the source has spent so far."""
        return self._source.meter

    @property
    def warnings(self) -> list[str]:
        """Those of the source, and what the window adds."""
        return [*self._source.warnings, *self._warnings]

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at."""
        self._planned = set(plan.times)
        self._keyframes = plan.keyframes and bool(self._keys)
        if plan.keyframes and not self._keys:
            line = "no keyframe is known inside the stretch; exact frames were taken instead"
            if line not in self._warnings:
                self._warnings.append(line)
        # Sound and stored features are looked at by the time itself, not by a frame's.
        times = {*map(self._inside, plan.times), *map(self._later, plan.times)}
        self._source.plan(Plan(times=tuple(sorted(times)), keyframes=self._keyframes))

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return the rows asked for and the true time of each, from the start of the window.

        Raises:
            ValueError: a time is not in the plan.
            FovealError: the source is broken there.
        """
        check_planned(look, self._planned)
        if isinstance(look.view, Sound):
            return self._listen(look, look.view)
        times = tuple(map(self._inside, look.times))
        rows, seconds = self._source.look(replace(look, times=times))
        return rows, tuple(max(t - self._start, 0.0) for t in seconds)

    def close(self) -> None:
        """Close the source; safe to call twice."""
        self._source.close()

    def _windowed(self, whole: ClipInfo) -> ClipInfo:
        length = self._end - self._start
        keys = self._keys
        return replace(
            whole,
            duration_seconds=length,
            num_frames=max(round(whole.fps * length), 1) if whole.fps else None,
            keyframe_seconds=None if keys is None else tuple(k - self._start for k in keys),
            warnings=(*whole.warnings, *self._warnings),
        )

    def _later(self, seconds: float) -> float:
        """Return a time of the window as a time of the source."""
        return seconds + self._start

    def _inside(self, seconds: float) -> float:
        """Return the time of the source at which what the window shows is on display."""
        last = max(self._end - 2 * TOLERANCE_SECONDS, self._start)
        asked = min(self._later(seconds), last)
        if not self._keyframes:
            return asked
        assert self._keys is not None
        after = bisect.bisect_left(self._keys, asked)
        near = self._keys[max(after - 1, 0) : after + 1]
        return min(near, key=lambda k: abs(k - asked))

    def _listen(self, look: Look, view: Sound) -> tuple[Array, tuple[float, ...]]:
        times = tuple(map(self._later, look.times))
        heard, _ = self._source.look(replace(look, times=times))
        starts = np.asarray(look.times)[:, None] - view.lead_seconds
        at = starts + np.arange(view.num_samples) / view.rate
        inside = (at >= 0) & (at < self._info.duration_seconds)
        return np.where(inside, heard, np.float32(0)), look.times
