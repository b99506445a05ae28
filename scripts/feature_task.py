"""What claims on stored features share: sources, ways to choose frames, scores over seeds.

Letters: N clips, T frames, K of them chosen.
"""

from __future__ import annotations

import statistics
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.export.bundle import export_parts
from foveal.haystack import find
from foveal.recipe import Recipe
from foveal.records import Failure
from foveal.sampling.protocol import Steps, plan
from foveal.sampling.salient import answer_by, evenly
from foveal.train import ArrayData, Running, fit
from foveal.types import Array, ClipInfo, Features, PartSpec
from foveal.video import FeatureSource

Way = Callable[[ClipInfo], Steps]
"""A protocol, its configuration bound."""

Rule = Callable[[ClipInfo], Array]
"""From a clip to the indices of the frames that are looked at, ascending."""


PRESET = find("distractor-frames-v1")
VARIANT = replace(
    PRESET,
    name="distractor-frames-clear",
    views=tuple(
        replace(view, noise=noise) for view, noise in zip(PRESET.views, (0.2, 0.35), strict=True)
    ),
)
"""A clearer one: less noise in the preview, more in what the recogniser sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """N clips of T frames each.

    Args:
        name: of the set; with a clip's number it seeds what is drawn for it.
        views: float32 (N,T,D) by name.
        labels: int64 (N,).
        evidence: bool (N,T), the frames that tell the class, where that is known.
    """

    name: str
    views: Mapping[str, Array]
    labels: Array
    evidence: Array | None = None

    @property
    def num_frames(self) -> int:
        """T."""
        return int(next(iter(self.views.values())).shape[1])

    def sources(self) -> list[FeatureSource]:
        """Return a source for every clip, one frame a second."""
        seconds = np.arange(self.num_frames) + 0.5
        return [
            FeatureSource(
                {name: (seconds, rows[i]) for name, rows in self.views.items()},
                duration_seconds=float(self.num_frames),
                name=f"{self.name}/{i}",
            )
            for i in range(len(self.labels))
        ]

    def data(self, *, frames: str, **others: str) -> ArrayData:
        """Return the clips as a training set whose batches hold the views under these names."""
        names = {"frames": frames, **others}
        return ArrayData({b: self.views[v] for b, v in names.items()} | {"label": self.labels})


def trained(recipe: Recipe, data: ArrayData, *, seed: int) -> Any:
    """Return the network that ``recipe`` leaves."""
    with tempfile.TemporaryDirectory() as folder:
        running = Running(device="cpu")
        return fit(recipe, data, out=Path(folder) / "run", seed=seed, running=running).network


def runner_of(
    modules: Mapping[str, torch.nn.Module], specs: Sequence[PartSpec]
) -> tuple[TorchRunner, dict[str, int]]:
    """Return a runner of the parts, and the multiply-accumulates of a row of each."""
    tables = {one.part.spec.name: one.part.macs for one in export_parts(modules, specs)}
    whole = {name: table[()] for name, table in tables.items()}
    return TorchRunner(modules, {spec.name: spec for spec in specs}, tables), whole


def chosen_by(rule: Rule, view: Features, part: str, clip: ClipInfo) -> Steps:
    """Look at the frames a rule names and answer with the mean: no preview, no bill for one."""
    assert clip.num_frames is not None
    times = np.arange(clip.num_frames) + 0.5
    kept = rule(clip)
    yield from plan([times[i] for i in kept])
    yield from answer_by([float(t) for t in times], kept, view=view, part=part)


def rules(num_frames: int, *, seed: int) -> dict[str, Rule]:
    """Return uniform, random (drawn by clip and seed), centre and dense."""

    def length(clip: ClipInfo) -> int:
        assert clip.num_frames is not None
        return clip.num_frames

    def at_random(clip: ClipInfo) -> Array:
        rng = np.random.default_rng((seed, zlib.crc32(clip.name.encode())))
        return np.sort(rng.choice(length(clip), num_frames, replace=False))

    return {
        f"uniform-{num_frames}": lambda clip: evenly(length(clip), num_frames),
        f"random-{num_frames}": at_random,
        f"centre-{num_frames}": lambda clip: (
            np.arange(num_frames) + (length(clip) - num_frames) // 2
        ),
        "dense": lambda clip: np.arange(length(clip)),
    }


def oracle(clips: Clips, num_frames: int) -> Rule:
    """Return the rule that takes frames with evidence, the first ones, then others."""
    assert clips.evidence is not None
    order = np.argsort(~clips.evidence, axis=1, kind="stable")[:, :num_frames]
    return lambda clip: np.sort(order[int(clip.name.rsplit("/", 1)[1])])


def run(runner: TorchRunner, way: Way, clips: Clips) -> list[Outcome]:
    """Return the outcome of every clip, in order."""
    sources = clips.sources()
    jobs = [Job(name=s.info.name, open=partial(_given, s), steps=way) for s in sources]
    found: list[Outcome] = []
    for done in Executor(runner, fetch_threads=0, max_batch=128).run(jobs):
        if isinstance(done, Failure):
            raise RuntimeError(f"{done.path}: {done.message}")
        found.append(done)
    return sorted(found, key=lambda one: one.index)


def _given(source: FeatureSource) -> FeatureSource:
    return source


def looked_at(outcome: Outcome) -> list[int]:
    """Return the frames of the last look: those that were recognised."""
    looks = [event.detail for event in outcome.trace.events if event.kind == "look"]
    return [int(second) for second in looks[-1]["seconds"]]


def score(outcomes: Sequence[Outcome], clips: Clips) -> dict[str, float]:
    """Return accuracy, cost, and the share of the frames looked at that show the class."""
    right = [
        int(np.argmax(one.answer.probs)) == label
        for one, label in zip(outcomes, clips.labels, strict=True)
    ]
    told = {
        "accuracy": statistics.fmean(right),
        "kmacs": statistics.fmean(one.cost.total_macs for one in outcomes) / 1e3,
        "frames": statistics.fmean(len(looked_at(one)) for one in outcomes),
    }
    if clips.evidence is not None:
        pairs = zip(outcomes, clips.evidence, strict=True)
        told["hits"] = statistics.fmean(float(seen[looked_at(one)].mean()) for one, seen in pairs)
    return {name: round(value, 4) for name, value in told.items()}


def over_seeds(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Return mean and single values of every figure of every way."""
    told: dict[str, Any] = {}
    for way, figures in runs[0].items():
        told[way] = {}
        for name in figures:
            values = [one[way][name] for one in runs]
            told[way][name] = {"mean": round(statistics.fmean(values), 4), "by_seed": values}
    return told
