"""From what a codec stores to what the canvas shows: sizes, orientation and boxes. No pixels.

A *stored* picture is turned and perhaps mirrored to be *displayed*; its pixels may not be
square. All boxes of the canvas are in displayed coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foveal.types import Box, Canvas

ASPECT_LIMITS = (1 / 16, 16)
"""Pixel aspect ratios outside this range are taken for a mistake of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """How a stored picture is displayed: mirrored left-right first, then turned clockwise.

    Args:
        quarter_turns: clockwise quarter turns, 0 to 3.
        mirrored: whether left and right are swapped before turning.
        pixel_aspect: width of a stored pixel over its height.
    """

    quarter_turns: int = 0
    mirrored: bool = False
    pixel_aspect: float = 1.0

    def __post_init__(self) -> None:
        if self.quarter_turns not in (0, 1, 2, 3):
            raise ValueError(f"quarter turns must be 0 to 3, got {self.quarter_turns}")
        if not ASPECT_LIMITS[0] <= self.pixel_aspect <= ASPECT_LIMITS[1]:
            raise ValueError(f"pixel aspect must be in {ASPECT_LIMITS}, got {self.pixel_aspect}")

    @property
    def sideways(self) -> bool:
        """Whether displayed width and height are stored height and width."""
        return self.quarter_turns % 2 == 1

    @classmethod
    def of_matrix(cls, matrix: Sequence[int], *, pixel_aspect: float = 1.0) -> Orientation:
        """Return the orientation nearest to a display matrix (row by row, 16.16 numbers).

        The matrix sends a stored point (x, y) to (a x + c y, b x + d y), y downwards; only
        quarter turns and mirroring are kept, other angles go to the nearest of them.
        """
        a, b, _, c, d = matrix[:5]
        mirrored = a * d - b * c < 0
        if mirrored:  # undo the mirroring, which comes first, to be left with a rotation
            a, b = -a, -b
        turns = round(math.degrees(math.atan2(b, a)) / 90) % 4 if a or b else 0
        return cls(quarter_turns=turns, mirrored=mirrored, pixel_aspect=pixel_aspect)

    def displayed_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height in square pixels as displayed; the area never shrinks."""
        if self.pixel_aspect >= 1:
            width = max(1, round(width * self.pixel_aspect))
        else:
            height = max(1, round(height / self.pixel_aspect))
        return (height, width) if self.sideways else (width, height)

    def stored_box(self, box: Box) -> Box:
        """Return where the displayed ``box`` lies in the stored picture, both in [0, 1]."""
        x0, y0, x1, y1 = box
        for _ in range(self.quarter_turns):  # undo one clockwise turn at a time
            x0, y0, x1, y1 = y0, 1 - x1, y1, 1 - x0
        return (1 - x1, y0, 1 - x0, y1) if self.mirrored else (x0, y0, x1, y1)


UPRIGHT = Orientation()


def scaled_size(canvas: Canvas, width: int, height: int) -> tuple[int, int]:
    """Return the size the whole displayed picture has on the canvas, before the centre crop."""
    if canvas.short_side is None:
        return canvas.width, canvas.height
    long_side = max(round(canvas.short_side * max(width, height) / min(width, height)), 1)
    if width <= height:
        return canvas.short_side, long_side
    return long_side, canvas.short_side


def canvas_offset(canvas: Canvas, scaled: tuple[int, int]) -> tuple[int, int]:
    """Return left and top of the canvas in the scaled picture."""
    return (scaled[0] - canvas.width) // 2, (scaled[1] - canvas.height) // 2


def displayed_box(canvas: Canvas, width: int, height: int, box: Box) -> Box:
    """Return what part of the displayed picture the canvas shows in ``box``, in [0, 1]."""
    scaled = scaled_size(canvas, width, height)
    left, top = canvas_offset(canvas, scaled)
    x0, y0, x1, y1 = box
    return (
        max((left + x0 * canvas.width) / scaled[0], 0.0),
        max((top + y0 * canvas.height) / scaled[1], 0.0),
        min((left + x1 * canvas.width) / scaled[0], 1.0),
        min((top + y1 * canvas.height) / scaled[1], 1.0),
    )


def pixel_span(low: float, high: float, size: int, step: int) -> tuple[int, int]:
    """Return start and length of the pixels nearest to [low, high] of ``size``.

    Both are multiples of ``step`` (how many pixels share one colour sample), except at the
    far edge; the span is never empty.

    >>> pixel_span(0.25, 0.75, 100, 2)
    (26, 50)
    """
    cells = -(-size // step)
    first = min(math.floor(low * size / step + 0.5), cells - 1)
    last = min(max(math.floor(high * size / step + 0.5), first + 1), cells)
    return first * step, min(last * step, size) - first * step
