"""Eight systems in the form of the protocol, with fake parts: the design must carry them all.

Each function is a whole system's inference, under 25 lines (a test counts).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foveal.sampling.choose import segment_centres, top_k_in_order
from foveal.sampling.confidence import softmax
from foveal.sampling.protocol import (
    Steps,
    answer,
    answer_segments,
    call,
    call_rows,
    look,
    note,
    plan,
)
from foveal.types import ActionSegments, Array, Canvas, ClipInfo, Crop, Sound

SKIM = Canvas(height=1, width=2)
FULL = Canvas(height=1, width=4)
WINDOW = Sound(rate=4, seconds=1.0)
Context = Mapping[str, Array]


def ocsampler(context: Context, clip: ClipInfo) -> Steps:
    """One skim over ten frames, a frame budget per video, one pass of the classifier."""
    times = segment_centres(clip.duration_seconds, 10)
    yield from plan(times)
    skim = yield from look(times, SKIM, role="glance")
    saliency, budget = yield from call("skim", skim)
    chosen = top_k_in_order(saliency, 1 + int(budget[0] * 4))
    yield from note(saliency=saliency, chosen=chosen)
    frames = yield from look([times[i] for i in chosen], FULL)
    (logits,) = yield from call("set_classifier", frames)
    yield from answer(softmax(logits))


def adafocus_v2(context: Context, clip: ClipInfo) -> Steps:
    """Coarse-to-fine frames; glance, place a crop, fuse; may stop after every frame."""
    times = segment_centres(clip.duration_seconds, 8)
    yield from plan(times)
    h, best = np.zeros(2, np.float32), np.full(3, -9.0, np.float32)
    for k in (3, 0, 7, 1, 5, 2, 4, 6):
        frame = yield from look(times[k], SKIM, role="glance")
        action, h = yield from call("glance_policy", frame, h)
        x, y = 0.5 * float(action[0]), 0.5 * float(action[1])
        box = (x, y, x + 0.5, y + 0.5)
        yield from note(time=times[k], box=box)
        crop = yield from look(times[k], Crop(canvas=FULL, box=box, height=1, width=2))
        logits, best = yield from call("focus", crop, best)
        yield from answer(softmax(logits))


def gfnet(context: Context, clip: ClipInfo) -> Steps:
    """A glance, then crops, each step with a head of its own on all vectors so far."""
    middle = clip.duration_seconds / 2
    yield from plan([middle])
    image = yield from look(middle, FULL)
    vector, state = yield from call("glance", image)
    vectors = [vector]
    for k in range(3):
        (logits,) = yield from call(f"head_{k}", np.concatenate(vectors))
        yield from answer(softmax(logits))
        action, state = yield from call("policy", vectors[-1], state)
        (vector,) = yield from call("focus_vector", image, action)
        vectors.append(vector)


def hcms(context: Context, clip: ClipInfo) -> Steps:
    """Always listens; a gate decides at every step whether to look."""
    times = segment_centres(clip.duration_seconds, 6)
    yield from plan(times)
    heard, seen = np.zeros(2, np.float32), np.zeros(2, np.float32)
    for t in times:
        sound = yield from look(t, WINDOW, role="glance")
        gate, heard = yield from call("listen", sound, heard, seen)
        is_open = bool(gate[0] > gate[1])
        yield from note(time=t, gates={"picture": is_open})
        if is_open:
            frame = yield from look(t, FULL)
            (seen,) = yield from call("see", frame, heard, seen)
    (logits,) = yield from call("fuse", heard, seen)
    yield from answer(softmax(logits))


def confidence_distillation(context: Context, clip: ClipInfo) -> Steps:
    """A student scans any number of clips at once; the teacher sees the ones it trusts least."""
    times = segment_centres(clip.duration_seconds, 3 + len(clip.name) % 5)
    yield from plan(times)
    clips = yield from look(times, SKIM, role="glance")
    logits, trust = yield from call_rows("student", clips)
    weights = trust[:, 0] / trust.sum()
    student = weights @ softmax(logits)
    yield from answer(student)
    chosen = top_k_in_order(trust[:, 0], 2)
    yield from note(saliency=trust[:, 0], chosen=chosen)
    full = yield from look([times[i] for i in chosen], FULL)
    (teacher,) = yield from call_rows("teacher", full)
    yield from answer(0.8 * softmax(teacher).mean(axis=0) + 0.2 * student)


def static(context: Context, clip: ClipInfo) -> Steps:
    """One look, one call, one answer."""
    times = segment_centres(clip.duration_seconds, 4)
    yield from plan(times)
    frames = yield from look(times, FULL)
    (logits,) = yield from call("set_classifier", frames)
    yield from answer(softmax(logits))


def few_shot(context: Context, clip: ClipInfo) -> Steps:
    """A query against support vectors that were computed once into the context."""
    times = segment_centres(clip.duration_seconds, 2)
    yield from plan(times)
    frames = yield from look(times, FULL)
    (vectors,) = yield from call_rows("embed", frames)
    query = vectors.mean(axis=0)
    distances = ((context["support"] - query) ** 2).sum(axis=1)
    yield from answer(softmax(-distances))


def window_detector(context: Context, clip: ClipInfo) -> Steps:
    """Windows over any length in constant memory; the last answer holds all segments."""
    starts, ends, labels, scores = [], [], [], []
    for first in np.arange(0.0, clip.duration_seconds - 4, 4.0):
        times = first + np.arange(8.0) / 2
        yield from plan(times)
        window = yield from look(times, SKIM)
        (logits,) = yield from call("detect", window)
        probs = softmax(logits)
        starts.append(float(first))
        ends.append(float(first) + 4.0)
        labels.append(int(probs.argmax()))
        scores.append(float(probs.max()))
    found = ActionSegments(tuple(starts), tuple(ends), tuple(labels), tuple(scores))
    yield from answer_segments(found)


ALL = (
    ocsampler,
    adafocus_v2,
    gfnet,
    hcms,
    confidence_distillation,
    static,
    few_shot,
    window_detector,
)


def _mix(*arrays: Array, width: int) -> Array:
    """Return a fixed, row-wise function of the inputs, float32 (B, width)."""
    rows = np.concatenate([a.reshape(len(a), -1).astype(np.float64) for a in arrays], axis=1)
    weights = np.sin(1.0 + np.arange(rows.shape[1])[:, None] * (1 + np.arange(width)[None]))
    return np.array([np.tanh(row @ weights) for row in rows], np.float32)


def _unit(*arrays: Array, width: int) -> Array:
    return (_mix(*arrays, width=width) + 1) / 2


def fake_parts() -> dict[str, object]:
    """Return every part the eight systems call, as row-wise NumPy functions."""
    parts: dict[str, object] = {
        "skim": lambda x: (_mix(x, width=10), _unit(x[:, :3], width=1)),
        "set_classifier": lambda x: (_mix(x.mean(axis=1), width=3),),
        "glance_policy": lambda f, h: (_unit(f, h, width=2), _mix(f, h, width=2)),
        "focus": lambda c, b: (
            np.maximum(b, _mix(c, width=3)) * 4,
            np.maximum(b, _mix(c, width=3)),
        ),
        "glance": lambda x: (_mix(x, width=3), _mix(x, width=2)),
        "policy": lambda v, s: (_unit(v, s, width=2), _mix(v, s, width=2)),
        "focus_vector": lambda x, a: (_mix(x, a, width=3),),
        "listen": lambda s, h, v: (_mix(s, h, v, width=2), _mix(s, h, width=2)),
        "see": lambda f, h, v: (_mix(f, h, v, width=2),),
        "fuse": lambda h, v: (_mix(h, v, width=3),),
        "student": lambda x: (_mix(x, width=3), _unit(x, width=1)),
        "teacher": lambda x: (_mix(x, width=3),),
        "embed": lambda x: (_mix(x, width=4),),
        "detect": lambda x: (_mix(x, width=3),),
    }
    for k in range(3):
        parts[f"head_{k}"] = lambda v: (_mix(v, width=3) * 3,)
    return parts


CONTEXT = {"support": np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)}
