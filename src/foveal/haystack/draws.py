"""Random numbers that do not depend on what is generated beside them.

Every draw has a name, and its value for a sample is a pure function of the key of that sample
and of the name: sample 7 is the same alone, in a batch, and after a knob has been added that
draws under a new name. Counter-based (the SplitMix64 finaliser of key plus counter), so that a
thousand samples are one vectorised call.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_BYTE_PAIR_STD = float(np.sqrt(2 * (256**2 - 1) / 12))
"""Standard deviation of the sum of two independent bytes."""


def key_of(*parts: object) -> np.uint64:
    """Return the 64-bit key that ``parts`` spell; any other parts give an unrelated one."""
    text = "\x1f".join(map(str, parts)).encode()
    return np.uint64(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))


@dataclass(frozen=True, slots=True)
class Draws:
    """Named draws for n samples; every result has the samples as its first axis.

    Args:
        keys: uint64 (n,), one per sample.
    """

    keys: Words

    @classmethod
    def of(cls, *parts: object, start: int = 0, count: int) -> Draws:
        """Return the draws of samples ``start`` to ``start + count`` of what ``parts`` spell."""
        numbers = np.arange(start, start + count, dtype=np.uint64)
        return cls(_mixed(numbers * _STEP + key_of(*parts)))

    def part(self, start: int, stop: int) -> Draws:
        """Return the draws of samples ``start`` to ``stop`` alone."""
        return Draws(self.keys[start:stop])

    def uniform(self, name: str, *shape: int) -> Floats:
        """Return float32 (n, *shape) in [0, 1)."""
        words = self._words(name, int(np.prod(shape)))
        values = (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
        return values.reshape(len(self.keys), *shape)

    def integers(self, name: str, low: int, high: int, *shape: int) -> Integers:
        """Return int64 (n, *shape) of ``low`` to ``high``, both included."""
        values = self.uniform(name, *shape).astype(np.float64)
        return low + np.floor(values * (high - low + 1)).astype(np.int64)

    def order(self, name: str, count: int) -> Integers:
        """Return int64 (n, count): the rank of each of ``count`` things in a random order."""
        return self._words(name, count).argsort(axis=1, kind="stable").argsort(axis=1)

    def normal(self, name: str, *shape: int) -> Floats:
        """Return float32 (n, *shape), normal with mean 0 and variance 1."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(f"{name}/radius", *shape)))
        turn = self.uniform(f"{name}/turn", *shape)
        return np.asarray(radius * np.cos(np.float32(2 * np.pi) * turn), np.float32)

    def grain(self, name: str, *shape: int) -> Floats:
        """Return float32 (n, *shape) with mean 0 and variance 1: sums of two bytes, for pixels.

        Triangular, not normal: nothing lies beyond 2.45, and a pixel takes a nanosecond or two.
        """
        size = int(np.prod(shape))
        words = self._words(name, -(-size // 4)).astype("<u8", copy=False)
        pairs = words.view(np.uint8).reshape(len(self.keys), 2, -1)[..., :size].astype(np.int16)
        centred = (pairs[:, 0] + pairs[:, 1] - np.int16(255)).astype(np.float32)
        centred *= np.float32(1 / _BYTE_PAIR_STD)
        return centred.reshape(len(self.keys), *shape)

    def _words(self, name: str, count: int) -> Words:
        starts = _mixed(self.keys ^ key_of(name))
        counters = np.arange(1, count + 1, dtype=np.uint64) * _STEP
        return _mixed(starts[:, None] + counters)


def _mixed(words: Words) -> Words:
    """Return ``words`` through the SplitMix64 finaliser; overwrites them."""
    shifted = words >> np.uint64(30)
    words ^= shifted
    words *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(words, np.uint64(27), out=shifted)
    words ^= shifted
    words *= np.uint64(0x94D049BB133111EB)
    np.right_shift(words, np.uint64(31), out=shifted)
    words ^= shifted
    return words
