"""``foveal export``: a finished run to a bundle to take away."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from foveal.cli.extras import require_train_extra, train_extra
from foveal.cli.guard import OK
from foveal.cli.text import clean, count, percent

if TYPE_CHECKING:
    from foveal.api import Model
    from foveal.bundle import Bundle
    from foveal.dataset import Dataset, Format
    from foveal.evaluation import Run

RANGE_CLIPS = 32
"""Training clips that show the ranges of activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal export --help``."""

    out: str
    int8: str | None
    force: bool
    format: Format | None
    videos: str | None
    threads: int | None


def run(folder: str, options: Options) -> int:
    """Write the bundle of the run in ``folder``; return the exit code."""
    from foveal.evaluation import check_target, open_run

    found = open_run(folder)
    out = check_target(options.out, run=found, force=options.force)
    if options.int8 is None:
        bundle = found.bundle.delivered(out, tested=found.tested, provenance=found.provenance)
    else:
        require_train_extra("making parts int8")
        with train_extra("making parts int8"):
            bundle = eight_bits(found, out, options.int8, options)
    told(bundle, found)
    return OK


def told(bundle: Bundle, found: Run) -> None:
    """Say what the bundle holds."""
    manifest, path = bundle.manifest, clean(str(bundle.path))
    size = Path(str(bundle.path)).stat().st_size / 2**20
    points = 0 if manifest.calibration is None else len(manifest.calibration.points)
    print(
        f"{path}: {size:.1f} MiB, {count(len(manifest.parts), 'part')}, "
        f"{count(len(manifest.class_names), 'class', 'classes')}, "
        + (f"{count(points, 'operating point')}" if points else "not calibrated")
    )
    if manifest.tested is None:
        print("  the run had no test clips: there is no number for `foveal verify` to have again")
    else:
        one = manifest.tested
        print(f"  {percent(one.accuracy)} of {count(one.num_clips, 'test clip')} right")
    print(f"Try it: foveal recognize FILE --model {path}")


# --- eight bits ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Two models on the same clips, run clip by clip in turn.

    Args:
        right: how many clips each has right.
        ms: median milliseconds of a clip in the parts, of each.
        num_clips: that could be read.
    """

    right: tuple[int, int]
    ms: tuple[float, float]
    num_clips: int


def eight_bits(found: Run, out: Path, data: str, options: Options) -> Bundle:
    """Write the run's bundle with parts in int8, and say what that changed."""
    from foveal.api import Model
    from foveal.dataset import named_samples
    from foveal.evaluation.delivery import need_same_set
    from foveal.export.int8 import listen, quantise

    model = Model(found.bundle, threads=options.threads)
    dataset = need_same_set(
        found.tested, model.class_names, data, format=options.format, videos=options.videos
    )
    shown = named_samples(dataset)["train"][:RANGE_CLIPS]
    say(f"ranges from {count(len(shown), 'training clip')}")
    heard = listen(model.runner, shown, kind=dataset.kind, steps=model.steps)
    models = quantise(found.bundle, heard)
    with tempfile.TemporaryDirectory() as folder:
        small = found.bundle.delivered(
            Path(folder) / "int8.foveal", tested=None, provenance={}, models=models
        )
        both = side_by_side(model, Model(small, threads=options.threads), dataset)
        say_changed(both, found.bundle, small)
        tested = found.tested
        assert tested is not None  # need_same_set asked for it
        before, after = (count_right / both.num_clips for count_right in both.right)
        return small.delivered(
            out,
            tested=replace(tested, accuracy=after, float_accuracy=before),
            provenance={**found.provenance, "int8": described(both, models, found.bundle)},
        )


def side_by_side(one: Model, other: Model, dataset: Dataset) -> SideBySide:
    """Run both models on the test clips, each clip by one and then the other."""
    from foveal.dataset import named_samples
    from foveal.records import Failure
    from foveal.tasks.classification import probs_of
    from foveal.tasks.classification import run as run_clips

    right, read = [0, 0], 0
    ms: tuple[list[float], list[float]] = ([], [])
    for named in named_samples(dataset)["test"]:
        for side, model in enumerate((one, other)):
            (done,) = run_clips(
                [named],
                kind=dataset.kind,
                runner=model.runner,
                steps=model.steps,
                exit_rule=model.exit_rule,
            )
            if isinstance(done, Failure):
                break
            read += side
            right[side] += int(probs_of(done).argmax() == named[1].label)
            ms[side].append(done.cost.ms["compute"])
    return SideBySide(
        right=(right[0], right[1]),
        ms=(median(ms[0]), median(ms[1])),
        num_clips=read,
    )


def described(both: SideBySide, models: Mapping[str, bytes], bundle: Bundle) -> str:
    """Return what was made int8 and what it changed, for the bundle's provenance."""
    made = [name for name, model in models.items() if model != bundle.part_bytes(name)]
    before, after = (one / both.num_clips for one in both.right)
    return (
        f"parts {', '.join(made)}; {percent(before)} -> {percent(after)} of {both.num_clips} test "
        f"clips right, {both.ms[0]:.3g} -> {both.ms[1]:.3g} ms in the parts of a clip"
    )


def say_changed(both: SideBySide, before: Bundle, after: Bundle) -> None:
    """Say what int8 costs and gains."""
    right = [f"{percent(one / both.num_clips)}" for one in both.right]
    sizes = [Path(str(one.path)).stat().st_size / 2**20 for one in (before, after)]
    say(
        f"int8 against float: {right[1]} of {count(both.num_clips, 'test clip')} right instead of "
        f"{right[0]}, {sizes[1]:.1f} MiB instead of {sizes[0]:.1f}"
    )
    ratio = both.ms[1] / both.ms[0]
    quicker = f"{ratio:.2f} of the time" if ratio < 1 else f"{ratio:.2f} times as long: slower here"
    say(f"  in the parts of a clip {both.ms[1]:.3g} ms instead of {both.ms[0]:.3g}, {quicker}")
    if before.manifest.calibration is not None:
        say("  the operating points were measured in float and are left out; calibrate again")


def say(line: str) -> None:
    """Print a line beside the output."""
    print(clean(line), file=sys.stderr, flush=True)
