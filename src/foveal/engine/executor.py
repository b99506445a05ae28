"""Run many protocols at once: join their calls, fetch while parts compute, stop early, bill.

Every sample is a generator. The executor sends it what it asked for and files each ``Call``
under its part and shapes, whatever step the sample is at; a group runs when it is full or when
nothing else can go on (continuous batching). Only this module touches sources and parts, so
what it writes down is what happened.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from foveal.engine.recorder import Recorder
from foveal.engine.runners import Runner
from foveal.records import Failure
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.types import (
    Answer,
    Array,
    Call,
    ClipInfo,
    Cost,
    FovealError,
    Look,
    Note,
    Plan,
    Source,
    Trace,
)

Rows: TypeAlias = tuple[Array, ...]
GroupKey: TypeAlias = tuple[str, tuple[tuple[tuple[int, ...], str], ...]]


class CappedError(FovealError):
    """A sample would exceed its cap before it has any answer."""

    kind = "capped"


class ProtocolError(RuntimeError):
    """A system broke the contract: it gave no answer, or yielded something unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sample to run.

    Args:
        name: what its record calls it.
        open: opens its source; called on a fetch thread.
        steps: starts its protocol, given what is known of the clip.
    """

    name: str
    open: Callable[[], Source]
    steps: Callable[[ClipInfo], Steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one job that ran to its answer."""

    name: str
    index: int
    clip: ClipInfo
    answer: Answer
    trace: Trace
    cost: Cost
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Sample:
    """A job under way."""

    job: Job
    index: int
    source: Source
    steps: Steps
    record: Recorder
    answer: Answer | None = None
    num_answers: int = 0
    macs: int = 0
    capped: bool = False
    stopped_early: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class BatchStats:
    """How full the batches were; ``mean_rows`` is the continuous-batching figure."""

    runs: int = 0
    rows: int = 0

    @property
    def mean_rows(self) -> float:
        """Rows per run of a part; 0 before the first."""
        return self.rows / self.runs if self.runs else 0.0


@dataclass(slots=True)
class _Waiting:
    """Calls of one group that wait for a batch."""

    calls: deque[tuple[_Sample, Call]] = field(default_factory=deque)
    rows: int = 0


class Executor:
    """Runs jobs to their answers, in the order they finish.

    Args:
        runner: runs the parts and knows their counted MACs.
        exit_rule: when a sample may stop before its protocol ends; ``None``: never.
        max_batch: most rows in one run of a part.
        max_in_flight: samples open at once; bounds memory.
        fetch_threads: sources working beside the parts; 0 fetches in line.
        max_macs: most multiply-accumulates a sample may be billed; before a call that would exceed
            it the sample stops with the last answer, and without one it fails. None: no cap.
        catch: an unexpected error in one sample becomes a failed record and the others go on;
            False lets it rise, for tests and debugging. Errors a user can act on
            (:class:`FovealError`) always become records.

    Raises:
        ValueError: a limit is not positive.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        exit_rule: ExitRule | None = None,
        max_batch: int = 16,
        max_in_flight: int | None = None,
        fetch_threads: int = 1,
        max_macs: int | None = None,
        catch: bool = False,
    ) -> None:
        if max_batch < 1 or fetch_threads < 0 or (max_in_flight is not None and max_in_flight < 1):
            raise ValueError("max_batch and max_in_flight must be >= 1, fetch_threads >= 0")
        self.runner = runner
        self.exit_rule = exit_rule
        self.max_batch = max_batch
        self.max_in_flight = max_in_flight or 2 * max_batch
        self.fetch_threads = fetch_threads
        self.max_macs = max_macs
        self.catch = catch
        self.stats: dict[str, BatchStats] = {}
        self._macs: dict[GroupKey, int] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome | Failure]:
        """Yield one outcome or failure for every job, as each is done."""
        run = _Run(self, iter(enumerate(jobs)))
        try:
            yield from run.outcomes()
        finally:
            run.close()

    def macs_of(self, call: Call) -> int:
        """Return what ``call`` will be billed."""
        return self._row_macs(_key(call)) * call.rows

    def _row_macs(self, key: GroupKey) -> int:
        if key not in self._macs:
            self._macs[key] = self.runner.macs(key[0], tuple((1, *shape) for shape, _ in key[1]))
        return self._macs[key]

    def run_batch(self, key: GroupKey, batch: list[tuple[_Sample, Call]]) -> list[Rows]:
        """Run one part on the rows of ``batch`` and put the bill on each sample."""
        part = key[0]
        self.runner.load(part)
        begin = time.perf_counter()
        outputs = self._run_rows(part, [call.inputs for _, call in batch])
        total_ms = (time.perf_counter() - begin) * 1e3
        rows = sum(call.rows for _, call in batch)
        stats = self.stats.setdefault(part, BatchStats())
        stats.runs += 1
        stats.rows += rows
        row_macs = self._row_macs(key)
        for sample, call in batch:
            macs = row_macs * call.rows
            sample.record.called(call, macs=macs, ms=total_ms * call.rows / rows)
        return outputs

    def _run_rows(self, part: str, calls: list[Rows]) -> list[Rows]:
        """Run ``calls`` as one batch; one call larger than a batch goes through in pieces."""
        rows = calls[0][0].shape[0]
        if len(calls) > 1 or rows <= self.max_batch:
            return self.runner.run(part, calls)
        pieces = [
            self.runner.run(part, [tuple(a[i : i + self.max_batch] for a in calls[0])])[0]
            for i in range(0, rows, self.max_batch)
        ]
        return [tuple(np.concatenate(column) for column in zip(*pieces, strict=True))]


def _key(call: Call) -> GroupKey:
    """Return what calls that may share a batch have in common."""
    return (call.part, tuple((a.shape[1:], str(a.dtype)) for a in call.inputs))


class _Run:
    """The state of one :meth:`Executor.run`."""

    def __init__(self, executor: Executor, jobs: Iterator[tuple[int, Job]]) -> None:
        self.executor = executor
        self.jobs = jobs
        self.pool = ThreadPoolExecutor(executor.fetch_threads) if executor.fetch_threads else None
        self.fetching: dict[Future[Any], tuple[_Sample | tuple[int, Job], Look | None]] = {}
        self.ready: deque[tuple[_Sample, Any]] = deque()
        self.waiting: dict[GroupKey, _Waiting] = {}
        self.open: set[int] = set()
        self.sources: dict[int, Source] = {}
        self.exhausted = False
        self.done: deque[Outcome | Failure] = deque()

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
        for source in self.sources.values():
            source.close()

    def outcomes(self) -> Iterator[Outcome | Failure]:
        while True:
            while self.done:  # before the next name is taken, which may be long in coming
                yield self.done.popleft()
            self._admit()
            while self.ready:
                self._advance(*self.ready.popleft())
            while self.done:
                yield self.done.popleft()
            if self.ready:
                continue
            if self._collect(block=False) or (not self.exhausted and self._has_room()):
                continue
            if not self._compute() and not self._collect(block=True):
                return

    def _has_room(self) -> bool:
        return len(self.open) < self.executor.max_in_flight

    def _admit(self) -> None:
        """Open new samples while there is room."""
        while not self.exhausted and self._has_room():
            item = next(self.jobs, None)
            if item is None:
                self.exhausted = True
                return
            index, job = item
            self.open.add(index)
            self._fetch(job.open, (index, job), None)

    def _fetch(
        self, work: Callable[[], Any], owner: _Sample | tuple[int, Job], look: Look | None
    ) -> None:
        if self.pool is not None:
            self.fetching[self.pool.submit(work)] = (owner, look)
            return
        future: Future[Any] = Future()
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)
        self._fetched(future, owner, look)

    def _collect(self, *, block: bool) -> bool:
        """Take in what has been fetched; return whether anything was."""
        if not self.fetching:
            return False
        timeout = None if block else 0
        finished, _ = wait(self.fetching, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in finished:
            self._fetched(future, *self.fetching.pop(future))
        return bool(finished)

    def _fetched(
        self, future: Future[Any], owner: _Sample | tuple[int, Job], look: Look | None
    ) -> None:
        error = future.exception()
        if isinstance(owner, _Sample):
            if error is not None:
                self._fail(owner.index, owner.job.name, error)
                return
            assert look is not None
            rows, seconds = future.result()
            owner.record.looked(look, rows, seconds)
            self.ready.append((owner, rows))
            return
        index, job = owner
        if error is not None:
            self._fail(index, job.name, error)
            return
        source: Source = future.result()
        self.sources[index] = source
        try:
            steps = job.steps(source.info)
        except Exception as fault:
            self._fail(index, job.name, fault)
            return
        self.ready.append((_Sample(job, index, source, steps, Recorder()), None))

    def _fail(self, index: int, name: str, error: BaseException) -> None:
        """Turn an error of one sample into its record, so that the others go on."""
        self._release(index)
        if isinstance(error, FovealError):
            self.done.append(Failure.of(name, error))
        elif self.executor.catch and isinstance(error, Exception):
            self.done.append(Failure.unexpected(name, error))
        else:
            raise error

    def _release(self, index: int) -> None:
        self.open.discard(index)
        source = self.sources.pop(index, None)
        if source is not None:
            source.close()

    def _advance(self, sample: _Sample, value: Any) -> None:
        """Send ``value`` and follow the protocol to its next fetch or call, or to its end."""
        begin = time.perf_counter()
        try:
            while True:
                step = sample.steps.send(value)
                value = None
                if isinstance(step, Call) and self._exceeds(sample, step):
                    sample.steps.close()
                    self._stop_at_cap(sample, begin)
                    return
                if isinstance(step, (Call, Look)):
                    break
                if self._record(sample, step):
                    sample.steps.close()
                    self._finish(sample, begin)
                    return
        except StopIteration:
            self._finish(sample, begin)
            return
        except Exception as error:
            self._fail(sample.index, sample.job.name, error)
            return
        sample.record.decided((time.perf_counter() - begin) * 1e3)
        if isinstance(step, Call):
            self._enqueue(sample, step)
        else:
            self._fetch(lambda: sample.source.look(step), sample, step)

    def _exceeds(self, sample: _Sample, call: Call) -> bool:
        """Return whether ``call`` would take a sample over its cap; if not, count it."""
        if self.executor.max_macs is None:
            return False
        macs = sample.macs + self.executor.macs_of(call)
        if macs > self.executor.max_macs:
            return True
        sample.macs = macs
        return False

    def _stop_at_cap(self, sample: _Sample, begin: float) -> None:
        """Finish a sample with its last answer; fail it if there is none."""
        if sample.answer is not None:
            sample.capped = sample.stopped_early = True
            self._finish(sample, begin)
            return
        error = CappedError(
            f"{sample.job.name}: its first answer would exceed the cap of "
            f"{(self.executor.max_macs or 0) / 1e9:g} GMACs",
            hint="allow more, or leave the cap away",
        )
        self._fail(sample.index, sample.job.name, error)

    def _record(self, sample: _Sample, step: object) -> bool:
        """Write down a plan, note or answer; return whether the sample may stop."""
        if isinstance(step, Plan):
            sample.source.plan(step)
            sample.record.planned(step)
            return False
        if isinstance(step, Note):
            sample.record.noted(step)
            if step.warning is not None and step.warning not in sample.warnings:
                sample.warnings.append(step.warning)
            return False
        if not isinstance(step, Answer):
            raise ProtocolError(f"{sample.job.name}: a protocol yielded {type(step).__name__}")
        sample.answer = step
        sample.record.answered(step)
        sample.num_answers += 1
        rule = self.executor.exit_rule
        if rule is not None and step.probs is not None:
            sample.stopped_early = rule.holds(
                sample.num_answers - 1, step.probs, logits=step.logits, sure=step.sure
            )
        return sample.stopped_early

    def _finish(self, sample: _Sample, begin: float) -> None:
        sample.record.decided((time.perf_counter() - begin) * 1e3)
        if sample.answer is None:
            error = ProtocolError(f"{sample.job.name}: the protocol ended without an answer")
            self._fail(sample.index, sample.job.name, error)
            return
        warnings = (*sample.source.warnings, *sample.warnings)
        if sample.capped:
            warnings += ("stopped at the cap of its budget, before it would have stopped itself",)
        trace = sample.record.trace(
            exit_index=sample.num_answers - 1, stopped_early=sample.stopped_early
        )
        self.done.append(
            Outcome(
                name=sample.job.name,
                index=sample.index,
                clip=sample.source.info,
                answer=sample.answer,
                trace=trace,
                cost=sample.record.cost(sample.source.meter, trace),
                warnings=warnings,
            )
        )
        self._release(sample.index)

    def _enqueue(self, sample: _Sample, call: Call) -> None:
        group = self.waiting.setdefault(_key(call), _Waiting())
        group.calls.append((sample, call))
        group.rows += call.rows

    def _compute(self) -> bool:
        """Run the fullest group if it is worth it; return whether anything ran.

        While sources still fetch, a batch less than half full waits for company.
        """
        if not self.waiting:
            return False
        key, group = max(self.waiting.items(), key=lambda item: item[1].rows)
        if self.fetching and 2 * group.rows < self.executor.max_batch:
            return False
        batch: list[tuple[_Sample, Call]] = []
        rows = 0
        while group.calls and (
            not batch or rows + group.calls[0][1].rows <= self.executor.max_batch
        ):
            sample, call = group.calls.popleft()
            batch.append((sample, call))
            rows += call.rows
        group.rows -= rows
        if not group.calls:
            del self.waiting[key]
        self._run(key, batch)
        return True

    def _run(self, key: GroupKey, batch: list[tuple[_Sample, Call]]) -> None:
        """Run a batch; where it fails run its calls one by one, so that only the culprit fails."""
        try:
            outputs = self.executor.run_batch(key, batch)
        except Exception as error:
            if len(batch) == 1:
                ((sample, _),) = batch
                self._fail(sample.index, sample.job.name, error)
                return
            for one in batch:
                self._run(key, [one])
            return
        for (sample, _), rows_out in zip(batch, outputs, strict=True):
            self.ready.append((sample, rows_out))
