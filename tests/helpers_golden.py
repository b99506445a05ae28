"""Golden arrays, and inputs and weights that are not stored: numbers from a rule.

A *stream* is the number that a golden file gives where it leaves an array out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


class Golden:
    """A folder with the arrays of an official network, and the streams of its parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def everything(self) -> Mapping[str, NDArray[np.float64]]:
        """Every array of ``official.npz`` by its name."""
        with np.load(self.folder / "official.npz") as arrays:
            return {name: np.asarray(arrays[name], np.float64) for name in arrays.files}

    def arrays(self, kind: str) -> dict[str, NDArray[np.float64]]:
        """Return the arrays below ``kind``, of which there is at least one."""
        start = f"{kind}."
        found = {
            name.removeprefix(start): array
            for name, array in self.everything.items()
            if name.startswith(start)
        }
        assert found, f"no golden arrays {kind}"
        return found

    def filled(self, kind: str, *, gain: float = 1.0) -> dict[str, Tensor]:
        """Return the official parameters of ``kind``, rounded to float32, as float64."""
        listed = json.loads((self.folder / "params.json").read_text())[kind]
        return {
            name: torch.from_numpy(
                fill(role, tuple(shape), stream, gain=gain).astype(np.float32)
            ).double()
            for stream, name, role, shape in listed
        }


def close(found: object, wanted: object, *, relative: float = 1e-5) -> None:
    """Compare on the scale of the largest value: golden arrays are stored as float32."""
    ours = found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)
    theirs = np.asarray(wanted).reshape(ours.shape)
    assert np.abs(ours - theirs).max() <= relative * np.abs(theirs).max()
