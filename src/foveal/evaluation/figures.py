"""From the lines of ``clips.jsonl`` to the figures of ``evaluation.json`` (docs/evaluation.md).

Letters: N clips that were judged, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from foveal.metrics import (
    Reliability,
    confusion,
    cooled,
    fit_temperature,
    mean_average_precision,
    mean_class_accuracy,
    per_class,
    reliability,
    spread,
    top_k_accuracy,
)
from foveal.results import cpu_name, versions
from foveal.types import STAGES, Array

EVALUATION_SCHEMA = 1
"""Version of ``evaluation.json`` and of the lines it is made of."""

DIGITS = 6
MAX_MISTAKES = 12
NUM_SPARE = 5
"""With this many classes and fewer, every label is among the five likeliest."""

Row: TypeAlias = Mapping[str, Any]

COSTS: Mapping[str, Callable[[Row], float]] = {
    "macs": lambda row: row["cost"]["macs"],
    "frames_decoded": lambda row: row["cost"]["frames_decoded"],
    "frames_used": lambda row: row["cost"]["frames_used"],
    "bytes": lambda row: row["cost"]["bytes"],
    "ms": lambda row: sum(row["cost"]["ms"].values()),
}
"""What a clip costs, by the names of ``evaluation.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The clips that have an answer, as arrays.

    Args:
        rows: their lines.
        probs: float64 (N,K).
        labels: int64 (N,).
    """

    rows: tuple[Row, ...]
    probs: Array
    labels: Array

    @property
    def predicted(self) -> Array:
        """The likeliest class of each, int64 (N,); ties go to the lower index."""
        return np.asarray(self.probs.argmax(axis=1))


def judged(rows: Sequence[Row], class_names: Sequence[str]) -> Judged:
    """Return the lines that hold an answer, at least one, as arrays."""
    index = {name: place for place, name in enumerate(class_names)}
    answered = tuple(row for row in rows if row["status"] == "ok")
    return Judged(
        rows=answered,
        probs=np.array([row["probs"] for row in answered], np.float64),
        labels=np.array([index[row["label"]] for row in answered], np.int64),
    )


def figures(
    rows: Sequence[Row], *, class_names: Sequence[str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``evaluation.json`` as plain JSON data.

    Args:
        rows: lines of ``clips.jsonl``, at least one of them with an answer.
        class_names: of the model, in the order of its probabilities.
        about: ``model`` and ``data``.
    """
    made = judged(rows, class_names)
    probs, labels = made.probs, made.labels
    counts = confusion(labels, made.predicted, num_classes=len(class_names))
    mean_precision, precisions = mean_average_precision(probs, labels)
    top5 = top_k_accuracy(probs, labels, k=5) if len(class_names) > NUM_SPARE else None
    return {
        "schema": EVALUATION_SCHEMA,
        **about,
        "class_names": list(class_names),
        "views": {"num_clips": 1, "num_crops": 1},
        "num_clips": len(rows),
        "num_judged": len(made.rows),
        "failed": dict(Counter(r["error"]["kind"] for r in rows if r["status"] == "error")),
        "accuracy": {
            "top1": short(top_k_accuracy(probs, labels)),
            "top5": None if top5 is None else short(top5),
            "mean_class": short(mean_class_accuracy(counts)),
        },
        "mean_average_precision": short(mean_precision),
        "classes": _classes(class_names, counts, precisions),
        "confusion": [
            {"label": class_names[i], "predicted": class_names[j], "num_clips": int(counts[i, j])}
            for i, j in np.argwhere(counts)
        ],
        "calibration": calibration(probs, labels),
        "cost": cost(made.rows),
        "answers": answers(made),
        "evidence": evidence(made.rows),
        "mistakes": mistakes(made, class_names),
        "versions": versions(("foveal", "numpy", "av", "onnxruntime")),
        "cpu": cpu_name(),
    }


def short(value: float) -> float:
    """Return ``value`` with :data:`DIGITS` decimals."""
    return round(float(value), DIGITS)


def _classes(names: Sequence[str], counts: Array, precisions: Array) -> list[dict[str, Any]]:
    """Return what is known of each class that has clips."""
    shares = per_class(counts)
    return [
        {
            "class": name,
            "num_clips": int(counts[k].sum()),
            "accuracy": short(shares[k]),
            "average_precision": short(precisions[k]),
        }
        for k, name in enumerate(names)
        if counts[k].any()
    ]


def calibration(probs: Array, labels: Array) -> dict[str, Any]:
    """Return the calibration error before and after a temperature.

    Each half of the clips (every other one) is cooled with the temperature that fits the other
    half, so that nothing is tuned on what it is judged by; ``temperature`` fits all of them.
    """
    before = reliability(probs, labels)
    found: dict[str, Any] = {
        "num_bins": len(before.counts),
        "error": short(before.error),
        "bins": _bins(before),
        "temperature": short(fit_temperature(probs, labels)),
    }
    halves = np.arange(len(labels)) % 2
    if len(labels) < 2:
        return {**found, "error_after": None, "bins_after": []}
    after = np.empty_like(probs)
    for half in (0, 1):
        mine, other = halves == half, halves != half
        after[mine] = cooled(probs[mine], fit_temperature(probs[other], labels[other]))
    made = reliability(after, labels)
    return {**found, "error_after": short(made.error), "bins_after": _bins(made)}


def _bins(found: Reliability) -> list[dict[str, Any]]:
    return [
        {
            "up_to": short((m + 1) / len(found.counts)),
            "num_clips": int(found.counts[m]),
            "confidence": short(found.confidence[m]),
            "accuracy": short(found.accuracy[m]),
        }
        for m in np.flatnonzero(found.counts)
    ]


def cost(rows: Sequence[Row]) -> dict[str, Any]:
    """Return mean, p50 and p95 of what a clip costs, and the mean milliseconds of each stage."""
    found: dict[str, Any] = {}
    for name, of in COSTS.items():
        values = spread([of(row) for row in rows]).to_json()
        found[name] = {key: round(value, 3) for key, value in values.items()}
    found["ms_by_stage"] = {
        stage: round(float(np.mean([row["cost"]["ms"][stage] for row in rows])), 3)
        for stage in STAGES
    }
    return found


def answers(made: Judged) -> list[dict[str, Any]]:
    """Return accuracy and mean cost if every clip ended with its answer number i, or its last.

    Clips that stopped before keep what they had said and cost until then, so the last entry is
    the evaluation itself, but for parts that ran after the last answer.
    """
    paths = [_path(row) for row in made.rows]
    found = []
    for i in range(max(map(len, paths))):
        ends = [path[min(i, len(path) - 1)] for path in paths]
        right = [label == want for (_, label), want in zip(ends, made.labels, strict=True)]
        found.append(
            {
                "answer": i,
                "accuracy": short(sum(right) / len(right)),
                "macs": round(float(np.mean([macs for macs, _ in ends])), 3),
                "ended": sum(len(path) == i + 1 for path in paths),
            }
        )
    return found


def _path(row: Row) -> list[tuple[int, int]]:
    """Return the MACs spent by each answer of a clip, and the class it named."""
    spent = 0
    path = []
    for event in row["trace"]["events"]:
        if event["kind"] == "call":
            spent += event["macs"]
        elif event["kind"] == "answer":
            path.append((spent, event["label"]))
    return path


def evidence(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return how well looks meet the evidence, for the clips of which it is known; or nothing."""
    known = [row["evidence"] for row in rows if "evidence" in row]
    if not known:
        return None
    looked = [one for one in known if one["looks"]]
    boxed = [one for one in looked if "box_coverage" in one]

    def mean(values: list[float]) -> float | None:
        return short(sum(values) / len(values)) if values else None

    return {
        "num_clips": len(known),
        "found": mean([float(one["on_evidence"] > 0) for one in known]),
        "precision": mean([one["on_evidence"] / one["looks"] for one in looked]),
        "chance": mean([one["chance"] for one in known]),
        "num_boxed": len(boxed),
        "box_coverage": mean([one["box_coverage"] for one in boxed]),
        "box_area": mean([one["box_area"] for one in boxed]),
    }


def mistakes(made: Judged, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the clips it was surest of and wrong about, at most :data:`MAX_MISTAKES`."""
    predicted, sure = made.predicted, made.probs.max(axis=1)
    wrong = np.flatnonzero(predicted != made.labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MAX_MISTAKES]
    return [
        {
            "sample": made.rows[i]["sample"],
            "path": made.rows[i]["path"],
            "label": class_names[made.labels[i]],
            "predicted": class_names[predicted[i]],
            "prob": short(sure[i]),
            "prob_of_label": short(made.probs[i, made.labels[i]]),
        }
        for i in worst
    ]
