"""Which format a folder or file is in, by its look."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from foveal.dataset.folder import read_folder
from foveal.dataset.listing import Listing
from foveal.dataset.samples import DataError
from foveal.dataset.table import read_csv, read_jsonl
from foveal.video.errors import shown

Format: TypeAlias = Literal["folder", "csv", "jsonl"]


def detect(path: Path) -> Format:
    """Return the format of ``path``.

    Raises:
        DataError: nothing known looks like that.
    """
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    raise DataError(
        f"{shown(path.name)}: not a list of videos that is known",
        hint="name a folder of class folders, a .csv or a .jsonl (docs/data.md)",
    )


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
