"""``report.html``: one self-contained page about an evaluation, without script or request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from foveal.dataset import Kind, Sample, open_sample
from foveal.evaluation import plots
from foveal.evaluation.figures import Clips, Row
from foveal.explain.filmstrip import filmstrip
from foveal.explain.markup import (
    count,
    duration_ms,
    join,
    macs,
    number,
    percent,
    shortened,
    size,
    text,
)
from foveal.explain.pictures import Pictures, select, take
from foveal.explain.story import read
from foveal.records import Prediction
from foveal.types import Answer, ClipInfo, Cost, Event, FovealError, Source, Trace

PICTURE_BYTES = 2_400_000
MAX_SHOTS = 8
"""Frames shown of one mistake."""
UNFOLDED, MAX_CLASSES = 20, 400
MAX_FAILED = 50
NARROW = "\N{NO-BREAK SPACE}%"


def report(
    found: Mapping[str, Any],
    clips: Clips,
    *,
    worst: Iterable[Row],
    samples: Mapping[str, Sample],
    kind: Kind,
) -> str:
    """Return the page about ``found`` (``evaluation.json``) as HTML.

    Args:
        found: all figures.
        clips: what they are made of.
        worst: the lines of the mistakes in ``found``, in their order.
        samples: by name, to show the frames that mistakes were made on.
        kind: what they are.
    """
    data, model = found["data"], found["model"]
    one_class = not clips.several
    pieces = [
        _heading(found),
        "".join(f'<p class="warning">{text(line)}</p>' for line in data["warnings"]),
        _part("What was taken for what", plots.confusion(found)) if one_class else "",
        _part("Class by class", _classes(found["classes"])),
        _part("How sure, and how often right", _calibration(found["calibration"]))
        if one_class
        else "",
        _part("What a clip costs", _cost(found, clips)),
        _part("Accuracy by cost", plots.accuracy_by_cost(found["answers"], _macs)),
        _part("Where it looked", _evidence(found["evidence"])) if found["evidence"] else "",
        _part("The worst mistakes", _mistakes(found["mistakes"], worst, samples, kind)),
        _part("What could not be read", _failed(clips.errors)) if found["failed"] else "",
        _part("What this is", _about(found)),
    ]
    return _resource("report.html").substitute(
        title=text(f"{shortened(data['name'], 60)} · {model['system']} · Foveal"),
        style=_style(),
        body=f"<article>\n{join(pieces)}\n</article>",
    )


@cache
def _resource(name: str) -> Template:
    return Template(files("foveal.evaluation").joinpath(name).read_text(encoding="utf-8"))


def _style() -> str:
    page = files("foveal.explain").joinpath("page.css").read_text(encoding="utf-8")
    return page + _resource("report.css").template


def _part(title: str, content: str) -> str:
    return f"<section>\n<h3>{title}</h3>\n{content}\n</section>"


def _size(num_bytes: float) -> str:
    return size(round(num_bytes))


def _macs(amount: float) -> str:
    return macs(round(amount))


# --- the figures ----------------------------------------------------------------------------


def _heading(found: Mapping[str, Any]) -> str:
    data, accuracy = found["data"], found["accuracy"]
    failed = sum(found["failed"].values())
    unread = f", {failed:,} could not be read" if failed else ""
    views = found["views"]
    facts = (
        f"{found['model']['system']} · {count(found['num_judged'], 'clip')} of "
        f"{count(len(found['classes']), 'class', 'classes')}{unread} · "
        f"{views['num_clips']} × {views['num_crops']} views (clips × crops)"
    )
    top5 = ""
    if accuracy["top5"] is not None:
        top5 = f" <small>{percent(accuracy['top5'])} among the five likeliest</small>"
    cost, calibration = found["cost"], found["calibration"]
    ranked = ("mean average precision", percent(found["mean_average_precision"]), "")
    headline = f"{percent(accuracy['top1'])} right"
    computed = (
        "computed a clip",
        _macs(cost["macs"]["mean"]),
        f"{number(cost['frames_used']['mean'], 1)} frames used, "
        f"{number(cost['frames_decoded']['mean'], 1)} decoded",
    )
    if calibration is None:
        headline = f"{ranked[1]} {ranked[0]}"
        likeliest = ("name a class of the clip as the likeliest", percent(accuracy["top1"]), "")
        cells = [likeliest, computed]
    else:
        after = calibration["error_after"]
        sure = "" if after is None else f"{percent(after)} with a temperature"
        cells = [
            ("mean class accuracy", percent(accuracy["mean_class"]), ""),
            ranked,
            ("calibration error", percent(calibration["error"]), sure),
            computed,
        ]
    sums = join(
        f"<div><dt>{name}</dt><dd>{text(value)}</dd>"
        + (f'<dd class="more">{text(more)}</dd>' if more else "")
        + "</div>"
        for name, value, more in cells
    )
    return (
        f"<header>\n<h2><bdi>{text(shortened(data['name']))}</bdi>, {text(data['split'])}</h2>\n"
        f'<p class="facts">{text(facts)}</p>\n'
        f'<p class="headline"><span>{headline}{top5}</span></p>\n'
        f'</header>\n<dl class="sums">\n{sums}\n</dl>'
    )


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    """Return the worst classes, and the others folded away."""
    worst = sorted(classes, key=lambda one: one[_counted(one)])
    shown, rest = worst[:UNFOLDED], worst[UNFOLDED:MAX_CLASSES]
    pieces = [_class_table(shown)]
    if rest:
        better = count(len(rest), "better one")
        pieces.append(f"<details><summary>{better}</summary>\n{_class_table(rest)}</details>")
    if len(worst) > MAX_CLASSES:
        more = count(len(worst) - MAX_CLASSES, "more class", "more classes")
        pieces.append(f'<p class="aside">{more} in evaluation.json.</p>')
    return join(pieces)


def _counted(one: Mapping[str, Any]) -> str:
    """Return what a class is judged by: where clips may show several, it is how it ranks them."""
    return "average_precision" if one["accuracy"] is None else "accuracy"


def _class_table(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = join(
        f"<tr><th>{text(shortened(one['class'], 60))}</th>"
        f'<td class="gauge"><i style="width:{number(100 * one[_counted(one)])}%"></i></td>'
        + ("" if one["accuracy"] is None else f"<td>{percent(one['accuracy'])}</td>")
        + f"<td>{percent(one['average_precision'])}</td><td>{one['num_clips']:,}</td></tr>"
        for one in classes
    )
    right = "" if classes[0]["accuracy"] is None else "<td>right</td>"
    return (
        '<div class="wide"><table class="figures classes"><thead><tr><th>class, worst first</th>'
        f"<td></td>{right}<td>average precision</td><td>clips</td></tr></thead><tbody>\n"
        f"{rows}\n</tbody></table></div>"
    )


def _calibration(calibration: Mapping[str, Any]) -> str:
    after = calibration["error_after"]
    error = percent(calibration["error"])
    words = f"How sure an answer is misses how often it is right by {error} in the mean"
    if after is not None:
        words += (
            f", and by {percent(after)} once its logits are divided by a temperature. Each half "
            "of the clips takes the temperature that fits the other half; all of them ask for "
            f"{number(calibration['temperature'])}"
        )
    plot = f"<figure>{plots.reliability(calibration)}</figure>"
    return (
        f'<div class="plots">{plot}<p class="said">{text(words).replace(" %", NARROW)}.</p></div>'
    )


def _cost(found: Mapping[str, Any], clips: Clips) -> str:
    cost = found["cost"]
    shown: dict[str, tuple[str, Callable[[float], str]]] = {
        "macs": ("multiply-accumulates", _macs),
        "frames_used": ("frames used", partial(number, decimals=1)),
        "frames_decoded": ("frames decoded", partial(number, decimals=1)),
        "ms": ("time, all stages", duration_ms),
    }
    values = {name: clips.costs[name].tolist() for name in shown}
    varying = [name for name in shown if min(values[name]) < max(values[name])]
    figures = join(
        plots.histogram(values[name], cost[name], title=shown[name][0], words=shown[name][1])
        for name in varying
    )
    same = [title for name, (title, _) in shown.items() if name not in varying]
    alike = f" Every clip takes the same: {', '.join(same)}." if same else ""
    listed = [*shown.items(), ("bytes", ("bytes read", _size))]
    lines = join(
        f"<tr><th>{title}</th>"
        + "".join(f"<td>{words(cost[name][key])}</td>" for key in ("mean", "p50", "p95"))
        + "</tr>"
        for name, (title, words) in listed
    )
    stages = ", ".join(f"{stage} {duration_ms(ms)}" for stage, ms in cost["ms_by_stage"].items())
    return (
        '<div class="wide"><table class="figures"><thead><tr><th></th><td>mean</td><td>p50</td>'
        f"<td>p95</td></tr></thead><tbody>\n{lines}\n</tbody></table></div>\n"
        f'<p class="aside">Time by stage, in the mean: {stages}.{alike}</p>\n'
        + (
            f'<section class="plots">\n{figures}\n</section>\n'
            f"{plots.key(('typical', 'p50'), ('rare', 'p95'))}"
            if varying
            else ""
        )
    )


def _evidence(evidence: Mapping[str, Any]) -> str:
    lines = [
        (
            "of what it looked at most closely shows the evidence",
            evidence["precision"],
            f"the evidence fills {percent(evidence['chance'])} of a clip, which is what looks "
            "at random would meet",
        ),
        ("of the clips had a look at the evidence", evidence["found"], ""),
        (
            "of the evidence in such a frame lies inside the box looked at",
            evidence["box_coverage"],
            ""
            if evidence["box_area"] is None
            else f"the box fills {percent(evidence['box_area'])} of the frame",
        ),
    ]
    cells = join(
        f"<div><dt>{text(words)}</dt><dd>{percent(value)}</dd>"
        + (f'<dd class="more">{text(more)}</dd>' if more else "")
        + "</div>"
        for words, value, more in lines
        if value is not None
    )
    known = count(evidence["num_clips"], "clip")
    aside = f'<p class="aside">For {known} it is known where the evidence is.</p>'
    return f'<dl class="sums">\n{cells}\n</dl>{aside}'


# --- clips ----------------------------------------------------------------------------------


def _mistakes(
    mistakes: Sequence[Mapping[str, Any]],
    worst: Iterable[Row],
    samples: Mapping[str, Sample],
    kind: Kind,
) -> str:
    if not mistakes:
        return '<p class="aside">There are none.</p>'
    budget = PICTURE_BYTES // len(mistakes)
    shown = join(
        _mistake(one, row, samples[one["sample"]], kind, budget)
        for one, row in zip(mistakes, worst, strict=True)
    )
    return f'<p class="aside">Wrong answers, the surest first.</p>\n{shown}'


def _mistake(one: Mapping[str, Any], row: Row, sample: Sample, kind: Kind, budget: int) -> str:
    return (
        f'<div class="mistake"><p class="where"><bdi>{text(shortened(one["sample"]))}</bdi></p>\n'
        f"<p><b>{text(one['predicted'])}</b> {percent(one['prob'])}, "
        f"but it shows <b>{text(one['label'])}</b> {percent(one['prob_of_label'])}</p>\n"
        f"{_strip(row, sample, kind, budget)}</div>"
    )


def _strip(row: Row, sample: Sample, kind: Kind, budget: int) -> str:
    """Return the frames that an answer was made on, fetched again from the clip."""
    if kind == "features":
        return ""
    try:
        source = open_sample(sample, kind=kind, threads=1)
    except FovealError as error:
        return f'<p class="aside">Its frames cannot be shown: {text(error)}</p>'
    clip = source.info
    story = read(_prediction(row, clip))
    shots = select(story.frames, limit=MAX_SHOTS)
    pictures = Pictures()
    if shots:

        def again(_: str) -> Source:
            return source

        seconds = [shot.seconds for shot in shots]
        pictures = take(sample.path, clip, seconds, budget=budget, open_source=again)
    source.close()
    return filmstrip(shots, pictures, num_frames=len(story.frames), clip=clip)


def _prediction(row: Row, clip: ClipInfo) -> Prediction:
    """Return as much of a prediction as its line holds: what it did, not what it is called."""
    trace = row["trace"]
    events = tuple(
        Event(event["kind"], {k: v for k, v in event.items() if k != "kind"})
        for event in trace["events"]
    )
    return Prediction(
        path=row["path"],
        predictions=(),
        trace=Trace(events, trace["exit_index"], trace["stopped_early"]),
        cost=Cost(macs=row["cost"]["macs_by_part"]),
        model=row["model"],
        clip=clip,
        answer=Answer(probs=np.asarray(row["probs"])),
    )


def _failed(failed: Sequence[Row]) -> str:
    lines = join(
        f"<tr><th>{text(shortened(error['message'], 300))}</th></tr>"
        for error in failed[:MAX_FAILED]
    )
    more = len(failed) - MAX_FAILED
    aside = f'<p class="aside">{count(more, "more clip")}.</p>' if more > 0 else ""
    return (
        '<p class="aside">These clips count for nothing in the figures above.</p>\n'
        f"<table><tbody>\n{lines}\n</tbody></table>{aside}"
    )


def _about(found: Mapping[str, Any]) -> str:
    model, data = found["model"], found["data"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = (
        ("model", model["description"] or model["system"]),
        ("bundle", f"{model['bundle']}, SHA-256 {model['sha256']}"),
        ("clips", f"{data['name']}, {data['split']}: {data['how_split']}"),
        ("notes", "; ".join(data["notes"])),
        ("made with", versions),
        ("on", found["cpu"]),
    )
    rows = join(
        f'<p class="aside"><b>{name}</b> {text(words)}</p>' for name, words in lines if words
    )
    return rows
