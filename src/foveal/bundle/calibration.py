"""What ``foveal calibrate`` leaves in a manifest: every operating point with what it was worth.

Data like the rest of the manifest: bounded, checked when it is read, never run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from foveal.sampling.operating import OperatingPoint

MAX_POINTS = 256
"""Points a bundle may hold; an answer to a budget looks at all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What milliseconds were measured on.

    Args:
        name: of the processor.
        cores: this process could use.
        threads: the parts computed with.
        part_ms: milliseconds of one row of each part alone, mean over its declared axes.
        read_ms: milliseconds to read a drawn clip of known size.

    Raises:
        ValueError: a figure is not positive or not finite.
    """

    name: str
    cores: int
    threads: int
    part_ms: Mapping[str, float]
    read_ms: float

    def __post_init__(self) -> None:
        if self.cores < 1 or self.threads < 1 or not self.part_ms:
            raise ValueError("a machine has cores, threads and at least one part that was timed")
        times = (*self.part_ms.values(), self.read_ms)
        if not all(math.isfinite(ms) and ms > 0 for ms in times):
            raise ValueError("times of parts and of reading must be positive and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """An operating point on the calibration clips.

    Where exits were solved, thresholds were solved on one half of the clips and these figures
    measured on the other, both ways round; the rule kept was solved on all.

    Args:
        point: ready to run.
        accuracy: share of the clips that are right (top-1); where a clip may show several classes,
            the mean average precision.
        temperature: fits its probabilities to how often they are right.
        confidence: mean of the largest probability after a temperature fitted on other clips.
        known_from: an answer below this probability, after the temperature, is nothing it knows.
        mean_macs, p95_macs, max_macs: of a clip.
        held_macs: what the mean of as many other clips stays below, ninety-nine times in a hundred.
        first_macs: most that a clip cost up to its first answer.
        p50_ms, p95_ms: of a clip run alone, all stages.
        held_ms: what 95 of 100 other clips stay below, ninety-nine times in a hundred.
        p95_compute_ms: in the parts, of the ``p95_ms``.
        rows: rows of each part that ran for a clip, in the mean.
        is_on_front: no other point is as accurate and costs as little.

    Raises:
        ValueError: a share is outside [0, 1], a cost negative, or they are out of order.
    """

    point: OperatingPoint
    accuracy: float
    temperature: float
    confidence: float
    mean_macs: float
    p95_macs: float
    max_macs: int
    held_macs: float
    first_macs: int
    p50_ms: float
    p95_ms: float
    held_ms: float
    p95_compute_ms: float
    rows: Mapping[str, float]
    is_on_front: bool = False
    known_from: float = 0.0

    def __post_init__(self) -> None:
        name = self.point.name
        if self.point.solve is not None:
            raise ValueError(f"point {name!r}: its exits were never solved")
        shares = (self.accuracy, self.confidence, self.known_from)
        if not (all(0 <= share <= 1 for share in shares) and self.temperature > 0):
            raise ValueError(f"point {name!r}: accuracy, confidence and known_from lie in [0, 1]")
        costs = (self.first_macs, self.mean_macs, self.p95_macs, self.held_macs)
        if min(costs) < 0 or max(costs) > self.max_macs * (1 + 1e-9):
            raise ValueError(f"point {name!r}: costs lie between 0 and max_macs, got {costs}")
        ordered = 0 <= self.p50_ms <= self.p95_ms <= self.held_ms < math.inf
        if not (ordered and 0 <= self.p95_compute_ms <= self.p95_ms):
            raise ValueError(f"point {name!r}: times are out of order")
        if not all(math.isfinite(rows) and rows >= 0 for rows in self.rows.values()):
            raise ValueError(f"point {name!r}: rows must be finite and not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The accuracy-cost curve of a bundle.

    Args:
        data: name of the set it was measured on.
        split: which clips of it.
        clips_sha256: tells those clips apart from others.
        num_clips: how many could be read.
        machine: what milliseconds are of.
        points: from dear to cheap, by mean MACs.

    Raises:
        ValueError: no points, too many, or two of one name.
    """

    data: str
    split: str
    clips_sha256: str
    num_clips: int
    machine: Machine
    points: tuple[MeasuredPoint, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= MAX_POINTS or self.num_clips < 1:
            raise ValueError(f"a calibration needs clips and 1 to {MAX_POINTS} points")
        names = [measured.point.name for measured in self.points]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"point {twice!r} appears twice")
