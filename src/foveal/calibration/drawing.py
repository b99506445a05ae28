"""A picture of accuracy by cost: SVG drawn by hand, the same figures as CSV, PNG by matplotlib."""

from __future__ import annotations

import csv
import importlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from foveal.calibration.curve import Curve, Mark
from foveal.explain.markup import number, shortened, text

WIDTH, HEIGHT = 860, 520
"""Of the whole picture, in px."""
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 50, 440
"""Borders of the drawing in it; to the right of it stand the words."""
COLOURS = ("#1f5fa8", "#c4511d", "#2a7f4f", "#7a3d9a", "#9a7b12", "#a3224a", "#3d7d8a", "#555555")
MARKERS = {"exits": "D", "dense": "s", "static": "s", "answers": "s", "random": "^"}
"""Of matplotlib; every other family has circles. Those with a dashed line are hollow."""
DASHES = {"uniform": "6 4", "random": "1.5 4", "static": "10 4 2 4", "answers": "10 4 2 4"}
WORDS = {
    "policy": "decides by what it sees",
    "exits": "exits when sure",
    "static": "fixed, alike for every clip",
    "uniform": "uniform frames",
    "random": "random frames",
    "dense": "dense",
    "answers": "stopped at each answer",
    "evaluated": "as evaluated",
}
COLUMNS = (
    "model",
    "family",
    "point",
    "accuracy",
    "gmacs_mean",
    "gmacs_p95",
    "ms_p50",
    "ms_p95",
    "is_on_front",
    "measured_on",
    "num_clips",
    "machine",
)


def csv_of(curves: Sequence[Curve]) -> str:
    """Return all figures of the picture, a row a point."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for curve in curves:
        for mark in curve.marks:
            known = (mark.accuracy, mark.gmacs, mark.p95_gmacs, mark.p50_ms, mark.p95_ms)
            figures = ("" if value is None else f"{value:.6g}" for value in known)
            told = (curve.measured_on, curve.num_clips, curve.machine)
            rows.writerow(
                (curve.label, mark.family, mark.name, *figures, int(mark.is_on_front), *told)
            )
    return out.getvalue()


By: TypeAlias = Literal["gmacs", "ms"]
TITLES: Mapping[By, tuple[str, str]] = {
    "gmacs": (
        "Accuracy by multiply-accumulates of a clip",
        "GMACs of a clip in the mean",
    ),
    "ms": ("Accuracy by the time a clip takes", "milliseconds of a clip in the median"),
}


class _Scale:
    """From figures to places: costs by their logarithm, shares as they are."""

    def __init__(self, marks: Sequence[Mark], by: By) -> None:
        self.by = by
        costs = [cost for mark in marks if (cost := self.cost(mark)) > 0] or [1.0]
        low, high = math.log10(min(costs)), math.log10(max(costs))
        room = max(0.08 * (high - low), 0.1)
        self.low, self.high = low - room, high + room
        shares = [mark.accuracy for mark in marks]
        step = 0.1 if max(shares) - min(shares) > 0.25 else 0.05
        self.step = step
        self.bottom = max(0.0, math.floor(min(shares) / step - 0.2) * step)
        self.top = min(1.0, math.ceil(max(shares) / step + 0.2) * step)

    def cost(self, mark: Mark) -> float:
        """Return the cost that is drawn; 0 where nobody measured it."""
        return mark.gmacs if self.by == "gmacs" else mark.p50_ms or 0.0

    def x(self, cost: float) -> float:
        """Return how far to the right a cost lies; no cost at all is at the left border."""
        at = math.log10(cost) if cost > 0 else self.low
        return LEFT + (RIGHT - LEFT) * (at - self.low) / (self.high - self.low)

    def y(self, accuracy: float) -> float:
        """Return how far down a share lies."""
        return BOTTOM - (BOTTOM - TOP) * (accuracy - self.bottom) / (self.top - self.bottom)

    def costs(self) -> Iterator[float]:
        """Yield round costs inside the drawing: 1, 2 and 5 times the powers of ten."""
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in (1, 2, 5):
                cost = digit * 10.0**power
                wide = self.high - self.low > 2.5
                if self.low <= math.log10(cost) <= self.high and (digit == 1 or not wide):
                    yield cost

    def shares(self) -> Iterator[float]:
        """Yield round shares from the bottom to the top of the drawing."""
        for i in range(round((self.top - self.bottom) / self.step) + 1):
            yield self.bottom + i * self.step


def svg_of(curves: Sequence[Curve], *, by: By = "gmacs") -> str:
    """Return the picture as one SVG file, without script, font or request.

    Args:
        curves: at least one point.
        by: what a clip costs: multiply-accumulates in the mean, with the Pareto front, or
            milliseconds in the median, without points that have none.

    Raises:
        ValueError: there is no curve.
    """
    if by == "ms":
        curves = [
            replace(curve, marks=tuple(m for m in curve.marks if m.p50_ms is not None))
            for curve in curves
        ]
    marks = [mark for curve in curves for mark in curve.marks]
    if not marks:
        raise ValueError("there is no curve to draw")
    scale = _Scale(marks, by)
    drawn = [_axes(scale), _front_line(marks, scale) if by == "gmacs" else ""]
    words: list[str] = []
    line = 0
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        words.append(_words(line, shortened(curve.label, 38), colour, bold=True))
        told = f"{curve.measured_on}, {curve.num_clips:,} clips"
        words.append(_words(line + 1, shortened(told, 44), "#666"))
        line += 2
        for family, mine in _families(curve).items():
            drawn.append(_series(family, mine, scale, colour))
            words.append(_sample(line, family, colour))
            words.append(_words(line, WORDS.get(family, family), "#222", indent=34))
            line += 1
        line += 1
    if by == "gmacs":
        words.append(
            f'<path d="M{RIGHT + 20} {_line_y(line) - 4}h26" stroke="#000" stroke-opacity=".25" '
            'stroke-width="6"/>'
        )
        words.append(_words(line, "nothing here is better (Pareto front)", "#222", indent=34))
    height = max(HEIGHT, _line_y(line) + 20)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12" role="img" '
        'aria-label="Accuracy by cost">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        f"{chr(10).join(piece for piece in (*drawn, *words) if piece)}\n</svg>\n"
    )


def _families(curve: Curve) -> dict[str, list[Mark]]:
    found: dict[str, list[Mark]] = {}
    for mark in curve.marks:
        found.setdefault(mark.family, []).append(mark)
    return found


def _axes(scale: _Scale) -> str:
    title, under = TITLES[scale.by]
    lines = [f'<text x="{LEFT}" y="28" font-size="15">{title}</text>']
    for share in scale.shares():
        y = number(scale.y(share))
        lines.append(f'<path d="M{LEFT} {y}H{RIGHT}" stroke="#ddd"/>')
        lines.append(
            f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{number(100 * share)} %</text>'
        )
    for cost in scale.costs():
        x = number(scale.x(cost))
        lines.append(f'<path d="M{x} {TOP}V{BOTTOM}" stroke="#eee"/>')
        lines.append(f'<text x="{x}" y="{BOTTOM + 18}" text-anchor="middle">{cost:g}</text>')
    middle = (LEFT + RIGHT) // 2
    lines.append(
        f'<text x="{middle}" y="{BOTTOM + 42}" text-anchor="middle">{under} (logarithmic)</text>'
    )
    lines.append(f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#444"/>')
    return "\n".join(lines)


def _front_line(marks: Sequence[Mark], scale: _Scale) -> str:
    """Return the steps of the front: what the accuracy is at most for each cost."""
    best = sorted((m for m in marks if m.is_on_front), key=lambda m: m.gmacs)
    if not best:
        return ""
    path = f"M{number(scale.x(best[0].gmacs))} {number(scale.y(best[0].accuracy))}"
    for mark in best[1:]:
        path += f"H{number(scale.x(mark.gmacs))}V{number(scale.y(mark.accuracy))}"
    return (
        f'<path class="front" d="{path}H{RIGHT}" fill="none" stroke="#000" stroke-opacity=".25" '
        'stroke-width="6"/>'
    )


def _series(family: str, marks: Sequence[Mark], scale: _Scale, colour: str) -> str:
    places = [(scale.x(scale.cost(m)), scale.y(m.accuracy)) for m in marks]
    line = " ".join(f"{number(x)},{number(y)}" for x, y in places)
    dash = f' stroke-dasharray="{DASHES[family]}"' if family in DASHES else ""
    drawn = [f'<polyline points="{line}" fill="none" stroke="{colour}"{dash}/>']
    for mark, (x, y) in zip(marks, places, strict=True):
        ms = "" if mark.p95_ms is None else f", {mark.p95_ms:.3g} ms (p95)"
        told = f"{mark.name}: {100 * mark.accuracy:.1f} %, {mark.gmacs:.4g} GMACs{ms}"
        drawn.append(_dot(family, x, y, colour, told))
    return "\n".join(drawn)


def _dot(family: str, x: float, y: float, colour: str, told: str = "") -> str:
    title = f"<title>{text(told)}</title>" if told else ""  # none in the legend
    at = f"{number(x)} {number(y)}"
    match family:
        case "exits":
            shape = f'd="M{at}m0-5l5 5l-5 5l-5-5z" fill="{colour}"'
        case "dense":
            shape = f'd="M{at}m-5-5h10v10h-10z" fill="{colour}"'
        case "policy" | "evaluated":
            shape = f'd="M{at}m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0" fill="{colour}"'
        case "static" | "answers":
            shape = f'd="M{at}m-3.5-3.5h7v7h-7z" fill="#fff" stroke="{colour}"'
        case "random":
            shape = f'd="M{at}m0-4l4 7h-8z" fill="#fff" stroke="{colour}"'
        case _:
            shape = f'd="M{at}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0" fill="#fff" stroke="{colour}"'
    css = ' class="mark"' if told else ""
    return f"<path{css} {shape}>{title}</path>"


def _line_y(line: int) -> int:
    return TOP + 14 + 18 * line


def _words(line: int, words: str, colour: str, *, bold: bool = False, indent: int = 0) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{RIGHT + 20 + indent}" y="{_line_y(line)}" fill="{colour}"{weight}>'
        f"{text(words)}</text>"
    )


def _sample(line: int, family: str, colour: str) -> str:
    dash = f' stroke-dasharray="{DASHES[family]}"' if family in DASHES else ""
    y = _line_y(line) - 4
    stroke = f'<path d="M{RIGHT + 20} {y}h26" stroke="{colour}"{dash}/>'
    return stroke + _dot(family, RIGHT + 33, y, colour)


def draw_png(curves: Sequence[Curve], path: str | os.PathLike[str]) -> None:
    """Write the picture as PNG, which takes matplotlib (the extra ``plot``).

    Raises:
        ModuleNotFoundError: matplotlib is not there.
        OSError: ``path`` cannot be written.
    """
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(8.6, 5.2))
    axes = figure.subplots()
    for place, curve in enumerate(curves):
        for family, marks in _families(curve).items():
            axes.plot(
                [mark.gmacs for mark in marks],
                [100 * mark.accuracy for mark in marks],
                marker=MARKERS.get(family, "o"),
                markerfacecolor="white" if family in DASHES else None,
                linestyle={"uniform": "--", "random": ":", "static": "-."}.get(family, "-"),
                color=COLOURS[place % len(COLOURS)],
                markersize=4,
                label=f"{shortened(curve.label, 30)}, {WORDS.get(family, family)}",
            )
    best = [mark for curve in curves for mark in curve.marks if mark.is_on_front]
    best.sort(key=lambda mark: mark.gmacs)
    axes.step(
        [mark.gmacs for mark in best],
        [100 * mark.accuracy for mark in best],
        where="post",
        color="black",
        alpha=0.25,
        linewidth=4,
        label="nothing here is better (Pareto front)",
    )
    axes.set(xscale="log", xlabel="GMACs of a clip in the mean", ylabel="accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight")
