"""The bill: multiply-accumulates by part, milliseconds by stage, frames and bytes."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.explain.markup import duration_ms, join, macs, number, percent, size, text
from foveal.records import Prediction
from foveal.types import STAGES, Cost, Trace

MAX_PARTS = 24


def bill(prediction: Prediction, dense: Prediction | None) -> str:
    """Return the bill of one file, beside that of looking at everything where there is one."""
    bills = [("this run", prediction.cost), *([("dense", dense.cost)] if dense else [])]
    return join((_totals(bills), _stages(bills), _parts(prediction.trace, prediction.cost)))


def _totals(bills: Sequence[tuple[str, Cost]]) -> str:
    rows = (
        ("computed", [macs(c.total_macs) for _, c in bills], [c.total_macs for _, c in bills]),
        ("frames looked at", *_counts([c.frames_used for _, c in bills])),
        ("frames decoded", *_counts([c.frames_decoded for _, c in bills])),
        ("packets read", *_counts([c.packets_read for _, c in bills])),
        ("bytes read", [size(c.bytes_read) for _, c in bills], [c.bytes_read for _, c in bills]),
        ("all stages", [duration_ms(c.total_ms) for _, c in bills], [c.total_ms for _, c in bills]),
    )
    compared = len(bills) == 2
    head = "".join(f"<th>{name}</th>" for name, _ in bills) + ("<th>saved</th>" if compared else "")
    body = join(
        f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}"
        f"{f'<td>{_saved(*values)}</td>' if compared else ''}</tr>"
        for name, cells, values in rows
    )
    heading = f"<thead><tr><td></td>{head}</tr></thead>" if compared else ""
    return f'<table class="totals">{heading}<tbody>\n{body}\n</tbody></table>'


def _counts(values: list[int]) -> tuple[list[str], list[int]]:
    return [f"{value:,}" for value in values], values


def _saved(ours: float, dense: float) -> str:
    if dense <= 0:
        return "–"
    share = 1 - ours / dense
    return percent(share) if share >= 0 else f"{number(ours / dense, 1)} × as much"


def _stages(bills: Sequence[tuple[str, Cost]]) -> str:
    """Return one bar for each bill, on one scale, cut into stages."""
    longest = max(cost.total_ms for _, cost in bills)
    if longest <= 0:
        return ""
    bars = []
    for name, cost in bills:
        pieces = "".join(
            f'<i class="{stage}" style="width:{number(100 * cost.ms.get(stage, 0.0) / longest)}%">'
            "</i>"
            for stage in STAGES
        )
        label = f'<span class="whose">{name}</span>' if len(bills) > 1 else ""
        bars.append(f'<div class="stages">{label}<div class="pieces">{pieces}</div></div>')
    ours = bills[0][1]
    key = "".join(
        f'<span><i class="{stage}"></i>{stage} <b>{duration_ms(ours.ms.get(stage, 0.0))}</b></span>'
        for stage in STAGES
    )
    return f'{join(bars)}\n<p class="key">{key}</p>'


def _parts(trace: Trace, cost: Cost) -> str:
    """Return MACs by part, the dearest first, with the rows that went through each."""
    rows_run: dict[str, int] = {}
    for event in trace.events:
        if event.kind == "call":
            part = event.detail["part"]
            rows_run[part] = rows_run.get(part, 0) + event.detail["rows"]
    parts = sorted(cost.macs.items(), key=lambda item: (-item[1], item[0]))
    if not parts:
        return ""
    dearest = max(parts[0][1], 1)
    lines = [
        f"<tr><th><code>{text(part)}</code></th><td>{rows_run.get(part, 0):,} ×</td>"
        f'<td class="gauge"><i style="width:{number(100 * amount / dearest)}%"></i></td>'
        f"<td>{macs(amount)}</td></tr>"
        for part, amount in parts[:MAX_PARTS]
    ]
    if len(parts) > MAX_PARTS:
        rest = macs(sum(amount for _, amount in parts[MAX_PARTS:]))
        lines.append(
            f"<tr><th>{len(parts) - MAX_PARTS} more</th><td></td><td></td><td>{rest}</td></tr>"
        )
    return f'<table class="parts"><tbody>\n{join(lines)}\n</tbody></table>'
