"""What exits save in time and in multiply-accumulates, run in turns with and without them."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import Runner
from foveal.haystack import Preset
from foveal.haystack.files import write_videos
from foveal.results import write_result
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import Steps
from foveal.tasks.classification import probs_of
from foveal.types import Array, ClipInfo, Source
from foveal.video import ArraySource, open_source

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


def decided(
    runner: Runner, start: Start, opens: Sequence[Callable[[], Source]], rule: ExitRule | None
) -> list[tuple[int, int]]:
    """Return exit and class of every source."""
    executor = Executor(runner, exit_rule=rule, fetch_threads=0)
    told = {
        one.index: (one.trace.exit_index, int(probs_of(one).argmax()))
        for one in executor.run(jobs_of(start, opens))
        if isinstance(one, Outcome)
    }
    return [told[i] for i in range(len(opens))]


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


def timed(
    runner: Runner, start: Start, clips: Array, rule: ExitRule, *, task: Preset, seed: int
) -> dict[str, dict[str, float]]:
    """Return what exits save by sixteens, one by one, and end to end by the wall clock.

    Args:
        runner: of the exported parts.
        start: starts the protocol on a clip.
        clips: decoded, the first of *test*; end to end they are read from MP4 files.
        rule: of the exits.
        task: what the clips are drawn from.
        seed: of the drawing.
    """
    opens = decoded(clips, task)
    times = {
        f"batch_{size}": compared(runner, start, opens, rule, max_batch=size) for size in (16, 1)
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        truths = list(write_videos(root, task, split="test", count=len(clips), seed=seed))
        files = [partial(open_source, str(root / "test" / t["file"])) for t in truths]
        times["end_to_end"] = compared(runner, start, files, rule, max_batch=16, by="wall_ms")
    return times


def write_speed(
    path: str,
    *,
    title: str,
    how: str,
    rule: ExitRule,
    times: Mapping[str, Mapping[str, float]],
    measured: Mapping[str, Any],
    seed: int,
) -> None:
    """Write what exits save, with the claim of all such scripts.

    Args:
        path: of the result.
        title: in one line.
        how: what was timed.
        rule: of the exits.
        times: see :func:`timed`.
        measured: what else there is.
        seed: of weights and clips.
    """
    many = times["batch_16"]
    holds = 0.3 <= many["macs_on_of_off"] <= 0.6 and many["time_saved_of_macs_saved"] >= 0.8
    write_result(
        path,
        title=title,
        protocol=f"{how}, exits on and off in turns, median of {REPEATS} runs; end to end is the "
        "wall clock from MP4 files",
        seeds=[seed],
        threads=1,
        measured={
            "exit_thresholds": [round(t, 4) for t in rule.thresholds],
            **times,
            **measured,
        },
        claim={"text": "time saved is at least 80 % of MACs saved", "holds": holds},
    )
    print(times, measured, sep="\n", file=sys.stderr)
