"""Public lists of stretches in long videos: ActivityNet's JSON (FineAction, HACS), THUMOS14."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from foveal.dataset.clips import candidates
from foveal.dataset.listing import Listing, Row, numbered_lines
from foveal.dataset.public import PublicList, read_json
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.video.errors import shown

THUMOS_LIST = re.compile(r"^([A-Z][A-Za-z]+)_(val|test)\.txt$")
_AMBIGUOUS = "Ambiguous"


def read_activitynet(path: Path, *, videos: Path | None, whole: bool = False) -> Listing:
    """Return the labelled stretches of a list in ActivityNet's JSON (FineAction, HACS, THUMOS14).

    ``{"database": {"<id>": {"subset", "duration", "annotations": [{"label", "segment": [start,
    end]}]}}}``, in seconds; the subset is training, validation or testing; videos are ``v_<id>``
    or ``<id>``, or named by ``"file"``. Sources: ActivityNet's annotation files; the data
    configurations of sming256/OpenTAD, configs/_base_/datasets.

    Args:
        path: the list.
        videos: where the videos are.
        whole: every video is one clip with the labels of all its stretches, the first one's
            first, as untrimmed videos are classified; clips may have several then.

    Raises:
        DataError: an entry that cannot be read, or too many files missing.
    """
    data = read_json(path)
    database = data.get("database") if isinstance(data, dict) else None
    if not isinstance(database, dict):
        raise DataError(f"{shown(path.name)}: no 'database' in it", hint="check the list's format")
    gathered = PublicList(path.name, videos or path.parent)
    for name, entry in database.items():
        where = f"{path.name} {name}"
        if not isinstance(entry, dict) or not isinstance(entry.get("annotations", []), list):
            gathered.problems.add(where, "not an entry with annotations")
            continue
        split = ALIASES.get(str(entry.get("subset", "")).lower())
        if split is None:
            what = f"no subset that is known ({shown(str(entry.get('subset')))})"
            gathered.problems.add(where, what)
            continue
        _entry(gathered, where, str(name), entry, split)
    named = data.get("labels")
    names = None
    if isinstance(named, list) and gathered.labels == {str(name) for name in named}:
        names = [str(name) for name in named]
    what = "whole videos" if whole else "stretches"
    listing = gathered.listing(notes=[f"read as ActivityNet's JSON of {what}"], class_names=names)
    return _whole_videos(listing) if whole else _validation_as_train(listing)


def _whole_videos(listing: Listing) -> Listing:
    """Return the videos that stretches are of, each with the labels of all of its own."""
    first: dict[str, Row] = {}
    labels: dict[str, dict[str | int, None]] = {}
    for row in listing.rows:
        first.setdefault(row.path, row)
        labels.setdefault(row.path, {})[row.label] = None
    listing.rows = [
        replace(
            row.labelled(labels[path]),
            where=row.where.rpartition(" segment ")[0],
            start_seconds=None,
            end_seconds=None,
        )
        for path, row in first.items()
    ]
    listing.several = any(row.also for row in listing.rows)
    return listing


def _entry(
    gathered: PublicList, where: str, name: str, entry: Mapping[str, Any], split: Split
) -> None:
    annotations = entry.get("annotations", [])
    if not annotations:
        gathered.unlabelled += 1
        return
    stems = [name, f"v_{name}", name.removeprefix("v_")]
    if isinstance(entry.get("file"), str):
        stems.insert(0, Path(entry["file"]).stem)
    found = gathered.find(stems, near=(split, str(entry.get("subset"))))
    duration = entry.get("duration")
    length = float(duration) if isinstance(duration, int | float) and duration > 0 else math.inf
    for number, annotation in enumerate(annotations, start=1):
        spot = f"{where} segment {number}"
        try:
            label = str(annotation["label"]).strip()
            start, end = (float(seconds) for seconds in annotation["segment"])
        except (KeyError, TypeError, ValueError):
            gathered.problems.add(spot, "no label, or no segment [start, end] in seconds")
            continue
        gathered.labels.add(label)
        _stretch(gathered, spot, found, label, max(start, 0.0), end, split, length=length)


def _stretch(
    gathered: PublicList,
    where: str,
    found: Path | None,
    label: str,
    start: float,
    end: float,
    split: Split,
    *,
    length: float = math.inf,
) -> None:
    if not start < end or not math.isfinite(end) or start >= length:
        gathered.senseless += 1
    elif found is not None:
        gathered.rows.append(
            Row(
                path=str(found),
                label=label,
                where=where,
                start_seconds=start,
                end_seconds=end,
                split=split,
            )
        )


def read_thumos14(path: Path, *, videos: Path | None) -> Listing:
    """Return the labelled stretches of THUMOS14.

    ``<Class>_val.txt`` and ``<Class>_test.txt`` have ``<video> <start> <end>`` a line, in seconds;
    ``Ambiguous`` is no class. The validation videos are what one trains on. Source: the README of
    the THUMOS Challenge 2014's annotations; makecent/mmtad, thumos14_readme.md.

    Args:
        path: the folder of the lists, or one of them.
        videos: where the videos are.

    Raises:
        DataError: a line that cannot be read, or too many files missing.
    """
    folder = path if path.is_dir() else path.parent
    gathered = PublicList(folder.resolve().name, videos or folder)
    ambiguous = 0
    for file in candidates(folder):
        match = THUMOS_LIST.match(file.name)
        if match is None:
            continue
        split = ALIASES[match[2]]
        for number, line in numbered_lines(file):
            where = f"{file.name} row {number}"
            try:
                name, first, last = line.split()
                start, end = float(first), float(last)
            except ValueError:
                gathered.problems.add(where, "not '<video> <start> <end>'")
                continue
            if match[1] == _AMBIGUOUS:
                ambiguous += 1
                continue
            gathered.labels.add(match[1])
            found = gathered.find((name,))
            _stretch(gathered, where, found, match[1], start, end, split)
    notes = ["read as THUMOS14"]
    if ambiguous:
        notes.append(f"{ambiguous:,} stretches marked ambiguous were passed over")
    return _validation_as_train(gathered.listing(notes=notes))


def _validation_as_train(listing: Listing) -> Listing:
    """Where nothing is for training, validation is what trains."""
    splits = {row.split for row in listing.rows}
    if "validation" in splits and "train" not in splits:
        listing.notes.append("nothing is marked for training, so the validation videos are")
        listing.rows = [
            replace(row, split="train") if row.split == "validation" else row
            for row in listing.rows
        ]
    return listing
