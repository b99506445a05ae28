"""From the lines of ``clips.jsonl`` to the figures of ``evaluation.json`` (docs/evaluation.md).

Letters: N clips that were judged, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from foveal.dataset import truth_of
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

EVALUATION_SCHEMA = 2
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
class Clips:
    """What the figures need of the lines: traces, by far the most of them, are not kept.

    Args:
        class_names: K, of the model.
        samples: names of the clips that have an answer.
        paths: of the same.
        probs: float64 (N,K).
        truth: bool (N,K), which classes they show.
        costs: float64 (N,) by the names of :data:`COSTS`.
        stages: milliseconds, float64 (N,) by stage.
        answers: of each clip, the MACs spent by each answer and the class it named.
        evidence: of the clips of which it is known.
        errors: of the clips that could not be read.
        several: whether a clip may show several classes.
    """

    class_names: tuple[str, ...]
    samples: tuple[str, ...]
    paths: tuple[str, ...]
    probs: Array
    truth: Array
    costs: Mapping[str, Array]
    stages: Mapping[str, Array]
    answers: tuple[tuple[tuple[int, int], ...], ...]
    evidence: tuple[Row, ...]
    errors: tuple[Row, ...]
    several: bool = False

    def __len__(self) -> int:
        """Return N."""
        return len(self.samples)

    @property
    def predicted(self) -> Array:
        """The likeliest class of each, int64 (N,); ties go to the lower index."""
        return np.asarray(self.probs.argmax(axis=1))

    @property
    def labels(self) -> Array:
        """The class of each, where a clip shows one, int64 (N,)."""
        return np.asarray(self.truth.argmax(axis=1))

    def called(self, i: int) -> str:
        """Return the classes that clip ``i`` shows, in one line."""
        return " | ".join(self.class_names[k] for k in np.flatnonzero(self.truth[i]))


@dataclass(frozen=True, slots=True)
class _Clip:
    sample: str
    path: str
    labels: tuple[int, ...]
    probs: Array
    costs: tuple[float, ...]
    stages: tuple[float, ...]
    answers: tuple[tuple[int, int], ...]
    evidence: Row | None


def gather(rows: Iterable[Row], class_names: Sequence[str], *, several: bool = False) -> Clips:
    """Return what the figures need of ``rows``, taken one at a time.

    Args:
        rows: lines of ``clips.jsonl``.
        class_names: of the model, in the order of its probabilities.
        several: whether a clip may show several classes.
    """
    index = {name: place for place, name in enumerate(class_names)}
    kept: list[_Clip] = []
    errors: list[Row] = []
    for row in rows:
        if row["status"] == "error":
            errors.append(row["error"])
            continue
        kept.append(
            _Clip(
                sample=row["sample"],
                path=row["path"],
                labels=tuple(index[name] for name in row.get("labels", (row["label"],))),
                probs=np.array(row["probs"], np.float64),
                costs=tuple(of(row) for of in COSTS.values()),
                stages=tuple(row["cost"]["ms"][stage] for stage in STAGES),
                answers=tuple(_path(row)),
                evidence=row.get("evidence"),
            )
        )
    costs = np.array([one.costs for one in kept], np.float64).reshape(len(kept), len(COSTS))
    stages = np.array([one.stages for one in kept], np.float64).reshape(len(kept), len(STAGES))
    return Clips(
        class_names=tuple(class_names),
        samples=tuple(one.sample for one in kept),
        paths=tuple(one.path for one in kept),
        probs=np.array([one.probs for one in kept]).reshape(len(kept), len(class_names)),
        truth=truth_of((one.labels for one in kept), len(class_names)),
        costs=dict(zip(COSTS, costs.T, strict=True)),
        stages=dict(zip(STAGES, stages.T, strict=True)),
        answers=tuple(one.answers for one in kept),
        evidence=tuple(one.evidence for one in kept if one.evidence is not None),
        errors=tuple(errors),
        several=several,
    )


def figures(clips: Clips, *, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``evaluation.json`` as plain JSON data.

    Args:
        clips: at least one of them with an answer.
        about: ``model`` and ``data``.
    """
    names, probs = clips.class_names, clips.probs
    mean_precision, precisions = mean_average_precision(probs, clips.truth)
    top5 = top_k_accuracy(probs, clips.truth, k=5) if len(names) > NUM_SPARE else None
    counts = None
    if not clips.several:
        counts = confusion(clips.labels, clips.predicted, num_classes=len(names))
    return {
        "schema": EVALUATION_SCHEMA,
        **about,
        "class_names": list(names),
        "views": {"num_clips": 1, "num_crops": 1},
        "num_clips": len(clips) + len(clips.errors),
        "num_judged": len(clips),
        "failed": dict(Counter(error["kind"] for error in clips.errors)),
        "accuracy": {
            "top1": short(top_k_accuracy(probs, clips.truth)),
            "top5": None if top5 is None else short(top5),
            "mean_class": None if counts is None else short(mean_class_accuracy(counts)),
        },
        "mean_average_precision": short(mean_precision),
        "classes": _classes(clips, counts, precisions),
        "confusion": None
        if counts is None
        else [
            {"label": names[i], "predicted": names[j], "num_clips": int(counts[i, j])}
            for i, j in np.argwhere(counts)
        ],
        "calibration": None if clips.several else calibration(probs, clips.labels),
        "cost": cost(clips),
        "answers": answers(clips),
        "evidence": evidence(clips.evidence),
        "mistakes": mistakes(clips),
        "versions": versions(("foveal", "numpy", "av", "onnxruntime")),
        "cpu": cpu_name(),
    }


def short(value: float) -> float:
    """Return ``value`` with :data:`DIGITS` decimals."""
    return round(float(value), DIGITS)


def _classes(clips: Clips, counts: Array | None, precisions: Array) -> list[dict[str, Any]]:
    """Return what is known of each class that has clips."""
    shares = None if counts is None else per_class(counts)
    return [
        {
            "class": name,
            "num_clips": int(clips.truth[:, k].sum()),
            "accuracy": None if shares is None else short(shares[k]),
            "average_precision": short(precisions[k]),
        }
        for k, name in enumerate(clips.class_names)
        if clips.truth[:, k].any()
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


def cost(clips: Clips) -> dict[str, Any]:
    """Return mean, p50 and p95 of what a clip costs, and the mean milliseconds of each stage."""
    found: dict[str, Any] = {}
    for name, values in clips.costs.items():
        found[name] = {key: round(value, 3) for key, value in spread(values).to_json().items()}
    found["ms_by_stage"] = {
        stage: round(float(values.mean()), 3) for stage, values in clips.stages.items()
    }
    return found


def answers(clips: Clips) -> list[dict[str, Any]]:
    """Return accuracy and mean cost if every clip ended with its answer number i, or its last.

    Clips that stopped before keep what they had said and cost until then, so the last entry is
    the evaluation itself, but for parts that ran after the last answer.
    """
    found = []
    for i in range(max(map(len, clips.answers))):
        ends = [path[min(i, len(path) - 1)] for path in clips.answers]
        right = [shown[label] for (_, label), shown in zip(ends, clips.truth, strict=True)]
        found.append(
            {
                "answer": i,
                "accuracy": short(sum(right) / len(right)),
                "macs": round(float(np.mean([macs for macs, _ in ends])), 3),
                "ended": sum(len(path) == i + 1 for path in clips.answers),
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


def evidence(known: Sequence[Row]) -> dict[str, Any] | None:
    """Return how well looks meet the evidence, for the clips of which it is known; or nothing."""
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


def mistakes(clips: Clips) -> list[dict[str, Any]]:
    """Return the clips it was surest of and wrong about, at most :data:`MAX_MISTAKES`."""
    names, predicted, sure = clips.class_names, clips.predicted, clips.probs.max(axis=1)
    wrong = np.flatnonzero(~clips.truth[np.arange(len(clips)), predicted])
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MAX_MISTAKES]
    return [
        {
            "sample": clips.samples[i],
            "path": clips.paths[i],
            "label": clips.called(i),
            "predicted": names[predicted[i]],
            "prob": short(sure[i]),
            "prob_of_label": short(clips.probs[i, clips.truth[i]].max()),
        }
        for i in worst
    ]
