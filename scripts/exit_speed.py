"""What exits save in time and in multiply-accumulates, run in turns with and without them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import Runner
from foveal.haystack import Preset
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.types import Array, ClipInfo, Source
from foveal.video import ArraySource

REPEATS = 5
"""Runs that count, after one to warm up."""

Start: TypeAlias = Callable[[ClipInfo], Steps]
"""Starts a protocol on a clip."""


def jobs_of(start: Start, opens: Sequence[Callable[[], Source]]) -> list[Job]:
    """Return a job for each source."""
    return [Job(name=str(i), open=opened, steps=start) for i, opened in enumerate(opens)]


def decoded(clips: Array, preset: Preset) -> list[Callable[[], Source]]:
    """Return how to open each clip of an array."""
    return [partial(ArraySource, clip, fps=float(preset.fps)) for clip in clips]


def spent(
    runner: Runner,
    start: Start,
    opens: Sequence[Callable[[], Source]],
    rule: ExitRule | None,
    *,
    max_batch: int,
) -> dict[str, float]:
    """Return milliseconds and multiply-accumulates of one run over all sources."""
    executor = Executor(
        runner,
        exit_rule=rule,
        max_batch=max_batch,
        max_in_flight=1 if max_batch == 1 else None,
        fetch_threads=0,
    )
    begin = time.perf_counter()
    outcomes = [o for o in executor.run(jobs_of(start, opens)) if isinstance(o, Outcome)]
    wall_ms = (time.perf_counter() - begin) * 1e3
    assert len(outcomes) == len(opens)
    return {
        "ms": sum(o.cost.ms["compute"] + o.cost.ms["decide"] for o in outcomes),
        "compute_ms": sum(o.cost.ms["compute"] for o in outcomes),
        "wall_ms": wall_ms,
        "macs": float(sum(o.cost.total_macs for o in outcomes)),
        "frames_decoded": float(sum(o.cost.frames_decoded for o in outcomes)),
    }


def compared(
    runner: Runner,
    start: Start,
    opens: Sequence[Callable[[], Source]],
    rule: ExitRule,
    *,
    max_batch: int,
    by: str = "ms",
) -> dict[str, float]:
    """Return what exits save, in time and in multiply-accumulates."""
    runs: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    for repeat in range(REPEATS + 1):
        for name, exit_rule in (("on", rule), ("off", None)):
            row = spent(runner, start, opens, exit_rule, max_batch=max_batch)
            if repeat:
                runs[name].append(row)
    on, off = (
        {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for rows in runs.values()
    )
    macs_saved, time_saved = 1 - on["macs"] / off["macs"], 1 - on[by] / off[by]
    return {
        "macs_on_of_off": round(on["macs"] / off["macs"], 4),
        "macs_saved": round(macs_saved, 4),
        "time_saved": round(time_saved, 4),
        "time_saved_of_macs_saved": round(time_saved / macs_saved, 4),
        "on_ms_per_clip": round(on[by] / len(opens), 3),
        "off_ms_per_clip": round(off[by] / len(opens), 3),
        "on_frames_decoded_per_clip": round(on["frames_decoded"] / len(opens), 3),
        "off_frames_decoded_per_clip": round(off["frames_decoded"] / len(opens), 3),
    }
