"""``foveal curve``: calibrated bundles and evaluations to one picture."""

from __future__ import annotations

import sys
from pathlib import Path

from foveal.cli.guard import OK
from foveal.cli.output import output_path, write_whole
from foveal.cli.text import clean, count

SUFFIXES = (".svg", ".png")


def run(results: list[str], *, out: str) -> int:
    """Draw ``results`` to ``out``, with the figures beside it; return the exit code."""
    from foveal.calibration import csv_of, read_curves, svg_of

    picture, figures = paths(out, results)
    curves = read_curves(results)
    if picture.suffix.lower() == ".png":
        from foveal.calibration.drawing import draw_png
        from foveal.cli.extras import plot_extra

        with plot_extra("a picture as PNG"):
            draw_png(curves, picture)
    else:
        write_whole(picture, svg_of(curves))
    write_whole(figures, csv_of(curves))
    best = [f"{curve.label}, {m.name}" for curve in curves for m in curve.marks if m.is_on_front]
    print(f"{count(len(best), 'point')} that nothing else here is better than:")
    for line in best:
        print(f"  {clean(line)}")
    print(f"{clean(str(picture))}, {clean(str(figures))}", file=sys.stderr)
    return OK


def paths(out: str, inputs: list[str]) -> tuple[Path, Path]:
    """Return where picture and figures go, before work is spent on them.

    Raises:
        InputError: the name says no form, or a file would be lost.
    """
    from foveal.api import InputError

    if Path(out).suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{out}: a picture ends in {' or '.join(SUFFIXES)}", hint="say for instance curve.svg"
        )
    picture = output_path(out, suffixes=SUFFIXES, inputs=inputs)
    if picture.is_dir() or not picture.resolve().parent.is_dir():
        raise InputError(
            f"{out}: no picture can be written there", hint="name a file in a folder that exists"
        )
    beside = str(picture.with_suffix(".csv"))
    return picture, output_path(beside, suffixes=(".csv",), inputs=inputs)
