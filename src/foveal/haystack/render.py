"""From a scene to pixels: grain and background, then the layers, added in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foveal.haystack import sprites
from foveal.haystack.draws import Draws, Floats
from foveal.haystack.preset import Preset
from foveal.haystack.scene import Layer, Scene

GREY = 112.0
"""Brightness of an empty frame."""

_CHUNK_PX = 2**18
"""Pixels drawn at once: what fits a cache is drawn twice as fast."""

_TEXTURE_CELLS = 6


def render(preset: Preset, scene: Scene, draws: Draws) -> NDArray[np.uint8]:
    """Return uint8 (N,T,3,H,W): what ``scene`` shows, before repeats."""
    num, num_frames = scene.shown.shape
    size = preset.size
    frames = np.empty((num, num_frames, 3, size, size), np.uint8)
    step = max(1, _CHUNK_PX // (num_frames * size * size))
    for start in range(0, num, step):
        stop = min(start + step, num)
        grey = _background(preset, draws.part(start, stop), num_frames)
        for layer in scene.layers:
            _add(grey, layer.part(start, stop))
        if scene.spot is not None:
            _brighten(grey, scene.spot.part(start, stop), preset.blob_px)
        np.clip(grey, 0, 255, out=grey)
        frames[start:stop] = np.rint(grey, out=grey).astype(np.uint8)[:, :, None]
    return frames


def _background(preset: Preset, draws: Draws, num_frames: int) -> Floats:
    grey = draws.grain("grain", num_frames, preset.size, preset.size)
    grey *= np.float32(preset.noise)
    grey += np.float32(GREY)
    if preset.texture:
        cells = draws.normal("texture", _TEXTURE_CELLS, _TEXTURE_CELLS)
        smooth = sprites.enlarged(cells, preset.size, preset.size)
        grey += np.float32(preset.texture) * smooth[:, None]
    return grey


def _add(grey: Floats, layer: Layer) -> None:
    """Add ``layer`` to ``grey`` (n,T,H,W) where it is present."""
    size, px = grey.shape[-1], layer.px
    gain = layer.gain.ravel()
    at = np.flatnonzero(gain)
    side = np.arange(px)
    rows = (layer.top.ravel()[at, None] + side) % size
    columns = (layer.left.ravel()[at, None] + side) % size
    places = (at[:, None] * size + rows)[:, :, None] * size + columns[:, None, :]
    # A pixel occurs once in `places`, for one layer has one object a picture.
    grey.reshape(-1)[places] += gain[at, None, None] * layer.table[layer.row.ravel()[at]]


def _brighten(grey: Floats, spot: Layer, sigma_px: float) -> None:
    """Add a bell around the middle of the objects of ``spot``, ``gain`` high."""
    size = grey.shape[-1]
    bell = sprites.spot(size, sigma_px)
    gain = spot.gain.ravel()
    at = np.flatnonzero(gain)
    side = np.arange(size) + size - spot.px // 2
    down = bell[side - spot.top.ravel()[at, None]]
    right = bell[side - spot.left.ravel()[at, None]]
    grey.reshape(-1, size, size)[at] += (gain[at, None] * down)[:, :, None] * right[:, None, :]
