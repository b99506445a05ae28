"""Accuracy by cost of several models, read from bundles and evaluations, with one Pareto front."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foveal.bundle import Bundle, MeasuredPoint
from foveal.evaluation.folder import FIGURES
from foveal.evaluation.subject import BUNDLE
from foveal.types import FovealError


class CurveError(FovealError):
    """There is nothing to draw; the message says where."""

    kind = "curve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One point of a picture.

    Args:
        name: of the operating point.
        family: as of an operating point; ``answers`` for those of an evaluation.
        accuracy: in [0, 1].
        gmacs: of a clip in the mean.
        p95_gmacs: likewise for 95 of 100 clips, where it is known.
        p50_ms, p95_ms: where they are known.
        is_on_front: whether no other point in the picture is better.
    """

    name: str
    family: str
    accuracy: float
    gmacs: float
    p95_gmacs: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    is_on_front: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What one bundle or evaluation says.

    Args:
        label: tells it from the others in the picture.
        measured_on: set and split.
        num_clips: they are of.
        machine: that milliseconds are of.
        marks: from dear to cheap.
    """

    label: str
    measured_on: str
    num_clips: int
    machine: str
    marks: tuple[Mark, ...]


def read_curves(paths: Sequence[str | os.PathLike[str]]) -> tuple[Curve, ...]:
    """Return the curve in each of ``paths``, with the Pareto front over all of them marked.

    Args:
        paths: calibrated bundles, runs that hold one, folders of evaluations or their JSON.

    Raises:
        CurveError: one holds no curve.
        BundleError: a bundle is missing or broken.
    """
    curves = [_read(Path(path)) for path in paths]
    labels = [curve.label for curve in curves]
    for place, curve in enumerate(curves):
        if labels.count(curve.label) > 1:
            curves[place] = replace(curve, label=f"{curve.label} ({os.fspath(paths[place])})")
    return with_front(curves)


def with_front(curves: Sequence[Curve]) -> tuple[Curve, ...]:
    """Return ``curves`` with the Pareto front over all of them marked; chance is no rival."""
    best = _front([mark for curve in curves for mark in curve.marks])
    return tuple(
        replace(curve, marks=tuple(replace(m, is_on_front=m in best) for m in curve.marks))
        for curve in curves
    )


def _front(marks: Sequence[Mark]) -> list[Mark]:
    rivals = [mark for mark in marks if mark.family != "random"]
    return [mark for mark in rivals if not any(_beats(other, mark) for other in rivals)]


def _beats(one: Mark, other: Mark) -> bool:
    no_worse = one.accuracy >= other.accuracy and one.gmacs <= other.gmacs
    return no_worse and (one.accuracy, one.gmacs) != (other.accuracy, other.gmacs)


def _read(path: Path) -> Curve:
    if path.is_dir():
        inside = [path / name for name in (BUNDLE, FIGURES) if (path / name).is_file()]
        if not inside:
            raise CurveError(
                f"{path}: there is neither {BUNDLE} nor {FIGURES} in this folder",
                hint="name a calibrated bundle or a folder of foveal evaluate",
            )
        path = inside[0]
    return _of_evaluation(path) if path.suffix.lower() == ".json" else _of_bundle(path)


def _of_bundle(path: Path) -> Curve:
    manifest = Bundle.open(path).manifest
    found = manifest.calibration
    if found is None:
        raise CurveError(
            f"{path}: this bundle holds no curve", hint=f"run `foveal calibrate {path} DATA` first"
        )
    return Curve(
        label=f"{manifest.system}: {path.stem}",
        measured_on=f"{found.data}, {found.split}",
        num_clips=found.num_clips,
        machine=f"{found.machine.name}, {found.machine.threads} threads",
        marks=tuple(_mark(measured) for measured in found.points),
    )


def _mark(measured: MeasuredPoint) -> Mark:
    return Mark(
        name=measured.point.name,
        family=measured.point.family,
        accuracy=measured.accuracy,
        gmacs=measured.mean_macs / 1e9,
        p95_gmacs=measured.p95_macs / 1e9,
        p50_ms=measured.p50_ms,
        p95_ms=measured.p95_ms,
    )


def _of_evaluation(path: Path) -> Curve:
    try:
        return _evaluated(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CurveError(f"{path}: {error.strerror or error}", hint="check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CurveError(
            f"{path}: this is no {FIGURES} ({type(error).__name__}: {error})",
            hint="name a calibrated bundle or a folder of foveal evaluate",
        ) from error


def _evaluated(found: Mapping[str, Any]) -> Curve:
    macs, ms = found["cost"]["macs"], found["cost"]["ms"]
    whole = Mark(
        name="as evaluated",
        family="evaluated",
        accuracy=float(found["accuracy"]["top1"]),
        gmacs=macs["mean"] / 1e9,
        p95_gmacs=macs["p95"] / 1e9,
        p50_ms=float(ms["p50"]),
        p95_ms=float(ms["p95"]),
    )
    ends = [
        Mark(
            name=f"answer {one['answer'] + 1}",
            family="answers",
            accuracy=float(one["accuracy"]),
            gmacs=one["macs"] / 1e9,
        )
        for one in found["answers"]
    ]
    marks = [whole, *ends] if len(ends) > 1 else [whole]
    return Curve(
        label=f"{found['model']['system']}: {Path(found['model']['bundle']).stem}",
        measured_on=f"{found['data']['name']}, {found['data']['split']}",
        num_clips=int(found["num_judged"]),
        machine=str(found["cpu"]),
        marks=tuple(sorted(marks, key=lambda mark: -mark.gmacs)),
    )
