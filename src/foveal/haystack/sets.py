"""The in-memory form of a task: frames, labels and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from foveal.haystack import words
from foveal.haystack.draws import Draws, Flags, Floats, Integers
from foveal.haystack.preset import MODALITY, Modality, Preset, Split
from foveal.haystack.render import render
from foveal.haystack.scene import Scene, compose
from foveal.haystack.sound import hear
from foveal.types import ActionSegments


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Where and when the evidence of N samples with T frames is.

    Args:
        evidence: bool (N,T), whether the frame shows (sounds) the class of its sample.
        shown: int64 (N,T), the class it shows, also where that only distracts; -1: none.
        boxes: float32 (N,T,4), x0, y0, x1, y1 on the canvas in [0, 1] around the evidence; nan
            where there is none to be seen.
        modality: int64 (N,), index into :data:`MODALITIES` of what tells the class.
        fps: frames per second.
    """

    evidence: Flags
    shown: Integers
    boxes: Floats
    modality: Integers
    fps: float

    def segments(self, sample: int) -> ActionSegments:
        """Return the intervals of ``sample`` that show one class without a break."""
        shown = np.where(self.evidence[sample], self.shown[sample], -1)
        borders = np.flatnonzero(np.diff(shown, prepend=-1, append=-1))
        runs = [(start, stop) for start, stop in pairwise(borders) if shown[start] >= 0]
        return ActionSegments(
            start_seconds=tuple(float(start / self.fps) for start, _ in runs),
            end_seconds=tuple(float(stop / self.fps) for _, stop in runs),
            labels=tuple(int(shown[start]) for start, _ in runs),
            scores=(1.0,) * len(runs),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HaystackSet:
    """N samples of a task.

    Args:
        preset: the task.
        frames: uint8 (N,T,3,H,W), grey in three equal channels.
        labels: int64 (N,); with several actions in a clip, the class of the first.
        truth: where and when the evidence is.
        sound: float32 (N, samples) in [-1, 1] at ``preset.sound_rate``; ``None`` without.
    """

    preset: Preset
    frames: NDArray[np.uint8]
    labels: Integers
    truth: Truth
    sound: Floats | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class, in the order of the labels."""
        return words.class_names(self.preset)

    @property
    def class_descriptions(self) -> tuple[tuple[str, ...], ...]:
        """Sentences about each class; see :func:`foveal.haystack.words.descriptions`."""
        return tuple(
            tuple(sentence.text for sentence in about) for about in words.descriptions(self.preset)
        )


MODALITIES: tuple[Modality, ...] = ("picture", "motion", "sound")


def sample(
    preset: Preset, *, split: Split, count: int, start: int = 0, seed: int = 0
) -> HaystackSet:
    """Return samples ``start`` to ``start + count`` of a split.

    Sample i is a pure function of preset, split, seed and i: it is the same whatever is made
    with it. Splits and seeds share nothing but what the classes look like.

    Raises:
        ValueError: ``count`` is not positive, or ``start`` is negative.
    """
    draws, scene = plan(preset, split=split, count=count, start=start, seed=seed)
    frames = render(preset, scene, draws)
    if preset.repeat > 1:
        frames = np.repeat(frames, preset.repeat, axis=1)
    return HaystackSet(
        preset=preset,
        frames=frames,
        labels=scene.labels,
        truth=truth_of(preset, scene),
        sound=hear(preset, scene, draws) if preset.sound_rate else None,
    )


def plan(preset: Preset, *, split: Split, count: int, start: int, seed: int) -> tuple[Draws, Scene]:
    """Return the draws of the samples, and all that is decided before a pixel is drawn.

    Raises:
        ValueError: as :func:`sample` says.
    """
    if count < 1 or start < 0:
        raise ValueError(f"count must be positive and start at least 0, got {count} and {start}")
    draws = Draws.of(preset.name, split, seed, start=start, count=count)
    return draws, compose(preset, draws, split)


def truth_of(preset: Preset, scene: Scene) -> Truth:
    """Return what there is to find in ``scene``, repeats included."""
    by_class = np.array([MODALITIES.index(MODALITY[cue]) for cue in preset.cues])
    return Truth(
        evidence=np.repeat(scene.evidence, preset.repeat, axis=1),
        shown=np.repeat(scene.shown, preset.repeat, axis=1),
        boxes=np.repeat(scene.boxes, preset.repeat, axis=1),
        modality=by_class[scene.labels],
        fps=preset.fps,
    )
