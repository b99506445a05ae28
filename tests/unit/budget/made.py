"""Operating points with figures made up for a test."""

from __future__ import annotations

from typing import Any

from foveal.bundle import Calibration, Machine, MeasuredPoint
from foveal.sampling.operating import OperatingPoint

MACHINE = Machine(name="a machine", cores=2, threads=1, part_ms={"head": 2.0}, read_ms=10.0)


def measured(
    name: str, accuracy: float, gmacs: float, *, family: Any = "static", **changes: Any
) -> MeasuredPoint:
    """A point whose every clip costs the same, unless told otherwise."""
    macs = round(gmacs * 1e9)
    figures: dict[str, Any] = {
        "accuracy": accuracy,
        "temperature": 1.0,
        "confidence": accuracy,
        "mean_macs": float(macs),
        "p95_macs": float(macs),
        "max_macs": macs,
        "held_macs": float(macs),
        "first_macs": macs,
        "p50_ms": 8.0,
        "p95_ms": 10.0 * gmacs,
        "p95_compute_ms": 4.0 * gmacs,
        "rows": {"head": 1.0},
        **changes,
    }
    figures.setdefault("held_ms", figures["p95_ms"])
    figures["p50_ms"] = min(figures["p50_ms"], figures["p95_ms"])
    return MeasuredPoint(point=OperatingPoint(name=name, family=family), **figures)


def calibration(*points: MeasuredPoint, machine: Machine = MACHINE) -> Calibration:
    return Calibration(
        data="clips",
        split="validation",
        clips_sha256="0" * 64,
        num_clips=100,
        machine=machine,
        points=points,
    )
