"""A reader that knows what the classes look like and is told where to look, in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.haystack import Preset, sprites
from foveal.haystack.preset import Cue
from foveal.types import Array

FIXED_LOOK: tuple[Cue, ...] = ("pattern", "grating", "shape", "mover")
"""Cues that a single frame tells to those who know the box."""


def looks(preset: Preset, cue: Cue, count: int) -> Array:
    """Return (count, variants, p, p): how each class of ``cue`` may look, mean 0 and length 1."""
    px = preset.object_px
    if cue == "pattern":
        table = sprites.patterns(preset.name, count, size_px=px, cell_px=preset.cell_px)
    elif cue == "grating":
        table = sprites.gratings(preset, count)
    else:
        table = sprites.shapes(px, count)
    flat = table.reshape(count, -1, px * px).astype(np.float64)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=-1, keepdims=True)


def corners(boxes: Array, size: int) -> NDArray[np.int64]:
    """Return left and top in px of boxes (..., 4)."""
    return np.rint(boxes[..., :2] * size).astype(np.int64)


def scores(frames: Array, boxes: Array, table: Array) -> Array:
    """Return (count,): how well what ``frames`` (t,H,W) show in ``boxes`` (t,4) fits each class."""
    px = round(table.shape[-1] ** 0.5)
    summed = np.zeros(len(table))
    for frame, (left, top) in zip(frames, corners(boxes, frames.shape[-1]), strict=True):
        cut = frame[top : top + px, left : left + px].astype(np.float64).ravel()
        summed += (table @ (cut - cut.mean())).max(axis=1)
    return summed


def class_in_boxes(preset: Preset, frames: Array, evidence: Array, boxes: Array) -> int:
    """Return the class that (T,H,W) ``frames`` show where ``evidence`` (T,) and ``boxes`` say."""
    ((cue, count),) = preset.classes
    table = looks(preset, cue, count)
    return int(scores(frames[evidence], boxes[evidence], table).argmax())


def pitch(sound: Array, rate: int) -> float:
    """Return the loudest frequency of ``sound`` (samples,) in Hz."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(spectrum.argmax() * rate / len(sound))


def shift_between(first: Array, second: Array) -> tuple[float, float]:
    """Return by how much (y, x) in px the content of (H,W) moved, edges joined."""
    spectra = [np.fft.fft2(x.astype(np.float64) - x.mean()) for x in (first, second)]
    likeness = np.fft.ifft2(np.conj(spectra[0]) * spectra[1]).real
    y, x = np.unravel_index(likeness.argmax(), likeness.shape)
    height, width = first.shape
    return (y + height // 2) % height - height // 2, (x + width // 2) % width - width // 2
