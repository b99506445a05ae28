"""Five drawings that an ImageNet network names without doubt.

Each function takes the side of the picture in px and returns float32 (S,S,4), see
:class:`foveal.demo.draw.Pen`.
"""

from __future__ import annotations

import numpy as np

from foveal.demo.draw import Pen, rgb
from foveal.types import Array

_INK = rgb("#151515")


def clock(size: int) -> Array:
    """Draw a round clock that shows nine past ten."""
    pen = Pen(size)
    pen.fill(pen.disc(0, 0, 0.96), rgb("#2b2b30"))
    pen.fill(pen.disc(-0.02, -0.03, 0.92), rgb("#54545c"), opacity=0.5)
    pen.fill(pen.disc(0, 0, 0.84), rgb("#1a1a1c"))
    pen.fill(pen.disc(0, 0, 0.82), rgb("#f4f1e8"))
    for minute in range(60):
        hour = minute % 5 == 0
        pen.fill(pen.ray(minute / 60, 0.69 if hour else 0.72, 0.77, 0.03 if hour else 0.012), _INK)
    for hour_number in range(1, 13):
        angle = 2 * np.pi * hour_number / 12
        x, y = 0.56 * float(np.sin(angle)), -0.56 * float(np.cos(angle))
        pen.fill(pen.number(str(hour_number), x, y, 0.17, 0.032), _INK)
    pen.fill(pen.ray((10 + 9 / 60) / 12, -0.1, 0.38, 0.06), _INK)
    pen.fill(pen.ray(9 / 60, -0.1, 0.6, 0.04), _INK)
    pen.fill(np.minimum(pen.ray(35 / 60, -0.15, 0.66, 0.015), pen.disc(0, 0, 0.04)), rgb("#c02020"))
    return pen.rgba


def crossword(size: int) -> Array:
    """Draw an empty crossword: 13 x 13 cells, black ones symmetric, entries numbered."""
    pen = Pen(size)
    cells = 13
    rng = np.random.default_rng(3)
    black = np.zeros((cells + 2, cells + 2), bool)  # with a black border all round
    for row, column in rng.integers(0, cells, (17, 2)):
        black[row + 1, column + 1] = black[cells - row, cells - column] = True
    black[[0, -1]] = True
    black[:, [0, -1]] = True
    half, side = 0.92, 2 * 0.92 / cells
    pen.fill(pen.box(-0.98, -0.98, 0.98, 0.98), rgb("#fdfdf8"))
    pen.fill(pen.box(-half - 0.012, -half - 0.012, half + 0.012, half + 0.012), _INK)
    entries = 0
    for row in range(1, cells + 1):
        for column in range(1, cells + 1):
            if black[row, column]:
                continue
            x, y = -half + (column - 1) * side, -half + (row - 1) * side
            cell = pen.box(x + 0.006, y + 0.006, x + side - 0.006, y + side - 0.006)
            pen.fill(cell, rgb("#ffffff"))
            across = black[row, column - 1] and not black[row, column + 1]
            down = black[row - 1, column] and not black[row + 1, column]
            if across or down:
                entries += 1
                pen.fill(pen.number(str(entries), x + 0.045, y + 0.04, 0.045, 0.01), _INK)
    return pen.rgba


def football(size: int) -> Array:
    """Draw a leather ball with twelve black patches at the corners of an icosahedron."""
    pen = Pen(size)
    radius = 0.95
    depth = np.sqrt(np.maximum(1 - (np.hypot(pen.x, pen.y) / radius) ** 2, 0))
    surface = np.stack([pen.x / radius, pen.y / radius, depth], axis=-1)
    golden = (1 + 5**0.5) / 2
    corners = np.array(
        [np.roll([0, a, b * golden], shift) for shift in range(3) for a in (-1, 1) for b in (-1, 1)]
    )
    corners /= np.linalg.norm(corners[0])
    turn, tilt = 0.5, 0.4
    corners = corners @ np.array(
        [[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]
    )
    corners = corners @ np.array(
        [[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]]
    )
    near = np.sort(surface @ corners.T, axis=-1)
    light = 0.55 + 0.45 * np.clip(surface @ np.array([-0.4, -0.5, 0.77]), 0, 1)[..., None]
    ball = pen.disc(0, 0, radius)
    pen.fill(ball, rgb("#f5f5f5") * light)
    # A seam runs where two patches are equally far.
    pen.fill(np.maximum(ball, (near[..., -1] - near[..., -2]) * 0.9 - 0.012), rgb("#303030"))
    patch = np.arccos(np.clip(near[..., -1], -1, 1)) - 0.36
    pen.fill(np.maximum(ball, patch * 0.9), rgb("#1a1a1a") * light)
    return pen.rgba


def pumpkin(size: int) -> Array:
    """Draw a carved pumpkin with a light inside."""
    pen = Pen(size)
    pen.fill(pen.box(-0.07, -0.95, 0.09, -0.6, corner=0.04), rgb("#4b6b2a"))
    for x, width in ((-0.5, 0.45), (0.5, 0.45), (-0.25, 0.45), (0.25, 0.45), (0.0, 0.4)):
        pen.fill(pen.ellipse(x, 0.1, width, 0.75), rgb("#c85a08"))
        pen.fill(pen.ellipse(x - 0.03, 0.07, width * 0.88, 0.7), rgb("#ee7d14"))
    holes = []
    for x, top, bottom in ((-0.38, -0.35, 0.0), (0.38, -0.35, 0.0), (0.0, 0.05, 0.22)):
        sides = 0.85 * (np.abs(pen.x - x) - 0.6 * (pen.y - top))
        holes.append(np.maximum(pen.y - bottom, sides))
    mouth = np.maximum(pen.ellipse(0, 0.2, 0.7, 0.5), -pen.ellipse(0, 0.08, 0.75, 0.38))
    mouth = np.maximum(mouth, 0.25 - pen.y)
    for x in (-0.3, 0.0, 0.3):  # teeth
        mouth = np.maximum(mouth, -pen.box(x - 0.06, 0.2, x + 0.06, 0.54))
    for hole in (*holes, mouth):
        pen.fill(hole, rgb("#3a1600"))
        pen.fill(hole + 0.025, rgb("#ffe060"))
    return pen.rgba


def parachute(size: int) -> Array:
    """Draw a jumper under a canopy with red and white panels."""
    pen = Pen(size)
    panels, half, hem = 7, 0.95, -0.15
    canopy = np.maximum(pen.ellipse(0, hem, half, 0.75), pen.y - hem)
    for panel in range(panels):  # scalloped hem
        middle = half * ((2 * panel + 1) / panels - 1)
        canopy = np.maximum(canopy, -pen.ellipse(middle, hem + 0.01, half / panels, 0.07))
    for line in range(panels + 1):
        rim = half * (2 * line / panels - 1)
        pen.fill(pen.stroke([(rim, hem), (0, 0.72)], 0.01), rgb("#404040"))
    spread = half * np.sqrt(np.maximum(1 - ((pen.y - hem) / 0.75) ** 2, 1e-4))
    around = np.arcsin(np.clip(pen.x / spread, -1, 1)) / np.pi + 0.5  # 0 left rim, 1 right rim
    red = (np.floor(around * panels) % 2 == 0)[..., None]
    pen.fill(canopy, np.where(red, rgb("#e53935"), rgb("#fafafa")))
    pen.fill(pen.disc(0, 0.74, 0.06), rgb("#402818"))
    pen.fill(pen.box(-0.06, 0.78, 0.06, 0.95, corner=0.03), rgb("#284060"))
    return pen.rgba
