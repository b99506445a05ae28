"""Writes down what one sample looked at, called and answered, and adds up its bill."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from foveal.sampling.confidence import confidence
from foveal.types import (
    Answer,
    Array,
    Call,
    Canvas,
    Cost,
    Crop,
    Event,
    Features,
    Look,
    Meter,
    Note,
    Plan,
    Sound,
    Trace,
    View,
)


def describe_view(view: View) -> dict[str, Any]:
    """Return how a trace names a view: its kind, its size and what places it on the frame."""
    match view:
        case Canvas():
            size = [view.height, view.width]
            return {"view": "canvas", "size": size, "short_side": view.short_side}
        case Crop():
            return {
                "view": "crop",
                "size": [view.height, view.width],
                "box": list(view.box),
                "canvas_size": [view.canvas.height, view.canvas.width],
                "short_side": view.canvas.short_side,
            }
        case Sound():
            return {
                "view": "sound",
                "rate": view.rate,
                "window_seconds": view.seconds,
                "lead_seconds": view.lead_seconds,
            }
        case Features():
            return {"view": "features", "name": view.name}


class Recorder:
    """One sample's trace and bill in the making; only the executor writes to it."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._macs: dict[str, int] = {}
        self._decide_ms = 0.0
        self._compute_ms = 0.0

    def planned(self, plan: Plan) -> None:
        """Write down how many times are planned, and how they will be met."""
        detail = {"num_times": len(plan.times), "keyframes": plan.keyframes}
        self._events.append(Event("plan", detail))

    def looked(self, look: Look, rows: Array, seconds: tuple[float, ...]) -> None:
        """Write down what was asked for and the true timestamps that came."""
        detail = {
            "role": look.role,
            **describe_view(look.view),
            "asked": list(look.times),
            "seconds": list(seconds),
        }
        self._events.append(Event("look", detail))

    def called(self, call: Call, *, macs: int, ms: float) -> None:
        """Put one call on the bill."""
        self._macs[call.part] = self._macs.get(call.part, 0) + macs
        self._compute_ms += ms
        self._events.append(Event("call", {"part": call.part, "rows": call.rows, "macs": macs}))

    def noted(self, note: Note) -> None:
        """Write down the fields of ``note`` that are set, a warning apart: that is the record's."""
        values = {f.name: getattr(note, f.name) for f in fields(note) if f.name != "warning"}
        detail = {name: value for name, value in values.items() if value is not None}
        if detail:
            self._events.append(Event("note", detail))

    def answered(self, answer: Answer) -> None:
        """Write down the best class and its probability, or how many segments there are."""
        if answer.probs is not None:
            best = int(answer.probs.argmax())
            detail = {"label": best, "confidence": confidence(answer.probs)}
        else:
            assert answer.segments is not None
            scores = answer.segments.scores
            detail = {"segments": len(scores), "confidence": max(scores, default=0.0)}
        self._events.append(Event("answer", detail))

    def decided(self, ms: float) -> None:
        """Add time spent in the protocol itself."""
        self._decide_ms += ms

    def trace(self, *, exit_index: int, stopped_early: bool) -> Trace:
        """Return what was written down."""
        return Trace(tuple(self._events), exit_index, stopped_early)

    def cost(self, meter: Meter, trace: Trace) -> Cost:
        """Return the bill: counted MACs beside what the source spent."""
        return Cost(
            macs=dict(self._macs),
            frames_decoded=meter.frames_decoded,
            frames_used=len(trace.frame_seconds()),
            packets_read=meter.packets_read,
            bytes_read=meter.bytes_read,
            ms={
                "decode": meter.decode_ms,
                "render": meter.render_ms,
                "decide": self._decide_ms,
                "compute": self._compute_ms,
            },
        )
