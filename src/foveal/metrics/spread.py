"""A figure of many samples in three numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from foveal.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean, median and the value that 95 of 100 samples stay below or at."""

    mean: float
    p50: float
    p95: float

    def to_json(self) -> dict[str, float]:
        """Return plain JSON data."""
        return asdict(self)


def spread(values: Array | Sequence[float]) -> Spread:
    """Return mean, p50 and p95 of ``values`` (N,); percentiles lie linearly between samples.

    Raises:
        ValueError: there are none.

    >>> spread(range(21))
    Spread(mean=10.0, p50=10.0, p95=19.0)
    """
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"values must be (N,) with N at least 1, got shape {found.shape}")
    p50, p95 = np.percentile(found, [50, 95])
    return Spread(mean=float(found.mean()), p50=float(p50), p95=float(p95))
