"""The Python face of Foveal: load a bundle, recognise files, compare with looking at everything.

Example:
    ``foveal.recognize("clip.mp4").predictions[0].label``
"""

from __future__ import annotations

import copy
import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.bundle import (
    Bundle,
    BundleError,
    BundleInvalidError,
    Calibration,
    ConfigError,
    MeasuredPoint,
    decode_config,
)
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import OnnxRunner
from foveal.records import Failure, Label, Prediction
from foveal.sampling.confidence import ExitRule
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps
from foveal.systems import index
from foveal.systems.baselines import protocol as baselines
from foveal.types import (
    ActionSegments,
    Answer,
    Array,
    ClipInfo,
    FovealError,
    PartSpec,
    Reference,
    Source,
)
from foveal.video import available_cores, open_source
from foveal.video.errors import public

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from foveal.budget import Budget, Choice

FILES_IN_FLIGHT = 4
"""Files open at once; each may hold decoded frames of many megabytes between its looks."""

SURE = 0.3
"""Probability from which a frame of the dense run counts as sure of what it shows."""

SHOWN = 0.5
"""Probability from which a clip that may show several classes is said to show one of them."""

NOTHING = "nothing it knows"
"""The label of an answer below the model's threshold."""


class InputError(FovealError):
    """What was asked for cannot be done; the message says why."""

    kind = "input"


class SampleError(FovealError):
    """One file has no answer; carries the failed record."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, hint=failure.hint)
        self.kind = failure.kind
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One file by the model and by looking at everything (``--check``).

    Args:
        prediction: by the model.
        dense: by its own network on every frame of the dense reference.
        agreement: share of the sure dense frames that the model labels alike; ``None`` when
            no dense frame is sure.
    """

    prediction: Prediction
    dense: Prediction
    agreement: float | None

    @property
    def macs_saved(self) -> float:
        """Share of the dense multiply-accumulates that were not spent, at most 1."""
        dense = self.dense.cost.total_macs
        return 1.0 - self.prediction.cost.total_macs / dense if dense else 0.0

    @property
    def ms_saved(self) -> float:
        """Share of the dense milliseconds not spent; at most 1, negative if it took longer."""
        dense = self.dense.cost.total_ms
        return 1.0 - self.prediction.cost.total_ms / dense if dense else 0.0


def embedded_bundle() -> Traversable:
    """Return where the bundle that ships with Foveal lies."""
    return files("foveal.systems.tagger") / "tagger.foveal"


RUN_BUNDLE = "model.foveal"
"""The bundle in the folder of a run of ``foveal train``."""


def bundle_in(path: str | os.PathLike[str] | None) -> str | os.PathLike[str] | Traversable:
    """Return the bundle that ``path`` means: a file, the one in a run, or the embedded one.

    Raises:
        BundleError: a folder without a bundle.
    """
    if path is None:
        return embedded_bundle()
    inside = Path(path) / RUN_BUNDLE
    if Path(path).is_dir() and not inside.is_file():
        raise BundleError(
            f"{path}: there is no {RUN_BUNDLE} in this folder",
            hint="name a run of `foveal train` that has finished, or a bundle",
        )
    return inside if inside.is_file() else path


class Model:
    """A bundle ready to run, without PyTorch.

    Args:
        bundle: opened and checked.
        threads: for the operators of a part; default: all cores this process may use.

    Raises:
        BundleInvalidError: the bundle's system is not one this version knows.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        manifest = bundle.manifest
        rows = {row.name: row for row in index.ALL if row.status == "working"}
        if manifest.system not in rows:
            raise BundleInvalidError(
                f"{bundle.path}: made for the system {manifest.system!r}, unknown to this version",
                hint="upgrade with `pip install --upgrade foveal`",
            )
        protocol = importlib.import_module(f"{rows[manifest.system].module}.protocol")
        self.bundle = bundle
        self.name = manifest.system
        self.class_names = manifest.class_names
        self.config: Any = decode_config(protocol.Config, manifest.config)
        self.several = bool(rows[manifest.system].several_labels and self.config.several_labels)
        rule = manifest.exit_rule
        self.exit_rule = None if rule is None else decode_config(ExitRule, rule, where="exit_rule")
        self.threads = threads
        self.point: OperatingPoint | None = None
        self.measured: MeasuredPoint | None = self._measured_as_it_is(manifest.calibration)
        self.choice: Choice | None = None
        self.runner = OnnxRunner(bundle, threads=threads or available_cores())
        self._parts: Callable[..., tuple[PartSpec, ...]] = protocol.parts
        self.reference: Reference | None = protocol.reference(self.config)
        self._steps: Callable[..., Steps] = protocol.steps

    def _measured_as_it_is(self, calibration: Calibration | None) -> MeasuredPoint | None:
        """Return what was measured of the settings the bundle runs with; None if nothing was."""
        for measured in () if calibration is None else calibration.points:
            point = measured.point
            settings = {**self.bundle.manifest.config, **point.settings}
            same_rule = point.exit_rule == self.exit_rule
            if same_rule and not point.is_chance:
                try:
                    if decode_config(type(self.config), settings) == self.config:
                        return measured
                except ConfigError:
                    continue  # `at` says what is wrong with it, if it is asked for
        return None

    @cached_property
    def context(self) -> Mapping[str, Array]:
        """The arrays all clips share, read once."""
        return self.bundle.context()

    def steps(self, clip: ClipInfo) -> Steps:
        """Start the system's protocol on a clip."""
        return self._steps(self.config, self.context, clip)

    def at(self, point: OperatingPoint) -> Model:
        """Return this model set to ``point``; both share what is loaded.

        Raises:
            BundleInvalidError: the point is not one of this system, or needs other parts.
        """
        manifest, path = self.bundle.manifest, self.bundle.path
        hint = "calibrate the bundle again"
        try:
            config = decode_config(type(self.config), {**manifest.config, **point.settings})
        except ConfigError as error:
            told = f"{path}: point {point.name!r}: {error.message}"
            raise BundleInvalidError(told, hint=hint) from error
        there = self.bundle.specs
        for spec in self._parts(config):
            if there.get(spec.name) != spec:
                raise BundleInvalidError(
                    f"{path}: point {point.name!r} needs another {spec.name!r} than is inside",
                    hint=hint,
                )
        model = copy.copy(self)
        model.config, model.point, model.choice = config, point, None
        model.exit_rule = point.exit_rule
        calibration = manifest.calibration
        known = () if calibration is None else calibration.points
        model.measured = next((one for one in known if one.point == point), None)
        return model

    def at_named(self, name: str) -> Model:
        """Return this model set to the operating point called ``name`` in its calibration.

        Raises:
            InputError: there is none.
        """
        calibration = self.bundle.manifest.calibration
        known = {} if calibration is None else {one.point.name: one for one in calibration.points}
        if name not in known:
            near = get_close_matches(name, known, n=1)
            named = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise InputError(
                f"{self.bundle.path}: no operating point {name!r}",
                hint=named
                if known
                else f"measure them first: foveal calibrate {self.bundle.path} DATA",
            )
        return self.at(known[name].point)

    def within(self, budget: Budget, *, reprofile: bool = False) -> Model:
        """Return this model at the most accurate operating point that holds ``budget``.

        Its ``choice`` says which that is, and what to know of it. Milliseconds are those of this
        machine, which is timed once and then known from a cache.

        Args:
            budget: what a clip may cost.
            reprofile: time the machine again.

        Raises:
            BudgetError: no point holds it, or the bundle was never calibrated.
        """
        from foveal.budget import BudgetError, choose, describe_machine, profile, same_machine
        from foveal.budget import times_here as times

        calibration = self.bundle.manifest.calibration
        if calibration is None and index.find(self.name).kind == "tagger":
            raise BudgetError(
                "the embedded tagger has one way to look, so that no budget can choose",
                hint="name a model that `foveal calibrate` measured, with --model",
            )
        if calibration is None:
            raise BudgetError(
                f"{self.bundle.path}: it was never measured what its operating points cost",
                hint=f"run `foveal calibrate {self.bundle.path} DATA` with labelled clips first",
            )
        ms: Mapping[str, float] | None = None
        if budget.max_ms is not None or reprofile:
            here = profile(self.bundle, threads=self.threads, again=reprofile)
            ms = times(calibration, here)
        elif same_machine(calibration.machine, describe_machine(self.threads)):
            ms = {measured.point.name: measured.held_ms for measured in calibration.points}
        choice = choose(calibration, budget, ms=ms)
        model = self.at(choice.measured.point)
        model.choice = choice
        return model

    def preload(self) -> None:
        """Load the part in a thread, for instance while the first frames are decoded.

        A model of several parts loads each when it is first called: it may never be. What goes
        wrong here is said when the part is called.
        """
        if len(self.runner.specs) == 1:
            loader = ThreadPoolExecutor(1)
            loader.submit(self.runner.load, *self.runner.specs)
            loader.shutdown(wait=False)

    def recognize(
        self,
        source: str | os.PathLike[str] | Source,
        *,
        top_k: int = 1,
        max_gmacs: float | None = None,
        max_ms: float | None = None,
        min_confidence: float | None = None,
        hard: bool = False,
    ) -> Prediction:
        """Return what is in one file, URL or opened source.

        Args:
            source: what to look at.
            top_k: labels a stretch.
            max_gmacs: budget of a clip in the mean, as of :class:`~foveal.budget.Budget`; for
                many clips, choose once with :meth:`within`.
            max_ms: likewise, for 95 of 100 clips on this machine.
            min_confidence: likewise, how sure answers should be in the mean.
            hard: ``max_gmacs`` holds for every clip.

        Raises:
            SampleError: it cannot be read; ``.failure`` is its record.
            InputError: ``top_k`` is not positive.
            BudgetError: no operating point holds the budget; the message says what is feasible.
        """
        model = self
        if max_gmacs is not None or max_ms is not None or min_confidence is not None or hard:
            from foveal.budget import Budget

            model = self.within(
                Budget(max_gmacs=max_gmacs, max_ms=max_ms, min_confidence=min_confidence, hard=hard)
            )
        done = next(model.recognize_many([source], top_k=top_k, catch=False))
        if isinstance(done, Failure):
            raise SampleError(done)
        return done

    def recognize_many(
        self,
        sources: Iterable[str | os.PathLike[str] | Source],
        *,
        top_k: int = 1,
        max_batch: int = 16,
        catch: bool = True,
    ) -> Iterator[Prediction | Failure]:
        """Yield a prediction or a failure for each source, in the order they finish.

        Args:
            sources: paths, URLs or opened sources; taken as there is room.
            top_k: labels a stretch; a warning says if the model gives fewer.
            max_batch: most rows in one run of a part.
            catch: an unexpected error becomes a failed record instead of rising.
        """
        if top_k < 1:
            raise InputError(f"top_k must be at least 1, got {top_k}", hint="ask for one or more")
        yield from self._run(
            sources,
            self._steps,
            self.config,
            top_k=top_k,
            max_batch=max_batch,
            catch=catch,
            budget=None if self.choice is None else self.choice.budget,
        )

    def need_reference(self) -> Reference:
        """Return the dense run that :meth:`compare` compares with.

        Raises:
            InputError: there is none, as no part of the system classifies a frame on its own.
        """
        if self.reference is None:
            raise InputError(
                f"--check runs a part that classifies frames one by one, and {self.name} has none: "
                "its parts take several frames, pieces of frames or sound",
                hint=f"`foveal calibrate {self.bundle.path} DATA` measures it at every cost, the "
                "fullest too; or leave out --check",
            )
        return self.reference

    def compare(
        self, source: str | os.PathLike[str], *, top_k: int = 1, sure: float = SURE
    ) -> Comparison:
        """Recognise a file and then look at everything, to see what looking at little lost.

        Args:
            source: path or URL, read twice.
            top_k: labels a stretch of the prediction.
            sure: dense frames below this probability are not counted.

        Raises:
            SampleError: it cannot be read.
            InputError: the system has no dense reference.
        """
        reference = self.need_reference()
        prediction = self.recognize(source, top_k=top_k)
        dense = baselines.Config(
            part=reference.part,
            canvas=reference.canvas,
            num_frames=reference.num_frames,
            num_classes=len(self.class_names),
            answer="each",
        )
        done = next(self._run([source], baselines.steps, dense, top_k=1, max_batch=16, catch=False))
        if isinstance(done, Failure):
            raise SampleError(done)
        return Comparison(
            prediction=prediction, dense=done, agreement=agreement(prediction, done, sure=sure)
        )

    def _run(
        self,
        sources: Iterable[str | os.PathLike[str] | Source],
        steps: Callable[..., Steps],
        config: Any,
        *,
        top_k: int,
        max_batch: int,
        catch: bool,
        budget: Budget | None = None,
    ) -> Iterator[Prediction | Failure]:
        # Milliseconds are those of a clip run alone; beside others it would wait for them.
        alone = budget is not None and budget.max_ms is not None
        executor = Executor(
            self.runner,
            exit_rule=self.exit_rule,
            max_batch=max_batch,
            max_in_flight=1 if alone else FILES_IN_FLIGHT,
            max_macs=None if budget is None else budget.cap_macs,
            catch=catch,
        )
        start = partial(steps, config, self.context)
        for done in executor.run(_job(source, start) for source in sources):
            yield done if isinstance(done, Failure) else self.prediction(done, top_k=top_k)

    def prediction(self, outcome: Outcome, *, top_k: int) -> Prediction:
        """Return what came of a run of this model in words: the best ``top_k`` labels a stretch."""
        labels = self.labels(outcome.answer, outcome.clip, top_k=top_k)
        stretches = Counter((label.start_seconds, label.end_seconds) for label in labels)
        most = max(stretches.values(), default=top_k)
        warnings = outcome.warnings
        if most < top_k:
            fewer = f"{top_k} labels a stretch were asked for, the model gives {most}"
            warnings = (*warnings, fewer)
        return Prediction(
            path=outcome.name,
            predictions=labels,
            trace=outcome.trace,
            cost=outcome.cost,
            model=self.name,
            clip=outcome.clip,
            answer=outcome.answer,
            warnings=warnings,
            operating_point=None if self.point is None else self.point.name,
            several=self.several and outcome.answer.segments is None,
        )

    def labels(self, answer: Answer, clip: ClipInfo, *, top_k: int) -> tuple[Label, ...]:
        """Return ``answer`` in words: the best ``top_k`` of each stretch, in time order.

        Of a clip that may show several classes all are told that it rather shows than not.
        """
        segments = answer.segments
        if segments is None:
            assert answer.probs is not None
            probs = answer.probs
            if self.measured is not None and not self.several:
                from foveal.metrics import cooled  # only calibrated bundles pay for it

                probs = cooled(probs[None], self.measured.temperature)[0]
            if self.several:
                top_k = max(top_k, int((probs >= SHOWN).sum()))
            best = np.argsort(-answer.probs, kind="stable")[:top_k]
            segments = ActionSegments(
                (0.0,) * len(best),
                (clip.duration_seconds,) * len(best),
                tuple(int(i) for i in best),
                tuple(float(probs[i]) for i in best),
            )
        shown: list[Label] = []
        counts: dict[tuple[float, float], int] = {}
        rows = zip(
            segments.start_seconds,
            segments.end_seconds,
            segments.labels,
            segments.scores,
            strict=True,
        )
        for start, end, label, score in rows:
            counts[start, end] = counts.get((start, end), 0) + 1
            if counts[start, end] <= top_k:
                shown.append(self._label(start, end, label, score))
        return tuple(shown)

    @property
    def threshold(self) -> float | tuple[float, ...] | None:
        """Below it an answer is :data:`NOTHING`; of each class its own, or none at all."""
        threshold = self.bundle.manifest.threshold
        if threshold is None and self.several:
            return SHOWN
        if threshold is None and self.measured is not None:
            return self.measured.known_from
        return threshold

    def _label(self, start: float, end: float, label: int, score: float) -> Label:
        threshold = self.threshold
        limit = threshold[label] if isinstance(threshold, tuple) else threshold
        name = self.class_names[label]
        known = limit is None or score >= limit
        return Label(
            label=name if known else NOTHING,
            prob=score,
            start_seconds=start,
            end_seconds=end,
            known=known,
            guess=None if known else name,
        )


def _job(source: str | os.PathLike[str] | Source, start: Callable[[ClipInfo], Steps]) -> Job:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return Job(name=public(path), open=partial(open_source, path), steps=start)
    if not isinstance(source, Source):
        raise InputError(
            f"cannot look at a {type(source).__name__}",
            hint="give a path, a URL, or frames as foveal.video.ArraySource(frames, fps=25)",
        )
    return Job(name=source.info.name, open=lambda: source, steps=start)


def agreement(prediction: Prediction, dense: Prediction, *, sure: float) -> float | None:
    """Return the share of sure dense frames that ``prediction`` labels alike at their time.

    Classes are compared whether or not they pass the threshold. ``None`` when no dense frame
    reaches ``sure``.
    """
    (times,) = (e.detail["asked"] for e in dense.trace.events if e.kind == "look")
    votes = [
        (frame.guess or frame.label) == label_at(prediction, time)
        for frame, time in zip(dense.predictions, times, strict=True)
        if frame.prob >= sure
    ]
    return sum(votes) / len(votes) if votes else None


def label_at(prediction: Prediction, time: float) -> str | None:
    """Return the best class ``prediction`` gives to ``time`` seconds, known or guessed."""
    covering: Label | None = None
    for label in prediction.predictions:
        later = covering is None or label.start_seconds > covering.start_seconds
        if later and label.start_seconds <= time:
            covering = label
    return None if covering is None else covering.guess or covering.label


def load(path: str | os.PathLike[str] | None = None, *, threads: int | None = None) -> Model:
    """Return the model of the bundle at ``path``, or the embedded tagger.

    Args:
        path: a bundle, or the folder of a run of ``foveal train``, which holds one.
        threads: to compute with; all cores if none is named.

    Raises:
        BundleError: the file is missing, broken or not a bundle.
    """
    return Model(Bundle.open(bundle_in(path)), threads=threads)


def recognize(
    source: str | os.PathLike[str] | Source,
    *,
    model: str | os.PathLike[str] | Model | None = None,
    top_k: int = 1,
) -> Prediction:
    """Return what is in one file, URL or opened source.

    Args:
        source: path, http(s) URL, or a source such as ``foveal.video.ArraySource``.
        model: a loaded model, the path of a bundle, or nothing for the embedded tagger.
        top_k: labels a stretch.

    Raises:
        SampleError: the file cannot be read; the message says why and what to do.
        BundleError: the bundle cannot be used.
    """
    loaded = model if isinstance(model, Model) else load(model)
    return loaded.recognize(source, top_k=top_k)


__all__ = [
    "NOTHING",
    "Comparison",
    "Model",
    "SampleError",
    "load",
    "recognize",
]
