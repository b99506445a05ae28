"""A video file or URL as a source of pictures and sound."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from foveal.types import Array, Canvas, ClipInfo, Crop, Features, Look, Meter, Plan, Sound
from foveal.video.errors import shown
from foveal.video.exact import ExactReader
from foveal.video.frame_folder import FrameFolderSource
from foveal.video.keyframes import KeyframeReader
from foveal.video.names import is_url
from foveal.video.opening import open_video
from foveal.video.picture import is_picture
from foveal.video.planned import check_planned
from foveal.video.probing import describe
from foveal.video.render import frame_orientation, render_view
from foveal.video.seeking import Seeker
from foveal.video.sound import SoundReader
from foveal.video.store import FrameStore, Picture
from foveal.video.timeline import read_timeline

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_EARLY_END_SECONDS = 0.5
"""A last frame this long before the stated end is worth a warning."""


def available_cores() -> int:
    """Return how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Return how many decoder threads a file gets by default: the cores, at most 8."""
    return min(available_cores(), 8)


class FileSource:
    """A video file or an http(s) URL, opened for one sample. Not for use by several threads.

    Args:
        path: a file, or a URL.
        threads: decoder threads; None takes the CPUs, at most 8.

    Raises:
        VideoError: with the kind that says why it cannot be used.
    """

    def __init__(self, path: str, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        import_module("av")  # loading FFmpeg is on nobody's bill
        started = time.perf_counter()
        self._opened = open_video(path, threads=threads or default_threads())
        try:
            self._timeline = read_timeline(self._opened)
            self._info = describe(self._opened, self._timeline)
        except BaseException:
            self._opened.close()
            raise
        self._meter = self._opened.meter
        self._store = FrameStore(self._rendered)
        seeker = Seeker(self._opened, self._timeline)
        parts = (self._opened, self._timeline, seeker, self._store)
        self._exact, self._keys = ExactReader(*parts), KeyframeReader(*parts)
        self._sound: SoundReader | None = None
        self._planned: set[float] = set()
        self._keyframes = False
        self._warnings: list[str] = list(self._info.warnings)
        self._closed = False
        self._meter.decode_ms += (time.perf_counter() - started) * 1e3

    @property
    def info(self) -> ClipInfo:
        """What is known without decoding."""
        return self._info

    @property
    def meter(self) -> Meter:
        """What has been spent so far."""
        return self._meter

    @property
    def warnings(self) -> list[str]:
        """What the user should know of this file, one line each."""
        return self._warnings

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at; frames outside it are dropped."""
        self._check_open()
        self._planned = set(plan.times)
        if plan.keyframes:
            self._exact.leave()
            self._exact.plan(())
            keep = self._keys.plan(self._planned)
        else:
            self._keys.plan(set())
            keep = self._exact.plan(self._timeline.ticks(t) for t in plan.times)
        self._keyframes = plan.keyframes
        self._store.expect(keyframes=plan.keyframes)
        self._store.retain(keep)

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return the rows asked for and the true timestamp of each.

        Raises:
            ValueError: a time is not in the plan, or the view is of stored features.
            VideoError: the file is broken there, or sound is asked of a silent file.
        """
        self._check_open()
        check_planned(look, self._planned)
        view = look.view
        if isinstance(view, Features):
            raise ValueError(f"a video file holds no stored features ({view.name!r} asked)")
        if isinstance(view, Sound):
            return self._listen(look.times, view)
        self._store.canvas = view if isinstance(view, Canvas) else view.canvas
        rows: list[Picture | None] = [None] * len(look.times)
        seconds = [0.0] * len(look.times)
        for place in sorted(range(len(rows)), key=lambda i: look.times[i]):
            pts = self._fetch(look.times[place], view)
            rows[place] = self._store.picture(pts, view)
            seconds[place] = self._timeline.seconds(pts)
        self._note_early_end(max(look.times))
        return np.stack([row for row in rows if row is not None]), tuple(seconds)

    def early_end_seconds(self) -> float | None:
        """Decode the last pictures; return the time of the last one if the stated end is far off.

        It replaces the plan. A file that can only be read from its start is not: then None.

        Raises:
            VideoError: no frame of the file can be decoded.
        """
        if not self._timeline.seekable:
            return None
        stated = self._info.duration_seconds
        self.plan(Plan(times=(stated,)))
        self.look(Look(times=(stated,), view=Canvas(height=32, width=32)))
        return self._early_end(stated)

    @property
    def end_slack_seconds(self) -> float:
        """How far before the stated end the last picture may be."""
        return max(_EARLY_END_SECONDS, 2 / self._info.fps if self._info.fps else 0.0)

    def close(self) -> None:
        """Let go of files and memory; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._exact.leave()
            self._store.retain(set())
            self._opened.close()
            if self._sound is not None:
                self._sound.close()
            # The readers and this source refer to each other: without this, decoders and frames
            # would lie in memory until the garbage collector happens to run.
            del self._exact, self._keys, self._store

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{shown(self._info.name)}: the source is closed")

    def _fetch(self, seconds: float, view: Canvas | Crop) -> int:
        started, rendered = time.perf_counter(), self._meter.render_ms
        try:
            if not self._keyframes:
                return self._exact.fetch(self._timeline.ticks(seconds), view)
            pts = self._keys.fetch(seconds, view)
            if pts is not None:
                return pts
            self._warn("a keyframe could not be decoded alone; the exact frame was taken instead")
            pts = self._exact.fetch(self._timeline.ticks(seconds), view)
            self._exact.leave()  # the next keyframe moves the file elsewhere
            return pts
        finally:
            spent = (time.perf_counter() - started) * 1e3
            self._meter.decode_ms += spent - (self._meter.render_ms - rendered)

    def _rendered(self, frame: VideoFrame, view: Canvas | Crop) -> Picture:
        started = time.perf_counter()
        orientation = self._opened.orientation
        if orientation is None:
            aspect = self._opened.pixel_aspect
            orientation = replace(frame_orientation(frame), pixel_aspect=aspect)
        picture = render_view(frame, view, orientation=orientation)
        self._meter.frames_converted += 1
        self._meter.render_ms += (time.perf_counter() - started) * 1e3
        return picture

    def _listen(self, times: tuple[float, ...], view: Sound) -> tuple[Array, tuple[float, ...]]:
        started = time.perf_counter()
        if self._sound is None:
            zero = float(self._timeline.origin * self._timeline.time_base)
            self._sound = SoundReader(self._info.name, zero_seconds=zero, meter=self._meter)
        starts = [t - view.lead_seconds for t in times]
        windows = np.stack([self._sound.window(t, view.rate, view.num_samples) for t in starts])
        if self._sound.damaged:
            self._warn("some of the sound cannot be decoded; it is silent there")
        self._meter.decode_ms += (time.perf_counter() - started) * 1e3
        return windows, times

    def _note_early_end(self, asked: float) -> None:
        if self._exact.damaged:
            self._warn("some pictures are damaged; the frames before them were used instead")
        end = self._early_end(asked)
        if end is not None:
            self._warn(
                f"the last picture that can be decoded is at {end:.2f} s of "
                f"{self._info.duration_seconds:.2f} s; it stands for what comes after"
            )

    def _early_end(self, asked: float) -> float | None:
        """Return when the last picture is, if both ``asked`` and the stated end are far after."""
        last = self._exact.last_stamp
        if last is None:
            return None
        end = self._timeline.seconds(last)
        after = min(asked, self._info.duration_seconds)
        return end if after > end + self.end_slack_seconds else None

    def _warn(self, line: str) -> None:
        if line not in self._warnings:
            self._warnings.append(line)


def open_source(path: str) -> FileSource | FrameFolderSource:
    """Open a file or an http(s) URL as a source; a JPEG or PNG is a clip of one frame.

    Raises:
        VideoError: with the kind that says why it cannot be used.
    """
    if is_picture(path) and not is_url(path):
        return FrameFolderSource(path, fps=1.0)
    return FileSource(path)
