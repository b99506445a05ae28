"""From a finished run to a bundle to take away, and the number in it had again elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.api import Model
from foveal.bundle import Bundle, Tested
from foveal.dataset import DataError, Dataset, Format, fingerprint, read_dataset
from foveal.evaluation.errors import EvaluationError
from foveal.evaluation.subject import BUNDLE, RESULT, find_subject
from foveal.tasks.classification import Evaluation, evaluate

ACCURACY_TOLERANCE = 0.001
"""What an accuracy may be off: a tenth of a point."""
MACS_TOLERANCE = 0.01
"""What the mean cost may be off, of itself: clips may decode a little differently elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run.

    Args:
        folder: of the run.
        bundle: that it left, calibrated since or not.
        result: what it says of itself.
    """

    folder: Path
    bundle: Bundle
    result: Mapping[str, Any]

    @property
    def tested(self) -> Tested | None:
        """How it did on its test clips; None if it had none."""
        test, data = self.result["test"], self.result["data"]
        if test is None:
            return None
        return Tested(
            data=data["name"],
            data_sha256=data["sha256"],
            split="test",
            num_clips=test["num_clips"],
            accuracy=test["accuracy"],
            mean_macs=test["gmacs_per_clip"] * 1e9,
        )

    @property
    def provenance(self) -> dict[str, str]:
        """What its bundle should say of where it comes from."""
        data = self.result["data"]
        clips = ", ".join(f"{name} {num}" for name, num in data["clips"].items())
        stages = "; ".join(
            f"{s['name']}: batch {s['batch_size']}, lr {s['lr']:.4g}, "
            + (f"{s['steps']} steps" if s["steps"] else f"{s['epochs']} epochs")
            for s in self.result["stages"]
        )
        return {
            "clips": clips,
            "how_split": data["how_split"],
            "data_sha256": data["sha256"],
            "stages": stages,
            "versions": ", ".join(f"{k} {v}" for k, v in self.result["versions"].items()),
        }


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Return the finished run in ``folder``.

    Raises:
        EvaluationError: there is none, it has not finished, or its model could not be exported.
        BundleError: its bundle is broken.
    """
    place = Path(folder)
    if not place.is_dir():
        what = "a file, not a run" if place.is_file() else "no such folder"
        raise EvaluationError(
            f"{folder}: {what}", hint="name the folder that `foveal train` wrote with --out"
        )
    result = place / RESULT
    if not result.is_file():
        begun = (place / "checkpoint.json").is_file()
        raise EvaluationError(
            f"{folder}: " + ("this run has not finished" if begun else "there is no run in it"),
            hint="go on with it by `foveal train ... --resume`" if begun else "train one first",
        )
    try:
        told = json.loads(result.read_text(encoding="utf-8"))
        refused = told.get("not_exported")
    except (OSError, ValueError, AttributeError) as error:
        raise EvaluationError(
            f"{result}: this is no result of a run ({error})", hint="train again"
        ) from error
    if refused is not None:
        raise EvaluationError(
            f"{folder}: this model could not be exported ({refused})",
            hint="use its weights from Python (docs/training.md)",
        )
    found = Run(folder=place, bundle=Bundle.open(find_subject(place).bundle), result=dict(told))
    try:
        assert found.provenance
        assert found.tested is None or found.tested.num_clips
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"{result}: this is no result of a run ({error!r})", hint="train again"
        ) from error
    return found


def check_target(out: str | os.PathLike[str], *, run: Run, force: bool) -> Path:
    """Return where a bundle goes, before work is spent on it.

    Raises:
        EvaluationError: something is there already, or it would be the run's own bundle.
    """
    path = Path(out)
    if path.is_dir():
        raise EvaluationError(f"{out}: this is a folder", hint="name a file, say my.foveal")
    if path.resolve() == (run.folder / BUNDLE).resolve():
        raise EvaluationError(
            f"{out}: this is the run's own bundle", hint="name another file with -o"
        )
    if path.exists() and not force:
        raise EvaluationError(
            f"{out}: there is such a file already", hint="name another one, or add --force"
        )
    if not path.resolve().parent.is_dir():
        raise EvaluationError(
            f"{out}: its folder does not exist", hint="make the folder, or name another one"
        )
    return path


# --- the number again --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of having a stored number again.

    Args:
        bundle: that stores it.
        tested: as stored.
        found: as measured here.
    """

    bundle: Bundle
    tested: Tested
    found: Evaluation

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is not as stored, a line each; nothing if all is."""
        told = []
        there, here = self.tested, self.found
        if len(here) != there.num_clips:
            told.append(f"{len(here)} clips could be read, {there.num_clips} then")
        if abs(here.accuracy - there.accuracy) > ACCURACY_TOLERANCE:
            told.append(f"{here.accuracy:.2%} of the clips are right, {there.accuracy:.2%} then")
        macs = self.mean_macs
        if abs(macs - there.mean_macs) > MACS_TOLERANCE * there.mean_macs:
            told.append(f"a clip costs {macs / 1e9:.4g} GMACs, {there.mean_macs / 1e9:.4g} then")
        return tuple(told)

    @property
    def mean_macs(self) -> float:
        """Multiply-accumulates of a clip here."""
        return self.found.mean(lambda cost: cost.total_macs)


def verify(
    subject: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> Verified:
    """Check a bundle's files against their hashes, and have its stored accuracy again.

    Args:
        subject: a bundle that ``foveal export`` wrote, or a run.
        data: the set that its number was measured on, wherever it lies now.
        format: of ``data``; by its looks if none is named.
        videos: where the videos of a list are.
        threads: to compute with; all cores if none is named.

    Raises:
        BundleError: a file of the bundle is damaged.
        EvaluationError: no number is stored, or ``data`` is another set.
        DataError: the clips cannot be read.
    """
    bundle = Bundle.open(find_subject(subject).bundle)
    bundle.verify()
    tested = bundle.manifest.tested
    if tested is None and Path(subject).is_dir():
        tested = open_run(subject).tested
    if tested is None:
        raise EvaluationError(
            f"{bundle.path}: no number is stored in it that could be had again",
            hint="export it from a run that had test clips, with `foveal export`",
        )
    model = Model(bundle, threads=threads)
    dataset = need_same_set(tested, model.class_names, data, format=format, videos=videos)
    samples = dataset.samples["test"]
    found = evaluate(
        samples,
        kind=dataset.kind,
        runner=model.runner,
        steps=model.steps,
        exit_rule=model.exit_rule,
        several=dataset.several,
    )
    return Verified(bundle=bundle, tested=tested, found=found)


def need_same_set(
    tested: Tested | None,
    class_names: tuple[str, ...],
    data: str | os.PathLike[str],
    *,
    format: Format | None,
    videos: str | os.PathLike[str] | None,
) -> Dataset:
    """Return ``data`` split as it was when the number was measured.

    Raises:
        EvaluationError: no number was, or ``data`` is another set.
    """
    if tested is None:
        raise EvaluationError(
            "the run had no test clips, so that there is nothing to measure by",
            hint="train on a set with clips for test",
        )
    try:
        found = read_dataset(data, format=format, videos=videos, class_names=class_names)
    except DataError as error:
        raise EvaluationError(
            f"{os.fspath(data)}: not the set of the stored number, {tested.data} ({error.message})",
            hint="name the clips the model was trained and tested on",
        ) from error
    if fingerprint(found) != tested.data_sha256:
        num = sum(len(part) for part in found.samples.values())
        raise EvaluationError(
            f"{os.fspath(data)}: not the set of the stored number, {tested.data}: these "
            f"{num:,} clips, their classes or their splits are others",
            hint="name the clips the model was trained and tested on; `foveal evaluate` judges "
            "by any others",
        )
    return found
