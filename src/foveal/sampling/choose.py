"""Which times and which indices: the arithmetic that every sampler shares. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from foveal.types import ActionSegments, Array, ClipInfo

USUAL_FPS = 25.0
"""Frames a second of a clip that does not say."""


def segment_centres(duration_seconds: float, num_segments: int) -> tuple[float, ...]:
    """Return the middle of each of ``num_segments`` equal parts of the clip, in seconds.

    Raises:
        ValueError: fewer than one segment, or a negative duration.

    >>> segment_centres(10.0, 4)
    (1.25, 3.75, 6.25, 8.75)
    """
    if num_segments < 1 or duration_seconds < 0:
        raise ValueError(f"need >= 1 segment of >= 0 s, got {num_segments}, {duration_seconds}")
    width = duration_seconds / num_segments
    return tuple(float((i + 0.5) * width) for i in range(num_segments))


def segment_bursts(
    clip: ClipInfo, *, num_segments: int, length: int, places: Sequence[float] | None = None
) -> tuple[float, ...]:
    """Return ``length`` frames in succession from each of ``num_segments`` equal parts, in seconds.

    A burst begins within its part; beyond the last frame of the clip that frame is repeated.

    Args:
        clip: its frames are counted by its length where it does not say how many there are.
        num_segments: at least 1.
        length: at least 1.
        places: in [0, 1), where in its part each burst begins; in the middle unless given.

    Returns:
        Times in the middle of the time a frame is shown, burst by burst.

    Raises:
        ValueError: a number is not positive, or there are not as many places as segments.

    >>> clip = ClipInfo(name="clip", duration_seconds=2.0, num_frames=20, fps=10.0)
    >>> [round(t, 2) for t in segment_bursts(clip, num_segments=2, length=3)]
    [0.45, 0.55, 0.65, 1.35, 1.45, 1.55]
    """
    if num_segments < 1 or length < 1:
        raise ValueError(f"need at least one segment and frame, got {num_segments}, {length}")
    chosen = [0.5] * num_segments if places is None else list(places)
    if len(chosen) != num_segments:
        raise ValueError(f"{num_segments} segments need as many places, got {len(chosen)}")
    duration = clip.duration_seconds
    fps = clip.fps
    if fps <= 0:
        fps = clip.num_frames / duration if clip.num_frames and duration else USUAL_FPS
    frames = clip.num_frames or max(1, round(duration * fps))
    width = max(frames - length + 1, 1) / num_segments
    starts = [int((i + place) * width) for i, place in enumerate(chosen)]
    indices = [min(start + j, frames - 1) for start in starts for j in range(length)]
    return tuple(min((index + 0.5) / fps, duration) for index in indices)


def glance_times(
    clip: ClipInfo, count: int, *, pass_megapixels: float = 200.0, max_gap: float = 0.125
) -> tuple[tuple[float, ...], bool]:
    """Return ``count`` ascending times of a glance, and whether they are keyframes.

    The centres of equal parts of the clip, or keyframes in their place: see :func:`key_times`.

    Args:
        clip: says how long it is and where its keyframes are.
        count: at least 1.
        pass_megapixels: as in :func:`key_times`.
        max_gap: as in :func:`key_times`.

    >>> clip = ClipInfo(name="clip", duration_seconds=8.0, keyframe_seconds=(0.0, 2.0, 4.0, 6.0))
    >>> glance_times(clip, 2, max_gap=0.3)
    ((2.0, 6.0), True)
    """
    centres = segment_centres(clip.duration_seconds, count)
    return key_times(clip, centres, pass_megapixels=pass_megapixels, max_gap=max_gap)


def key_times(
    clip: ClipInfo, times: Sequence[float], *, pass_megapixels: float = 200.0, max_gap: float
) -> tuple[tuple[float, ...], bool]:
    """Return the last keyframe before each of ``times``, or ``times``; and whether keyframes.

    Keyframes where they cover the clip and reading it in one pass would be long: then no other
    packet is decoded. Several times may share a keyframe.

    Args:
        clip: says how long it is and where its keyframes are.
        times: ascending, in seconds.
        pass_megapixels: a clip whose frames have fewer pixels altogether (in millions) is read
            in one pass even where keyframes cover it: that is quick, and exact.
        max_gap: longest gap between keyframes that cover a clip, as a share of it.

    >>> clip = ClipInfo(name="clip", duration_seconds=8.0, keyframe_seconds=(0.0, 2.0, 4.0, 6.0))
    >>> key_times(clip, [0.5, 5.9], max_gap=0.3)
    ((0.0, 4.0), True)
    >>> key_times(clip, [0.5, 5.9], max_gap=0.1)
    ((0.5, 5.9), False)
    """
    keys = clip.keyframe_seconds
    pixels = (clip.num_frames or math.inf) * clip.height * clip.width
    if not keys or 0 < pixels < pass_megapixels * 1e6:
        return tuple(times), False
    if np.diff([0.0, *keys, clip.duration_seconds]).max() > max_gap * clip.duration_seconds:
        return tuple(times), False
    last = np.searchsorted(keys, times, side="right") - 1
    return tuple(keys[i] for i in np.maximum(last, 0)), True


def key_bursts(
    clip: ClipInfo, bursts: Sequence[float], *, length: int, pass_megapixels: float = 200.0
) -> tuple[float, ...]:
    """Return ``bursts`` that begin at keyframes where :func:`key_times` takes keyframes.

    Of a long clip that keyframes cover, one for each burst, a burst begins at the last keyframe
    before it, so that its own frames are all that is decoded. Elsewhere bursts stay as they are.

    Args:
        clip: says how long it is and where its keyframes are.
        bursts: times in the middle of the time a frame is shown, ``length`` of each burst.
        length: frames of a burst.
        pass_megapixels: as in :func:`key_times`.

    >>> clip = ClipInfo(name="clip", duration_seconds=8.0, fps=10.0, keyframe_seconds=(0.0, 4.0))
    >>> [round(t, 2) for t in key_bursts(clip, [1.95, 2.05, 5.95, 6.05], length=2)]
    [0.05, 0.15, 4.05, 4.15]
    """
    starts = bursts[::length]
    keys, moved = key_times(
        clip, starts, pass_megapixels=pass_megapixels, max_gap=1 / max(len(starts), 1)
    )
    if not moved:
        return tuple(bursts)
    half = 0.5 / (clip.fps if clip.fps > 0 else USUAL_FPS)
    return tuple(
        keys[i // length] + half + time - starts[i // length] for i, time in enumerate(bursts)
    )


def coarse_to_fine(num_segments: int) -> tuple[int, ...]:
    """Return 0..N-1 in an order of which every beginning covers the whole.

    The middle, both ends, then the middles of ever finer equal parts.

    Raises:
        ValueError: fewer than one segment.

    >>> coarse_to_fine(8)
    (3, 0, 7, 1, 5, 2, 4, 6)
    """
    if num_segments < 1:
        raise ValueError(f"need at least one segment, got {num_segments}")
    last = num_segments - 1
    order = dict.fromkeys((last // 2, 0, last))
    cuts = 2
    while len(order) < num_segments:
        edges = np.linspace(0, last, cuts + 1).astype(int)
        order |= dict.fromkeys(int(i) for i in (edges[1:] + edges[:-1]) // 2)
        cuts *= 2
    return tuple(order)


def top_k_in_order(scores: Array, k: int) -> Array:
    """Return the indices of the ``k`` highest of ``scores`` (T,), ascending; ties to the lower.

    Raises:
        ValueError: ``k`` is not in 1..T.

    >>> top_k_in_order(np.array([0.1, 0.9, 0.5, 0.9]), 2).tolist()
    [1, 3]
    """
    if not 1 <= k <= len(scores):
        raise ValueError(f"k must be in 1..{len(scores)}, got {k}")
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return np.sort(order[:k])


def nearest_edges(times: Array, duration_seconds: float) -> Array:
    """Return the T+1 borders at which the nearest of ``times`` (T,) ascending changes.

    >>> nearest_edges(np.array([1.0, 3.0]), 4.0).tolist()
    [0.0, 2.0, 4.0]
    """
    t = np.asarray(times, np.float64)
    end = max(float(duration_seconds), float(t[-1]))
    return np.concatenate([[0.0], (t[1:] + t[:-1]) / 2, [end]])


def tag_stretches(
    edges: Array, probs: Array, *, top_k: int = 5, join: bool = True
) -> ActionSegments:
    """Return the ``top_k`` classes of every stretch, neighbours with the same best class joined.

    Args:
        edges: (S+1,) borders in seconds, ascending.
        probs: (S, K) probabilities of each stretch.
        top_k: classes kept for a stretch, at most K.
        join: False keeps every stretch as it is.

    Returns:
        Segments in time order, best class first within a stretch. A joined stretch takes the
        length-weighted mean of its members' probabilities.

    >>> probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    >>> tag_stretches(np.array([0.0, 1.0, 2.0, 3.0]), probs, top_k=1).labels
    (0, 1)
    """
    edges = np.asarray(edges, np.float64)
    if len(edges) != len(probs) + 1:
        raise ValueError(f"{len(probs)} stretches need {len(probs) + 1} edges, got {len(edges)}")
    best = np.argmax(probs, axis=1)
    changes = best[1:] != best[:-1] if join else np.ones(len(probs) - 1, bool)
    starts = np.flatnonzero(np.concatenate([[True], changes]))
    ends = np.append(starts[1:], len(probs))
    rows: list[tuple[float, float, int, float]] = []
    for first, last in zip(starts, ends, strict=True):
        lengths = np.maximum(np.diff(edges[first : last + 1]), 1e-9)
        mean = np.average(np.asarray(probs[first:last], np.float64), axis=0, weights=lengths)
        for label in np.argsort(-mean, kind="stable")[:top_k]:
            row = (float(edges[first]), float(edges[last]), int(label), float(mean[label]))
            rows.append(row)
    start, end, label, score = zip(*rows, strict=True)
    return ActionSegments(start, end, label, score)
