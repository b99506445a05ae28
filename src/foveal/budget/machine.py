"""How quick this machine is, and what that means for points measured on another one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median

import numpy as np

from foveal.bundle import Bundle, Calibration, Machine, MeasuredPoint, declared_axes
from foveal.cost.latency import measure_latency
from foveal.engine.runners import OnnxRunner, Runner
from foveal.results import cpu_name
from foveal.types import Array, Canvas, Look, PartSpec, Plan
from foveal.video import available_cores, open_source

LEAST_MS = 1e-6
"""What counts as no time at all, so that ratios stay finite."""
NUM_FRAMES, HEIGHT, WIDTH = 48, 240, 320
"""Of the clip that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What tells machines apart before anything is timed."""

    name: str
    cores: int
    threads: int


def describe_machine(threads: int | None = None) -> Described:
    """Return this machine; ``threads`` to compute with, default: all cores this process may use."""
    cores = available_cores()
    return Described(name=cpu_name(), cores=cores, threads=threads or cores)


def same_machine(machine: Machine, here: Described) -> bool:
    """Return whether milliseconds of ``machine`` hold for ``here``."""
    return (machine.name, machine.cores, machine.threads) == (here.name, here.cores, here.threads)


def measure_machine(bundle: Bundle, *, threads: int | None = None, repeats: int = 5) -> Machine:
    """Time every part of ``bundle`` alone, and the reading of a drawn clip, on this machine.

    Args:
        bundle: whose parts are timed, one row at each declared value of their axes.
        threads: to compute with; default: all cores this process may use.
        repeats: timed runs of each, at least 5; the median counts.

    Raises:
        RunnerError: a part cannot be loaded or fails.
    """
    here = describe_machine(threads)
    runner = OnnxRunner(bundle, threads=here.threads)
    runs: dict[str, Callable[[], object]] = {}
    of_part: dict[str, list[str]] = {}
    for spec in bundle.specs.values():
        for number, axes in enumerate(declared_axes(spec)):
            name = f"{spec.name} {number}"
            runs[name] = partial(_run, runner, spec, blank_inputs(spec, axes))
            of_part.setdefault(spec.name, []).append(name)
    timed = measure_latency(runs, threads=here.threads, batch=1, repeats=repeats, warmup=1).latency
    return Machine(
        name=here.name,
        cores=here.cores,
        threads=here.threads,
        part_ms={
            part: max(fmean(timed[name].median_ms for name in names), LEAST_MS)
            for part, names in of_part.items()
        },
        read_ms=max(reading_ms(repeats=repeats), LEAST_MS),
    )


def _run(runner: Runner, spec: PartSpec, inputs: tuple[Array, ...]) -> object:
    return runner.run(spec.name, [inputs])


def blank_inputs(spec: PartSpec, axes: Mapping[str, int]) -> tuple[Array, ...]:
    """Return one row of zeros for each input of a part; what a part takes does not depend on it."""
    return tuple(
        np.zeros((1, *(axes[s] if isinstance(s, str) else s for s in tensor.shape)), tensor.dtype)
        for tensor in spec.inputs
    )


def reading_ms(*, repeats: int) -> float:
    """Return the median of the milliseconds it takes to read a drawn clip through a canvas."""
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        path = Path(folder) / "drawn.mp4"
        _draw(path)
        return median(_read(path) for _ in range(repeats + 1))


def _draw(path: Path) -> None:
    import av

    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    with av.open(os.fspath(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(NUM_FRAMES):
            waves = np.stack([rows + 5 * i, columns + 3 * i, rows + columns], axis=-1) % 256
            frame = av.VideoFrame.from_ndarray(waves.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _read(path: Path) -> float:
    begin = time.perf_counter()
    source = open_source(os.fspath(path))
    times = tuple(np.linspace(0.0, source.info.duration_seconds * 0.95, 8).tolist())
    source.plan(Plan(times=times))
    source.look(Look(times=times, view=Canvas(height=112, width=112)))
    source.close()
    return (time.perf_counter() - begin) * 1e3


def times_here(calibration: Calibration, here: Machine) -> dict[str, float]:
    """Return the milliseconds that 95 of 100 clips of each point should stay below on ``here``.

    Computing is scaled by how long the parts that a point calls take alone, and all else by how
    long reading takes.
    """
    there = calibration.machine
    reading = here.read_ms / there.read_ms
    return {
        measured.point.name: measured.p95_compute_ms * _pace(measured, there, here)
        + (measured.held_ms - measured.p95_compute_ms) * reading
        for measured in calibration.points
    }


def _pace(measured: MeasuredPoint, there: Machine, here: Machine) -> float:
    """Return how many times longer the parts of a point take here."""
    then = sum(rows * there.part_ms[part] for part, rows in measured.rows.items())
    now = sum(rows * here.part_ms[part] for part, rows in measured.rows.items())
    return now / then if then > 0 else 1.0
