"""``foveal calibrate``: a bundle and labelled clips to a bundle that knows its curve."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.guard import FAILED, OK, complain
from foveal.cli.output import output_path
from foveal.cli.text import clean, count, exact_gmacs, milliseconds, percent

if TYPE_CHECKING:
    from foveal.bundle import Calibration, MeasuredPoint
    from foveal.calibration import Calibrating
    from foveal.dataset import Format, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal calibrate --help``."""

    split: Split
    out: str | None
    format: Format | None
    videos: str | None
    threads: int | None


def run(subject: str, data: str, options: Options) -> int:
    """Measure ``subject`` on ``data``, write the bundle, show the curve; return the exit code."""
    from foveal.bundle import BundleError
    from foveal.calibration import prepare

    out = None if options.out is None else bundle_path(options.out)
    try:
        work = prepare(
            subject,
            data,
            split=options.split,
            out=out,
            format=options.format,
            videos=options.videos,
            threads=options.threads,
        )
        announce(work)
        with bar(work.num_runs) as progress:
            done = work.run(progress)
    except BundleError as error:
        # A file that failed, as a clip may.
        complain(error.message, hint=error.hint)
        return FAILED
    for failure in done.failures:
        say(f"  failed: {failure.message}; {failure.hint}")
    for line in table(done.calibration, several=work.several):
        print(clean(line))
    for line in done.verdicts:
        print(clean(line[:1].upper() + line[1:]))
    say(f"{work.out}: {count(len(done.calibration.points), 'operating point')}")
    return FAILED if done.failures else OK


def bundle_path(name: str) -> Path:
    """Return where the bundle goes, before work is spent on it.

    Raises:
        InputError: a file would be lost that is no bundle, or its folder is not there.
    """
    path = output_path(name, suffixes=(".foveal",))
    if path.is_dir() or not path.resolve().parent.is_dir():
        from foveal.api import InputError

        raise InputError(
            f"{name}: no bundle can be written there", hint="name a file in a folder that exists"
        )
    return path


def announce(work: Calibrating) -> None:
    """Say on standard error what is measured, and what to beware of."""
    dataset = work.dataset
    total = count(len(work.samples), "clip")
    say(f"{dataset.name}: {total} for {work.split} ({dataset.how_split})")
    for line in work.warnings:
        say(f"  warning: {line}")
    say(f"{work.model.name}: {count(len(work.points), 'operating point')} to measure")


def say(line: str) -> None:
    """Print a line beside the output."""
    print(clean(line), file=sys.stderr, flush=True)


@contextmanager
def bar(total: int) -> Iterator[Callable[[], None]]:
    """Give a function that moves a bar by one clip, where somebody watches."""
    from foveal.cli.progress import tracked

    steps = iter(tracked(range(total + 1), total))
    next(steps)
    try:
        yield lambda: (next(steps, None), None)[1]
    finally:
        for _ in steps:
            pass


LEGEND = (
    "* no other point is as accurate and costs as little. A clip's GMACs are the mean, p95 and the "
    "most; its time on this machine is p50 and p95."
)


def table(found: Calibration, *, several: bool = False) -> list[str]:
    """Return the points as lines, from dear to cheap, and what the columns and ``*`` mean.

    Exits that were solved for several budgets and came out alike share a line. Where a clip may
    show several classes, mean average precision stands in the place of what is right.
    """
    shared = alike(found.points)
    width = max(len(name) for name, _ in shared)
    columns = "".join(f"{name:>12}" for name in ("GMACs", "p95", "max", "time", "p95"))
    head = f"  {'point':<{width}} {'mAP' if several else 'right':>7}{columns}"
    return [head, *(_row(name, measured, width) for name, measured in shared), LEGEND]


def alike(points: Sequence[MeasuredPoint]) -> list[tuple[str, MeasuredPoint]]:
    """Return points by name; neighbours of one ladder with the same figures are one.

    Of ``exits at 92 %`` and ``exits at 95 %`` that is ``exits at 92 %, 95 %``.
    """
    rows: list[tuple[str, MeasuredPoint]] = []
    for measured in points:
        before = rows[-1] if rows else None
        ladder, _, rung = measured.point.name.rpartition(" at ")
        if before is not None and ladder and _same(before[1], measured, ladder):
            rows[-1] = (f"{before[0]}, {rung}", before[1])
        else:
            rows.append((measured.point.name, measured))
    return rows


def _same(one: MeasuredPoint, other: MeasuredPoint, ladder: str) -> bool:
    def figures(p: MeasuredPoint) -> tuple[float, ...]:
        return (p.accuracy, p.mean_macs, p.p95_macs, p.max_macs)

    both = one.point.family == other.point.family == "exits"
    return both and one.point.name.startswith(f"{ladder} at ") and figures(one) == figures(other)


def _row(name: str, measured: MeasuredPoint, width: int) -> str:
    macs = (measured.mean_macs, measured.p95_macs, measured.max_macs)
    figures = " ".join(f"{exact_gmacs(value):>11}" for value in macs)
    times = " ".join(f"{milliseconds(ms):>11}" for ms in (measured.p50_ms, measured.p95_ms))
    mark = "*" if measured.is_on_front else " "
    return f"{mark} {name:<{width}} {percent(measured.accuracy):>7} {figures} {times}"
