"""Average precision by the rules of ActivityNet's classification task.

Per class, predictions are ranked by score; one that names a labelled video for the first time is
right, every other is wrong (a second one for that video, one for a video that is not known).
Precision is made non-increasing from the right and summed over the steps of recall. A labelled
class without predictions has 0; classes without a labelled video do not count.

Among equal scores the later row comes first: the order of the official code with a stable sort.
As it stands, that code sorts unstably, so its ties depend on platform and library version, and
it ends with an error where a predicted class has no labelled video; here such rows are left out.

Letters: N samples, K classes, M predictions.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from foveal.metrics.accuracy import check, check_several
from foveal.types import Array

Labelled: TypeAlias = tuple[Hashable, Hashable]
"""A video and a label it has."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One row of predictions: a video, a label it may have, and how likely that is."""

    video: Hashable
    label: Hashable
    score: float


def ranked(scores: Array) -> Array:
    """Return the places of ``scores`` (M,), highest first; equal ones with the later first.

    >>> ranked(np.array([0.5, 0.9, 0.5])).tolist()
    [1, 2, 0]
    """
    return np.argsort(np.asarray(scores, np.float64), kind="stable")[::-1]


def average_precision(right: Array, scores: Array, *, num_positives: int) -> float:
    """Return the area under the precision envelope, in [0, 1].

    Args:
        right: bool (M,), whether a prediction is one.
        scores: (M,); larger is likelier.
        num_positives: how many there are to be found, found or not; at least 1.

    Raises:
        ValueError: nothing is to be found, or more is right than that.

    >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]),
    ...                   num_positives=2)
    0.8333333333333333
    """
    right = np.asarray(right, bool)[ranked(scores)]
    if num_positives < 1 or right.sum() > num_positives:
        raise ValueError(f"{right.sum()} right of {num_positives} that are to be found")
    found = np.cumsum(right)
    precision = np.concatenate(([0.0], found / np.arange(1, len(right) + 1), [0.0]))
    recall = np.concatenate(([0.0], found / num_positives, [1.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(((recall[steps] - recall[steps - 1]) * envelope[steps]).sum())


def mean_average_precision(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean over the classes that occur, and the value of each, float64 (K,).

    Args:
        scores: (N,K), finite: every sample is scored for every class.
        labels: int (N,), or bool (N,K) where a sample may have several.

    Returns:
        The mean in [0, 1], and (K,) with NaN where a class has no sample.

    Raises:
        ValueError: shapes do not fit, or no class occurs.

    >>> mean_average_precision(np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]]), np.array([0, 0, 1]))
    (0.6666666666666666, array([0.83333333, 0.5       ]))
    """
    labels = np.asarray(labels)
    if labels.ndim == 1:
        scores, labels = check(scores, labels)
        truth = labels[:, None] == np.arange(scores.shape[1])
    else:
        scores, truth = check_several(scores, labels)
    sizes = truth.sum(axis=0)
    if not sizes.any():
        raise ValueError("no class has a sample")
    values = np.full(len(sizes), np.nan)
    for k in np.flatnonzero(sizes):
        values[k] = average_precision(truth[:, k], scores[:, k], num_positives=int(sizes[k]))
    return float(np.nanmean(values)), values


def video_average_precisions(
    truth: Iterable[Labelled], predictions: Sequence[Scored]
) -> dict[Hashable, float]:
    """Return the average precision of every label that occurs, from rows as a benchmark has them.

    Args:
        truth: videos with their labels; the same one twice counts once.
        predictions: in file order, which decides between equal scores; videos may lack some.

    >>> rows = [Scored("a", "run", 0.9), Scored("a", "run", 0.8), Scored("b", "run", 0.7)]
    >>> video_average_precisions([("a", "run"), ("b", "run"), ("b", "jump")], rows)
    {'run': 0.8333333333333333, 'jump': 0.0}
    """
    videos: dict[Hashable, set[Hashable]] = {}
    for video, label in truth:
        videos.setdefault(label, set()).add(video)
    values: dict[Hashable, float] = {}
    for label, known in videos.items():
        rows = [row for row in predictions if row.label == label]
        scores = np.array([row.score for row in rows], np.float64)
        right = np.zeros(len(rows), bool)
        left = set(known)
        for place in ranked(scores):
            right[place] = rows[place].video in left
            left.discard(rows[place].video)
        values[label] = average_precision(right, scores, num_positives=len(known))
    return values


def hits_at_k(
    truth: Iterable[Labelled], predictions: Iterable[Scored], *, k: int
) -> tuple[float, float]:
    """Return how many labelled videos have a label among their ``k`` highest predictions.

    Args:
        truth: videos with their labels; the same one twice counts once.
        predictions: in file order, which decides between equal scores.
        k: at least 1.

    Returns:
        The share of videos with any of their labels there, and the mean share of their labels
        that is. A video without predictions counts 0.

    >>> rows = [Scored("a", "run", 0.9), Scored("a", "jump", 0.8)]
    >>> hits_at_k([("a", "run"), ("a", "fly"), ("b", "fly")], rows, k=2)
    (0.5, 0.25)
    """
    labels: dict[Hashable, set[Hashable]] = {}
    for video, label in truth:
        labels.setdefault(video, set()).add(label)
    rows: dict[Hashable, list[Scored]] = {}
    for row in predictions:
        rows.setdefault(row.video, []).append(row)
    shares = []
    for video, wanted in labels.items():
        given = rows.get(video, [])
        best = ranked(np.array([row.score for row in given], np.float64))[:k]
        shares.append(len(wanted & {given[i].label for i in best}) / len(wanted))
    return float(np.mean([share > 0 for share in shares])), float(np.mean(shares))
