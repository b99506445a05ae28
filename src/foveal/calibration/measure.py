"""Settings of a system on labelled clips, each run alone: every answer, and what it had cost.

A run to the end tells what any exit rule would have done and spent, for an answer does not depend
on what comes after it. Letters: A answers, N clips, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from foveal.dataset import Kind, Sample, open_sample, truth_of
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import Runner
from foveal.records import Failure
from foveal.sampling.protocol import Steps
from foveal.types import Answer, Array, Call, ClipInfo, FovealError

Clock = Callable[[], float]


class SegmentsError(FovealError):
    """The system says when things happen, and does not put a clip into one class."""

    kind = "segments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Every answer of a setting.

    Args:
        names: of the clips that could be read, N, in the order given.
        truth: bool (N,K), which classes they show.
        answers: of each clip, A each.
        macs: int64 (A,N), billed until the answer.
        ms: float (A,N), all stages until the answer; opening the file is not among them.
        compute_ms: float (A,N), of these in the parts.
        rows: rows of each part until the answer, int64 (A,N).
        failures: of the clips that could not be read.
        several: whether a clip may show several classes.
    """

    names: tuple[str, ...]
    truth: Array
    answers: tuple[tuple[Answer, ...], ...]
    macs: Array
    ms: Array
    compute_ms: Array
    rows: Mapping[str, Array]
    failures: tuple[Failure, ...]
    several: bool = False

    @property
    def num_answers(self) -> int:
        """A."""
        return len(self.macs)


@dataclass(slots=True)
class _Watch:
    """What a protocol answered, and when."""

    clock: Clock
    answers: list[Answer] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    compute_ms: list[float] = field(default_factory=list)

    def over(self, steps: Steps) -> Steps:
        """Pass everything on in both directions; note the answers and the time until each."""
        begin, computing, value = self.clock(), 0.0, None
        while True:
            try:
                step = steps.send(value)
            except StopIteration:
                return
            if isinstance(step, Answer):
                self.answers.append(step)
                self.ms.append((self.clock() - begin) * 1e3)
                self.compute_ms.append(computing * 1e3)
            paused = self.clock()
            value = yield step
            if isinstance(step, Call):
                computing += self.clock() - paused


def measure(
    samples: Mapping[str, Sample],
    *,
    kind: Kind,
    runner: Runner,
    settings: Mapping[str, Callable[[ClipInfo], Steps]],
    several: bool = False,
    progress: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter,
) -> dict[str, Measured]:
    """Return every answer of every setting on ``samples``, each run alone and to the end.

    A clip is run under all settings before the next one, each time beginning with another, so that
    a busy moment of the machine meets all of them.

    Args:
        samples: labelled clips by name.
        kind: what they are.
        runner: runs the system's parts.
        settings: what starts the protocol of each on a clip, by name.
        several: whether a clip may show several classes.
        progress: called after each run.
        clock: returns seconds.

    Raises:
        SegmentsError: the system answers with segments.
        ValueError: clips have different numbers of answers.
    """
    for part in runner.specs:
        runner.load(part)  # what that takes is on the bill of no clip
    names = list(settings)
    runs: dict[str, dict[str, _Run]] = {name: {} for name in names}
    for turn, (name, sample) in enumerate(samples.items()):
        first = turn % len(names)
        for setting in names[first:] + names[:first]:
            runs[setting][name] = _run(name, sample, kind, runner, settings[setting], clock)
            progress()
    return {
        setting: _gathered(samples, found, runner, several=several)
        for setting, found in runs.items()
    }


@dataclass(frozen=True, slots=True)
class _Run:
    """One clip under one setting."""

    done: Outcome | Failure
    watch: _Watch


def _run(
    name: str,
    sample: Sample,
    kind: Kind,
    runner: Runner,
    steps: Callable[[ClipInfo], Steps],
    clock: Clock,
) -> _Run:
    watch = _Watch(clock)
    job = Job(
        name=name,
        open=partial(open_sample, sample, kind=kind),
        steps=lambda clip: watch.over(steps(clip)),
    )
    # In line: otherwise a clip would pay for a thread that waits.
    (done,) = Executor(runner, max_in_flight=1, fetch_threads=0, catch=True).run([job])
    if isinstance(done, Outcome) and done.answer.probs is None:
        raise SegmentsError(
            "the model says when things happen and does not put a clip into one class",
            hint="name a bundle that classifies",
        )
    return _Run(done, watch)


def _gathered(
    samples: Mapping[str, Sample], runs: Mapping[str, _Run], runner: Runner, *, several: bool
) -> Measured:
    read = {name: run for name, run in runs.items() if isinstance(run.done, Outcome)}
    watches = [run.watch for run in read.values()]
    if len({len(watch.answers) for watch in watches}) > 1:
        raise ValueError("clips have different numbers of answers")
    parts = tuple(runner.specs)
    bills = [_bill(run.done, parts) for run in read.values() if isinstance(run.done, Outcome)]
    num_classes = len(np.asarray(watches[0].answers[0].probs)) if watches else 0
    return Measured(
        names=tuple(read),
        truth=truth_of((samples[name].labels for name in read), num_classes),
        several=several,
        answers=tuple(tuple(watch.answers) for watch in watches),
        macs=np.array([macs for macs, _ in bills], np.int64).T,
        ms=np.array([watch.ms for watch in watches]).T,
        compute_ms=np.array([watch.compute_ms for watch in watches]).T,
        rows={part: np.array([rows[part] for _, rows in bills], np.int64).T for part in parts},
        failures=tuple(run.done for run in runs.values() if isinstance(run.done, Failure)),
    )


def _bill(outcome: Outcome, parts: tuple[str, ...]) -> tuple[list[int], dict[str, list[int]]]:
    """Return MACs, and rows by part, that a clip had been billed at each of its answers."""
    macs, spent = 0, dict.fromkeys(parts, 0)
    all_macs: list[int] = []
    all_rows: dict[str, list[int]] = {part: [] for part in parts}
    for event in outcome.trace.events:
        if event.kind == "call":
            macs += event.detail["macs"]
            spent[event.detail["part"]] += event.detail["rows"]
        elif event.kind == "answer":
            all_macs.append(macs)
            for part, rows in spent.items():
                all_rows[part].append(rows)
    return all_macs, all_rows
