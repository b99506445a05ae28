"""Two runners side by side: how far one is from the other on the same trace, and run freely."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.dataset import Kind, Sample
from foveal.engine.executor import Outcome
from foveal.engine.runners import Runner
from foveal.records import Failure
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.tasks.classification import run
from foveal.types import Array, ClipInfo, PartSpec

MARGIN = 1e-3
"""Runners agree if outputs on one trace are no further apart."""
TOSSED = 0.01
"""Share of the clips that may be decided otherwise when both run freely."""


class Replay:
    """Hands back what one runner says, and notes how far the other is from it, call by call.

    Args:
        leader: whose outputs decide.
        follower: gets the same inputs.
    """

    def __init__(self, leader: Runner, follower: Runner) -> None:
        self.leader, self.follower = leader, follower
        self.specs: Mapping[str, PartSpec] = leader.specs
        self.difference = 0.0

    def load(self, part: str) -> None:
        """Load the part in both; see :meth:`foveal.engine.runners.Runner.load`."""
        self.leader.load(part)
        self.follower.load(part)

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the leader's outputs; see :meth:`foveal.engine.runners.Runner.run`."""
        led, followed = self.leader.run(part, calls), self.follower.run(part, calls)
        for a, b in zip(led, followed, strict=True):
            apart = [np.abs(x.astype(np.float64) - y).max() for x, y in zip(a, b, strict=True)]
            self.difference = max(self.difference, *apart)
        return led

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return what both have counted.

        Raises:
            ValueError: they disagree, or have not counted these shapes.
        """
        led, followed = self.leader.macs(part, shapes), self.follower.macs(part, shapes)
        if led != followed:
            raise ValueError(f"part {part!r}: {led} MACs in one runner, {followed} in the other")
        return led


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two runners agree on some clips.

    Args:
        num_clips: that could be read.
        difference: largest difference of any output on the trace of the first runner.
        decided_otherwise: clips whose frames, boxes or answers differ when both run freely.
    """

    num_clips: int
    difference: float
    decided_otherwise: int

    @property
    def holds(self) -> bool:
        """Whether they agree as two runners of one bundle must."""
        return self.difference < MARGIN and self.decided_otherwise <= max(
            1, int(TOSSED * self.num_clips)
        )


def compare(
    one: Runner,
    other: Runner,
    samples: Iterable[tuple[str, Sample]],
    *,
    kind: Kind,
    steps: Callable[[ClipInfo], Steps],
    exit_rule: ExitRule | None = None,
) -> Agreement:
    """Return how ``other`` agrees with ``one`` on ``samples``, given with their names."""
    named = list(samples)
    both = Replay(one, other)
    outcomes: list[dict[str, Outcome]] = []
    for runner in (both, other):
        done = run(named, kind=kind, runner=runner, steps=steps, exit_rule=exit_rule)
        outcomes.append({d.name: d for d in done if not isinstance(d, Failure)})
    led, free = outcomes
    return Agreement(
        num_clips=len(led),
        difference=both.difference,
        decided_otherwise=sum(not _decide_alike(led[name], free[name]) for name in led),
    )


def _decide_alike(one: Outcome, other: Outcome) -> bool:
    """Return whether two runs of a clip looked at the same and came to the same answer."""
    if _decisions(one) != _decisions(other):
        return False
    a, b = (np.array(_boxes(each)) for each in (one, other))
    return bool(a.shape == b.shape and np.allclose(a, b, atol=MARGIN))


def _decisions(outcome: Outcome) -> list[object]:
    """Return what was looked at, called and kept, in order, and the class in the end."""
    found: list[object] = []
    for event in outcome.trace.events:
        match event.kind:
            case "look":
                found.append(tuple(event.detail["asked"]))
            case "call":
                found.append((event.detail["part"], event.detail["rows"]))
            case "note":
                found.append((event.detail.get("chosen"), event.detail.get("gates")))
    probs = outcome.answer.probs
    return [*found, outcome.trace.exit_index, None if probs is None else int(probs.argmax())]


def _boxes(outcome: Outcome) -> list[object]:
    events = outcome.trace.events
    return [e.detail["box"] for e in events if e.kind == "note" and e.detail.get("box") is not None]
