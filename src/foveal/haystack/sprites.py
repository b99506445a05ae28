"""What objects look like: tables of small signed pictures, one row for each look of a class."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from foveal.haystack.draws import Draws, Flags, Floats
from foveal.haystack.preset import Preset

NUM_PHASES = 16
"""Rows of a grating's table for one class, a sixteenth of a period apart."""

FORMS = ("disc", "ring", "square", "cross", "triangle", "bars", "frame", "diamond")
SHADES = ("bright", "dark")
SIZES = ("large", "small")


def gratings(preset: Preset, count: int) -> Floats:
    """Return (count * NUM_PHASES, p, p) in [-1, 1]: stripes that fade towards the edge.

    The classes share the periods in turn; those of one period differ by orientation. The wave
    vectors of a period lie on a square, not on a circle: its larger component is always one
    cycle a period, so averaging over blocks of that period removes every one of them exactly.
    """
    side = np.arange(preset.object_px, dtype=np.float64) - (preset.object_px - 1) / 2
    y, x = side[:, None], side[None, :]
    phases = 2 * np.pi * np.arange(NUM_PHASES)[:, None, None] / NUM_PHASES
    rows = []
    for label in range(count):
        fy, fx, period = _wave(preset, label, count)
        rows.append(np.cos(2 * np.pi * (fx * x + fy * y) / period - phases))
    table = np.concatenate(rows) * _fading(preset)
    return table.astype(np.float32)


def grating_look(preset: Preset, label: int, count: int) -> tuple[float, float]:
    """Return how far stripes ``label`` are turned from upright in degrees, and their period."""
    fy, fx, period = _wave(preset, label, count)
    return math.degrees(math.atan2(fy, fx)), period


def _wave(preset: Preset, label: int, count: int) -> tuple[float, float, float]:
    """Return y and x of the wave vector in cycles a period, and the period in px."""
    num_periods = len(preset.periods_px)
    turn = label // num_periods / -(-count // num_periods)
    return *_on_square(turn), preset.periods_px[label % num_periods]


def _on_square(turn: float) -> tuple[float, float]:
    """Return (y, x) on the border of the square [-1, 1]^2, half way round as turn goes 0 to 1."""
    if turn <= 0.25:
        return 4 * turn, 1.0
    if turn <= 0.75:
        return 1.0, 2 - 4 * turn
    return 4 - 4 * turn, -1.0


def _fading(preset: Preset) -> Floats:
    """Return a (p, p) window: 1 if the object fills the frame, else falling to 0 at its edge."""
    if preset.object_px == preset.size:
        return np.ones((preset.object_px, preset.object_px), np.float32)
    side = np.sin(np.pi * (np.arange(preset.object_px) + 0.5) / preset.object_px)
    return np.outer(side, side).astype(np.float32)


def patterns(name: str, count: int, *, size_px: int, cell_px: int) -> Floats:
    """Return (count, p, p) in [-1, 1]: random drawings with details of ``cell_px``, mean 0.

    Drawing i depends on ``name`` and i alone.
    """
    num_cells = -(-size_px // cell_px)
    grid = Draws.of(name, "pattern", count=count).normal("grid", num_cells, num_cells)
    drawn = grid if cell_px == 1 else enlarged(grid, size_px, num_cells * cell_px)
    drawn = drawn - drawn.mean(axis=(1, 2), keepdims=True)
    drawn = 0.5 * drawn / drawn.std(axis=(1, 2), keepdims=True)
    return np.asarray(np.clip(drawn, -1, 1), np.float32)


def enlarged(grid: Floats, size_px: int, full_px: int) -> Floats:
    """Return (n, size_px, size_px): (n, g, g) grown smoothly to ``full_px`` and cut there."""
    weights = _linear_weights(grid.shape[-1], full_px)[:size_px]
    return np.asarray(weights @ grid @ weights.T, np.float32)


def _linear_weights(num_cells: int, full_px: int) -> Floats:
    """Return (full_px, num_cells): each pixel's share of the cells beside it."""
    places = (np.arange(full_px) + 0.5) * num_cells / full_px - 0.5
    weights = 1 - np.abs(places[:, None] - np.arange(num_cells))
    weights = np.maximum(weights, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def shapes(size_px: int, count: int) -> Floats:
    """Return (count, p, p) in [-1, 1], in the order of :func:`look_of`.

    Raises:
        ValueError: more shapes than there are combinations of form, shade and size.
    """
    rows = []
    for label in range(count):
        form, shade, size = look_of(label)
        scale = 1.0 if size == "large" else 0.55
        rows.append((1 if shade == "bright" else -1) * _drawn(form, size_px, scale))
    return np.stack(rows)


def look_of(label: int) -> tuple[str, str, str]:
    """Return form, shade and size of shape ``label``.

    >>> look_of(9)
    ('ring', 'dark', 'large')
    """
    if not 0 <= label < len(FORMS) * len(SHADES) * len(SIZES):
        raise ValueError(f"there is no shape {label}")
    rest, form = divmod(label, len(FORMS))
    size, shade = divmod(rest, len(SHADES))
    return FORMS[form], SHADES[shade], SIZES[size]


_COVERS: dict[str, Callable[[Floats, Floats], Flags]] = {
    "disc": lambda y, x: np.hypot(y, x) <= 0.95,
    "ring": lambda y, x: np.abs(np.hypot(y, x) - 0.75) <= 0.22,
    "square": lambda y, x: np.maximum(np.abs(y), np.abs(x)) <= 0.8,
    "cross": lambda y, x: np.minimum(np.abs(y), np.abs(x)) <= 0.25,
    "triangle": lambda y, x: (y <= 0.8) & (np.abs(x) <= (y + 0.95) / 1.8),
    "bars": lambda y, x: np.abs(np.abs(y) - 0.6) <= 0.25,
    "frame": lambda y, x: np.abs(np.maximum(np.abs(y), np.abs(x)) - 0.75) <= 0.2,
    "diamond": lambda y, x: np.abs(y) + np.abs(x) <= 1.0,
}
"""Whether a point of [-1, 1]^2 belongs to a form."""


def _drawn(form: str, size_px: int, scale: float) -> Floats:
    """Return (p, p) in [0, 1], four samples a side and pixel, ``scale`` times as large."""
    fine = 4
    side = ((np.arange(size_px * fine) + 0.5) / (size_px * fine) * 2 - 1) / scale
    y, x = np.meshgrid(side, side, indexing="ij")
    inside = np.maximum(np.abs(y), np.abs(x)) <= 1
    cover = (_COVERS[form](y, x) & inside).astype(np.float32)
    return np.asarray(cover.reshape(size_px, fine, size_px, fine).mean(axis=(1, 3)), np.float32)


def spot(size: int, sigma_px: float) -> Floats:
    """Return (2 * size,): a bell of height 1 around index ``size - 0.5``, to be cut anywhere."""
    places = np.arange(2 * size) + 0.5 - size
    return np.asarray(np.exp(-(places**2) / (2 * sigma_px**2)), np.float32)
