"""Measure OCSampler's claim on real clips: three of ten frames of untrimmed Weizmann actions.

    python scripts/claim_ocsampler_weizmann.py --data FOLDER  # results/ocsampler/weizmann.json
    python scripts/ocsampler_card.py                          # the figures into the card

The rules below were written down before the first number on a test subject was seen.

Task: which of ten actions nine people do, in the 540 videos that ``untrim_weizmann.py`` makes of
the 90 clips of the data set, six of each; the action fills 20 to 30 % of a video. Chance is 10 %.

Splits: ``weizmann_splits.json``. Split i trains under seed i on the 360 videos of six subjects and
is judged on the 120 of two others: 20 clips, six surroundings each, so that videos are not
independent. Nothing is tuned on test subjects; what was tried was judged on the calibration
subjects of the splits (``--calibration``), none of whom is a test subject, and is told under
"History".

System: ``foveal.systems.ocsampler`` with ``small()``, trained by its recipe ``small()`` on batches
of ``weizmann_task.TrainingVideos``: a classifier of random sets, then, that frozen, the sampler by
the policy gradient with reward 1. Ten candidates of 96 px, three are classified.

Baselines: the same trained classifier, called through the same protocol and executor, on candidates
chosen by rule, which pay nothing for a skim network they do not run: ``uniform-3`` and
``uniform-4`` take candidates ``floor((i + 0.5) * 10 / n)``; ``random-3`` draws three without
replacement, seeded by the video's name and the split; ``centre-3`` takes 3, 4, 5; ``dense-10``
takes all. ``in-action-3`` is told where the action is and takes candidates from there: an oracle,
no baseline. Looking at the glance alone does not apply: the skim network names no class.

Cost: multiply-accumulates of all calls, skim included, mean over the videos, counted from the
exported graphs. Decoding is not among them.

Measured, for each split, then mean and standard deviation over splits: top-1 accuracy, and of the
frames classified the share that shows the action.

The claim holds if in the mean over the splits accuracy is at least that of ``uniform-4`` plus
5 points, if on every split it is not below ``uniform-4``, which must cost more there, and if in
the mean at least 60 % of the frames classified show the action.

The system also runs from the MP4 files themselves; how many answers and looks differ from those on
the rendered frames is reported.

History: the size of the networks and of the picture was chosen by what one CPU thread trains in
some minutes, on trimmed clips of split 0 (a fine-tuned EfficientNet-Lite0 learnt next to nothing in
that time). The recipe as first written reached 73 % on the calibration subject of split 0, where
``uniform-4`` reached 60 %, and was kept; the network it left is the one judged for that split.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from weizmann_task import (
    TrainingVideos,
    Video,
    arguments,
    best_class,
    by_split,
    last_look,
    of_part,
    over_splits,
    run,
    score,
    trained,
)

from foveal.engine.runners import Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export.bundle import export_parts
from foveal.results import write_result
from foveal.sampling.confidence import softmax
from foveal.sampling.protocol import Steps, answer, call, look, plan
from foveal.systems.ocsampler import protocol, recipe
from foveal.systems.ocsampler.model import Network, build
from foveal.types import Array, ClipInfo

RESULT = Path("results/ocsampler/weizmann.json")
MARGIN, IN_ACTION = 0.05, 0.6
SYSTEM, DEARER = "ocsampler-3", "uniform-4"

Scores = Mapping[str, Mapping[str, float]]
"""Figures by way to choose."""

Rule = Callable[[ClipInfo, Array], Array]
"""A clip and the times (T,) of its candidates to the indices of those to classify."""


# --- ways to choose ----------------------------------------------------------------------------


def uniform(num_frames: int, clip: ClipInfo, times: Array) -> Array:
    """Return the middle candidates of as many equal parts."""
    return np.array([math.floor((i + 0.5) * 10 / num_frames) for i in range(num_frames)])


def centre(num_frames: int, clip: ClipInfo, times: Array) -> Array:
    """Return neighbours from the middle."""
    return np.arange(num_frames) + (10 - num_frames) // 2


def at_random(num_frames: int, clip: ClipInfo, times: Array, *, seed: int) -> Array:
    """Return candidates drawn without replacement, the same for the same clip and seed."""
    rng = np.random.default_rng((seed, zlib.crc32(clip.name.encode())))
    return np.sort(rng.choice(10, num_frames, replace=False))


def in_action(
    num_frames: int, clip: ClipInfo, times: Array, *, videos: Mapping[str, Video]
) -> Array:
    """Return candidates of the action first, and of the rest what is missing: the oracle."""
    shown = [videos[clip.name].shows_action(seconds) for seconds in times]
    order = sorted(range(len(times)), key=lambda i: (not shown[i], i))
    return np.sort(order[:num_frames])


def by_rule(cfg: protocol.Config, rule: Rule, clip: ClipInfo) -> Steps:
    """Look at the candidates a rule names, classify them once: no skim, no bill for one."""
    candidates = np.array(protocol.candidate_times(cfg, clip))
    times = candidates[rule(clip, candidates)]
    yield from plan(times)
    frames = yield from look(times, cfg.canvas)
    (logits,) = yield from call(protocol.CLASSIFIER, frames)
    yield from answer(softmax(logits))


def ways(
    cfg: protocol.Config, videos: Sequence[Video], *, seed: int
) -> dict[str, Callable[[ClipInfo], Steps]]:
    """Return the system and everything it is compared with."""
    truth = {video.name: video for video in videos}
    rules: dict[str, Rule] = {
        "uniform-3": partial(uniform, 3),
        "random-3": partial(at_random, 3, seed=seed),
        "centre-3": partial(centre, 3),
        "uniform-4": partial(uniform, 4),
        "dense-10": partial(uniform, 10),
        "in-action-3": partial(in_action, 3, videos=truth),
    }
    fixed = {name: partial(by_rule, cfg, rule) for name, rule in rules.items()}
    return {"ocsampler-3": partial(protocol.steps, cfg, {}), **fixed}


# --- measuring ---------------------------------------------------------------------------------


def train(videos: Sequence[Video], *, split: int, folder: Path) -> Network:
    """Return the network trained on ``videos`` with the split's seed, or the one trained before."""
    network = trained(
        recipe.small(classifier_steps=600, sampler_steps=200),
        TrainingVideos(videos, num_frames=protocol.small().num_candidates),
        split=split,
        folder=folder,
    )
    assert isinstance(network, Network)
    return network


def runner_of(network: Network, cfg: protocol.Config) -> Runner:
    """Return a runner of the network's parts, costs counted from the exported graphs."""
    modules = build(network, cfg)
    exported = export_parts(build(Network(cfg), cfg), protocol.parts(cfg))
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    return TorchRunner(modules, specs, {one.part.spec.name: one.part.macs for one in exported})


def measure(
    videos: Sequence[Video], *, split: int, folder: Path, calibration: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    """Train on one split; return every way's score, and how the run from files differs."""
    cfg = protocol.small()
    network = train(of_part(videos, split, "train"), split=split, folder=folder)
    judged = of_part(videos, split, "calibration" if calibration else "test")
    runner = runner_of(network, cfg)
    scores, chosen = {}, []
    for name, steps in ways(cfg, judged, seed=split).items():
        outcomes = run(runner, steps, judged)
        scores[name] = score(outcomes, judged)
        chosen = chosen or outcomes
        print(f"split {split} {name}", {k: round(v, 4) for k, v in scores[name].items()})
    if calibration:
        return scores, {}
    files = run(runner, ways(cfg, judged, seed=split)["ocsampler-3"], judged, from_files=True)
    pairs = list(zip(chosen, files, strict=True))
    return scores, {
        "videos": len(pairs),
        "other_answer": sum(best_class(a) != best_class(b) for a, b in pairs),
        "other_frames": sum(not np.allclose(last_look(a), last_look(b)) for a, b in pairs),
    }


def main() -> None:
    """Train, measure and write."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    scores, from_files = by_split(
        options, measure, system="ocsampler", canvas=protocol.small().canvas
    )
    if not options.calibration:
        write(scores, from_files, splits=options.splits)


def holds(scores: Sequence[Scores]) -> bool:
    """Return whether the claim of the docstring holds."""
    ours, dearer = ([one[way] for one in scores] for way in (SYSTEM, DEARER))
    gains = [a["accuracy"] - b["accuracy"] for a, b in zip(ours, dearer, strict=True)]
    return (
        statistics.fmean(gains) >= MARGIN
        and min(gains) >= 0
        and all(a["mmacs"] < b["mmacs"] for a, b in zip(ours, dearer, strict=True))
        and statistics.fmean(one["looks_in_action"] for one in ours) >= IN_ACTION
    )


def write(
    scores: Sequence[Scores], from_files: Sequence[Mapping[str, int]], *, splits: Sequence[int]
) -> None:
    """Write the result."""
    told = over_splits(scores)
    ours, dearer = told[SYSTEM], told[DEARER]
    cheaper = ours["mmacs"]["mean"] / told["dense-10"]["mmacs"]["mean"]
    write_result(
        RESULT,
        title="OCSampler picks 3 of 10 frames of untrimmed real clips (Weizmann)",
        measured={"ways": told, "from_files": list(from_files), "chance": 0.1},
        protocol="see the docstring of scripts/claim_ocsampler_weizmann.py, committed before the "
        "numbers: 540 untrimmed videos, three splits by subject",
        seeds=splits,
        threads=1,
        claim={
            "text": f"3 of 10 frames of untrimmed real clips: {ours['accuracy']['mean']:.0%} right "
            f"at {cheaper:.0%} of dense MACs, {ours['looks_in_action']['mean']:.0%} of them in the "
            f"action; 4 uniform frames {dearer['accuracy']['mean']:.0%} at more",
            "holds": holds(scores),
        },
    )


if __name__ == "__main__":
    main()
