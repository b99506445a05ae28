"""From a bundle and labelled clips to the folder of an evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.api import Model
from foveal.budget import Budget
from foveal.bundle import Bundle, encode_config
from foveal.dataset import Dataset, Format, Sample, Split, clips_fingerprint, named_samples
from foveal.engine.executor import Outcome
from foveal.evaluation.errors import EvaluationError
from foveal.evaluation.evidence import located, read_truth, truth_of
from foveal.evaluation.figures import EVALUATION_SCHEMA, figures, gather
from foveal.evaluation.folder import FIGURES, REPORT, Folder, write_whole
from foveal.evaluation.report import report
from foveal.evaluation.subject import (
    Chosen,
    Subject,
    choose,
    find_subject,
    need_clips,
    warnings_of,
)
from foveal.records import Failure
from foveal.tasks.classification import NothingReadError, run
from foveal.types import Array
from foveal.video.errors import public

TOP_K = 5
"""Labels that the record of a clip names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What came of an evaluation.

    Args:
        figures: plain JSON data, as in ``evaluation.json``.
        out: the folder, with ``clips.jsonl``, ``evaluation.json`` and ``report.html``.
    """

    figures: Mapping[str, Any]
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """An evaluation that is ready to begin or go on.

    Args:
        model: what is judged.
        dataset: what the clips are of, in the class order of the model.
        samples: the clips by name, in the order of the names.
        split: which part of the set they are.
        about: what ``evaluation.json`` says of model and data.
        truth: what is known of where the evidence is, by path.
        folder: what is done.
    """

    model: Model
    dataset: Dataset
    samples: Mapping[str, Sample]
    split: Split
    about: Mapping[str, Any]
    truth: Mapping[str, Mapping[str, Any]]
    folder: Folder

    @property
    def several(self) -> bool:
        """Whether a clip may show several classes."""
        return self.dataset.several or self.model.several

    @property
    def num_done(self) -> int:
        """How many of the clips have their line."""
        return len(self.folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before believing a figure, one line each."""
        return tuple(self.about["data"]["warnings"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Judge the clips that have no line yet; yield the line of each once it is written.

        Raises:
            EvaluationError: the model answers with segments.
        """
        left = [pair for pair in self.samples.items() if pair[0] not in self.folder]
        model = self.model
        done = run(
            left,
            kind=self.dataset.kind,
            runner=model.runner,
            steps=model.steps,
            exit_rule=model.exit_rule,
        )
        with self.folder.lines() as file:
            for one in done:
                row = self._failed(one) if isinstance(one, Failure) else self._row(one)
                self.folder.add(file, row)
                yield row

    def _failed(self, failure: Failure) -> dict[str, Any]:
        sample = self.samples[failure.path]
        return {
            **failure.to_json(),
            "path": public(sample.path),
            "sample": failure.path,
            **self._labels(sample),
        }

    def _labels(self, sample: Sample) -> dict[str, Any]:
        """Return how a line says what its clip shows: in ``labels`` where that may be several."""
        names = list(self.dataset.names_of(sample))
        several = {"labels": names} if self.dataset.several else {}
        return {"label": names[0], **several}

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        sample, names = self.samples[outcome.name], self.dataset.class_names
        probs = outcome.answer.probs
        if probs is None:
            raise EvaluationError(
                f"{self.model.bundle.path}: {self.model.name} says when things happen and does "
                "not put a clip into one class",
                hint="name a bundle that classifies",
            )
        if probs.shape != (len(names),):
            raise EvaluationError(
                f"{self.model.bundle.path}: it answers with {len(probs)} probabilities and has "
                f"{len(names)} class names",
                hint="export the bundle again",
            )
        prediction = self.model.prediction(outcome, top_k=min(TOP_K, len(names)))
        truth = truth_of(self.truth, sample)
        row = {
            **prediction.to_json(),
            "path": public(sample.path),
            "sample": outcome.name,
            **self._labels(sample),
            "probs": shortened(probs),
        }
        return row if truth is None else {**row, "evidence": located(prediction, truth)}

    def finish(self) -> Evaluated:
        """Write ``evaluation.json`` and ``report.html`` once all clips have their line.

        Raises:
            NothingReadError: no clip could be read; the first one's reason is given.
        """
        folder, names = self.folder, list(self.samples)
        folder.put_in_order(names)
        clips = gather(folder.rows(names), self.dataset.class_names, several=self.several)
        if not len(clips):
            error = clips.errors[0]
            raise NothingReadError(
                f"none of the {len(names):,} clips could be read: {error['message']}",
                hint=error["hint"],
            )
        found = figures(clips, about=self.about)
        write_whole(folder.place / FIGURES, json.dumps(found, indent=1, allow_nan=False) + "\n")
        worst = folder.rows(one["sample"] for one in found["mistakes"])
        page = report(found, clips, worst=worst, samples=self.samples, kind=self.dataset.kind)
        write_whole(folder.place / REPORT, page)
        return Evaluated(figures=found, out=folder.place)


def prepare(
    subject: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: Split = "test",
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    point: str | None = None,
    budget: Budget | None = None,
) -> Judging:
    """Open the model, the clips and the folder of an evaluation; nothing is decoded yet.

    Args:
        subject: a bundle, or a run of ``foveal train``.
        data: labelled clips (docs/data.md).
        split: which of them; see :func:`~foveal.evaluation.subject.choose`.
        out: the folder; without one ``SPLIT-DATA`` in the folder of the run, or
            ``evaluations/BUNDLE-SPLIT-DATA``.
        format: of ``data``; by its looks if none is named.
        videos: where the videos of a list are.
        threads: to compute with; all cores if none is named.
        point: name of the operating point to judge; by default the bundle as it is.
        budget: chooses the point.

    Raises:
        BundleError: the bundle is missing or broken.
        DataError: the clips cannot be read, or have a class that the model does not know.
        EvaluationError: the split is empty, or the folder holds something else.
        InputError: there is no such point.
        BudgetError: no point holds the budget.
    """
    found = find_subject(subject)
    model = Model(Bundle.open(found.bundle), threads=threads)
    if budget is not None:
        model = model.within(budget)
    elif point is not None:
        model = model.at_named(point)
    chosen = choose(found, model, data, format=format, videos=videos)
    dataset = chosen.dataset
    need_clips(dataset, split)
    samples = dict(named_samples(dataset)[split])
    asked = {
        "schema": EVALUATION_SCHEMA,
        "bundle_sha256": model.bundle.fingerprint,
        "operating_point": None if model.point is None else model.point.name,
        "scores": None
        if model.measured is None
        else [model.measured.temperature, model.measured.known_from],
        "clips_sha256": clips_fingerprint(dataset, samples.items()),
        "split": split,
    }
    about = _about(found, model, chosen, asked)
    place = Path(out) if out is not None else default_out(found, subject, dataset, split, model)
    return Judging(
        model=model,
        dataset=dataset,
        samples=samples,
        split=split,
        about=about,
        truth=read_truth(data),
        folder=Folder(place, asked),
    )


def _about(
    found: Subject, model: Model, chosen: Chosen, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``evaluation.json`` says of model and data."""
    dataset = chosen.dataset
    return {
        "model": {
            "system": model.name,
            "bundle": found.bundle.name,
            "sha256": asked["bundle_sha256"],
            "description": model.bundle.manifest.description,
            "exit_rule": None if model.exit_rule is None else encode_config(model.exit_rule),
            "operating_point": asked["operating_point"],
        },
        "data": {
            "name": dataset.name,
            "split": asked["split"],
            "how_split": dataset.how_split,
            "trained_on": chosen.relation,
            "sha256": asked["clips_sha256"],
            "notes": list(dataset.notes),
            "warnings": warnings_of(chosen, model),
        },
    }


def default_out(
    found: Subject,
    named: str | os.PathLike[str],
    dataset: Dataset,
    split: Split,
    model: Model,
) -> Path:
    """Return where an evaluation goes that nobody named a folder for."""
    words = f"{split}-{dataset.name}"
    if model.point is not None:
        words += f"-{model.point.name}"
    elif model.measured is not None:
        words += "-calibrated"
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in words)
    if Path(named).is_dir():
        return Path(named) / name
    return Path("evaluations") / f"{found.bundle.stem}-{name}"


def evaluate(
    subject: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: Split = "test",
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    point: str | None = None,
    budget: Budget | None = None,
) -> Evaluated:
    """Judge a bundle on labelled clips; arguments and errors as of :func:`prepare`.

    Raises:
        NothingReadError: no clip could be read.
    """
    judging = prepare(
        subject,
        data,
        split=split,
        out=out,
        format=format,
        videos=videos,
        threads=threads,
        point=point,
        budget=budget,
    )
    for _ in judging.rows():
        pass
    return judging.finish()


def shortened(probs: Array) -> list[float]:
    """Return probabilities with nine digits, which tell all float32 values apart."""
    return [float(f"{p:.9g}") for p in probs]
