"""The knobs of a Haystack task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Cue: TypeAlias = Literal[
    "pattern", "grating", "shape", "direction", "axis", "mover", "relation", "tone"
]
"""What tells the class.

``pattern``: which random drawing is shown. ``grating``: orientation and period of stripes.
``shape``: form, shade and size of an object, which words can describe. ``direction``: where an
object moves to (it leaves at one edge and enters at the other). ``axis``: whether an object
swings sideways, up and down, or both. ``mover``: which of several objects moves. ``relation``:
whether two objects approach, separate, pass or keep their distance. ``tone``: the pitch heard.
A single frame says nothing about ``direction``, ``axis`` and ``mover``.
"""

Modality: TypeAlias = Literal["picture", "motion", "sound"]

MODALITY: dict[Cue, Modality] = {
    "pattern": "picture",
    "grating": "picture",
    "shape": "picture",
    "direction": "motion",
    "axis": "motion",
    "mover": "motion",
    "relation": "motion",
    "tone": "sound",
}

Split: TypeAlias = Literal["train", "calibration", "test"]

Range: TypeAlias = tuple[int, int]
"""Least and most, both included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureView:
    """One embedding of each frame in the feature-level form.

    Args:
        name: what it stands for, e.g. ``"preview"``.
        size: numbers in it.
        noise: standard deviation of the noise on each number; a class vector has length 1.
        carries: the modalities whose classes it shows.
    """

    name: str
    size: int
    noise: float
    carries: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One task. Lengths are px of the frame, brightness is in grey levels of 0 to 255.

    Args:
        name: with its version.
        serves: the claims that need it: sheet and line of "It counts as working when".
        frames: T of a sample.
        size: height and width of a frame.
        fps: frames per second of the files and of the segments.
        classes: how many classes each cue tells, in the order of their labels.
        unseen: how many of the last classes the training and calibration splits lack.
        test_classes: which classes the test split holds.
        tail: how many times more often the first class is drawn than the last in training.
        evidence: how many groups of frames show the class; ``None`` for all of them.
        group_frames: frames in a group; they show the class together or not at all.
        repeat: how often each picture stands, bit for bit; ``frames`` counts all of them.
        actions: how many actions a clip holds; ``None`` for a trimmed clip.
        action_frames: how long an action lasts.
        object_px: side of the square that holds the evidence.
        place: a new place each frame, one place a clip, or a straight path that turns at edges.
        speed_px: how far things that move get in a frame.
        periods_px: of gratings; stripes of period 4 vanish when 4x4 px are averaged.
        cell_px: of patterns: the size of the details.
        contrast: how strong the evidence is, drawn for each frame between the two.
        blob: how much brighter a broad spot around the object is.
        blob_px: its standard deviation.
        leak: strength of a coarse drawing that says the class as well, but weakly.
        noise: standard deviation of the grain on every frame.
        texture: standard deviation of the clip's smooth background.
        distractors: how many groups show another class instead.
        distractor_contrast: their strength, as a share of ``contrast``.
        nuisance: objects that say nothing, in all frames, at one place a clip.
        nuisance_px: their side.
        sound_rate: samples per second; 0 for no sound.
        views: embeddings of the feature-level form.
        num_objects: things a detector names in the feature-level form; 0 for none.
        sentences: describing each class; 0 for the name alone.
        relevant: the share of them that says something true of the class.
    """

    name: str
    serves: tuple[str, ...]
    frames: int
    size: int
    classes: tuple[tuple[Cue, int], ...]
    object_px: int
    evidence: Range | None = None
    fps: int = 4
    unseen: int = 0
    test_classes: Literal["seen", "unseen", "all"] = "seen"
    tail: float = 1.0
    group_frames: int = 1
    repeat: int = 1
    actions: Range | None = None
    action_frames: Range = (1, 1)
    place: Literal["jump", "fixed", "drift"] = "jump"
    speed_px: float = 2.0
    periods_px: tuple[float, ...] = (8.0,)
    cell_px: int = 4
    contrast: tuple[float, float] = (60.0, 60.0)
    blob: float = 0.0
    blob_px: float = 8.0
    leak: float = 0.0
    noise: float = 16.0
    texture: float = 8.0
    distractors: Range = (0, 0)
    distractor_contrast: float = 1.0
    nuisance: int = 0
    nuisance_px: int = 5
    sound_rate: int = 0
    views: tuple[FeatureView, ...] = ()
    num_objects: int = 0
    sentences: int = 0
    relevant: float = 1.0

    def __post_init__(self) -> None:
        groups = self.frames // self.repeat // self.group_frames
        if groups * self.repeat * self.group_frames != self.frames:
            raise ValueError(f"{self.name}: {self.frames} frames do not divide into groups")
        least, most = self.evidence or (groups, groups)
        if not 1 <= least <= most or most + self.distractors[1] > groups:
            raise ValueError(f"{self.name}: evidence and distractors do not fit {groups} groups")
        if self.actions is not None and (self.evidence or self.distractors[1]):
            raise ValueError(f"{self.name}: actions say themselves how many frames are evidence")
        if not 1 <= self.object_px <= self.size:
            raise ValueError(f"{self.name}: object_px must lie in 1 to {self.size}")
        if not 0 <= self.unseen < self.num_classes:
            raise ValueError(f"{self.name}: unseen must be less than {self.num_classes} classes")
        if self.test_classes != "seen" and not self.unseen:
            raise ValueError(f"{self.name}: without unseen classes the test split holds the seen")
        if self.unseen and self.distractors[1]:
            raise ValueError(f"{self.name}: distractors would show the unseen classes")
        if any(cue == "tone" for cue, _ in self.classes) and not self.sound_rate:
            raise ValueError(f"{self.name}: tones need a sound_rate")

    @property
    def num_classes(self) -> int:
        """Of all cues, unseen ones included."""
        return sum(count for _, count in self.classes)

    @property
    def cues(self) -> tuple[Cue, ...]:
        """What tells each class, by label."""
        return tuple(cue for cue, count in self.classes for _ in range(count))
