"""Which format a folder or file is in, by its look."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

from foveal.dataset.clips import (
    HMDB_LIST,
    KINETICS_COLUMNS,
    UCF_LIST,
    candidates,
    read_diving48,
    read_hmdb51,
    read_kinetics,
    read_something,
    read_ucf101,
)
from foveal.dataset.folder import read_folder
from foveal.dataset.listing import Listing
from foveal.dataset.public import read_json, split_in
from foveal.dataset.samples import DataError
from foveal.dataset.stored import read_stored
from foveal.dataset.stretches import THUMOS_LIST, read_activitynet, read_thumos14
from foveal.dataset.table import read_csv, read_header, read_jsonl
from foveal.video.errors import shown

Format: TypeAlias = Literal[
    "folder",
    "csv",
    "jsonl",
    "kinetics",
    "activitynet",
    "activitynet-videos",
    "something-something",
    "diving48",
    "ucf101",
    "hmdb51",
    "thumos14",
    "features",
]

_KNOWN = (
    "name a folder of class folders, a .csv, .jsonl or .npz, or the list of a public set "
    "(docs/data.md), or say the format"
)


_BY_NAME: tuple[tuple[re.Pattern[str], Format], ...] = (
    (UCF_LIST, "ucf101"),
    (HMDB_LIST, "hmdb51"),
    (THUMOS_LIST, "thumos14"),
)


def detect(path: Path) -> tuple[Format, Path]:
    """Return the format of ``path``, and the file that holds the list (or the folder itself).

    Raises:
        DataError: nothing known looks like that.
    """
    if not path.is_dir():
        format = _of_file(path)
        if format is None:
            raise DataError(f"{shown(path.name)}: not a list of videos that is known", hint=_KNOWN)
        return format, path
    lists = candidates(path)
    for pattern, format in _BY_NAME:
        if any(pattern.match(file.name) for file in lists):
            return format, path
    found = [(format, file) for file in lists if (format := _of_file_inside(file)) is not None]
    trains = [pair for pair in found if split_in(pair[1].name) == "train"]
    for chosen in (trains, found):
        if len(chosen) == 1:
            return chosen[0]
    return "folder", path


def _of_file_inside(path: Path) -> Format | None:
    """Return the format of a file in a folder that was named: others may lie there too."""
    try:
        format = _of_file(path)
        if format == "csv":
            read_header(path)
    except DataError:
        return None
    return format


def _of_file(path: Path) -> Format | None:
    for pattern, format in _BY_NAME:
        if pattern.match(path.name):
            return format
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return "kinetics" if _is_kinetics(path) else "csv"
        case ".jsonl" | ".ndjson":
            return "jsonl"
        case ".npz":
            return "features"
        case ".json":
            return _of_json(path)
    return None


def _is_kinetics(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        columns = {column.strip() for column in file.readline().split(",")}
    return columns.issuperset(KINETICS_COLUMNS)


def _of_json(path: Path) -> Format | None:
    data = read_json(path)
    if isinstance(data, dict):
        return "activitynet" if "database" in data else None
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, dict):
        return None
    if "vid_name" in first:
        return "diving48"
    return "something-something" if "template" in first else None


def read_as(
    format: Format, path: Path, *, videos: Path | None, frame_rate: float | None
) -> Listing:
    """Return the rows of ``path``, read as ``format``.

    Raises:
        DataError: it is not in that format, or breaks its rules.
    """
    match format:
        case "folder":
            return read_folder(path)
        case "csv":
            return read_csv(path, videos=videos)
        case "jsonl":
            return read_jsonl(path, videos=videos)
        case "kinetics":
            return read_kinetics(path, videos=videos)
        case "activitynet":
            return read_activitynet(path, videos=videos)
        case "activitynet-videos":
            return read_activitynet(path, videos=videos, whole=True)
        case "something-something":
            return read_something(path, videos=videos)
        case "diving48":
            return read_diving48(path, videos=videos)
        case "ucf101":
            return read_ucf101(path, videos=videos)
        case "hmdb51":
            return read_hmdb51(path, videos=videos)
        case "thumos14":
            return read_thumos14(path, videos=videos)
        case "features":
            return read_stored(path, frame_rate=frame_rate)
