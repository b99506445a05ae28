"""Operating points: named settings of one system that trade cost for accuracy.

A system lists its candidates in ``operating_points(cfg)`` of its protocol; ``foveal calibrate``
measures them, and a budget picks one of those that were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from foveal.sampling.budget import NEVER
from foveal.sampling.confidence import Criterion, ExitRule

Family: TypeAlias = Literal["policy", "exits", "static", "uniform", "random", "dense"]
"""What decides the cost of a clip: a learnt policy, exits by confidence, or nothing that looks at
the clip (``static`` where the system's own order is kept, else how the frames are placed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One setting of a system.

    Args:
        name: unique among the points of a system.
        family: what decides the cost; points of one family are one line in a picture.
        settings: fields of the system's ``Config`` to replace, as JSON data.
        solve: this point stands for a family of exit rules on that confidence, whose thresholds
            are solved on calibration clips; None: it is used as it is.
        exit_rule: when a sample stops.

    Raises:
        ValueError: no name, an unknown family, or both exits to be solved and a rule.
    """

    name: str
    family: Family
    settings: Mapping[str, Any] = field(default_factory=dict)
    solve: Criterion | None = None
    exit_rule: ExitRule | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > 100:
            raise ValueError(f"a point needs a name of at most 100 characters, got {self.name!r}")
        if self.family not in get_args(Family):
            raise ValueError(f"family must be one of {get_args(Family)}, got {self.family!r}")
        if self.solve is not None and self.exit_rule is not None:
            raise ValueError(f"point {self.name!r}: a rule is given or solved, not both")

    @property
    def is_plain(self) -> bool:
        """Whether nothing in a clip decides what it costs."""
        return self.family not in ("policy", "exits")

    @property
    def is_chance(self) -> bool:
        """Whether it is only there to be compared with, and no budget should pick it."""
        return self.family == "random"


def stop_after(num_answers: int) -> ExitRule:
    """Return the rule that stops every sample at the same answer, counted from 1.

    Raises:
        ValueError: it is not positive.

    >>> stop_after(2).thresholds
    (100000000.0, 0.0)
    """
    if num_answers < 1:
        raise ValueError(f"num_answers must be at least 1, got {num_answers}")
    return ExitRule(thresholds=(NEVER,) * (num_answers - 1) + (0.0,))


def ladder(most: int) -> tuple[int, ...]:
    """Return counts from ``most`` down to 1, the powers of two and half of each before between.

    >>> ladder(16)
    (16, 12, 8, 6, 4, 3, 2, 1)
    """
    counts = {most}
    power = 1
    while power < most:
        counts |= {power, power * 3 // 2}
        power *= 2
    return tuple(sorted((c for c in counts if c <= most), reverse=True))


def stops_and_exits(
    num_answers: int, *, criterion: Criterion = "max_prob"
) -> tuple[OperatingPoint, ...]:
    """Return the points of a system that answers after every frame: fixed stops, exits when sure.

    Args:
        num_answers: at least 1.
        criterion: what exits go by.

    >>> [point.name for point in stops_and_exits(3)]
    ['all 3', 'exits', 'first 2', 'first 1']
    """
    every, *fewer = ladder(num_answers)
    points = [OperatingPoint(name=f"all {every}", family="static")]
    if fewer:
        points.append(OperatingPoint(name="exits", family="exits", solve=criterion))
    points += [
        OperatingPoint(name=f"first {n}", family="static", exit_rule=stop_after(n)) for n in fewer
    ]
    return tuple(points)
