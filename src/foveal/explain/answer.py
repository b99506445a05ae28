"""What came out for one file: its name, the answer, and the figures that matter."""

from __future__ import annotations

import re

from foveal.api import Comparison
from foveal.explain.figures import num_frames, told, wording
from foveal.explain.markup import (
    clock,
    count,
    duration_ms,
    join,
    macs,
    number,
    percent,
    shortened,
    size,
    span,
    text,
)
from foveal.records import Prediction
from foveal.systems import index as systems
from foveal.types import ClipInfo

MAX_ANSWERS, UNFOLDED, MAX_NAMED = 200, 12, 4


def file_name(path: str) -> str:
    """Return the folder, small, and the name of a file."""
    folder = folder_of(path)
    where = f'<p class="where"><bdi>{text(shortened(folder))}</bdi></p>' if folder else ""
    return f"{where}<h2><bdi>{text(shortened(base_name(path)))}</bdi></h2>"


def base_name(path: str) -> str:
    """Return the last part of a path or URL, of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def folder_of(path: str) -> str:
    """Return what stands before :func:`base_name`."""
    return path[: len(path.rstrip("/\\")) - len(base_name(path))]


def heading(prediction: Prediction) -> str:
    """Return the file, what is known of it, and the answer in large."""
    facts = " · ".join(text(fact) for fact in _facts(prediction.clip))
    row = next((row for row in systems.ALL if row.name == prediction.model), None)
    by = "" if row is None else f" · {text(row.title)}, {text(row.question)}"
    kind = ""
    if row is not None and row.kind == "tagger":
        kind = '<p class="aside">Tags: they name things to be seen, not actions.</p>\n'
    return (
        f"<header>\n{file_name(prediction.path)}\n"
        f'<p class="facts">{facts}{by}</p>\n'
        f'<p class="headline">{headline(prediction)}</p>\n{kind}</header>'
    )


def _facts(clip: ClipInfo) -> list[str]:
    facts = [f"{clock(clip.duration_seconds, within=clip.duration_seconds, decimals=1)} long"]
    if clip.num_frames is not None:
        facts.append(count(clip.num_frames, "frame"))
    if clip.fps > 0:
        facts.append(f"{number(clip.fps)} a second")
    if clip.width and clip.height:
        facts.append(f"{clip.width} × {clip.height}")
    if clip.codec:
        facts.append(clip.codec)
    facts.append("with sound" if clip.has_sound else "no sound")
    if clip.size_bytes is not None:
        facts.append(size(clip.size_bytes))
    return facts


def headline(prediction: Prediction) -> str:
    """Return the few things that were found for longest, in the order they appeared."""
    labels = told(prediction)
    if not labels:
        return '<span class="none">nothing found</span>'
    known: dict[str, tuple[float, float]] = {}
    for label in labels:
        if label.known:
            length, prob = known.get(label.label, (0.0, 0.0))
            length += label.end_seconds - label.start_seconds
            known[label.label] = (length, max(prob, label.prob))
    if not known:
        surest = max(labels, key=lambda label: label.prob)
        return f'<span class="none">{text(wording(surest))}</span>'
    longest = sorted(known, key=lambda name: known[name], reverse=True)[:MAX_NAMED]
    said = [
        f"<span>{text(shortened(name))} <small>{percent(prob)}</small></span>"
        for name, (_, prob) in known.items()
        if name in longest
    ]
    if len(known) > MAX_NAMED:
        said.append(f'<span class="none">and {len(known) - MAX_NAMED} more</span>')
    return " ".join(said)


def sums(prediction: Prediction, comparison: Comparison | None) -> str:
    """Return the figures that matter, each with the dense one below it where there is one."""
    cost = prediction.cost
    dense = comparison.dense.cost if comparison else None
    total, exact = num_frames(prediction.clip)
    about = "" if exact else "about "
    if total:
        frames = f"{cost.frames_used:,} <small>of {about}{total:,}</small>"
        share = f"{percent(cost.frames_used / total)} of the file"
    else:
        frames, share = f"{cost.frames_used:,}", ""
    milliseconds = duration_ms(cost.total_ms)
    cells = [
        (frames, "frames looked at", share, f"dense: {dense.frames_used:,}" if dense else ""),
        (
            _unit(macs(cost.total_macs)),
            "computed",
            "1 MAC = 2 FLOPs",
            f"dense: {macs(dense.total_macs)}" if dense else "",
        ),
        (
            _unit(milliseconds),
            "in all stages",
            f"{count(cost.frames_decoded, 'frame')} decoded",
            f"dense: {duration_ms(dense.total_ms)}" if dense else "",
        ),
    ]
    if comparison:
        agreed = comparison.agreement
        cells.append(
            (
                "–" if agreed is None else _unit(percent(agreed)),
                "agreement with dense",
                "dense was never sure" if agreed is None else "of frames dense is sure of",
                "",
            )
        )
    return (
        '<dl class="sums">\n'
        + join(
            f'<div><dt>{what}</dt><dd>{figure}</dd><dd class="more">{second or first}</dd></div>'
            for figure, what, first, second in cells
        )
        + "\n</dl>"
    )


def _unit(figure: str) -> str:
    amount, _, unit = figure.rpartition(" ")
    return f"{amount} <small>{unit}</small>" if amount else figure


def answers(prediction: Prediction) -> str:
    """Return the answers as a table, those after the first dozen folded away."""
    within = prediction.clip.duration_seconds
    lines = []
    before: tuple[float, float] | None = None
    for label in prediction.predictions[:MAX_ANSWERS]:
        stretch = (label.start_seconds, label.end_seconds)
        when = "" if stretch == before else span(*stretch, within=within)
        name = f"({label.guess})" if stretch == before and label.guess else wording(label)
        before = stretch
        lines.append(
            f'<tr class="{"known" if label.known else "unknown"}{"" if when else " also"}">'
            f"<td>{when}</td><th><bdi>{text(name)}</bdi></th>"
            f'<td class="gauge"><i style="width:{number(100 * label.prob, 1)}%"></i></td>'
            f"<td>{percent(label.prob)}</td></tr>"
        )
    if not lines:
        return ""
    table = '<table class="answers"><tbody>\n{}\n</tbody></table>'
    more = len(prediction.predictions) - MAX_ANSWERS
    aside = f'<p class="aside">{more:,} more in the record.</p>' if more > 0 else ""
    if len(lines) <= UNFOLDED:
        return table.format(join(lines))
    rest = f"{len(prediction.predictions) - UNFOLDED:,} more"
    return (
        f"{table.format(join(lines[:UNFOLDED]))}\n<details><summary>{rest}</summary>\n"
        f"{table.format(join(lines[UNFOLDED:]))}{aside}</details>"
    )
