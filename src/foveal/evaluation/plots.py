"""The drawn parts of the report: SVG stretched over a known range, its words in HTML beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foveal.explain.markup import count, join, number, percent, shortened, text

WIDTH, HEIGHT = 1000, 100
"""Units of a drawing."""
MAX_NUMBERED = 24
"""Classes up to which the confusion is a table of numbers."""
MAX_DRAWN = 400
"""Classes up to which it is drawn; a square of more would be smaller than a pixel."""
MAX_PAIRS = 20
NUM_COLUMNS = 24
"""Of a histogram."""
DARK = 0.55
"""Share from which a square is dark enough for light numbers."""


def svg(marks: str, *, css: str, label: str, height: int = HEIGHT) -> str:
    """Return a drawing of :data:`WIDTH` x ``height`` units, stretched to its place."""
    return (
        f'<svg class="{css}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" '
        f'role="img" aria-label="{text(label)}">{marks}</svg>'
    )


def graph(drawing: str, *, up: Sequence[str], across: Sequence[str], what: str = "") -> str:
    """Return a drawing with its scales; ``up`` from the top, ``across`` from the left."""
    scale = "".join(f"<span>{text(word)}</span>" for word in up)
    ends = "".join(f"<span>{text(word)}</span>" for word in across)
    under = f'<div class="what">{text(what)}</div>' if what else ""
    return (
        f'<div class="graph"><div class="scale">{scale}</div><div>{drawing}</div>'
        f'<div class="ends">{ends}</div>{under}</div>'
    )


def key(*entries: tuple[str, str]) -> str:
    """Return what marks mean: class of the mark, words."""
    return (
        '<p class="key">'
        + "".join(f'<span><i class="{css}"></i> {text(words)}</span>' for css, words in entries)
        + "</p>"
    )


# --- confusion ------------------------------------------------------------------------------


def confusion(found: Mapping[str, Any]) -> str:
    """Return what was taken for what: numbers, or squares where there are many classes."""
    names = found["class_names"]
    index = {name: place for place, name in enumerate(names)}
    counts = {
        (index[one["label"]], index[one["predicted"]]): one["num_clips"]
        for one in found["confusion"]
    }
    pairs = _pairs(names, counts)
    if len(names) <= MAX_NUMBERED:
        return _table(names, counts)
    if len(names) > MAX_DRAWN:
        aside = f'<p class="aside">{len(names):,} classes are too many to draw.</p>'
        return aside + pairs
    return _heat(names, counts) + pairs


def _table(names: Sequence[str], counts: Mapping[tuple[int, int], int]) -> str:
    heads = "".join(
        f'<th title="{text(name)}">{place}</th>' for place, name in enumerate(names, start=1)
    )
    rows = []
    for i, name in enumerate(names):
        total = sum(counts.get((i, j), 0) for j in range(len(names)))
        cells = "".join(
            _cell(counts.get((i, j), 0), total, wrong=i != j) for j in range(len(names))
        )
        words = text(shortened(name, 32))
        rows.append(f"<tr><th><b>{i + 1}</b> <bdi>{words}</bdi></th>{cells}</tr>")
    return (
        '<div class="wide"><table class="matrix"><thead><tr><th></th>'
        f"{heads}</tr></thead><tbody>\n{join(rows)}\n</tbody></table></div>\n"
        '<p class="aside">Down: what the clips show. Across: what they were taken for.</p>'
    )


def _cell(amount: int, total: int, *, wrong: bool) -> str:
    share = amount / total if total else 0.0
    css = " ".join(word for word, holds in (("wrong", wrong), ("dark", share > DARK)) if holds)
    shown = f' style="--share:{number(100 * share, 0)}%"' if amount else ""
    named = f' class="{css}"' if amount and css else ""
    return f"<td{named}{shown}>{amount or ''}</td>"


def _heat(names: Sequence[str], counts: Mapping[tuple[int, int], int]) -> str:
    totals: dict[int, int] = {}
    for (i, _), amount in counts.items():
        totals[i] = totals.get(i, 0) + amount
    squares = "".join(
        f'<rect class="{"right" if i == j else "wrong"}" x="{j}" y="{i}" width="1" height="1" '
        f'opacity="{number(max(amount / totals[i], 0.15))}"/>'
        for (i, j), amount in sorted(counts.items())
    )
    return (
        f'<svg class="heat" viewBox="0 0 {len(names)} {len(names)}" role="img" '
        f'aria-label="confusion of {len(names)} classes">{squares}</svg>\n'
        '<p class="aside">Down: what the clips show. Across: what they were taken for. On the '
        "diagonal they are right; the stronger a square, the more of its class.</p>"
    )


def _pairs(names: Sequence[str], counts: Mapping[tuple[int, int], int]) -> str:
    wrong = sorted((-n, pair) for pair, n in counts.items() if pair[0] != pair[1])
    if not wrong:
        return '<p class="aside">Nothing was taken for anything else.</p>'
    rows = join(
        f"<tr><th>{text(names[i])}</th><th>{text(names[j])}</th><td>{-n:,}</td></tr>"
        for n, (i, j) in wrong[:MAX_PAIRS]
    )
    return (
        '<table class="figures"><thead><tr><th>shown</th><th>taken for</th><td>clips</td></tr>'
        f"</thead><tbody>\n{rows}\n</tbody></table>"
    )


# --- calibration ----------------------------------------------------------------------------


def reliability(calibration: Mapping[str, Any]) -> str:
    """Return how often answers are right by how sure they are, before and after a temperature."""
    bins = calibration["num_bins"]
    step = WIDTH / bins
    bars = "".join(
        f'<rect class="before" x="{number((one["up_to"]) * WIDTH - step + 1)}" '
        f'y="{number(WIDTH * (1 - one["accuracy"]))}" width="{number(step - 2)}" '
        f'height="{number(WIDTH * one["accuracy"])}"/>'
        for one in calibration["bins"]
    )
    dots = "".join(
        f"M{number(WIDTH * one['confidence'])} {number(WIDTH * (1 - one['accuracy']))}h0"
        for one in calibration["bins_after"]
    )
    marks = (
        f'{bars}<path class="frame" d="M0 0H{WIDTH}V{WIDTH}H0Z"/>'
        f'<path class="ideal" d="M0 {WIDTH}L{WIDTH} 0"/><path class="after" d="{dots}"/>'
    )
    drawing = svg(
        marks, css="canvas square", height=WIDTH, label="share that is right by how sure it was"
    )
    entries = [("before", "right, by how sure"), ("ideal", "as sure as it is right")]
    if dots:
        entries.insert(1, ("after", "after the temperature"))
    return graph(drawing, up=("100 %", "right", "0"), across=("0", "how sure", "100 %")) + key(
        *entries
    )


# --- cost -----------------------------------------------------------------------------------


def histogram(
    values: Sequence[float],
    spread: Mapping[str, float],
    *,
    title: str,
    words: Callable[[float], str],
) -> str:
    """Return how many clips cost how much, with p50 and p95 marked; the values must differ."""
    low, high = min(values), max(values)
    head = f"<figcaption>{text(title)}</figcaption>"
    counts, _ = np.histogram(values, bins=NUM_COLUMNS, range=(low, high))
    step, tallest = WIDTH / NUM_COLUMNS, int(counts.max())
    bars = "".join(
        f'<rect class="counted" x="{number(i * step + 1)}" '
        f'y="{number(HEIGHT * (1 - n / tallest))}" width="{number(step - 2)}" '
        f'height="{number(HEIGHT * n / tallest)}"/>'
        for i, n in enumerate(counts.tolist())
        if n
    )

    def line(name: str, css: str) -> str:
        x = number(WIDTH * (spread[name] - low) / (high - low))
        return f'<path class="{css}" d="M{x} 0V{HEIGHT}"/>'

    marks = (
        f'{bars}<path class="frame" d="M0 {HEIGHT}H{WIDTH}"/>'
        f"{line('p50', 'typical')}{line('p95', 'rare')}"
    )
    said = f"{title}: p50 {words(spread['p50'])}, p95 {words(spread['p95'])}"
    drawing = svg(marks, css="canvas", label=said)
    up = (f"{tallest:,}", "0")
    return f"<figure>{head}{graph(drawing, up=up, across=(words(low), words(high)))}</figure>"


def accuracy_by_cost(answers: Sequence[Mapping[str, Any]], words: Callable[[float], str]) -> str:
    """Return accuracy over mean MACs if every clip ended with its answer number i."""
    if len(answers) < 2:
        return (
            '<p class="aside">One answer a clip, so the curve is one point: '
            f"{percent(answers[0]['accuracy'])} right for {text(words(answers[0]['macs']))}.</p>"
        )
    costs = [one["macs"] for one in answers]
    shares = [one["accuracy"] for one in answers]
    most = max(costs) or 1.0
    low = np.floor(10 * min(shares)) / 10
    high = min(1.0, np.ceil(10 * max(shares) + 1e-9) / 10)
    reach = max(high - low, 0.1)
    points = [
        (WIDTH * cost / most, HEIGHT * (1 - (share - low) / reach))
        for cost, share in zip(costs, shares, strict=True)
    ]
    path = " ".join(f"{number(x, 1)},{number(y, 1)}" for x, y in points)
    dots = "".join(f"M{number(x, 1)} {number(y, 1)}h0" for x, y in points[:-1])
    x, y = points[-1]
    marks = (
        f'<path class="frame" d="M0 0H{WIDTH}M0 {HEIGHT}H{WIDTH}"/>'
        f'<polyline class="line" points="{path}"/><path class="step" d="{dots}"/>'
        f'<path class="end" d="M{number(x, 1)} {number(y, 1)}h0"/>'
    )
    said = ", ".join(f"{percent(s)} for {words(c)}" for s, c in zip(shares, costs, strict=True))
    drawing = svg(marks, css="canvas", label=f"accuracy by cost: {said[:300]}")
    ended = count(answers[-1]["ended"], "clip")
    curve = graph(
        drawing,
        up=(percent(low + reach), percent(low)),
        across=("0", words(most)),
        what="mean cost until that answer",
    )
    return (
        f'<div class="curve">{curve}</div>'
        f'<p class="aside">A dot for each of {len(answers)} answers: how often it is right if '
        "every clip ends with that answer, or with its last where it had stopped before. "
        f"{ended} went on to the last.</p>"
    )
