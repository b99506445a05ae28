"""What tells the samples of a set apart, wherever the set lies and however it is listed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from foveal.dataset.samples import SPLITS, Dataset, Sample, Split


def named_samples(dataset: Dataset) -> Mapping[Split, tuple[tuple[str, Sample], ...]]:
    """Return the samples with a name each, unique in the set, in the order of the names.

    A name is the path below the folder that all samples share, and where it takes that to tell
    samples apart, the row and the stretch: ``jump/a.mp4@1.5-3``, ``features.npz#12``.

    Raises:
        ValueError: two samples are one and the same.
    """
    everything = [sample for split in SPLITS for sample in dataset.samples[split]]
    base = common_folder(sample.path for sample in everything)
    named: dict[Split, tuple[tuple[str, Sample], ...]] = {}
    seen: set[str] = set()
    for split in SPLITS:
        pairs = [(_name(sample, base), sample) for sample in dataset.samples[split]]
        pairs.sort(key=lambda pair: pair[0])
        for name, sample in pairs:
            if name in seen:
                raise ValueError(f"{sample.where}: {name} stands in {dataset.name} twice")
            seen.add(name)
        named[split] = tuple(pairs)
    return named


def common_folder(paths: Iterable[str]) -> str:
    """Return the folder below which all ``paths`` lie."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    return os.path.commonpath(folders) if folders else ""


def _name(sample: Sample, base: str) -> str:
    name = PurePath(os.path.relpath(os.path.abspath(sample.path), base)).as_posix()
    if sample.row is not None:
        name += f"#{sample.row}"
    if sample.start_seconds is None and sample.end_seconds is None:
        return name
    end = "" if sample.end_seconds is None else _short(sample.end_seconds)
    return f"{name}@{_short(sample.start_seconds or 0.0)}-{end}"


def _short(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def clips_fingerprint(dataset: Dataset, named: Iterable[tuple[str, Sample]]) -> str:
    """Return a SHA-256 (hex) of some samples of ``dataset`` by name, in their order."""
    lines = "\n".join(f"{dataset.called(one)}\t{name}" for name, one in named)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint(dataset: Dataset) -> str:
    """Return a SHA-256 (hex) of which samples, under which class, stand in which split.

    It does not depend on where the set lies, on the order of the list, or on the order of the
    classes; what is in the files is not looked at.
    """
    lines = sorted(
        f"{split}\t{dataset.called(sample)}\t{name}"
        for split, pairs in named_samples(dataset).items()
        for name, sample in pairs
    )
    whole = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.sha256(whole).hexdigest()
