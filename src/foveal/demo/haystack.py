"""The second part of the demo: clips in which it is known where to look, and who looks there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from foveal.haystack import Truth, find, sample
from foveal.haystack.files import write_clip
from foveal.systems import index
from foveal.types import Trace

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A system that ships a bundle trained on Haystack, and the clip it is shown.

    Args:
        system: whose folder holds ``tiny.foveal``.
        preset: what it was trained on.
        number: of the sample, in the split ``test`` of seed 0.
    """

    system: str
    preset: str
    number: int

    @property
    def bundle(self) -> Traversable:
        """Where the trained bundle lies."""
        return files(f"foveal.systems.{self.system}") / "tiny.foveal"


TASKS: tuple[Task, ...] = (
    # At most one a system, between its marks, so that it goes when the system is removed.
    # system: ocsampler
    Task(system="ocsampler", preset="salient-frames-v1", number=4),
    # end of system
)


def working_tasks() -> tuple[Task, ...]:
    """Return the tasks of the systems that work in this version."""
    working = {row.name for row in index.ALL if row.status == "working"}
    return tuple(task for task in TASKS if task.system in working)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """What a clip of Haystack holds.

    Args:
        label: its class.
        num_frames: T.
        truth: about this one sample.
    """

    label: str
    num_frames: int
    truth: Truth

    @property
    def frames(self) -> frozenset[int]:
        """The frames that show the class."""
        return frozenset(np.flatnonzero(self.truth.evidence[0]).tolist())

    def focused(self, trace: Trace) -> frozenset[int]:
        """Return the frames that were looked at closely."""
        return frozenset(frame for frame, _ in self._focuses(trace))

    def found(self, trace: Trace) -> frozenset[int]:
        """Return the frames that show the class and were looked at closely, in the right place.

        A crop is in the right place if it holds the middle of the evidence.
        """
        seen = set()
        for frame, box in self._focuses(trace):
            x0, y0, x1, y1 = self.truth.boxes[0, frame]
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if frame in self.frames and box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                seen.add(frame)
        return frozenset(seen)

    def _focuses(self, trace: Trace) -> list[tuple[int, tuple[float, ...]]]:
        """Return frame and box of every close look."""
        return [
            (round(seconds * self.truth.fps), tuple(event.detail.get("box", (0.0, 0.0, 1.0, 1.0))))
            for event in trace.events
            if event.kind == "look" and event.detail["role"] == "focus"
            for seconds in event.detail["seconds"]
        ]


def make_needle_clip(task: Task, path: str | os.PathLike[str]) -> Needle:
    """Write the clip of ``task`` to ``path`` and return what it holds."""
    preset = find(task.preset)
    made = sample(preset, split="test", count=1, start=task.number)
    write_clip(
        path,
        made.frames[0],
        fps=preset.fps,
        sound=None if made.sound is None else made.sound[0],
        sound_rate=preset.sound_rate,
    )
    return Needle(
        label=made.class_names[int(made.labels[0])], num_frames=preset.frames, truth=made.truth
    )
