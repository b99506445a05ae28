"""One self-contained page about one run: no script, no request, nothing that is not in the trace.

A page stays under 5 MB whatever it is about: pictures, words and the overview each have a
limit of their own, and what is left out is said where it would have been.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template
from typing import TypeAlias

import numpy as np

from foveal.api import Comparison
from foveal.explain.answer import answers, base_name, file_name, heading, headline, sums
from foveal.explain.bill import bill
from foveal.explain.figures import (
    choices,
    confidence,
    timeline,
)
from foveal.explain.filmstrip import filmstrip, key
from foveal.explain.markup import (
    count,
    duration_ms,
    join,
    macs,
    percent,
    preformatted,
    shortened,
    size,
    text,
)
from foveal.explain.pictures import OpenSource, select, take
from foveal.explain.story import read
from foveal.explain.words import decisions
from foveal.records import Failure, Prediction
from foveal.types import FovealError
from foveal.video import open_source as open_any

Result: TypeAlias = Prediction | Comparison | Failure

PICTURE_BYTES = 3_200_000
FILE_PICTURE_BYTES = 60_000
"""What a file may use even where there are too many for all to have their share."""
WORD_BYTES = 900_000
"""Once the sections before it have filled this, a file keeps only its row of the overview."""
RECORD_BYTES = 400_000
"""A record longer than this is not repeated on the page."""
MAX_ROWS = 800


class ExplainError(FovealError):
    """The page cannot be written."""

    kind = "explain"


def write_page(
    results: Sequence[Result],
    out: str | os.PathLike[str],
    *,
    open_source: OpenSource = open_any,
) -> None:
    """Write the page about ``results`` to the file ``out``.

    Args:
        results: predictions, or comparisons with looking at everything, which then stands
            beside; failures are listed with their cause.
        out: replaced if it exists.
        open_source: opens a file again by its path, for the pictures.

    Raises:
        ExplainError: the file cannot be written.
    """
    whole = page(results, open_source=open_source)
    try:
        with open(out, "w", encoding="utf-8", newline="\n") as file:
            file.write(whole)
    except OSError as error:
        raise ExplainError(
            f"{os.fspath(out)}: the page cannot be written ({error.strerror})",
            hint="name a file in a folder that exists and can be written to",
        ) from error


def page(results: Sequence[Result], *, open_source: OpenSource = open_any) -> str:
    """Return the page about ``results`` as HTML; see :func:`write_page`."""
    title = "Foveal"
    if len(results) == 1:
        title = f"{shortened(base_name(_path(results[0])))} · Foveal"
    sections: dict[int, str] = {}
    words = pictured = 0
    for index, result in enumerate(results):
        if words > WORD_BYTES:
            break
        if isinstance(result, Failure):
            sections[index], num_bytes = _failure(result, index), 0
        else:
            left = PICTURE_BYTES - pictured
            budget = min(left, max(left // (len(results) - index), FILE_PICTURE_BYTES))
            sections[index], num_bytes = _section(
                result, index, budget=budget, open_source=open_source
            )
        pictured += num_bytes
        words += len(sections[index].encode()) - num_bytes
    body = list(sections.values())
    if len(results) > 1:
        body.insert(0, _overview(results, detailed=len(sections)))
    return _resource("page.html").substitute(
        title=text(title), style=_resource("page.css").template, body=join(body)
    )


@cache
def _resource(name: str) -> Template:
    return Template(files("foveal.explain").joinpath(name).read_text(encoding="utf-8"))


# --- one file -------------------------------------------------------------------------------


def _section(
    result: Prediction | Comparison, index: int, *, budget: int, open_source: OpenSource
) -> tuple[str, int]:
    """Return the section about one file, and how many bytes of it are pictures."""
    comparison = result if isinstance(result, Comparison) else None
    prediction = comparison.prediction if comparison else result
    assert isinstance(prediction, Prediction)
    story = read(prediction)
    names = _class_names(prediction)
    shown = select(story.frames)
    pictures = take(
        prediction.clip.name,  # the path may lack the password of a URL
        prediction.clip,
        [frame.seconds for frame in shown],
        budget=budget,
        open_source=open_source,
    )
    pieces = [
        heading(prediction),
        sums(prediction, comparison),
        "".join(f'<p class="warning">{text(line)}</p>' for line in prediction.warnings),
        _part("The whole file", timeline(prediction, story) + answers(prediction)),
    ]
    if shown:
        strip = filmstrip(shown, pictures, num_frames=len(story.frames), clip=prediction.clip)
        pieces.append(_part("What it looked at", key(story) + strip))
    if len(story.answers) > 1:
        line = confidence(story.answers, stopped=prediction.trace.stopped_early, names=names)
        pieces.append(_part("How sure it was, answer by answer", line))
    elif prediction.trace.stopped_early:
        sure = percent(story.answers[0].confidence)
        pieces.append(_part("How sure it was", f"<p>Stopped at its first answer: {sure} sure.</p>"))
    if any(scores.seconds is None for scores in story.scores):
        pieces.append(_part("What it weighed", choices(story)))
    pieces.append(_part("The bill", bill(prediction, comparison.dense if comparison else None)))
    pieces += [_steps(prediction, names), _record(prediction)]
    return f'<article id="file-{index + 1}">\n{join(pieces)}\n</article>', pictures.num_bytes


def _part(title: str, content: str) -> str:
    return f"<section>\n<h3>{title}</h3>\n{content}\n</section>"


def _steps(prediction: Prediction, names: Mapping[int, str]) -> str:
    steps = count(len(prediction.trace.events), "step")
    return (
        f"<details><summary>The actual decisions <small>{steps}</small></summary>\n"
        f"{decisions(prediction, names)}\n</details>"
    )


def _record(prediction: Prediction) -> str:
    record = json.dumps(prediction.to_json(), indent=1, ensure_ascii=False)
    one_line = re.compile(r"\s*\n\s*")
    record = re.sub(r"\[[^\[\]{}]*\]", lambda numbers: one_line.sub(" ", numbers[0]), record)
    shown = preformatted(record)
    if len(shown.encode()) > RECORD_BYTES:
        length = size(len(record.encode()))
        content = f'<p class="aside">{length}, too long for this page: use --json.</p>'
    else:
        content = f"<pre>{shown}</pre>"
    return f"<details><summary>The record <small>JSON</small></summary>\n{content}\n</details>"


def _class_names(prediction: Prediction) -> dict[int, str]:
    """Return the names of the best classes; a trace holds only their numbers."""
    probs = prediction.answer.probs
    if probs is None:
        return {}
    best = np.argsort(-probs, kind="stable")
    said = [label.label if label.known else str(label.guess) for label in prediction.predictions]
    return {int(number): name for number, name in zip(best, said, strict=False)}


# --- many files -----------------------------------------------------------------------------


def _overview(results: Sequence[Result], *, detailed: int) -> str:
    """Return one row a file; the first ``detailed`` of them have a section to go to."""
    failed = sum(isinstance(result, Failure) for result in results)
    lines = [
        _overview_row(result, f"#file-{index + 1}" if index < detailed else None)
        for index, result in enumerate(results[:MAX_ROWS])
    ]
    more = len(results) - len(lines)
    aside = f'<p class="aside">{count(more, "more file")} not listed.</p>' if more else ""
    if detailed < len(results):
        first = count(detailed, "file")
        aside += f'<p class="aside">Only the first {first} in detail, to keep this page small.</p>'
    without = f", {failed:,} without an answer" if failed else ""
    return (
        f'<section class="overview">\n<h1>{count(len(results), "file")}{without}</h1>\n'
        '<div class="wide"><table><thead><tr><th>file</th><th>answer</th><td>looked at</td>'
        f"<td>computed</td><td>time</td></tr></thead><tbody>\n{join(lines)}\n"
        f"</tbody></table></div>{aside}\n</section>"
    )


def _overview_row(result: Result, address: str | None) -> str:
    name = f"<bdi>{text(shortened(base_name(_path(result)), 80))}</bdi>"
    link = f'<th><a href="{address}">{name}</a></th>' if address else f"<th>{name}</th>"
    if isinstance(result, Failure):
        return f'<tr class="unknown">{link}<td colspan="4">no answer: {text(result.kind)}</td></tr>'
    prediction = result.prediction if isinstance(result, Comparison) else result
    cost = prediction.cost
    total = prediction.clip.num_frames
    of = f" of {total:,}" if total else ""
    return (
        f"<tr>{link}<td>{headline(prediction)}</td><td>{cost.frames_used:,}{of}</td>"
        f"<td>{macs(cost.total_macs)}</td><td>{duration_ms(cost.total_ms)}</td></tr>"
    )


def _failure(failure: Failure, index: int) -> str:
    return (
        f'<article id="file-{index + 1}" class="failed">\n'
        f"<header>\n{file_name(failure.path)}\n</header>\n"
        f'<p class="warning">{text(failure.message)}</p>\n<p>{text(failure.hint)}</p>\n</article>'
    )


def _path(result: Result) -> str:
    return result.prediction.path if isinstance(result, Comparison) else result.path
