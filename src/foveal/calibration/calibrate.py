"""From a bundle and labelled clips to the bundle that knows what its operating points cost."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.api import Model
from foveal.budget import measure_machine
from foveal.bundle import (
    MAX_POINTS,
    Bundle,
    BundleInvalidError,
    Calibration,
    encode_config,
)
from foveal.calibration.measure import Measured, SegmentsError, measure
from foveal.calibration.points import front, measured_points, unsure, verdicts
from foveal.dataset import Dataset, Format, Sample, Split, clips_fingerprint, named_samples
from foveal.evaluation.subject import choose, find_subject, need_clips, warnings_of
from foveal.records import Failure
from foveal.sampling.operating import OperatingPoint
from foveal.systems import index
from foveal.types import FovealError

FEWEST = 8
"""Clips below which halves of them say nothing."""
FEW = 100
"""Clips below which a warning says how little they tell."""


class CalibrationError(FovealError):
    """Nothing can be measured; the message says why."""

    kind = "calibration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What came of a calibration.

    Args:
        bundle: written, with its curve.
        calibration: the curve.
        verdicts: lines on what is not worth its cost.
        failures: of the clips that could not be read.
    """

    bundle: Bundle
    calibration: Calibration
    verdicts: tuple[str, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrating:
    """A calibration that is ready to begin.

    Args:
        model: what is measured.
        dataset: what the clips are of.
        samples: the clips by name.
        split: which part of the set they are.
        points: the candidates of the system, from dear to cheap.
        out: the bundle to write.
        warnings: what to know before believing a figure, one line each.
    """

    model: Model
    dataset: Dataset
    samples: Mapping[str, Sample]
    split: Split
    points: tuple[OperatingPoint, ...]
    out: Path
    warnings: tuple[str, ...]

    @property
    def num_runs(self) -> int:
        """How many times a clip will be run, over all clips."""
        return len(self._settings()) * len(self.samples)

    @property
    def several(self) -> bool:
        """Whether a clip may show several classes."""
        return self.dataset.several or self.model.several

    def _settings(self) -> dict[str, list[OperatingPoint]]:
        """Return the points by their settings: those that differ in exits alone share a run."""
        groups: dict[str, list[OperatingPoint]] = {}
        for point in self.points:
            key = repr(sorted(encode_config(dict(point.settings)).items()))
            groups.setdefault(key, []).append(point)
        return groups

    def run(self, progress: Callable[[], None] = lambda: None) -> Calibrated:
        """Run every setting on every clip, solve the exits, write the bundle.

        Raises:
            CalibrationError: too few clips can be read, or the system answers with segments.
            BundleError: the bundle is damaged or cannot be written.
        """
        groups = self._settings()
        measured = self._measured(groups, progress)
        found = [
            one
            for key, points in groups.items()
            for point in points
            for one in measured_points(point, measured[key])
        ]
        first = next(iter(measured.values()))
        if len(found) > MAX_POINTS:
            raise CalibrationError(
                f"{self.model.name} has {len(found)} operating points, a bundle holds {MAX_POINTS}",
                hint="list fewer in operating_points of its protocol",
            )
        ordered = front(found)
        calibration = Calibration(
            data=self.dataset.name,
            split=self.split,
            clips_sha256=clips_fingerprint(
                self.dataset, ((name, self.samples[name]) for name in first.names)
            ),
            num_clips=len(first.names),
            machine=measure_machine(self.model.bundle, threads=self.model.threads),
            points=ordered,
        )
        bundle = self.model.bundle.calibrated(self.out, calibration)
        return Calibrated(
            bundle=bundle,
            calibration=calibration,
            verdicts=(
                *verdicts(ordered, several=first.several),
                *(() if first.several else unsure(ordered, len(first.names))),
            ),
            failures=first.failures,
        )

    def _measured(
        self, groups: Mapping[str, list[OperatingPoint]], progress: Callable[[], None]
    ) -> dict[str, Measured]:
        models = {key: self.model.at(points[0]) for key, points in groups.items()}
        try:
            found = measure(
                self.samples,
                kind=self.dataset.kind,
                runner=self.model.runner,
                settings={key: model.steps for key, model in models.items()},
                several=self.several,
                progress=progress,
            )
        except SegmentsError as error:
            raise CalibrationError(
                f"{self.model.bundle.path}: {error.message}", hint=error.hint
            ) from error
        for one in found.values():
            if len(one.names) < FEWEST:
                told = f": {one.failures[0].message}" if one.failures else ""
                raise CalibrationError(
                    f"{self.dataset.name}: {len(one.names)} clips for {self.split} can be read, "
                    f"it takes {FEWEST} to measure anything{told}",
                    hint="name more clips, or another part of them with --split",
                )
        return found


def prepare(
    subject: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: Split = "validation",
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Calibrating:
    """Open the model and the clips of a calibration; nothing is decoded yet.

    Args:
        subject: a bundle, or a run of ``foveal train``.
        data: labelled clips (docs/data.md).
        split: which of them: best those that nothing was learnt from and nothing is judged by.
        out: the bundle to write; without one ``subject`` takes the curve up.
        format: of ``data``; by its looks if none is named.
        videos: where the videos of a list are.
        threads: to compute with; all cores if none is named.

    Raises:
        BundleError: the bundle is missing or broken.
        DataError: the clips cannot be read, or have a class that the model does not know.
        EvaluationError: the split is empty.
    """
    found = find_subject(subject)
    model = Model(Bundle.open(found.bundle), threads=threads)
    chosen = choose(found, model, data, format=format, videos=videos)
    need_clips(chosen.dataset, split)
    samples = dict(named_samples(chosen.dataset)[split])
    warnings = warnings_of(chosen, model)
    if split == "test":
        warnings.append("thresholds are fitted on test clips: judge this bundle by other ones")
    if split == "train":
        warnings.append("the model learnt from these clips: accuracy and confidence are too high")
    if len(samples) < FEW:
        warnings.append(f"{len(samples)} clips tell accuracies apart only roughly")
    protocol = importlib.import_module(f"{index.find(model.name).module}.protocol")
    points: tuple[OperatingPoint, ...] = protocol.operating_points(model.config)
    for point in points:
        try:
            model.at(point)
        except BundleInvalidError as error:
            raise CalibrationError(error.message, hint="export the bundle again") from error
    return Calibrating(
        model=model,
        dataset=chosen.dataset,
        samples=samples,
        split=split,
        points=points,
        out=found.bundle if out is None else Path(out),
        warnings=tuple(warnings),
    )
