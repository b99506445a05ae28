"""What the executor itself costs a row: 64 samples whose parts do nothing at all.

python benchmarks/overhead.py            # writes results/benchmarks/overhead.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from foveal.engine.executor import Executor, Job
from foveal.results import write_result
from foveal.sampling.protocol import Steps, answer, call, look, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec
from foveal.video import ArraySource

NUM_SAMPLES = 64
NUM_STEPS = 50
REPEATS = 7
CANVAS = Canvas(height=8, width=8)


class IdleRunner:
    """Gives every call its own inputs back, without joining anything."""

    def __init__(self) -> None:
        self.specs: dict[str, PartSpec] = {}

    def load(self, part: str) -> None:
        """Nothing to load."""

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the inputs."""
        return list(calls)

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return nothing spent."""
        return 0


def only_calls(clip: ClipInfo) -> Steps:
    """Fifty calls in a row."""
    state = np.zeros(4, np.float32)
    for _ in range(NUM_STEPS):
        (state,) = yield from call("same", state)
    yield from answer(np.ones(2) / 2)


def looks_and_calls(clip: ClipInfo) -> Steps:
    """Fifty frames, each looked at, passed through a part and answered on."""
    times = [i / 10 for i in range(NUM_STEPS)]
    yield from plan(times)
    for t in times:
        frame = yield from look(t, CANVAS)
        yield from call("same", frame)
        yield from answer(np.ones(2) / 2)


def microseconds_per_row(steps: object) -> list[float]:
    """Return one figure for each repeat, after one that is not counted."""
    frames = np.zeros((NUM_STEPS, 3, 8, 8), np.uint8)
    figures = []
    for repeat in range(REPEATS + 1):
        sources = [ArraySource(frames, fps=10.0, name=str(i)) for i in range(NUM_SAMPLES)]
        jobs = [Job(name=str(i), open=lambda s=s: s, steps=steps) for i, s in enumerate(sources)]
        executor = Executor(IdleRunner(), fetch_threads=0, max_in_flight=NUM_SAMPLES)
        begin = time.perf_counter()
        done = list(executor.run(jobs))
        spent = time.perf_counter() - begin
        assert len(done) == NUM_SAMPLES
        if repeat:
            figures.append(spent / (NUM_SAMPLES * NUM_STEPS) * 1e6)
    return figures


def main() -> None:
    """Measure both and write the result."""
    calls = microseconds_per_row(only_calls)
    both = microseconds_per_row(looks_and_calls)
    median = statistics.median(calls)
    write_result(
        "results/benchmarks/overhead.json",
        title="Executor overhead per row of a part",
        protocol=f"{NUM_SAMPLES} samples in flight, batch 16, {NUM_STEPS} rows each, parts that "
        f"do nothing, one thread, median of {REPEATS} after a warm-up",
        measured={
            "microseconds_per_row_calls": round(median, 2),
            "microseconds_per_row_calls_all": [round(f, 2) for f in calls],
            "microseconds_per_row_look_call_answer": round(statistics.median(both), 2),
        },
        threads=1,
        claim={"text": "overhead below 50 microseconds a row", "holds": median < 50},
    )
    print(f"{median:.1f} us a row (calls), {statistics.median(both):.1f} us (look, call, answer)")


if __name__ == "__main__":
    main()
