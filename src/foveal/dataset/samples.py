"""What a labelled set of videos is, and the error that says why something is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foveal.types import FovealError

Split: TypeAlias = Literal["train", "validation", "test"]
Kind: TypeAlias = Literal["video", "frames", "features"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

ALIASES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "calibration": "validation",
    "test": "test",
    "testing": "test",
}
"""What lists and folders call the three splits; read without regard to case."""


class DataError(FovealError):
    """A folder or list of labelled videos cannot be used.

    Args:
        message: what is wrong, naming file and row; several problems are parted by ``;``.
        hint: what to do about it.
        problems: all of them, one line each, also those the message only counts.
    """

    kind = "bad_data"

    def __init__(self, message: str, *, hint: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) or (message,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled video, a stretch of one, a folder of frames, or a row of stored features.

    Args:
        path: the file or folder to open.
        label: index into :attr:`Dataset.class_names`.
        also: further ones, where a clip may have several.
        where: what to call it in a message, e.g. ``labels.csv row 12``.
        start_seconds: where it begins in the file; None: at the beginning.
        end_seconds: where it ends in the file, exclusive; None: at the end.
        group: what it must not be parted from (a person, a recording); None: nothing known.
        row: which row of a stored feature array it is, from 0.
        frame_rate: frames (or feature vectors) a second where the file does not say.
    """

    path: str
    label: int
    where: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    row: int | None = None
    frame_rate: float | None = None
    also: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All of them, the first one first."""
        return (self.label, *self.also)


def truth_of(labels: Iterable[Sequence[int]], num_classes: int) -> NDArray[np.bool_]:
    """Return the labels of N samples as truth values, bool (N,K).

    >>> truth_of([(2, 0), (1,)], 3).tolist()
    [[True, False, True], [False, True, False]]
    """
    every = list(labels)
    truth = np.zeros((len(every), num_classes), bool)
    for row, own in zip(truth, every, strict=True):
        row[list(own)] = True
    return truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Labelled samples in three splits, checked: every class is in train, no group in two.

    Args:
        name: of the folder or list it was read from.
        kind: what :func:`~foveal.dataset.open_sample` opens.
        class_names: one a class, in the order of the labels.
        samples: by split; all three keys are there. None is empty in what is read to train.
        how_split: one line for the user: how the splits came about.
        several: whether clips may have several labels.
        notes: what else the user should know, one line each.
    """

    name: str
    kind: Kind
    class_names: tuple[str, ...]
    samples: Mapping[Split, tuple[Sample, ...]]
    how_split: str
    several: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of samples of all splits."""
        return sum(len(part) for part in self.samples.values())

    def names_of(self, sample: Sample) -> tuple[str, ...]:
        """Return what the classes of a sample are called, the first one first."""
        return tuple(self.class_names[label] for label in sample.labels)

    def called(self, sample: Sample) -> str:
        """Return the same in one line, whatever order its labels were given in."""
        return " | ".join(sorted(self.names_of(sample)))
