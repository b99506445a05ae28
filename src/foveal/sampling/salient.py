"""What samplers by saliency share: which of T candidates are kept, looked at, and classified.

NumPy only. Letters: T candidates, k of them kept, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from foveal.sampling.choose import top_k_in_order
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call_rows, look, note, plan
from foveal.types import Array, Canvas, Features


class Salient(Protocol):
    """What the ``Config`` of every sampler by saliency holds."""

    @property
    def canvas(self) -> Canvas | Features:
        """What the recogniser sees."""

    @property
    def preview(self) -> Features | None:
        """Stored features that the sampler sees instead."""

    @property
    def num_candidates(self) -> int:
        """T."""

    @property
    def num_frames(self) -> int:
        """K."""

    @property
    def preview_size(self) -> int:
        """Px each way of what the sampler sees of pictures."""

    @property
    def networks(self) -> str:
        """``features`` for stored ones."""

    @property
    def feature_width(self) -> int:
        """Of stored features that the recogniser sees, else 0."""

    @property
    def preview_width(self) -> int:
        """Of ``preview``, else 0."""

    @property
    def width(self) -> int:
        """Of a frame's vector between the frames."""

    @property
    def heads(self) -> int:
        """Of the attention between frames, positive."""


def check_salient(cfg: Salient, *, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Check of a sampler's settings what all such samplers have.

    Args:
        cfg: the settings; those of ``choices`` are fields too.
        choices: by the name of a field, the words it may be.

    Raises:
        ValueError: a number is out of range, a choice unknown, or what is seen contradicts itself.
    """
    if not 1 <= cfg.num_frames <= cfg.num_candidates:
        raise ValueError(
            f"num_frames must be in 1..num_candidates ({cfg.num_candidates}), got {cfg.num_frames}"
        )
    if cfg.width % cfg.heads or cfg.width % 2:
        raise ValueError(
            f"width must be even and a multiple of heads ({cfg.heads}), got {cfg.width}"
        )
    for name, known in choices.items():
        if getattr(cfg, name) not in known:
            raise ValueError(f"{name} must be one of {known}, got {getattr(cfg, name)!r}")
    _check_views(cfg)


def _check_views(cfg: Salient) -> None:
    stored = isinstance(cfg.canvas, Features)
    if cfg.preview_size < 1 or min(cfg.feature_width, cfg.preview_width) < 0:
        raise ValueError(f"preview_size must be positive, widths not negative, got {cfg}")
    if stored != (cfg.networks == "features") or stored != (cfg.feature_width > 0):
        raise ValueError(
            "networks=features and feature_width go with stored features, and with nothing else"
        )
    if (cfg.preview is not None) != (cfg.preview_width > 0) or (cfg.preview and not stored):
        raise ValueError("preview and preview_width go together, and with stored features only")
    if isinstance(cfg.canvas, Canvas):
        for side in (cfg.canvas.height, cfg.canvas.width):
            if side % cfg.preview_size:
                raise ValueError(
                    f"the canvas must be a multiple of preview_size ({cfg.preview_size} px) "
                    f"each way, got {cfg.canvas.height}x{cfg.canvas.width}"
                )


def minmax(scores: Array) -> Array:
    """Return ``scores`` (T,) moved and scaled to [0, 1]; zeros where all are equal.

    Equal is what differs by a millionth at most: rounding is not stretched to a ranking.

    >>> minmax(np.array([1.0, 3.0, 2.0])).tolist()
    [0.0, 1.0, 0.5]
    """
    lowest, highest = float(np.min(scores)), float(np.max(scores))
    if highest - lowest <= 1e-6:
        return np.zeros(len(scores))
    return np.asarray((np.asarray(scores, np.float64) - lowest) / (highest - lowest))


def kept_by(scores: Array, *, num_frames: int, mass: float = 1.0, min_gap: int = 0) -> Array:
    """Return the indices of the frames that are kept, ascending.

    Args:
        scores: (T,) not negative; ties go to the lower index.
        num_frames: at most so many.
        mass: fewer where the best of them hold this share of all of ``scores`` already.
        min_gap: frames between two that are kept; given up where too few would be left.

    Raises:
        ValueError: a number is out of range.

    >>> kept_by(np.array([0.0, 0.6, 0.5, 0.4]), num_frames=2).tolist()
    [1, 2]
    >>> kept_by(np.array([0.0, 0.6, 0.5, 0.4]), num_frames=2, min_gap=1).tolist()
    [1, 3]
    >>> kept_by(np.array([0.9, 0.05, 0.05]), num_frames=3, mass=0.9).tolist()
    [0]
    """
    if not 0 < mass <= 1 or min_gap < 0:
        raise ValueError(f"mass must be in (0, 1] and min_gap not negative, got {mass}, {min_gap}")
    scores = np.asarray(scores, np.float64)
    count = min(num_frames, _count_for(scores, mass)) if mass < 1 else num_frames
    if min_gap == 0:
        return top_k_in_order(scores, count)
    kept: list[int] = []
    order = [int(i) for i in np.argsort(-scores, kind="stable")]
    for index in order:
        if len(kept) < count and all(abs(index - other) > min_gap for other in kept):
            kept.append(index)
    rest = [index for index in order if index not in kept]
    return np.sort(np.array(kept + rest[: count - len(kept)]))


def _count_for(scores: Array, mass: float) -> int:
    """Return how many of the best hold ``mass`` of the whole: all, where there is nothing."""
    total = scores.sum()
    if total <= 0:
        return len(scores)
    held = np.cumsum(np.sort(scores)[::-1]) / total
    # The last digit of a sum must not ask for one more frame.
    return int(np.searchsorted(held, mass - 1e-9) + 1)


def evenly(num_candidates: int, num_frames: int) -> Array:
    """Return the middles of ``num_frames`` equal parts of the candidates.

    >>> evenly(16, 4).tolist()
    [2, 6, 10, 14]
    """
    return (np.arange(num_frames) * 2 + 1) * num_candidates // (2 * num_frames)


def salient_steps(
    times: Sequence[float],
    saliency: Array,
    kept: Array,
    *,
    view: Canvas | Features,
    part: str,
    text: str = "",
) -> Steps:
    """Note what is salient, look at what is kept, and answer with the mean of its answers.

    Args:
        times: (T,) of the candidates, which are planned already.
        saliency: (T,), for the trace.
        kept: indices, ascending.
        view: what the recogniser sees.
        part: a frame to probabilities (K,), a row a frame.
        text: added to the note.
    """
    told = f"{len(kept)} of {len(times)} candidates kept"
    yield from note(saliency=saliency, chosen=kept, text=f"{told}; {text}" if text else told)
    yield from answer_by(times, kept, view=view, part=part)


def even_steps(
    times: Sequence[float],
    num_frames: int,
    *,
    keyframes: bool,
    view: Canvas | Features,
    part: str,
) -> Steps:
    """Look at candidates at equal distances and at no other; answer with the mean."""
    kept = evenly(len(times), num_frames)
    yield from plan([times[i] for i in kept], keyframes=keyframes)
    yield from answer_by(times, kept, view=view, part=part)


def answer_by(times: Sequence[float], kept: Array, *, view: Canvas | Features, part: str) -> Steps:
    """Look at the frames ``kept`` and answer with the mean of what ``part`` says of each."""
    frames = yield from look([times[i] for i in kept], view)
    (probs,) = yield from call_rows(part, frames)
    yield from answer(np.asarray(probs, np.float64).mean(axis=0))


def salient_points(num_candidates: int, *, salient: str) -> tuple[OperatingPoint, ...]:
    """Return the points of a sampler whose recogniser takes frames one by one.

    From all candidates, which need no preview, down to one: by saliency, and at equal distances.

    Args:
        num_candidates: T.
        salient: the value of the field ``choose`` that asks for the preview; the other one is
            ``uniform``.
    """
    counts = [num_candidates]
    while counts[-1] > 1:
        counts.append(max(1, counts[-1] * 2 // 3))
    whole = {"num_frames": num_candidates, "choose": "uniform", "mass": 1.0}
    points = [OperatingPoint(name=f"dense {num_candidates}", family="dense", settings=whole)]
    for count in counts[1:]:
        for name, choose in (("salient", salient), ("uniform", "uniform")):
            points.append(
                OperatingPoint(
                    name=f"{name} {count}",
                    family="policy" if choose == salient else "uniform",
                    settings={"num_frames": count, "choose": choose, "mass": 1.0},
                )
            )
    return tuple(points)
