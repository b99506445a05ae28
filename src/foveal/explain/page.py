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
from foveal.explain.bill import bill
from foveal.explain.figures import (
    best_each,
    choices,
    confidence,
    num_frames,
    timeline,
    wording,
)
from foveal.explain.filmstrip import filmstrip
from foveal.explain.markup import (
    clock,
    count,
    duration_ms,
    join,
    macs,
    number,
    percent,
    shortened,
    size,
    span,
    text,
)
from foveal.explain.pictures import OpenSource, select, take
from foveal.explain.story import Story, read
from foveal.explain.words import decisions
from foveal.systems import index as systems
from foveal.types import ClipInfo, Failure, FovealError, Label, Prediction
from foveal.video import open_source as open_any

Result: TypeAlias = Prediction | Comparison | Failure

PICTURE_BYTES = 3_200_000
WORD_BYTES = 900_000
"""Once the sections before it have filled this, a file keeps only its row of the overview."""
RECORD_BYTES = 400_000
"""A record longer than this is not repeated on the page."""
MAX_ROWS = 800
MAX_ANSWERS = 200


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
        title = f"{_base_name(_path(results[0]))} · Foveal"
    body = [_overview(results)] if len(results) > 1 else []
    words = pictured = left_out = 0
    with_pictures = sum(not isinstance(result, Failure) for result in results)
    for index, result in enumerate(results):
        if isinstance(result, Failure):
            body.append(_failure(result, index))
            words += len(body[-1])
            continue
        with_pictures -= 1
        if words > WORD_BYTES:
            left_out += 1
            continue
        budget = (PICTURE_BYTES - pictured) // (with_pictures + 1)
        section, num_bytes = _section(result, index, budget=budget, open_source=open_source)
        body.append(section)
        pictured += num_bytes
        words += len(section.encode()) - num_bytes
    if left_out:
        body.append(
            f'<p class="aside">{count(left_out, "more file")}: only in the overview, to keep this '
            "page small.</p>"
        )
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
        prediction.path,
        prediction.clip,
        [frame.seconds for frame in shown],
        budget=budget,
        open_source=open_source,
    )
    pieces = [
        _heading(prediction, story),
        _sums(prediction, comparison),
        "".join(f'<p class="warning">{text(line)}</p>' for line in prediction.warnings),
        _part("The whole file", timeline(prediction, story) + _answers(prediction)),
    ]
    if shown:
        strip = filmstrip(shown, pictures, num_frames=len(story.frames), clip=prediction.clip)
        pieces.append(_part("What it looked at", _key(story) + strip))
    if len(story.answers) > 1:
        line = confidence(story.answers, stopped=prediction.trace.stopped_early, names=names)
        pieces.append(_part("How sure it was, answer by answer", line))
    if any(scores.seconds is None for scores in story.scores):
        pieces.append(_part("What it weighed", choices(story)))
    pieces.append(_part("The bill", bill(prediction, comparison.dense if comparison else None)))
    pieces += [_steps(prediction, names), _record(prediction)]
    return f'<article id="file-{index + 1}">\n{join(pieces)}\n</article>', pictures.num_bytes


def _part(title: str, content: str) -> str:
    return f"<section>\n<h3>{title}</h3>\n{content}\n</section>"


def _heading(prediction: Prediction, story: Story) -> str:
    folder, name = _folder(prediction.path), _base_name(prediction.path)
    where = f'<p class="where"><bdi>{text(shortened(folder))}</bdi></p>' if folder else ""
    facts = " · ".join(text(fact) for fact in _facts(prediction.clip))
    row = next((row for row in systems.ALL if row.name == prediction.model), None)
    by = "" if row is None else f" · {text(row.title)}, {text(row.question)}"
    kind = ""
    if row is not None and row.kind == "tagger":
        kind = '<p class="aside">Tags: they name things to be seen, not actions.</p>\n'
    return (
        f"<header>\n{where}<h2><bdi>{text(shortened(name))}</bdi></h2>\n"
        f'<p class="facts">{facts}{by}</p>\n'
        f'<p class="headline">{_headline(prediction.predictions)}</p>\n{kind}</header>'
    )


def _facts(clip: ClipInfo) -> list[str]:
    facts = [f"{clock(clip.duration_seconds, within=clip.duration_seconds, decimals=1)} long"]
    if clip.num_frames is not None:
        facts.append(count(clip.num_frames, "frame"))
    if clip.fps > 0:
        facts.append(f"{number(clip.fps)} a second")
    if clip.width and clip.height:
        facts.append(f"{clip.width} × {clip.height}")
    if clip.codec:
        facts.append(clip.codec)
    facts.append("with sound" if clip.has_sound else "no sound")
    if clip.size_bytes is not None:
        facts.append(size(clip.size_bytes))
    return facts


def _headline(labels: Sequence[Label]) -> str:
    """Return the distinct things that were found, the one shown longest first."""
    if not labels:
        return '<span class="none">nothing found</span>'
    known: dict[str, tuple[float, float]] = {}
    for label in best_each(labels):
        if label.known:
            length, prob = known.get(label.label, (0.0, 0.0))
            length += label.end_seconds - label.start_seconds
            known[label.label] = (length, max(prob, label.prob))
    if not known:
        surest = max(labels, key=lambda label: label.prob)
        return f'<span class="none">{text(wording(surest))}</span>'
    ranked = sorted(known.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    said = [
        f"<span>{text(name)} <small>{percent(prob)}</small></span>"
        for name, (_, prob) in ranked[:4]
    ]
    if len(ranked) > 4:
        said.append(f'<span class="none">and {len(ranked) - 4} more</span>')
    return " ".join(said)


def _sums(prediction: Prediction, comparison: Comparison | None) -> str:
    """Return the three figures that matter, each beside the dense one where there is one."""
    cost = prediction.cost
    dense = comparison.dense.cost if comparison else None
    total, exact = num_frames(prediction.clip)
    about = "" if exact else "about "
    if total:
        frames = f"{cost.frames_used:,} <small>of {about}{total:,}</small>"
        share = f"{percent(cost.frames_used / total)} of the file"
    else:
        frames, share = f"{cost.frames_used:,}", ""
    milliseconds = duration_ms(cost.total_ms)
    cells = [
        (frames, "frames looked at", share, f"dense: {dense.frames_used:,}" if dense else ""),
        (
            _unit(macs(cost.total_macs)),
            "computed",
            "1 MAC = 2 FLOPs",
            f"dense: {macs(dense.total_macs)}" if dense else "",
        ),
        (
            _unit(milliseconds),
            "in all stages",
            f"{count(cost.frames_decoded, 'frame')} decoded",
            f"dense: {duration_ms(dense.total_ms)}" if dense else "",
        ),
    ]
    if comparison:
        agreed = comparison.agreement
        cells.append(
            (
                "–" if agreed is None else _unit(percent(agreed)),
                "agreement with dense",
                "dense was never sure" if agreed is None else "of the time dense is sure",
                f"{percent(max(comparison.macs_saved, 0.0))} of its MACs saved",
            )
        )
    return (
        '<dl class="sums">\n'
        + join(
            f'<div><dt>{what}</dt><dd>{figure}</dd><dd class="more">{second or first}</dd></div>'
            for figure, what, first, second in cells
        )
        + "\n</dl>"
    )


def _unit(figure: str) -> str:
    amount, _, unit = figure.rpartition(" ")
    return f"{amount} <small>{unit}</small>" if amount else figure


def _key(story: Story) -> str:
    keys = []
    if any(frame.glanced for frame in story.frames):
        keys.append('<span><i class="glance"></i> glanced at</span>')
    if any(frame.focused for frame in story.frames):
        keys.append('<span><i class="focus"></i> looked at</span>')
    if any(frame.boxes for frame in story.frames):
        keys.append('<span><i class="boxed"></i> where it looked</span>')
    if any(frame.score is not None for frame in story.frames):
        keys.append('<span><i class="scored"></i> its score</span>')
    return f'<p class="key">{"".join(keys)}</p>\n'


def _answers(prediction: Prediction) -> str:
    """Return the answers as a table, those after the first dozen folded away."""
    within = prediction.clip.duration_seconds
    lines = []
    before: tuple[float, float] | None = None
    for label in prediction.predictions[:MAX_ANSWERS]:
        stretch = (label.start_seconds, label.end_seconds)
        when = "" if stretch == before else span(*stretch, within=within)
        name = f"({label.guess})" if stretch == before and label.guess else wording(label)
        before = stretch
        lines.append(
            f'<tr class="{"known" if label.known else "unknown"}{"" if when else " also"}">'
            f"<td>{when}</td><th><bdi>{text(name)}</bdi></th>"
            f'<td class="gauge"><i style="width:{number(100 * label.prob, 1)}%"></i></td>'
            f"<td>{percent(label.prob)}</td></tr>"
        )
    if not lines:
        return ""
    table = '<table class="answers"><tbody>\n{}\n</tbody></table>'
    more = len(prediction.predictions) - MAX_ANSWERS
    aside = f'<p class="aside">{more:,} more in the record.</p>' if more > 0 else ""
    if len(lines) <= 12:
        return table.format(join(lines))
    rest = f"{len(prediction.predictions) - 12:,} more"
    return (
        f"{table.format(join(lines[:12]))}\n<details><summary>{rest}</summary>\n"
        f"{table.format(join(lines[12:]))}{aside}</details>"
    )


def _steps(prediction: Prediction, names: Mapping[int, str]) -> str:
    steps = count(len(prediction.trace.events), "step")
    return (
        f"<details><summary>The actual decisions <small>{steps}</small></summary>\n"
        f"{decisions(prediction, names)}\n</details>"
    )


def _record(prediction: Prediction) -> str:
    record = json.dumps(prediction.to_json(), indent=1, ensure_ascii=False)
    record = record.encode("utf-8", "backslashreplace").decode("utf-8")
    record = re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]), record)
    num_bytes = len(record.encode())
    if num_bytes > RECORD_BYTES:
        content = f'<p class="aside">{size(num_bytes)}, too long for this page: use --json.</p>'
    else:
        content = f"<pre>{text(record)}</pre>"
    return f"<details><summary>The record <small>JSON</small></summary>\n{content}\n</details>"


def _class_names(prediction: Prediction) -> dict[int, str]:
    """Return the names of the classes that the answer names; a trace holds only their numbers."""
    answer = prediction.answer
    named = {
        (p.start_seconds, p.end_seconds, p.prob): p.label if p.known else str(p.guess)
        for p in prediction.predictions
    }
    if answer.segments is not None:
        s = answer.segments
        rows = zip(s.start_seconds, s.end_seconds, s.scores, s.labels, strict=True)
        return {
            label: named[start, end, score]
            for start, end, score, label in rows
            if (start, end, score) in named
        }
    assert answer.probs is not None
    best = np.argsort(-answer.probs, kind="stable")
    return {int(i): name for i, name in zip(best, named.values(), strict=False)}


# --- many files -----------------------------------------------------------------------------


def _overview(results: Sequence[Result]) -> str:
    failed = sum(isinstance(result, Failure) for result in results)
    lines = [_overview_row(result, index) for index, result in enumerate(results[:MAX_ROWS])]
    more = len(results) - len(lines)
    aside = f'<p class="aside">{count(more, "more file")} not listed.</p>' if more else ""
    without = f", {failed:,} without an answer" if failed else ""
    return (
        f'<section class="overview">\n<h1>{count(len(results), "file")}{without}</h1>\n'
        '<div class="wide"><table><thead><tr><th>file</th><th>answer</th><td>looked at</td>'
        f"<td>computed</td><td>time</td></tr></thead><tbody>\n{join(lines)}\n"
        f"</tbody></table></div>{aside}\n</section>"
    )


def _overview_row(result: Result, index: int) -> str:
    name = text(shortened(_base_name(_path(result)), 80))
    link = f'<th><a href="#file-{index + 1}"><bdi>{name}</bdi></a></th>'
    if isinstance(result, Failure):
        return f'<tr class="unknown">{link}<td colspan="4">no answer: {text(result.kind)}</td></tr>'
    prediction = result.prediction if isinstance(result, Comparison) else result
    cost = prediction.cost
    total = prediction.clip.num_frames
    of = f" of {total:,}" if total else ""
    return (
        f"<tr>{link}<td>{_headline(prediction.predictions)}</td><td>{cost.frames_used:,}{of}</td>"
        f"<td>{macs(cost.total_macs)}</td><td>{duration_ms(cost.total_ms)}</td></tr>"
    )


def _failure(failure: Failure, index: int) -> str:
    folder, name = _folder(failure.path), _base_name(failure.path)
    where = f'<p class="where"><bdi>{text(shortened(folder))}</bdi></p>' if folder else ""
    return (
        f'<article id="file-{index + 1}" class="failed">\n<header>{where}'
        f"<h2><bdi>{text(shortened(name))}</bdi></h2></header>\n"
        f'<p class="warning">{text(failure.message)}</p>\n<p>{text(failure.hint)}</p>\n</article>'
    )


def _path(result: Result) -> str:
    return result.prediction.path if isinstance(result, Comparison) else result.path


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def _folder(path: str) -> str:
    return path[: len(path.rstrip("/\\")) - len(_base_name(path))]
