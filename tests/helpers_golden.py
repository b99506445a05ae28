"""Golden inputs and weights that are not stored: numbers from a rule, without a generator.

A *stream* is the number that a golden file gives where it leaves an array out.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["w", "b", "g", "m", "v"]
"""Of a parameter: weight, bias, scale of a norm, running mean, running variance."""


def unit(count: int, stream: int) -> NDArray[np.float64]:
    """Return ``count`` numbers in [0, 1): a 32-bit integer hash of position and stream."""
    low = np.uint64(2**32 - 1)
    start = np.uint64((0x9E3779B9 * (stream + 1)) % 2**32)
    x = (np.arange(count, dtype=np.uint64) + start) & low
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & low
    return (x ^ (x >> np.uint64(15))) / 2.0**32


def sym(shape: tuple[int, ...], stream: int) -> NDArray[np.float64]:
    """Return numbers in [-1, 1), row-major."""
    return (2 * unit(math.prod(shape), stream) - 1).reshape(shape)


def fill(
    role: Role, shape: tuple[int, ...], stream: int, *, gain: float = 1.0
) -> NDArray[np.float64]:
    """Return a parameter tensor; cast it to float32 for the network."""
    match role:
        case "w":
            return gain * math.sqrt(3 / math.prod(shape[1:])) * sym(shape, stream)
        case "b" | "m":
            return 0.2 * sym(shape, stream)
        case "g":
            return 1.0 + 0.2 * sym(shape, stream)
        case "v":
            return 1.0 + 0.4 * sym(shape, stream)
