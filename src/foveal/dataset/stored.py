"""Stored features: one ``.npz`` with a vector for every moment of every clip.

Letters: N clips, T moments, D features, K classes.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.dataset.listing import Listing, Row
from foveal.dataset.problems import Problems, near_miss
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.types import Array
from foveal.video import FeatureSource
from foveal.video.errors import shown

FEATURES = "features"
"""Name under which a source shows the vectors."""

GROUPS = ("group", "subject", "player", "person", "actor", "speaker", "user")
"""What an array that says which clips belong together may be called; the first found counts."""

VECTOR_RATE = 1.0
"""Vectors a second, where nothing says."""

_NPZ_FAULTS = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy lets through of a file that is none, damaged, locked, or full of pickles."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """The arrays of one file.

    Args:
        features: (N,T,D), a float dtype.
        seconds: (N,T) or (T,), ascending; None: evenly spaced.
        duration_seconds: (N,); None: from the seconds.
    """

    features: Array
    seconds: NDArray[np.float64] | None
    duration_seconds: NDArray[np.float64] | None

    def source(self, row: int, *, name: str, rate: float | None) -> FeatureSource:
        """Return clip ``row`` as a source with its vectors under :data:`FEATURES`.

        Without times, vector i stands at the middle of the i-th of T equal parts of the clip.
        """
        vectors = self.features[row]
        count = len(vectors)
        if self.seconds is None:
            times = (np.arange(count) + 0.5) / (rate or VECTOR_RATE)
            length = count / (rate or VECTOR_RATE)
        else:
            times = self.seconds if self.seconds.ndim == 1 else self.seconds[row]
            step = float(times[-1] - times[0]) / (count - 1) if count > 1 else 1.0
            length = float(times[-1]) + step
        if self.duration_seconds is not None:
            length = float(self.duration_seconds[row])
            if self.seconds is None:
                times = (np.arange(count) + 0.5) * length / count
        return FeatureSource({FEATURES: (times, vectors)}, duration_seconds=length, name=name)


def read_stored(path: Path, *, frame_rate: float | None) -> Listing:
    """Return the clips of an ``.npz``.

    Arrays: ``features`` (N,T,D), ``label`` or ``labels`` (N,) int or str (where clips may have
    several, ``labels`` (N,K) of truth values), and where they are there ``class_names`` (K,), a
    group (:data:`GROUPS`) (N,), ``split`` (N,), ``seconds`` (T,) or (N,T) and
    ``duration_seconds`` (N,). Nothing is ever unpickled.

    Raises:
        DataError: an array is missing or does not fit, or a value is not finite.
    """
    arrays = _arrays(path)
    _load(path, arrays)
    problems = Problems(hint="write the file again (docs/data.md)")
    count = len(arrays["features"])
    labels = arrays.get("label", arrays.get("labels"))
    if labels is None:
        raise _misfit(path, "no array 'label' or 'labels'")
    group = next((name for name in GROUPS if name in arrays), None)
    for name, array in (
        ("label", labels if labels.ndim != 2 else labels.any(axis=1)),
        (group, arrays.get(group or "")),
        ("split", arrays.get("split")),
    ):
        if array is not None and array.shape != (count,):
            raise _misfit(path, f"{name!r} has shape {array.shape}, not ({count},)")
    names = _class_names(path, arrays.get("class_names"))
    if labels.ndim == 1 and labels.dtype.kind not in "iuU":
        raise _misfit(path, f"labels are {labels.dtype}, neither whole numbers nor text")
    several = labels.ndim == 2
    if several:
        _check_several(path, labels, names, problems)
    features = arrays["features"].reshape(count, -1)
    for place in range(count):
        if not np.isfinite(features[place]).all():
            problems.add(f"{path.name} clip {place}", "a feature is not finite")
    splits = _splits(path, arrays.get("split"), problems)
    problems.raise_any()
    rows = [
        Row(
            path=str(path),
            label=own[0],
            also=own[1:],
            where=f"{path.name} clip {i}",
            group=None if group is None else str(arrays[group][i]),
            split=splits[i] if splits else None,
            row=i,
        )
        for i, own in enumerate(_labels(labels))
    ]
    notes = [f"read as stored features, {' x '.join(map(str, arrays['features'].shape))}"]
    if group is not None:
        notes.append(f"clips of one {group} belong together")
    if "seconds" not in arrays and "duration_seconds" not in arrays:
        rate = frame_rate or VECTOR_RATE
        notes.append(f"the file has no times; {rate:g} vectors a second are taken")
    return Listing(
        name=path.name,
        kind="features",
        rows=rows,
        class_names=names,
        several=several,
        notes=notes,
    )


def _check_several(
    path: Path, labels: Array, names: tuple[str, ...] | None, problems: Problems
) -> None:
    """Check an array (N,K) that says which classes each clip has."""
    if not np.isin(labels, (0, 1)).all():
        raise _misfit(path, f"labels {labels.shape} hold more than 0 and 1")
    if names is not None and len(names) != labels.shape[1]:
        raise _misfit(path, f"{len(names)} class_names for labels of {labels.shape[1]} classes")
    for place in np.flatnonzero(~labels.any(axis=1)):
        problems.add(f"{path.name} clip {place}", "no label")


def _labels(labels: Array) -> Iterator[tuple[str | int, ...]]:
    """Yield the labels of each clip, of which (N,) holds one and (N,K) some."""
    for own in labels:
        if labels.ndim == 2:
            yield tuple(int(k) for k in np.flatnonzero(own))
        else:
            yield (str(own) if labels.dtype.kind == "U" else int(own),)


def open_stored(path: str, row: int, *, rate: float | None, name: str) -> FeatureSource:
    """Return clip ``row`` of an ``.npz``; the file stays in memory for the next one.

    Raises:
        DataError: it cannot be read any more, or has no such clip.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise DataError(f"{shown(path)}: cannot be read ({reason})", hint="check it") from error
    stored = _cached(path, status.st_mtime_ns, status.st_size)
    if not 0 <= row < len(stored.features):
        raise _misfit(Path(path), f"no clip {row}, it has {len(stored.features)}")
    return stored.source(row, name=name, rate=rate)


@lru_cache(maxsize=2)
def _cached(path: str, changed: int, size: int) -> Stored:
    return _load(Path(path), _arrays(Path(path)))


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _NPZ_FAULTS as error:
        raise _misfit(path, f"cannot be read as .npz ({shown(str(error))})") from error


def _load(path: Path, arrays: dict[str, Array]) -> Stored:
    features = arrays.get("features")
    if features is None:
        raise _misfit(path, f"no array 'features' ({', '.join(sorted(arrays)) or 'nothing'} in it)")
    if features.ndim != 3 or 0 in features.shape or features.dtype.kind != "f":
        raise _misfit(path, f"features are {features.dtype} {features.shape}, not float (N,T,D)")
    count, moments, _ = features.shape
    seconds: Any = arrays.get("seconds")
    if seconds is not None:
        if seconds.shape not in ((moments,), (count, moments)) or seconds.dtype.kind not in "fiu":
            raise _misfit(path, f"'seconds' has shape {seconds.shape}, not ({moments},)")
        seconds = seconds.astype(np.float64)
        steps = np.diff(seconds, axis=-1)
        if not np.isfinite(seconds).all() or (steps <= 0).any() or (seconds < 0).any():
            raise _misfit(path, "'seconds' do not ascend from 0 or later")
    length: Any = arrays.get("duration_seconds")
    if length is not None:
        if length.shape != (count,) or not (np.isfinite(length).all() and (length > 0).all()):
            raise _misfit(path, f"'duration_seconds' must be {count} positive numbers")
        length = length.astype(np.float64)
    return Stored(features=features, seconds=seconds, duration_seconds=length)


def _class_names(path: Path, array: Array | None) -> tuple[str, ...] | None:
    if array is None:
        return None
    names = tuple(str(name) for name in array.ravel())
    if array.dtype.kind != "U" or len(set(names)) < len(names):
        raise _misfit(path, "'class_names' are not text, or name a class twice")
    return names


def _splits(path: Path, array: Array | None, problems: Problems) -> list[Split] | None:
    if array is None:
        return None
    splits: list[Split] = []
    for place, value in enumerate(array):
        split = ALIASES.get(str(value).strip().lower())
        if split is None:
            what = f"no split {shown(str(value))!r}{near_miss(str(value).lower(), ALIASES)}"
            problems.add(f"{path.name} clip {place}", what)
        else:
            splits.append(split)
    return splits


def _misfit(path: Path, what: str) -> DataError:
    return DataError(
        f"{shown(path.name)}: {what}", hint="docs/data.md says which arrays are needed"
    )
