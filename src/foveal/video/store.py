"""Frames that were reached and may still be looked at, within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.types import Canvas, Crop

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

RAW_BYTES = 96 * 2**20
"""Decoded frames kept as the codec gave them; beyond this the oldest shrink to the canvas."""

KEYFRAME_RAW_BYTES = 8 * 2**20
"""The same where all are keyframes: to decode one again costs one frame, not a group."""

Picture = NDArray[np.uint8]
Renderer = Callable[["VideoFrame", Canvas | Crop], Picture]


class FrameStore:
    """Raw frames by timestamp, and the pictures rendered from them.

    Args:
        renderer: makes a picture of a raw frame.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._limit = RAW_BYTES
        self._raw: dict[int, VideoFrame] = {}
        self._sizes: dict[int, int] = {}
        self._raw_total = 0
        self._pictures: dict[int, dict[Canvas | Crop, Picture]] = {}
        self.canvas: Canvas | None = None

    def expect(self, *, keyframes: bool) -> None:
        """Set the bound on raw frames by what a plan asks for."""
        self._limit = KEYFRAME_RAW_BYTES if keyframes else RAW_BYTES

    @property
    def raw_total(self) -> int:
        """Bytes of raw frames held."""
        return self._raw_total

    def add(self, pts: int, frame: VideoFrame) -> None:
        """Keep a raw frame; the oldest beyond the bound are rendered to the last canvas."""
        if pts in self._raw:
            return
        size = sum(plane.buffer_size for plane in frame.planes)
        self._raw[pts], self._sizes[pts] = frame, size
        self._raw_total += size
        while self._raw_total > self._limit and len(self._raw) > 1:
            oldest = next(iter(self._raw))
            if self.canvas is not None:
                self.picture(oldest, self.canvas)
            self._drop_raw(oldest)

    def has(self, pts: int, view: Canvas | Crop) -> bool:
        """Return whether ``view`` of the frame can be had without decoding."""
        return pts in self._raw or view in self._pictures.get(pts, {})

    def picture(self, pts: int, view: Canvas | Crop) -> Picture:
        """Return ``view`` of the frame, rendered once."""
        made = self._pictures.setdefault(pts, {})
        if view not in made:
            made[view] = self._renderer(self._raw[pts], view)
        return made[view]

    def retain(self, keep: set[int]) -> None:
        """Drop every frame whose timestamp is not in ``keep``."""
        for pts in [p for p in self._raw if p not in keep]:
            self._drop_raw(pts)
        for pts in [p for p in self._pictures if p not in keep]:
            del self._pictures[pts]

    def _drop_raw(self, pts: int) -> None:
        del self._raw[pts]
        self._raw_total -= self._sizes.pop(pts)
