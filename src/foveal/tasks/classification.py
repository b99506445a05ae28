"""Classification: how often a system is right on labelled clips, and what that costs.

Every clip goes through the protocol and the executor, so the bill is that of the calls and frames
that really were made. Letters: N clips, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from foveal.dataset import Kind, Sample, open_sample, truth_of
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import Runner
from foveal.metrics import mean_average_precision
from foveal.records import Failure
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.types import Array, ClipInfo, Cost, FovealError


class NothingReadError(FovealError):
    """None of the clips can be read."""

    kind = "nothing_read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came of judging a system on labelled clips.

    Args:
        probs: float (N,K), of the clips that could be read.
        truth: bool (N,K), which classes the same show.
        several: whether a clip may show several.
        costs: of the same.
        failures: of the clips that could not.
    """

    probs: Array
    truth: Array
    costs: tuple[Cost, ...]
    failures: tuple[Failure, ...]
    several: bool = False

    def __len__(self) -> int:
        """Return N."""
        return len(self.probs)

    @property
    def right(self) -> Array:
        """Which clips show the class with the largest probability, bool (N,); ties: the lower."""
        return np.asarray(self.truth[np.arange(len(self)), self.probs.argmax(axis=1)])

    @property
    def accuracy(self) -> float:
        """Share of the clips that are right (top-1)."""
        return float(self.right.mean())

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes that occur of the share that is right of the clips that show it."""
        here = np.flatnonzero(self.truth.any(axis=0))
        return float(np.mean([self.right[self.truth[:, k]].mean() for k in here]))

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes that occur of the average precision."""
        return mean_average_precision(self.probs, self.truth)[0]

    def mean(self, of: Callable[[Cost], float]) -> float:
        """Return the mean of a figure of the bill over the clips."""
        return float(np.mean([of(cost) for cost in self.costs]))

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON data."""
        return {
            "num_clips": len(self),
            "num_unreadable": len(self.failures),
            "accuracy": self.accuracy,
            **(
                {"mean_average_precision": self.mean_average_precision}
                if self.several
                else {"mean_class_accuracy": self.mean_class_accuracy}
            ),
            "gmacs_per_clip": self.mean(lambda cost: cost.gmacs),
            "frames_used_per_clip": self.mean(lambda cost: cost.frames_used),
            "frames_decoded_per_clip": self.mean(lambda cost: cost.frames_decoded),
            "ms_per_clip": self.mean(lambda cost: cost.total_ms),
        }


def evaluate(
    samples: Sequence[Sample],
    *,
    kind: Kind,
    runner: Runner,
    steps: Callable[[ClipInfo], Steps],
    exit_rule: ExitRule | None = None,
    max_in_flight: int = 16,
    several: bool = False,
) -> Evaluation:
    """Return how a system does on ``samples``.

    Args:
        samples: labelled clips, at least one of which can be read.
        kind: what they are.
        runner: runs the system's parts.
        steps: starts its protocol on a clip.
        exit_rule: when a clip may stop early.
        max_in_flight: clips open at once.
        several: whether a clip may show several classes.

    Raises:
        NothingReadError: no clip can be read; the first one's reason is given.
        ValueError: an answer holds segments, not probabilities.
    """
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for done in run(
        [(one.path, one) for one in samples],
        kind=kind,
        runner=runner,
        steps=steps,
        exit_rule=exit_rule,
        max_in_flight=max_in_flight,
    ):
        if isinstance(done, Failure):
            failures.append(done)
        else:
            outcomes.append(done)
    place = {one.path: index for index, one in enumerate(samples)}
    failures.sort(key=lambda failure: place[failure.path])  # they come as they are found
    if not outcomes:
        raise NothingReadError(failures[0].message, hint=failures[0].hint)
    outcomes.sort(key=lambda outcome: outcome.index)
    probs = np.stack([probs_of(outcome) for outcome in outcomes])
    return Evaluation(
        probs=probs,
        truth=truth_of((samples[one.index].labels for one in outcomes), probs.shape[1]),
        several=several,
        costs=tuple(outcome.cost for outcome in outcomes),
        failures=tuple(failures),
    )


def run(
    samples: Iterable[tuple[str, Sample]],
    *,
    kind: Kind,
    runner: Runner,
    steps: Callable[[ClipInfo], Steps],
    exit_rule: ExitRule | None = None,
    max_in_flight: int = 16,
) -> Iterator[Outcome | Failure]:
    """Yield what comes of each of ``samples``, given with its name, as they are done.

    An error in one is its failed record; the others go on. Arguments as of :func:`evaluate`.
    """
    jobs = (
        Job(name=name, open=partial(open_sample, one, kind=kind), steps=steps)
        for name, one in samples
    )
    executor = Executor(runner, exit_rule=exit_rule, max_in_flight=max_in_flight, catch=True)
    yield from executor.run(jobs)


def probs_of(outcome: Outcome) -> Array:
    """Return the probabilities a sample was answered with, float (K,).

    Raises:
        ValueError: the answer holds segments, not probabilities.
    """
    if outcome.answer.probs is None:
        raise ValueError(f"{outcome.name}: the answer holds segments, no probabilities")
    return outcome.answer.probs
