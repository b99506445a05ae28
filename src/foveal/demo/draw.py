"""Anti-aliased drawing: shapes are signed distances, pictures are arrays.

A shape is an array (S,S) of distances to its border, negative inside, on a square from -1 to 1
with x to the right and y downwards. ``np.maximum`` of two shapes is what both cover,
``np.minimum`` what either covers, and ``np.maximum(a, -b)`` cuts b out of a.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from foveal.types import Array

Point = tuple[float, float]

# Each digit as pen strokes "x,y x,y ..." in percent of a box.
_STROKES = {
    "0": "50,0 15,15 10,50 15,85 50,100 85,85 90,50 85,15 50,0",
    "1": "25,20 55,0 55,100",
    "2": "10,25 30,2 70,2 88,28 10,100 90,100",
    "3": "12,5 85,5 45,42 85,60 80,90 45,100 10,90",
    "4": "70,100 70,0 8,68 95,68",
    "5": "85,0 20,0 15,45 60,40 90,65 75,95 40,100 10,90",
    "6": "80,5 40,20 12,60 25,95 70,98 90,70 65,48 20,60",
    "7": "8,0 90,0 40,100",
    "8": "50,45 20,25 50,0 80,25 50,45 12,75 50,100 88,75 50,45",
    "9": "82,40 40,52 12,28 40,0 82,10 85,45 60,100 30,100",
}


def rgb(code: str) -> Array:
    """Return ``#rrggbb`` as float32 (3,) in [0, 255]."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32)


class Pen:
    """A square transparent sheet of ``size`` px to draw on.

    ``rgba`` is float32 (S,S,4): colour in [0, 255] multiplied by coverage, and coverage in [0, 1].
    """

    def __init__(self, size: int) -> None:
        centres = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
        self.x, self.y = np.meshgrid(centres, centres)
        self.rgba = np.zeros((size, size, 4), np.float32)
        self._pixel = 2 / size

    def fill(self, shape: Array, colour: Array, *, opacity: float = 1.0) -> None:
        """Cover ``shape`` with ``colour``, (3,) or one per pixel (S,S,3) in [0, 255]."""
        cover = np.clip(0.5 - shape / self._pixel, 0, 1) * opacity
        rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
        if not rows.size:
            return
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        paint = np.broadcast_to(colour, (*cover.shape, 3))[part]
        share, below = cover[part][..., None], self.rgba[part]
        below[..., :3] += (paint - below[..., :3]) * share
        below[..., 3:] += (1 - below[..., 3:]) * share

    def disc(self, x: float, y: float, radius: float) -> Array:
        """Return a disc."""
        return np.asarray(np.hypot(self.x - x, self.y - y) - radius)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float) -> Array:
        """Return an ellipse (the distance is approximate away from the border)."""
        scaled = np.hypot((self.x - x) / radius_x, (self.y - y) / radius_y)
        return np.asarray((scaled - 1) * min(radius_x, radius_y))

    def box(self, x0: float, y0: float, x1: float, y1: float, *, corner: float = 0.0) -> Array:
        """Return a rectangle with rounded corners."""
        dx = np.abs(self.x - (x0 + x1) / 2) - (x1 - x0) / 2 + corner
        dy = np.abs(self.y - (y0 + y1) / 2) - (y1 - y0) / 2 + corner
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - corner)

    def stroke(self, points: Sequence[Point], width: float) -> Array:
        """Return a line through ``points`` with round ends."""
        shape = np.full_like(self.x, np.inf)
        for (x0, y0), (x1, y1) in pairwise(points):
            dx, dy = x1 - x0, y1 - y0
            along = ((self.x - x0) * dx + (self.y - y0) * dy) / (dx * dx + dy * dy)
            along = np.clip(along, 0, 1)
            shape = np.minimum(shape, np.hypot(self.x - x0 - along * dx, self.y - y0 - along * dy))
        return np.asarray(shape - width / 2)

    def ray(self, angle: float, start: float, end: float, width: float) -> Array:
        """Return a line from the middle outwards; ``angle`` in turns clockwise from the top."""
        x, y = float(np.sin(2 * np.pi * angle)), -float(np.cos(2 * np.pi * angle))
        return self.stroke([(start * x, start * y), (end * x, end * y)], width)

    def number(self, digits: str, x: float, y: float, height: float, width: float) -> Array:
        """Return ``digits`` centred on (x, y), written with a pen of ``width``."""
        step = height * 0.62
        left = x - step * len(digits) / 2
        shape = np.full_like(self.x, np.inf)
        for i, digit in enumerate(digits):
            points = []
            for pair in _STROKES[digit].split():
                u, v = (int(percent) / 100 for percent in pair.split(","))
                points.append((left + step * (i + 0.08 + 0.84 * u), y + height * (v - 0.5)))
            shape = np.minimum(shape, self.stroke(points, width))
        return shape
