"""``foveal train``: from a folder or list of labelled videos to a bundle."""

from __future__ import annotations

import csv
import importlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foveal.bundle import encode_config
from foveal.cli.extras import require_train_extra, train_extra
from foveal.cli.guard import OK
from foveal.cli.settings import parse_settings
from foveal.cli.text import clean, count, gmacs, percent
from foveal.results import versions
from foveal.tasks.trainable import find_trainable
from foveal.types import FovealError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from foveal.dataset import Dataset, Format
    from foveal.tasks.classification import Evaluation
    from foveal.train import Configured, FrameCache, Progress, RunData, TrainResult
    from foveal.train.project import Choice, Likeness

BUNDLE = "model.foveal"
RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal train --help``."""

    out: str | None
    system: str | None
    recipe: str | None
    settings: tuple[str, ...]
    pretrained: str | None
    text_model: str | None
    format: Format | None
    videos: str | None
    seed: int
    cache_gib: float
    resume: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run that is ready to begin."""

    dataset: Dataset
    choice: Choice
    configured: Configured
    cache: FrameCache | None
    out: Path
    seed: int
    data: tuple[str, ...]
    """DATA and the options that say what it is, as words of a command."""


def run(data: str, options: Options) -> int:
    """Train, export, judge; return the exit code."""
    settings = parse_settings(options.settings)
    if options.system is not None:
        find_trainable(options.system)  # a wrong name is told before anything is read
    require_train_extra("training")
    with train_extra("training"):
        check(data, options, settings)
    dataset = read(data, options)
    with train_extra("training"):
        from foveal.train import make_data

        work = prepare(dataset, data, options, settings)
        check_place(work.out, data)
        finished = options.resume and (work.out / RESULT_FILE).exists()
        if options.resume:
            say(where_it_goes_on(work.out))
        made = make_data(
            work.dataset, work.configured.recipe, work.choice.protocol, cache=work.cache
        )
        with said_if_stopped(work.out):
            result = fit_shown(work, made, options)
            if finished:  # its bundle may have been calibrated since
                say(f"{work.out}: this run is finished, and what it left stays as it is")
            elif is_first():
                finish(work, result, minutes_of(work.out))
    return OK


def is_first() -> bool:
    """Return whether this process is the one that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def say(line: str) -> None:
    """Print a line for the user, once however many processes there are."""
    if is_first():
        print(clean(line), file=sys.stderr, flush=True)


def check_place(out: Path, data: str) -> None:
    """Ask that a run does not lie in its own data, which would be read another way then.

    Raises:
        PlaceError: it does.
    """
    folder = Path(data).resolve()
    if folder.is_dir() and out.resolve().is_relative_to(folder):
        raise PlaceError(
            f"{out}: lies inside the data, {data}", hint="name a folder elsewhere with --out"
        )


class PlaceError(FovealError):
    """A run would be written where it does harm."""

    kind = "place"


def last_checkpoint(out: Path) -> str | None:
    """Return what the run in ``out`` has done, in words; None where it has no checkpoint."""
    try:
        stored = json.loads((out / "checkpoint.json").read_text(encoding="utf-8"))
        stages = [stage["name"] for stage in stored["run"]["stages"]]
        at, step = int(stored["stage"]), int(stored["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if at >= len(stages):
        return "after the last step of the last stage"
    return f"stage {at + 1} of {len(stages)} ({stages[at]}), after step {step:,}"


def where_it_goes_on(out: Path) -> str:
    """Return from where a run that may be there goes on."""
    found = last_checkpoint(out)
    if found is None:
        return f"  there is no run in {out} to go on with: a new one begins"
    return f"  going on in {out}: {found}"


@contextmanager
def said_if_stopped(out: Path) -> Iterator[None]:
    """Say what can be gone on with when Ctrl-C stops the run."""
    try:
        yield
    except KeyboardInterrupt:
        found = last_checkpoint(out)
        if found is None:
            say(
                f"stopped before the first checkpoint, so nothing in {out} can be gone on with: "
                "the same command begins anew (--set checkpoint_steps=N keeps one every N steps)"
            )
        else:
            say(f"stopped; the same command with --resume goes on in {out}: {found}")
        raise


# --- before the first step ------------------------------------------------------------------


def check(data: str, options: Options, settings: dict[str, Any]) -> None:
    """Tell what is wrong with the command before anything is read, where it can be known."""
    if options.out is not None:
        check_place(Path(options.out), data)
    if options.text_model is not None:
        from foveal.backbones.text import check_encoder

        check_encoder(options.text_model)
    if (options.recipe or settings) and os.path.exists(data):  # else PyTorch need not be loaded
        from foveal.train.project import check_asked

        stored = options.format == "features" or data.lower().endswith(".npz")
        check_asked(
            ("features",) if stored else ("video", "features"),
            system=options.system,
            recipe=options.recipe,
            pretrained=options.pretrained is not None,
            settings=settings,
        )


def read(data: str, options: Options) -> Dataset:
    """Read the data and say what it is: mistakes in it are told before PyTorch is loaded."""
    from foveal.dataset import read_dataset

    dataset = read_dataset(data, format=options.format, videos=options.videos)
    parts = [f"{len(part):,} to {use}" for use, part in zip(USES, parts_of(dataset), strict=True)]
    say(f"{dataset.name}: {len(dataset.class_names):,} classes; {', '.join(parts)}")
    for line in (dataset.how_split, *dataset.notes):
        say(f"  {line}")
    return dataset


def prepare(dataset: Dataset, data: str, options: Options, settings: dict[str, Any]) -> Work:
    """Choose and configure; say why."""
    from foveal.train import Running, configure
    from foveal.train.project import choose, likeness

    like = likeness(dataset)
    choice = choose(
        dataset.kind,
        like,
        system=options.system,
        recipe=options.recipe,
        pretrained=options.pretrained is not None,
        several=dataset.several,
    )
    say(f"system {choice.row.name}, recipe {choice.recipe_name}: {choice.why}")
    configured = configure(
        choice.make,
        num_classes=len(dataset.class_names),
        num_samples=len(dataset.samples["train"]),
        settings=settings,
        running=Running(workers=1),
        base=features_base(dataset) | ({"several_labels": True} if dataset.several else {}),
    )
    for line in configured.notes:
        say(f"  {line}")
    out = options.out or f"runs/{dataset.name}-{choice.row.name}-{choice.recipe_name}"
    return Work(
        dataset=dataset,
        choice=choice,
        configured=configured,
        cache=make_cache(dataset, configured, like, options.cache_gib),
        out=Path(out),
        seed=options.seed,
        data=(data, *option("--format", options.format), *option("--videos", options.videos)),
    )


def option(name: str, value: str | None) -> tuple[str, ...]:
    """Return the words of an option, if it was given."""
    return () if value is None else (name, value)


USES = ("learn from", "choose by", "judge by")


def parts_of(dataset: Dataset) -> tuple[tuple[object, ...], ...]:
    """Return the three splits, in the order of :data:`USES`."""
    return tuple(dataset.samples[name] for name in ("train", "validation", "test"))


def features_base(dataset: Dataset) -> dict[str, Any]:
    """Return what of a configuration follows from stored features: their name and width."""
    if dataset.kind != "features":
        return {}
    from foveal.dataset import open_sample
    from foveal.types import Features, Look, Plan

    source = open_sample(dataset.samples["train"][0], kind="features")
    source.plan(Plan(times=(0.0,)))
    rows, _ = source.look(Look(times=(0.0,), view=Features(name=FEATURES)))
    source.close()
    return {"canvas": {"name": FEATURES}, "feature_width": rows.shape[1]}


FEATURES = "features"
"""What a stored set of features is called."""


def make_cache(
    dataset: Dataset, configured: Configured, like: Likeness | None, limit_gib: float
) -> FrameCache | None:
    """Return where decoded frames are kept, if all of them fit; say which."""
    from foveal.train import FrameCache, default_cache
    from foveal.train.project import cache_bytes, clips_to_cache

    if dataset.kind != "video" or like is None or limit_gib <= 0:
        return None
    clips = clips_to_cache(dataset, configured.recipe)
    num_bytes = cache_bytes(clips, like)
    wanted = num_bytes / 2**30
    folder = default_cache()
    if wanted > limit_gib:
        say(
            f"  decoded frames would take {wanted:.1f} GiB, more than --cache {limit_gib:g}; "
            "clips are decoded each time they are drawn"
        )
        return None
    cache = FrameCache(folder, limit_bytes=int(limit_gib * 2**30))
    if is_first():
        cache.make_room(clips, wanted_bytes=int(num_bytes))
    say(f"  each clip is decoded once; its frames are kept in {folder} ({wanted:.2f} GiB)")
    return cache


# --- while it runs ----------------------------------------------------------------------------


def fit_shown(work: Work, made: RunData, options: Options) -> TrainResult:
    """Train and show progress."""
    from foveal.train import fit, prepared

    recipe = work.configured.recipe
    ready = prepared(
        recipe,
        class_names=work.dataset.class_names,
        pretrained=options.pretrained,
        text_model=options.text_model,
        tell=lambda line: say(f"  {line}"),
    )
    with progress_lines() as (log, tell):
        return fit(
            recipe,
            made.train,
            out=work.out,
            seed=work.seed,
            validation=made.validation,
            running=work.configured.running,
            resume=options.resume,
            prepare=ready,
            log=log,
            tell=tell,
        )


@contextmanager
def progress_lines() -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """Give what shows progress and what prints lines beside it: a bar on a terminal, else lines."""
    from foveal.train import terminal_line

    if not sys.stderr.isatty():
        yield terminal_line(), say
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    from foveal.cli.terminal import console_on

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[values]}"),
    )
    with Bars(*columns, console=console_on(sys.stderr), redirect_stdout=False) as bars:
        tasks: dict[str, TaskID] = {}

        def log(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(
                    progress.stage, total=progress.num_steps, values="", left=""
                )
            shown = "  ".join(f"{name} {value:.3g}" for name, value in progress.values.items())
            if progress.validation is not None:
                valid[progress.stage] = f"  validation {progress.validation['accuracy']:.1%}"
            bars.update(
                tasks[progress.stage],
                completed=progress.step,
                left="" if progress.step == progress.num_steps else progress.time_left,
                values=shown + valid.get(progress.stage, ""),
            )

        valid: dict[str, str] = {}
        yield log, lambda line: bars.console.print(clean(line)) if is_first() else None


# --- after the last step ----------------------------------------------------------------------


def finish(work: Work, result: TrainResult, minutes: float) -> None:
    """Export the network, judge it on the test split, write and say what came of it."""
    from foveal.export import ExportError

    told: dict[str, Any] = {
        **describe(work),
        "minutes": round(minutes, 2),
        "validation": last_validation(result, keep=work.configured.running.keep),
        "test": None,
    }
    try:
        bundle = export(work, result)
    except ExportError as error:
        told["not_exported"] = error.message  # `foveal export` and `evaluate` say so too
        write_result(work.out, told)
        raise NotExportedError(
            f"{work.out}: trained, but the model cannot be exported ({error.message})",
            hint=f"its weights are in {result.weights}",
        ) from error
    test = work.dataset.samples["test"]
    if test:
        judged = judge(work, bundle)
        told["test"] = judged.to_json()
        say_judged(judged)
    write_result(work.out, told)
    if work.cache is not None:
        work.cache.make_room()
    size = bundle.stat().st_size / 2**20
    print(f"{clean(str(bundle))}: {size:.1f} MiB, trained in {minutes:.1f} minutes")
    print(f"Try it: foveal recognize FILE --model {clean(str(bundle))}")
    print(clean(how_to_calibrate(work)))


def how_to_calibrate(work: Work) -> str:
    """Return what a fresh model cannot say yet, and the command that finds it out."""
    from foveal.api import NOTHING
    from foveal.calibration import FEWEST

    lacks = f"It names a class for whatever it sees: when to say {NOTHING!r} is fitted by"
    if work.dataset.several:
        lacks = "What fewer frames cost, and how often they are right, is measured by"
    found = len(work.dataset.samples["validation"])
    if found < FEWEST:
        return (
            f"{lacks} foveal calibrate, which takes {FEWEST} labelled clips it did not learn from"
        )
    return f"{lacks} {shlex.join(('foveal', 'calibrate', str(work.out), *work.data))}"


class NotExportedError(FovealError):
    """A model was trained whose parts cannot be exported."""

    kind = "not_exported"


def write_result(run: Path, told: dict[str, Any]) -> None:
    """Write what a run says of itself."""
    (run / RESULT_FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def minutes_of(run: Path) -> float:
    """Return how long all steps of a run took, those before it was stopped and resumed too."""
    took: dict[str, float] = {}
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["name"] == "ms_per_step":  # the mean of the stage so far
                took[row["stage"]] = float(row["value"]) * int(row["step"])
    return sum(took.values()) / 60_000


def describe(work: Work) -> dict[str, Any]:
    """Return what the run was, as plain JSON data."""
    from foveal.dataset import fingerprint

    recipe = work.configured.recipe
    return {
        "system": work.choice.row.name,
        "recipe": recipe.name,
        "config": encode_config(recipe.config),
        "arguments": dict(recipe.arguments),
        "seed": work.seed,
        "data": {
            "name": work.dataset.name,
            "class_names": list(work.dataset.class_names),
            "clips": {name: len(part) for name, part in work.dataset.samples.items()},
            "how_split": work.dataset.how_split,
            "sha256": fingerprint(work.dataset),
        },
        "stages": [
            {
                "name": stage.name,
                "batch_size": stage.batch_size,
                "lr": stage.optimizer.lr,
                "steps": stage.steps,
                "epochs": stage.epochs,
            }
            for stage in recipe.stages
        ],
        "versions": versions(),
    }


def export(work: Work, result: TrainResult) -> Path:
    """Write the trained network as a bundle into the run's folder."""
    from foveal.export import export_bundle

    recipe, row = work.configured.recipe, work.choice.row
    model = importlib.import_module(f"{row.module}.model")
    specs = work.choice.protocol.parts(recipe.config)
    last = specs[-1]
    path = work.out / BUNDLE
    export_bundle(
        path,
        system=row.name,
        config=recipe.config,
        modules=model.build(result.network, recipe.config),
        specs=specs,
        class_names=work.dataset.class_names,
        licence="NOASSERTION",
        description=f"{row.title} trained on {work.dataset.name}",
        provenance={
            "built_by": "foveal train",
            "recipe": recipe.name,
            "seed": str(work.seed),
            "data": work.dataset.name,
        },
        class_output=f"{last.name}.{last.outputs[0].name}",
    )
    return path


def judge(work: Work, bundle: Path) -> Evaluation:
    """Judge the bundle on the test split as the light install would run it."""
    from foveal.api import Model
    from foveal.bundle import Bundle
    from foveal.tasks.classification import evaluate

    model = Model(Bundle.open(bundle))
    return evaluate(
        work.dataset.samples["test"],
        kind=work.dataset.kind,
        runner=model.runner,
        steps=model.steps,
        exit_rule=model.exit_rule,
        several=work.dataset.several,
    )


def say_judged(judged: Evaluation) -> None:
    """Say how good the model is on the test split, and at what cost."""
    ranked = f", mAP {percent(judged.mean_average_precision)}" if judged.several else ""
    print(
        f"test: {percent(judged.accuracy)} of {count(len(judged), 'clip')} right{ranked}, "
        f"{gmacs(judged.mean(lambda c: c.total_macs))} GMACs and "
        f"{judged.mean(lambda c: c.frames_used):.1f} frames a clip"
    )
    if judged.failures:
        print(f"  {count(len(judged.failures), 'clip')} could not be read and count for nothing")


def last_validation(
    result: TrainResult, *, keep: Literal["best", "last"]
) -> dict[str, float] | None:
    """Return the validation of the last stage that its weights are of."""
    stage = result.history[-1].stage
    found = [p.validation for p in result.history if p.stage == stage and p.validation]
    if not found:
        return None
    if keep == "last":
        return dict(found[-1])
    return dict(max(found, key=lambda v: (v["accuracy"], -v["loss"])))
