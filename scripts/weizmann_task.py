"""The untrimmed Weizmann actions as a task: splits, batches to train on, clips to judge on.

Shared by the scripts that measure a system on them. ``untrim_weizmann.py`` makes the videos,
``weizmann_splits.json`` names the subjects of the three splits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from untrim_weizmann import read, untrim

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import Runner
from foveal.recipe import Batch, Recipe
from foveal.records import Failure
from foveal.sampling.protocol import Steps
from foveal.train import Running, fit, terminal_line
from foveal.train.data import Trouble, stack
from foveal.types import Array, Canvas, ClipInfo
from foveal.video import ArraySource, open_source

SPLITS = Path(__file__).with_name("weizmann_splits.json")
SEEDS = (0, 1, 2)
"""Split i is trained with seed i."""

VARIANTS = 6
MOST_FRAMES = 10_000

Part = Literal["train", "calibration", "test"]
Protocol = Callable[[ClipInfo], Steps]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One untrimmed video.

    Args:
        file: its MP4.
        label: index of the action.
        subject: who acts.
        start_seconds: where the action begins, and
        end_seconds: where it ends.
        pictures: uint8 (F,3,H,W), every frame on the canvas.
        fps: frames per second.
    """

    file: Path
    label: int
    subject: str
    start_seconds: float
    end_seconds: float
    pictures: Array
    fps: int

    @property
    def name(self) -> str:
        """Class folder and file name."""
        return f"{self.file.parent.name}/{self.file.name}"

    @property
    def action(self) -> slice:
        """The pictures that show the action."""
        return slice(round(self.start_seconds * self.fps), round(self.end_seconds * self.fps))

    def shows_action(self, seconds: float) -> bool:
        """Return whether the frame on display at ``seconds`` is one of the action's."""
        return self.start_seconds <= seconds < self.end_seconds


# --- the videos -----------------------------------------------------------------------------------


def load(data: Path, cache: Path, canvas: Canvas) -> list[Video]:
    """Return all videos, made below ``cache`` and rendered on ``canvas`` if they are not yet."""
    folder = cache / "videos"
    if not (folder / "truth.jsonl").exists():
        untrim(data, folder, variants=VARIANTS)
    lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    edges = np.cumsum([0, *(line["num_frames"] for line in lines)])
    pictures = _pictures(cache, [folder / line["file"] for line in lines], edges, canvas)
    return [
        Video(
            file=folder / line["file"],
            label=line["label"],
            subject=line["subject"],
            start_seconds=line["start_seconds"],
            end_seconds=line["end_seconds"],
            pictures=pictures[first:last],
            fps=line["fps"],
        )
        for line, first, last in zip(lines, edges[:-1], edges[1:], strict=True)
    ]


def _pictures(cache: Path, files: Sequence[Path], edges: Array, canvas: Canvas) -> Array:
    """Return every frame of every video, uint8 (F,3,H,W), mapped from a file."""
    path = cache / f"pictures-{canvas.height}x{canvas.width}.npy"
    if not path.exists():
        part = path.with_suffix(".part")
        shape = (int(edges[-1]), 3, canvas.height, canvas.width)
        made = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
        for file, first, last in zip(files, edges[:-1], edges[1:], strict=True):
            made[first:last] = read(file, canvas, most=MOST_FRAMES)
        made.flush()
        os.replace(part, path)
    return np.asarray(np.load(path, mmap_mode="r"))


def of_part(videos: Sequence[Video], split: int, part: Part) -> list[Video]:
    """Return the videos whose subject is in ``part`` of split ``split``."""
    subjects = json.loads(SPLITS.read_text(encoding="utf-8"))["splits"][split][part]
    return [video for video in videos if video.subject in subjects]


# --- training -------------------------------------------------------------------------------------


class TrainingVideos:
    """A frame from each of T equal parts of a video, drawn and changed afresh for every batch.

    All frames of a video are cut alike (75 to 100 % of each side, anywhere, scaled back),
    mirrored half of the time, and changed alike in contrast (0.7 to 1.3), brightness (up to 25 grey
    levels either way) and colour (up to 10).

    Args:
        videos: to learn from.
        num_frames: T.
        trimmed: share of the clips that are drawn from the action alone.
    """

    def __init__(self, videos: Sequence[Video], *, num_frames: int, trimmed: float = 0.0) -> None:
        self.videos = list(videos)
        self.num_frames = num_frames
        self.trimmed = trimmed

    def __len__(self) -> int:
        return len(self.videos)

    def batch(self, indices: Array, seeds: Array) -> Batch:
        """Return ``frames`` uint8 (B,T,3,H,W) and ``label`` int64 (B,)."""
        made = [self._sample(self.videos[i], int(s)) for i, s in zip(indices, seeds, strict=True)]
        return stack(made)

    def _sample(self, video: Video, seed: int) -> Batch:
        drawn = torch.Generator().manual_seed(seed)
        offsets = torch.rand(self.num_frames, generator=drawn).numpy()
        pictures = video.pictures
        if self.trimmed and torch.rand((), generator=drawn) < self.trimmed:
            pictures = pictures[video.action]
        places = (np.arange(self.num_frames) + offsets) * len(pictures) / self.num_frames
        frames = pictures[places.astype(np.int64).clip(0, len(pictures) - 1)]
        changed = _changed(torch.from_numpy(frames), drawn)
        return {"frames": changed, "label": torch.tensor(video.label)}

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: the pictures are there."""
        return ()

    def fingerprint(self) -> str:
        """Return how many videos there are and how they are drawn."""
        return f"{len(self)} videos, {self.num_frames} frames, {self.trimmed}"


def _changed(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Return frames uint8 (T,3,H,W) cut, mirrored and coloured at random, all alike."""
    height, width = frames.shape[-2:]
    draw = torch.rand(10, generator=generator).tolist()
    tall = round(height * (0.75 + 0.25 * draw[0]))
    wide = round(width * (0.75 + 0.25 * draw[1]))
    top, left = int(draw[2] * (height - tall + 1)), int(draw[3] * (width - wide + 1))
    cut = frames[..., top : top + tall, left : left + wide].float()
    scaled = functional.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)
    if draw[4] < 0.5:
        scaled = scaled.flip(-1)
    contrast = 0.7 + 0.6 * draw[9]
    shift = 50 * draw[5] - 25 + 20 * torch.tensor(draw[6:9])[:, None, None] - 10
    shift = shift + (1 - contrast) * scaled.mean() + 0.5  # the half rounds
    return scaled.mul_(contrast).add_(shift).clamp_(0, 255).to(torch.uint8)


# --- judging --------------------------------------------------------------------------------------


def run(
    runner: Runner, steps: Protocol, videos: Sequence[Video], *, from_files: bool = False
) -> list[Outcome]:
    """Return the outcome of every video, in order.

    Args:
        runner: runs the parts.
        steps: the protocol.
        videos: what to look at.
        from_files: decode the MP4 files instead of taking the rendered frames, which are equal.

    Raises:
        RuntimeError: a video failed.
    """
    jobs = []
    for video in videos:
        source = partial(ArraySource, video.pictures, fps=video.fps, name=video.name)
        opened = partial(open_source, str(video.file)) if from_files else source
        jobs.append(Job(name=video.name, open=opened, steps=steps))
    outcomes: list[Outcome] = []
    for done in Executor(runner, fetch_threads=0, max_batch=16).run(jobs):
        if isinstance(done, Failure):
            raise RuntimeError(f"{done.path}: {done.message}")
        outcomes.append(done)
    return sorted(outcomes, key=lambda outcome: outcome.index)


def best_class(outcome: Outcome) -> int:
    """Return the index of the class answered."""
    assert outcome.answer.probs is not None
    return int(outcome.answer.probs.argmax())


def score(outcomes: Sequence[Outcome], videos: Sequence[Video]) -> dict[str, float]:
    """Return accuracy, mean cost, and how much of what the last looks showed was the action."""
    pairs = list(zip(outcomes, videos, strict=True))
    shares = []
    for outcome, video in pairs:
        seen = last_look(outcome)
        shares.append(statistics.fmean(video.shows_action(seconds) for seconds in seen))
    return {
        "accuracy": statistics.fmean(best_class(o) == v.label for o, v in pairs),
        "looks_in_action": statistics.fmean(shares),
        "mmacs": statistics.fmean(o.cost.total_macs for o in outcomes) / 1e6,
    }


def last_look(outcome: Outcome) -> list[float]:
    """Return the times of the frames asked for last."""
    looks = [event.detail for event in outcome.trace.events if event.kind == "look"]
    return [float(seconds) for seconds in looks[-1]["seconds"]]


def over_splits(
    scores: Sequence[Mapping[str, Mapping[str, float]]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return mean and standard deviation over splits of every figure of every way."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for way, figures in scores[0].items():
        told[way] = {}
        for figure in figures:
            values = [one[way][figure] for one in scores]
            told[way][figure] = {
                "mean": round(statistics.fmean(values), 4),
                "deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
                "by_split": [round(value, 4) for value in values],
            }
    return told


def trained(recipe: Recipe, data: TrainingVideos, *, split: int, folder: Path) -> nn.Module:
    """Return the network trained with the split's seed, or the one trained before.

    Args:
        recipe: of the system.
        data: the split's videos.
        split: its number.
        folder: where the run is kept; one that was stopped goes on.
    """
    running = Running(device="cpu", checkpoint_steps=100)
    done = fit(
        recipe, data, out=folder, seed=split, running=running, resume=True, log=terminal_line()
    )
    return done.network


def by_split(
    options: argparse.Namespace,
    measure: Callable[..., tuple[T, dict[str, int]]],
    *,
    system: str,
    canvas: Canvas,
) -> tuple[list[T], list[dict[str, int]]]:
    """Return what ``measure`` says of each split that was asked for: scores, and runs from files.

    Args:
        options: see :func:`arguments`.
        measure: trains and judges on one split.
        system: whose runs are kept below ``options.cache``.
        canvas: what the pictures are rendered on.
    """
    torch.set_num_threads(1)
    videos = load(options.data, options.cache, canvas)
    told = [
        measure(
            videos,
            split=split,
            folder=options.cache / f"{system}-{split}",
            calibration=options.calibration,
        )
        for split in options.splits
    ]
    return [scores for scores, _ in told], [files for _, files in told]


def arguments(about: str) -> argparse.ArgumentParser:
    """Return the parser that the scripts share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/weizmann"))
    parser.add_argument(
        "--calibration",
        action="store_true",
        help="judge on the calibration subjects, and write nothing",
    )
    parser.add_argument("--splits", type=int, nargs="+", default=list(SEEDS))
    return parser
