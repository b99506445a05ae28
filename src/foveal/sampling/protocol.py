"""The five words a protocol is written in: look, call, note, answer, plan.

A system's ``steps(cfg, context, clip)`` is a generator; these small generators are used in it
with ``yield from`` and hide the dataclasses it really yields. The executor sends back what was
asked for, so a protocol reads like the paper and touches neither files nor networks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from foveal.types import (
    ActionSegments,
    Answer,
    Array,
    Box,
    Call,
    ClipInfo,
    Look,
    Note,
    Plan,
    Sound,
    Step,
    View,
)

Steps: TypeAlias = Generator[Step, Any, None]
"""What ``steps(cfg, context, clip)`` returns."""


def plan(times: Iterable[float], *, keyframes: bool = False) -> Generator[Step, Any, None]:
    """Declare the times that may be looked at from now on, in seconds, in any order."""
    yield Plan(times=tuple(float(t) for t in times), keyframes=keyframes)


def look(
    times: Iterable[float] | float, view: View, *, role: Literal["glance", "focus"] = "focus"
) -> Generator[Step, Any, Array]:
    """Fetch the picture (or sound, or features) at ``times`` seconds through ``view``.

    Returns:
        uint8 (T,C,H,W), float32 (T,samples) or float32 (T,D); for a single number as ``times``
        the same without T.
    """
    if isinstance(times, (int, float, np.floating)):
        one: Array = yield Look(times=(float(times),), view=view, role=role)
        row: Array = one[0]
        return row
    many: Array = yield Look(times=tuple(float(t) for t in times), view=view, role=role)
    return many


NO_SOUND = "no sound that can be decoded; silence was heard instead"
"""The warning of a file in which :func:`listen` hears nothing."""


def listen(
    clip: ClipInfo, time: float, view: Sound, *, role: Literal["glance", "focus"] = "glance"
) -> Generator[Step, Any, Array]:
    """Fetch the sound at ``time`` seconds through ``view``: float32 (samples,) in [-1, 1].

    Of a clip without sound it is silence, and the user is warned.
    """
    if clip.has_sound:
        heard: Array = yield from look(time, view, role=role)
        return heard
    yield Note(warning=NO_SOUND)
    return np.zeros(view.num_samples, np.float32)


def call(part: str, *inputs: Array) -> Generator[Step, Any, tuple[Array, ...]]:
    """Run ``part`` on one row; ``inputs`` and the outputs returned have no row axis."""
    outputs: tuple[Array, ...] = yield Call(
        part=part, inputs=tuple(array[None] for array in inputs), rows=1
    )
    return tuple(array[0] for array in outputs)


def call_rows(part: str, *inputs: Array) -> Generator[Step, Any, tuple[Array, ...]]:
    """Run ``part`` on as many rows as the inputs have first; the outputs keep the row axis."""
    outputs: tuple[Array, ...] = yield Call(part=part, inputs=inputs, rows=inputs[0].shape[0])
    return outputs


def note(
    *,
    time: float | None = None,
    box: Box | None = None,
    saliency: Iterable[float] | None = None,
    chosen: Iterable[int] | None = None,
    gates: Mapping[str, bool] | None = None,
    heat: Array | None = None,
    text: str | None = None,
    warning: str | None = None,
) -> Generator[Step, Any, None]:
    """Add a decision to the trace (see :class:`foveal.types.Note`).

    ``heat`` (h,w) is written down with four decimals: a trace holds many, and is read by people.
    """
    cells = None if heat is None else np.asarray(heat, np.float64).round(4)
    yield Note(
        time=None if time is None else float(time),
        box=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        saliency=None if saliency is None else tuple(float(s) for s in saliency),
        chosen=None if chosen is None else tuple(int(i) for i in chosen),
        gates=None if gates is None else {name: bool(is_open) for name, is_open in gates.items()},
        heat=None if cells is None else tuple(tuple(row) for row in cells.tolist()),
        text=text,
        warning=warning,
    )


def answer(
    probs: Array, *, logits: Array | None = None, sure: float | None = None
) -> Generator[Step, Any, None]:
    """Give probabilities (K,); the executor may stop the sample here.

    Args:
        probs: non-negative, summing to 1.
        logits: (K,) they were made from, where exits on raw logits should be possible.
        sure: how sure the system is in its own measure, where exits should go by that.
    """
    yield Answer(probs=probs, logits=logits, sure=sure)


def answer_segments(segments: ActionSegments) -> Generator[Step, Any, None]:
    """Give all action segments found so far; the last answer counts."""
    yield Answer(segments=segments)
