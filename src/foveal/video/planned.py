"""What every source does alike: hold a look to its plan, and find the frame on display."""

from __future__ import annotations

import math
from collections.abc import Collection

from foveal.types import Look
from foveal.video.timeline import TOLERANCE_SECONDS


def check_planned(look: Look, planned: Collection[float]) -> None:
    """Raise if ``look`` asks for a time that no plan named.

    Raises:
        ValueError: it does.
    """
    outside = [t for t in look.times if t not in planned]
    if outside:
        raise ValueError(f"look at {outside[0]} s, which is outside the plan")


def frame_on_display(seconds: float, *, fps: float, num_frames: int, keyframes: bool) -> int:
    """Return which of evenly spaced frames is on display, or for keyframes the nearest one.

    Args:
        seconds: from the first frame.
        fps: frame i is on display from second i / fps on.
        num_frames: the last one stays on display.
        keyframes: the nearest frame instead (ties: the earlier), every frame being a keyframe.

    >>> [frame_on_display(t, fps=10, num_frames=5, keyframes=False) for t in (0.09, 0.1, 9.0)]
    [0, 1, 4]
    """
    exact, tolerance = seconds * fps, TOLERANCE_SECONDS * fps
    place = math.ceil(exact - 0.5 - tolerance) if keyframes else math.floor(exact + tolerance)
    return min(max(place, 0), num_frames - 1)
