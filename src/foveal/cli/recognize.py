"""``foveal recognize``: names of videos in, answers with their bill out."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from foveal.cli.guard import FAILED, OK, USAGE, Finished, complain, stop_at_once
from foveal.cli.output import output_path, write_whole
from foveal.cli.text import clean

if TYPE_CHECKING:
    from foveal.api import Comparison, Model
    from foveal.cli.names import Name, Names
    from foveal.records import Failure, Prediction

    Result: TypeAlias = Prediction | Comparison | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal recognize --help``."""

    model: str | None = None
    top_k: int = 1
    json: bool = False
    check: bool = False
    explain: str | None = None
    threads: int | None = None
    max_gmacs: float | None = None
    max_ms: float | None = None
    min_confidence: float | None = None
    hard: bool = False
    reprofile: bool = False

    @property
    def has_budget(self) -> bool:
        """Whether an operating point has to be chosen."""
        limits = (self.max_gmacs, self.max_ms, self.min_confidence)
        return self.hard or self.reprofile or any(limit is not None for limit in limits)


def run(inputs: list[str], options: Options) -> int:
    """Recognise what ``inputs`` name and return the exit code."""
    from foveal.bundle import BundleError
    from foveal.cli.names import Names

    finished = Finished()
    with stop_at_once(finished):
        names = Names(inputs)
        page = None if options.explain is None else page_path(options.explain, names.known())
        if names.nothing:
            complain("no input", hint="name a file, a folder, a pattern or a URL")
            return USAGE
        try:
            model = open_model(options)
        except BundleError as error:
            # A file that failed, as a video is, and as where damage shows only later.
            complain(error.message, hint=error.hint)
            return FAILED
        results = recognise(model, names, options)
        if model.choice is not None:
            from foveal.cli.budget import tallied

            results = tallied(results, model.choice)
        if not options.json and not names.only_one:
            results = finished.counted(results, names.total)
        kept: list[Result] = []
        answered = Answered()
        results = answered.watched(results)
        code = show(results if page is None else keep(results, kept), names, options)
        advises = answered.any and not options.json
        if advises and (sentence := never_declines(model)) is not None:
            print(clean(sentence))
        if page is not None:
            write_explanation(kept, page)
        return code


@dataclass(slots=True)
class Answered:
    """Whether any file has an answer: without one nothing needs to be said of answers."""

    any: bool = False

    def watched(self, results: Iterable[Result]) -> Iterator[Result]:
        """Yield ``results`` and look at them."""
        from foveal.records import Failure

        for result in results:
            self.any = self.any or not isinstance(result, Failure)
            yield result


def never_declines(model: Model) -> str | None:
    """Return what must be known of a model that has a class for everything, and the way out."""
    if model.threshold is not None:
        return None
    from foveal.api import NOTHING
    from foveal.tasks.trainable import is_trainable

    if not is_trainable(model.name):
        return None

    command = f"foveal calibrate {shlex.quote(str(model.bundle.path))} DATA"
    return f"It names a class for whatever it sees; `{command}` fits when to say {NOTHING!r}."


def page_path(name: str, inputs: Iterable[str] = ()) -> Path:
    """Return the path of the page asked for, before work is spent on what it would show.

    Raises:
        InputError: its folder is not there, or a file would be lost that is no page.
    """
    page = output_path(name, suffixes=(".html", ".htm"), inputs=inputs)
    if page.is_dir() or not page.parent.is_dir():
        from foveal.api import InputError

        raise InputError(
            f"{page}: no page can be written there", hint="name a file in a folder that exists"
        )
    return page


def keep(results: Iterable[Result], kept: list[Result]) -> Iterator[Result]:
    """Yield ``results`` and put them into ``kept``."""
    for result in results:
        kept.append(result)
        yield result


def write_explanation(results: list[Result], page: Path) -> None:
    """Write the page about ``results`` and say where it is."""
    from foveal.explain import page as page_about

    write_whole(page, page_about(results))
    print(f"Page: {clean(str(page))}", file=sys.stderr)


def show(results: Iterable[Result], names: Names, options: Options) -> int:
    """Show ``results`` in the form asked for, and return the exit code."""
    if options.json:
        return print_json(results, names)
    if not names.only_one:
        from foveal.cli.many import many

        return many(results, names)
    # What shows the answer is loaded while frames are decoded.
    threading.Thread(target=import_module, args=("foveal.cli.show",), daemon=True).start()
    (result,) = results
    from foveal.cli.show import one

    return one(result)


def open_model(options: Options) -> Model:
    """Return the model asked for, its part being loaded beside what comes next."""
    from foveal.api import load

    model = load(options.model, threads=options.threads)
    if options.check:
        model.need_reference()
    if options.has_budget:
        from foveal.cli.budget import within

        model = within(model, options)
    model.preload()
    return model


def recognise(model: Model, names: Iterable[Name], options: Options) -> Iterator[Result]:
    """Yield one result for each name, as they are done."""
    from foveal.records import Failure

    failures: deque[Failure] = deque()

    def paths() -> Iterator[str]:
        for name in names:
            if isinstance(name, str):
                yield name
            else:
                failures.append(Failure.of(*name))

    if options.check:
        results: Iterator[Result] = compared(model, paths(), top_k=options.top_k)
    else:
        results = model.recognize_many(paths(), top_k=options.top_k)
    for result in results:
        while failures:
            yield failures.popleft()
        yield result
    yield from failures


def compared(model: Model, paths: Iterable[str], *, top_k: int) -> Iterator[Comparison | Failure]:
    """Yield each file beside its dense reference, one after the other."""
    from foveal.api import SampleError
    from foveal.records import Failure
    from foveal.video.errors import public

    for path in paths:
        try:
            yield model.compare(path, top_k=top_k)
        except SampleError as error:
            yield error.failure
        except Exception as error:  # one file must not end the others
            yield Failure.unexpected(public(path), error)


def prediction_of(result: Prediction | Comparison) -> Prediction:
    """Return the model's own answer of a result."""
    from foveal.records import Prediction

    return result if isinstance(result, Prediction) else result.prediction


def record(result: Result) -> dict[str, Any]:
    """Return the record of a result; with ``--check`` it has one key more, ``check``."""
    from foveal.records import Failure, Prediction

    if isinstance(result, Prediction | Failure):
        return result.to_json()
    return {**result.prediction.to_json(), "check": check_record(result)}


def check_record(result: Comparison) -> dict[str, Any]:
    """Return what ``--check`` adds to a record; savings are shares of the dense figure."""
    return {
        "agreement": None if result.agreement is None else round(result.agreement, 6),
        "macs_saved": round(result.macs_saved, 6),
        "ms_saved": round(result.ms_saved, 6),
        "dense": result.dense.cost.to_json(),
    }


def print_json(results: Iterable[Result], names: Names) -> int:
    """Print one record a line, in ASCII, as they are done, and return the exit code."""
    code = OK
    if sys.stderr.isatty() and not sys.stdout.isatty() and not names.only_one:
        from foveal.cli.progress import tracked

        results = tracked(results, names.total)
    for result in results:
        data = record(result)
        print(json.dumps(data, allow_nan=False), flush=True)
        if data["status"] == "error":
            code = FAILED
    return code
