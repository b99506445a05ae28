"""``foveal evaluate``: a bundle and labelled clips to figures and a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.cli.guard import FAILED, OK, Finished, complain, stop_at_once
from foveal.cli.text import clean, count, gmacs, milliseconds, percent

if TYPE_CHECKING:
    from foveal.budget import Budget
    from foveal.dataset import Format, Split
    from foveal.evaluation import Judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal evaluate --help``."""

    split: Split
    out: str | None
    format: Format | None
    videos: str | None
    json: bool
    threads: int | None
    point: str | None
    max_gmacs: float | None
    max_ms: float | None


def run(subject: str, data: str, options: Options) -> int:
    """Judge ``subject`` on ``data``, write the folder, say the figures; return the exit code."""
    from foveal.bundle import BundleError
    from foveal.evaluation import prepare
    from foveal.tasks.classification import NothingReadError

    finished = Finished()
    with stop_at_once(finished):
        try:
            judging = prepare(
                subject,
                data,
                split=options.split,
                out=options.out,
                format=options.format,
                videos=options.videos,
                threads=options.threads,
                point=options.point,
                budget=budget_of(options),
            )
            announce(judging)
            judge(judging, finished)
            judged = judging.finish()
        except (BundleError, NothingReadError) as error:
            # A file that failed, as a clip may.
            complain(error.message, hint=error.hint)
            return FAILED
    if options.json:
        print(json.dumps(judged.figures, allow_nan=False))
    else:
        for line in lines(judged.figures):
            print(clean(line))
    print(f"{clean(str(judged.out))}: evaluation.json, report.html, clips.jsonl", file=sys.stderr)
    return FAILED if judged.figures["failed"] else OK


def budget_of(options: Options) -> Budget | None:
    """Return the budget that was asked for, if one was."""
    from foveal.budget import Budget

    if options.max_gmacs is None and options.max_ms is None:
        return None
    return Budget(max_gmacs=options.max_gmacs, max_ms=options.max_ms)


def announce(judging: Judging) -> None:
    """Say on standard error which clips these are, and what to beware of."""
    dataset = judging.dataset
    total = len(judging.samples)
    say(f"{dataset.name}: {count(total, 'clip')} for {judging.split} ({dataset.how_split})")
    for line in dataset.notes:
        say(f"  {line}")
    if judging.model.point is not None:
        say(f"  operating point {judging.model.point.name!r}")
    for line in judging.warnings:
        say(f"  warning: {line}")
    if judging.num_done:
        say(f"  {judging.num_done:,} are done already, in {judging.folder.place}")


def say(line: str) -> None:
    """Print a line beside the output."""
    print(clean(line), file=sys.stderr, flush=True)


def judge(judging: Judging, finished: Finished) -> None:
    """Judge the clips that are left, with a bar where somebody watches."""
    from foveal.cli.progress import tracked

    left = len(judging.samples) - judging.num_done
    for row in tracked(finished.counted(judging.rows(), left), left):
        if row["status"] == "error":
            say(f"  failed: {row['error']['message']}; {row['error']['hint']}")


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return the figures in words."""
    accuracy, calibration, cost = found["accuracy"], found["calibration"], found["cost"]
    failed = sum(found["failed"].values())
    unread = f", {count(failed, 'clip')} could not be read" if failed else ""
    views = found["views"]
    top5 = "" if accuracy["top5"] is None else f", top-5 {percent(accuracy['top5'])}"
    mean = ""
    if accuracy["mean_class"] is not None:
        mean = f"mean class accuracy {percent(accuracy['mean_class'])}, "
    made = [
        f"{count(found['num_judged'], 'clip')} of "
        f"{count(len(found['classes']), 'class', 'classes')}{unread}",
        f"top-1 {percent(accuracy['top1'])}{top5}, {mean}"
        f"mAP {percent(found['mean_average_precision'])}",
        *([] if calibration is None else [how_sure(calibration)]),
        f"a clip, in {views['num_clips']} x {views['num_crops']} views "
        "(clips x crops), costs in the mean, at p50 and at p95:",
        f"  GMACs {', '.join(gmacs(v) for v in cost['macs'].values())}",
        f"  frames decoded {_counts(cost['frames_decoded'])}",
        f"  frames used {_counts(cost['frames_used'])}",
        f"  time {', '.join(milliseconds(v) for v in cost['ms'].values())}",
    ]
    evidence = found["evidence"]
    if evidence is not None and evidence["precision"] is not None:
        made.append(
            f"evidence: {percent(evidence['precision'])} of the looks are on it (it fills "
            f"{percent(evidence['chance'])} of a clip), found in {percent(evidence['found'])} "
            f"of {count(evidence['num_clips'], 'clip')}"
        )
    if evidence is not None and evidence["box_coverage"] is not None:
        made.append(
            f"  boxes cover {percent(evidence['box_coverage'])} of it, and "
            f"{percent(evidence['box_area'])} of the picture"
        )
    return made


def how_sure(calibration: Mapping[str, Any]) -> str:
    """Return the error of calibration, and what a temperature makes of it."""
    after = calibration["error_after"]
    cooled = (
        ""
        if after is None
        else f", {percent(after)} with a temperature ({calibration['temperature']:.2f})"
    )
    return f"calibration error {percent(calibration['error'])}{cooled}"


def _counts(values: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,.1f}" for value in values.values())
