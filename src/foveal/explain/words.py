"""The trace in words: one line for each step that was really taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from foveal.explain.markup import clock, count, join, macs, number, percent, text
from foveal.records import Prediction

MAX_LINES = 240
MAX_NAMED = 6


def decisions(prediction: Prediction, names: Mapping[int, str]) -> str:
    """Return the steps of the trace as a list; the middle of a very long one is left out."""
    events = prediction.trace.events
    head, tail = MAX_LINES * 3 // 4, MAX_LINES // 4
    within = prediction.clip.duration_seconds
    lines = []
    for index, event in enumerate(events):
        if len(events) > MAX_LINES and head <= index < len(events) - tail:
            if index == head:
                more = count(len(events) - head - tail, "step")
                lines.append(f'<li class="gap">{more} not shown here; the record has all</li>')
            continue
        said = _WORDS[event.kind](event.detail, within, names)
        css = f"look {event.detail['role']}" if event.kind == "look" else event.kind
        lines.append(f'<li value="{index + 1}" class="{css}"><b>{event.kind}</b> {said}</li>')
    trace = prediction.trace
    end = (
        "Stopped here: the answer was sure enough, and nothing after it was looked at or computed."
        if trace.stopped_early
        else "The system came to its own end."
    )
    return f'<ol class="decisions">\n{join(lines)}\n<li class="end">{end}</li>\n</ol>'


def _plan(detail: Mapping[str, Any], within: float, names: Mapping[int, str]) -> str:
    how = "by the nearest keyframe" if detail["keyframes"] else "by the exact frame"
    return f"may look at {count(detail['num_times'], 'time')} from now on, {how}"


def _look(detail: Mapping[str, Any], within: float, names: Mapping[int, str]) -> str:
    seconds = detail["seconds"]
    times = _listed([clock(t, within=within, decimals=2) for t in seconds])
    role = "glanced" if detail["role"] == "glance" else "looked closely"
    match detail["view"]:
        case "canvas":
            height, width = detail["size"]
            crop = "" if detail["short_side"] is None else ", centre crop"
            frames = count(len(seconds), "frame")
            return f"{role} at {frames} ({width} × {height} px{crop}): {times}"
        case "crop":
            height, width = detail["size"]
            box = _place(detail["box"])
            frames = count(len(seconds), "frame")
            return f"{role} at a box {box} of {frames} ({width} × {height} px): {times}"
        case "sound":
            window = number(detail["window_seconds"])
            lead = detail.get("lead_seconds", 0)
            begun = f"begun {number(lead)} s before" if lead else "from"
            return f"listened to {count(len(seconds), 'window')} of {window} s {begun}: {times}"
        case view:
            name = text(detail.get("name", view))
            return f"read {count(len(seconds), 'stored feature')} of {name}: {times}"


def _call(detail: Mapping[str, Any], within: float, names: Mapping[int, str]) -> str:
    rows = count(detail["rows"], "row")
    return f"ran <code>{text(detail['part'])}</code> on {rows}: {macs(detail['macs'])}"


def _note(detail: Mapping[str, Any], within: float, names: Mapping[int, str]) -> str:
    said = []
    if "text" in detail:
        said.append(text(detail["text"]))
    if "box" in detail:
        said.append(f"placed a box {_place(detail['box'])}")
    if "heat" in detail:
        rows = detail["heat"]
        cells = [(value, x, y) for y, row in enumerate(rows) for x, value in enumerate(row)]
        _, x, y = max(cells, key=lambda cell: cell[0])
        height, width = len(rows), len(rows[0])
        place = _place((x / width, y / height, (x + 1) / width, (y + 1) / height))
        said.append(f"attended to {width} × {height} cells, most to the one {place}")
    if "saliency" in detail:
        scores = detail["saliency"]
        highest = f", the highest {number(max(scores), 3)}" if scores else ""
        said.append(f"scored {count(len(scores), 'candidate')}{highest}")
    if "chosen" in detail:
        kept = detail["chosen"]
        said.append(f"kept {len(kept):,}: no. {_listed([str(i) for i in kept])}")
    for name, is_open in detail.get("gates", {}).items():
        said.append(f"{'opened' if is_open else 'kept shut'} the {text(name)} gate")
    at = f"at {clock(detail['time'], within=within, decimals=2)}: " if "time" in detail else ""
    return at + "; ".join(said)


def _answer(detail: Mapping[str, Any], within: float, names: Mapping[int, str]) -> str:
    sure = percent(detail["confidence"])
    if "segments" in detail:
        return f"{count(detail['segments'], 'stretch', 'stretches')} of time, the surest {sure}"
    label = detail["label"]
    return f"{text(names.get(label, f'class {label}'))}, {sure} sure"


_WORDS: Mapping[str, Callable[[Mapping[str, Any], float, Mapping[int, str]], str]] = {
    "plan": _plan,
    "look": _look,
    "call": _call,
    "note": _note,
    "answer": _answer,
}


def _place(box: Sequence[float]) -> str:
    x0, y0, x1, y1 = (round(100 * value) for value in box)
    return f"{x0}–{x1} % across, {y0}–{y1} % down"


def _listed(items: Sequence[str]) -> str:
    if len(items) <= MAX_NAMED:
        return ", ".join(items)
    return f"{', '.join(items[: MAX_NAMED - 1])}, … {items[-1]}"
