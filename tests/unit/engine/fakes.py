"""A source and a runner with nothing behind them, to prove the protocol and the executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from foveal.types import Array, Canvas, ClipInfo, Look, Meter, Plan


@dataclass
class FakeSource:
    """A 16-second clip at one frame a second; frame t of clip ``seed`` is a known constant."""

    seed: int
    meter: Meter = field(default_factory=Meter)
    warnings: Sequence[str] = ()
    planned: frozenset[float] = frozenset()
    closed: int = 0
    looked: list[float] = field(default_factory=list)

    @property
    def info(self) -> ClipInfo:
        return ClipInfo(name=f"clip{self.seed}", duration_seconds=16.0, fps=1.0, has_sound=True)

    def plan(self, plan: Plan) -> None:
        self.planned = frozenset(plan.times)

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        if not set(look.times) <= self.planned:
            raise ValueError("a look outside the plan")
        self.looked.extend(look.times)
        values = [np.random.default_rng([self.seed, int(t)]).random(4) for t in look.times]
        rows = np.array(values, np.float32)
        if isinstance(look.view, Canvas):
            rows = rows[:, None, None, :1].repeat(look.view.width, axis=3)
        self.meter.frames_decoded += len(look.times)
        return rows, look.times

    def close(self) -> None:
        self.closed += 1


class FakeRunner:
    """Parts are NumPy functions of rows; every row of every part costs 10 MACs."""

    def __init__(self, functions: dict[str, Callable[..., tuple[Array, ...]]]) -> None:
        self.functions = functions
        self.specs: dict[str, object] = {}
        self.rows: dict[str, int] = {}

    def load(self, part: str) -> None:
        assert part in self.functions

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        joined = [np.concatenate(column) for column in zip(*calls, strict=True)]
        self.rows[part] = self.rows.get(part, 0) + len(joined[0])
        outputs = self.functions[part](*joined)
        cuts = np.cumsum([call[0].shape[0] for call in calls])[:-1]
        return list(zip(*(np.split(o, cuts) for o in outputs), strict=True))

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        return 10
