"""From what a user names to checked samples in three splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from foveal.dataset.beside import folders_beside, hint_beside, note_beside
from foveal.dataset.check import (
    Labels,
    check_splits,
    check_train,
    identities,
    resolve,
    splits_of,
    without_repeats,
)
from foveal.dataset.copies import find_copies
from foveal.dataset.detect import Format, detect, read_as
from foveal.dataset.groups import Groups, find_groups
from foveal.dataset.listing import Listing, Row
from foveal.dataset.opening import FRAME_RATE
from foveal.dataset.problems import near_miss, some
from foveal.dataset.samples import SPLITS, DataError, Dataset, Sample, Split
from foveal.dataset.splits import TooFewError, split_groups
from foveal.dataset.table import BETWEEN
from foveal.video.errors import shown

Purpose: TypeAlias = Literal["train", "evaluate"]
"""What a dataset is read for."""

SHARES = (0.7, 0.15, 0.15)
"""Of all samples: train, validation, test."""


def read_dataset(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    videos: str | os.PathLike[str] | None = None,
    frame_rate: float | None = None,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    class_names: Sequence[str] | None = None,
    purpose: Purpose = "train",
) -> Dataset:
    """Return the labelled samples of a folder or list, checked and split; nothing is decoded.

    Args:
        path: a folder, a list, or the folder of a public set's lists (docs/data.md).
        format: what it is; None goes by its look, and a note says what was seen.
        videos: the folder the list's files are in; None: that of the list.
        frame_rate: frames a second of frame folders (None: 25) or vectors a second of stored
            features without times (None: 1).
        seed: what splits that are not given are drawn from.
        shares: of train, validation and test in splits that are not given; positive.
        class_names: those of a model, in its order; other labels are errors, and a class may
            lack samples. None: the classes of the list, each of which needs one.
        purpose: ``evaluate`` draws no splits: without given ones all is test, and train and
            validation may be empty.

    Raises:
        DataError: it is missing, or breaks a rule; the message names files and rows.
        ValueError: an option is out of range.
    """
    if len(shares) != len(SPLITS) or not all(share > 0 for share in shares):
        raise ValueError(f"shares must be three positive numbers, got {tuple(shares)}")
    if frame_rate is not None and not frame_rate > 0:
        raise ValueError(f"frame_rate must be positive, got {frame_rate}")
    root = _existing(path)
    where = None if videos is None else _existing(videos)
    chosen, place = (format, root) if format is not None else detect(root)
    if where is None and root.is_dir() and chosen not in ("folder", "csv", "jsonl"):
        where = root  # the list may lie in a folder of its own beside the videos
    beside = folders_beside(place, root)
    try:
        listing = read_as(chosen, place, videos=where, frame_rate=frame_rate)
        if beside:
            listing.notes.insert(0, note_beside(listing, place, root, beside))
        if root.is_dir():
            listing.name = root.resolve().name  # what the user named, whatever list lies in it
        return _checked(
            listing,
            class_names=class_names,
            purpose=purpose,
            shares=shares,
            seed=seed,
            frame_rate=frame_rate,
        )
    except DataError as error:
        raise hint_beside(error, beside) from error


def _checked(
    listing: Listing,
    *,
    class_names: Sequence[str] | None,
    purpose: Purpose,
    shares: Sequence[float],
    seed: int,
    frame_rate: float | None,
) -> Dataset:
    """Return ``listing`` as samples in splits."""
    names, labels = resolve(listing, class_names)
    files = identities(listing)
    keep = without_repeats(listing, names, labels, files)
    listing.rows = [listing.rows[i] for i in keep]
    labels, files = [labels[i] for i in keep], [files[i] for i in keep]
    copies = find_copies(listing, labels, files)
    first = [own[0] for own in labels]
    groups = find_groups(listing.rows, first, files=files, own=listing.own, copies=copies)
    if purpose == "evaluate":
        rows, how = _as_given(listing)
    else:
        rows, how = _split(listing, labels, groups, names, shares=shares, seed=seed)
        listing.notes += _thin_classes(labels, names)
    listing.notes += _absent_classes(rows, labels, names)
    if listing.several:
        most, mean = max(map(len, labels)), sum(map(len, labels)) / len(labels)
        listing.notes.append(f"clips have up to {most} labels, {mean:.2f} in the mean")
    listing.notes += _signs(names, labels, several=listing.several)
    if listing.kind == "frames":
        listing.notes.append(f"{frame_rate or FRAME_RATE:g} frames a second are taken")
    return Dataset(
        name=listing.name,
        kind=listing.kind,
        class_names=names,
        samples={
            split: tuple(
                _sample(row, own, group, frame_rate)
                for row, own, group in zip(rows, labels, groups.named, strict=True)
                if row.split == split
            )
            for split in SPLITS
        },
        how_split=how,
        several=listing.several,
        notes=tuple(listing.notes),
    )


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path)
    try:
        if found.exists():
            return found
    except (OSError, ValueError):  # too long, or a NUL in it
        pass
    raise DataError(f"{shown(str(path))}: no such file or folder", hint="check the name")


def _sample(row: Row, labels: Labels, group: str | None, rate: float | None) -> Sample:
    return Sample(
        path=row.path,
        label=labels[0],
        also=labels[1:],
        where=row.where,
        start_seconds=row.start_seconds,
        end_seconds=row.end_seconds,
        group=group,
        row=row.row,
        frame_rate=rate,
    )


def _as_given(listing: Listing) -> tuple[list[Row], str]:
    """Return the rows with the splits they have, for measuring alone."""
    rows = listing.rows
    given = splits_of(rows)
    if not given:
        return [replace(row, split="test") for row in rows], "no splits are given, so all is test"
    if "test" in given:
        return rows, f"as given ({_counts(rows)})"
    other: Split = "validation" if "validation" in given else "train"
    rows = [replace(row, split="test") if row.split == other else row for row in rows]
    return rows, f"no test is given, so the given {other} stands for it ({_counts(rows)})"


def _split(
    listing: Listing,
    labels: Sequence[Labels],
    groups: Groups,
    class_names: Sequence[str],
    *,
    shares: Sequence[float],
    seed: int,
) -> tuple[list[Row], str]:
    """Return the rows with a split each, and how that came about."""
    rows = listing.rows
    given = splits_of(rows)
    if given <= {"train"}:
        wanted = dict(zip(SPLITS, shares, strict=True))
        rows = _drawn(rows, labels, groups, shares=wanted, seed=seed, name=listing.name)
        check_train(rows, labels, class_names)
        return rows, _how_drawn(rows, groups)
    if given == {"train", "validation", "test"}:
        _check(listing, labels, groups, class_names)
        return rows, f"as given ({_counts(rows)}){_none_shared(listing, groups)}"
    if "train" not in given:
        raise DataError(
            f"{shown(listing.name)}: no row is for training (only {' and '.join(sorted(given))})",
            hint="give some rows the split train, or leave the splits out",
        )
    _check(listing, labels, groups, class_names)
    said = "as given"
    if "test" not in given:
        rows = [replace(r, split="test") if r.split == "validation" else r for r in rows]
        said = "no test is given, so the given validation stands for it"
    places = [i for i, row in enumerate(rows) if row.split == "train"]
    part = groups.only(places)
    train, validation, _ = shares
    drawn = _drawn(
        [rows[i] for i in places],
        [labels[i] for i in places],
        part,
        shares={"train": train, "validation": validation},
        seed=seed,
        name=f"{listing.name} (train)",
    )
    for place, row in zip(places, drawn, strict=True):
        rows[place] = row
    how = f"by group ({part.how})" if part.how else "by file, no groups being known"
    return rows, f"{said}; validation was taken from train {how} ({_counts(rows)})"


def _check(
    listing: Listing, labels: Sequence[Labels], groups: Groups, class_names: Sequence[str]
) -> None:
    if listing.own:
        check_splits(
            listing.rows,
            labels,
            groups.keys,
            class_names,
            files=groups.files,
            explicit=groups.explicit,
        )
    else:  # as published, be it as it may
        check_train(listing.rows, labels, class_names)
    sides: dict[str, set[Split | None]] = {}
    for row, key in zip(listing.rows, groups.keys, strict=True):
        sides.setdefault(key, set()).add(row.split)
    shared = [key.partition(" ")[2] for key, found in sides.items() if len(found) > 1]
    if shared:
        how = f" ({groups.how})" if groups.how else ""
        listing.notes.append(
            f"{len(shared):,} of {len(sides):,} groups stand in more than one of the given splits"
            f"{how}: {some(shared)}"
        )


def _drawn(
    rows: Sequence[Row],
    labels: Sequence[Labels],
    groups: Groups,
    *,
    shares: dict[Split, float],
    seed: int,
    name: str,
) -> list[Row]:
    try:
        splits = split_groups(groups.keys, labels, shares=shares, seed=seed)
    except TooFewError as error:
        count = len(set(groups.keys))
        what = "groups" if groups.how else "files"
        raise DataError(
            f"{shown(name)}: {count} {what} are too few for {', '.join(shares)} ({error})",
            hint="add videos, or give the splits yourself",
        ) from error
    return [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]


def _how_drawn(rows: Sequence[Row], groups: Groups) -> str:
    if groups.how is None:
        return (
            f"by file, balanced by class ({_counts(rows)}): no groups found, so files of one "
            "recording may stand on both sides"
        )
    held: dict[Split | None, set[str]] = {}
    for row, key in zip(rows, groups.keys, strict=True):
        held.setdefault(row.split, set()).add(key)
    numbers = ", ".join(f"{split} {len(held[split]):,}" for split in SPLITS)
    return f"by group ({groups.how}): {numbers} groups, none shared ({_counts(rows)} samples)"


def _counts(rows: Sequence[Row]) -> str:
    counts = Counter(row.split for row in rows)
    return ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)


def _none_shared(listing: Listing, groups: Groups) -> str:
    if not listing.own:
        return ""
    return f", no {'given group' if groups.explicit else 'file'} in two of them"


def _absent_classes(
    rows: Sequence[Row], labels: Sequence[Labels], class_names: Sequence[str]
) -> list[str]:
    """Say which classes cannot be judged in validation or test, where there is any of either."""
    lines = []
    for split in SPLITS[1:]:
        found = {
            label
            for row, own in zip(rows, labels, strict=True)
            if row.split == split
            for label in own
        }
        absent = [name for place, name in enumerate(class_names) if place not in found]
        if found and absent:
            what = "class is" if len(absent) == 1 else "classes are"
            lines.append(f"{len(absent):,} {what} not in {split}: {some(absent)}")
    return lines


def _signs(class_names: Sequence[str], labels: Sequence[Labels], *, several: bool) -> list[str]:
    """Say which name looks like several that were not parted as docs/data.md has it."""
    if several and any(len(own) > 1 for own in labels):
        return []
    for sign in (BETWEEN,) if not several else (";", ",", "/", "+"):
        odd = next((name for name in class_names if sign in name), None)
        if odd is not None:
            right = (
                f"labels are parted by {BETWEEN!r}" if several else "a column labels holds several"
            )
            return [f"class {shown(odd)!r} is one class; if it is meant to be several, {right}"]
    return []


def _thin_classes(labels: Sequence[Labels], class_names: Sequence[str]) -> list[str]:
    """Say which classes have a single sample: most are slips of the pen."""
    counts = Counter(label for own in labels for label in own)
    single = [place for place, count in counts.items() if count == 1]
    if not single:
        return []
    lines = []
    for place in sorted(single)[:5]:
        name = class_names[place]
        others = [other for other in class_names if other != name]
        lines.append(f"{shown(name)}{near_miss(name, others)}")
    more = f" and {len(single) - 5:,} more" if len(single) > 5 else ""
    return [f"only one sample of: {', '.join(lines)}{more}"]
