"""What is judged, and on which clips: never unawares on those it learnt from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from foveal.api import RUN_BUNDLE, Model, bundle_in
from foveal.dataset import DataError, Dataset, Format, Split, fingerprint, read_dataset
from foveal.evaluation.errors import EvaluationError

BUNDLE = RUN_BUNDLE
RESULT = "result.json"
"""What ``foveal train`` leaves in the folder of a run."""

Relation: TypeAlias = Literal["own", "changed", "other", "unknown"]
"""Of the clips to those a model was trained on: the same set, that set with other clips, another
set, or nothing is known of the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged.

    Args:
        bundle: the file.
        trained_on: what its run says of its data; None where no run lies beside it.
    """

    bundle: Path
    trained_on: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The clips to judge by.

    Args:
        dataset: read in the class order of the model.
        relation: to what it was trained on.
        warning: one line where that may flatter the model.
    """

    dataset: Dataset
    relation: Relation
    warning: str | None


def find_subject(path: str | os.PathLike[str]) -> Subject:
    """Return the bundle that ``path`` is, or that lies in the run folder ``path``.

    Raises:
        BundleError: a folder without a bundle.
        EvaluationError: a run whose result cannot be read.
    """
    bundle = Path(str(bundle_in(path)))
    result = bundle.parent / RESULT
    if bundle.name != BUNDLE or not result.is_file():
        return Subject(bundle=bundle, trained_on=None)
    try:
        trained_on = json.loads(result.read_text(encoding="utf-8"))["data"]
        names = {trained_on[key] is not None for key in ("name", "class_names", "how_split")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{result}: this is no result of a run ({error})",
            hint="remove it to judge the bundle alone, or train again",
        ) from error
    assert names
    return Subject(bundle=bundle, trained_on=trained_on)


def choose(
    subject: Subject,
    model: Model,
    data: str | os.PathLike[str],
    *,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
) -> Chosen:
    """Return the clips of ``data``, split as in training if the model was trained on them.

    Splits that a list gives stay. Where none are given, the set a model was trained on is split
    as it was then; any other set is test as a whole.

    Raises:
        DataError: it cannot be read, or has a class that the model does not know.
    """
    names, told = model.class_names, subject.trained_on
    if told is not None:
        try:
            again = read_dataset(data, format=format, videos=videos, class_names=names)
        except DataError:
            again = None  # too little to learn from, or broken: then the next reading says so
        if again is not None and _is_same(again, told):
            return Chosen(dataset=again, relation="own", warning=None)
    dataset = read_dataset(
        data, format=format, videos=videos, class_names=names, purpose="evaluate"
    )
    trained_name = model.bundle.manifest.provenance.get("data") if told is None else told["name"]
    same_name = trained_name == dataset.name
    relation: Relation = "unknown" if told is None else "changed" if same_name else "other"
    drawn = not dataset.samples["train"] and not dataset.samples["validation"]
    warning = None
    if same_name and drawn:
        why = (
            f"the {RESULT} of its run is not beside it, which would tell them apart"
            if told is None
            else "its clips are not those of the run any more"
        )
        warning = (
            f"the model was trained on a set named {dataset.name}, and {why}: "
            "clips it learnt from may be among those it is judged by"
        )
    return Chosen(dataset=dataset, relation=relation, warning=warning)


def _is_same(dataset: Dataset, told: Mapping[str, Any]) -> bool:
    if "sha256" in told:
        return bool(told["sha256"] == fingerprint(dataset))
    clips = {name: len(part) for name, part in dataset.samples.items()}
    known = (dataset.name, list(dataset.class_names), clips, dataset.how_split)
    return known == tuple(told.get(k) for k in ("name", "class_names", "clips", "how_split"))


def warnings_of(chosen: Chosen, model: Model) -> list[str]:
    """Return what the user should know before believing a figure, one line each."""
    found = [] if chosen.warning is None else [chosen.warning]
    if model.several and not chosen.dataset.several:
        found.append(
            "the model tells several classes of a clip and this list has one each: whatever else a "
            "clip shows counts as wrong"
        )
    return found


def need_clips(dataset: Dataset, split: Split) -> None:
    """Check that there is something to judge by.

    Raises:
        EvaluationError: the split is empty.
    """
    if dataset.samples[split]:
        return
    there = [f"{len(part):,} {name}" for name, part in dataset.samples.items() if part]
    raise EvaluationError(
        f"{dataset.name}: no clip is for {split} ({dataset.how_split})",
        hint=f"it has {', '.join(there)}; choose with --split",
    )
