"""The user's own list: CSV with a header, or one JSON object a line."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foveal.dataset.listing import Listing, Row, is_text, numbered_lines, read_text, visible
from foveal.dataset.problems import Problems, near_miss, some
from foveal.dataset.public import with_siblings
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.video import is_picture, is_url
from foveal.video.errors import shown

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "video", "filename", "file_name"),
    "label": ("class", "label"),  # where both are there, the first is the name
    "labels": ("labels",),
    "start": ("start", "start_seconds"),
    "end": ("end", "end_seconds"),
    "group": ("group", "subject"),
    "split": ("split", "subset"),
}
"""What each column may be called; a path is needed, and either one label or several."""

BETWEEN = "|"
"""Parts the labels of a clip that has several, in CSV."""

CLASSES = "classes.txt"
"""Beside a list: the names of the classes, one a line, in the order of the labels."""

_DELIMITERS = ",;\t"

Entry = tuple[str, Mapping[str, Any]]
"""Where a row is (for messages), and its fields by column."""


def read_csv(path: Path, *, videos: Path | None) -> Listing:
    """Return the rows of a CSV file whose first line names the columns (:data:`COLUMNS`).

    Comma, semicolon or tab part them. A row's number is its line, the header being line 1. A
    list of train brings in those of validation and test beside it (``train.csv``, ``val.csv``).

    Raises:
        DataError: no usable header, or rows that cannot be used.
    """
    problems = Problems(hint="correct these rows; docs/data.md shows the columns")
    parts = [(file, split, *_csv_entries(file, problems)) for split, file in with_siblings(path)]
    return _listing(path, parts, problems, videos=videos)


def read_header(path: Path) -> None:
    """Check that a CSV file names the columns that are needed.

    Raises:
        DataError: it does not.
    """
    _columns(path, _csv_entries(path, Problems(hint=""))[0])


def _csv_entries(path: Path, problems: Problems) -> tuple[list[str], list[Entry]]:
    """Return the names of the columns and the rows."""
    text = read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    entries: list[Entry] = []
    names: list[str] = []
    try:
        names = [name.strip() for name in next(rows, [])]
        for row in rows:
            where = f"{path.name} row {rows.line_num}"
            if len(row) > len(names):
                problems.add(where, f"{len(row)} fields, but the header names {len(names)}")
            elif any(field.strip() for field in row):
                entries.append((where, dict(zip(names, row, strict=False))))
    except csv.Error as error:
        problems.add(f"{path.name} row {rows.line_num}", f"cannot be read ({error})")
    return names, entries


def read_jsonl(path: Path, *, videos: Path | None) -> Listing:
    """Return the rows of a file with one JSON object a line, with the keys of :data:`COLUMNS`.

    A list of train brings in those of validation and test beside it, as for CSV.

    Raises:
        DataError: rows that cannot be used.
    """
    problems = Problems(hint="correct these rows; docs/data.md shows the keys")
    parts = [(file, split, *_json_entries(file, problems)) for split, file in with_siblings(path)]
    return _listing(path, parts, problems, videos=videos)


def _json_entries(path: Path, problems: Problems) -> tuple[list[str], list[Entry]]:
    """Return the names of all keys and the rows."""
    entries: list[Entry] = []
    names: dict[str, None] = {}
    for number, line in numbered_lines(path):
        where = f"{path.name} row {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            names.update(dict.fromkeys(data))
            entries.append((where, data))
        else:
            problems.add(where, "not a JSON object")
    return list(names), entries


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """Return the names in ``classes.txt`` of ``folder``; None where there is no such file.

    Raises:
        DataError: it names a class twice, or none.
    """
    path = folder / CLASSES
    if not path.is_file():
        return None
    problems = Problems(hint="give one name a line, each once, in the order of the labels")
    names: dict[str, int] = {}
    for number, name in numbered_lines(path):
        if name in names:
            problems.add(f"{CLASSES} row {number}", f"{shown(name)!r} again (row {names[name]})")
        names.setdefault(name, number)
    if not names:
        problems.add(CLASSES, "no class names inside")
    problems.raise_any()
    return tuple(names)


def _listing(
    path: Path,
    parts: Sequence[tuple[Path, Split | None, list[str], list[Entry]]],
    problems: Problems,
    *,
    videos: Path | None,
) -> Listing:
    """Return the rows of one list, or of the lists of its splits.

    Args:
        path: the list that was named.
        parts: a file each, its split if its name says one, its columns and its rows.
        problems: so far.
        videos: the folder that paths start from; None: that of the list.
    """
    base = videos if videos is not None else path.parent
    classes = read_classes(path.parent)
    files = ", ".join(shown(file.name) for file, *_ in parts)
    notes = [f"read as a list of videos ({files}), paths from {shown(str(base))}"]
    unknown: dict[str, None] = {}
    rows: list[Row] = []
    several: bool | None = None
    for file, split, names, entries in parts:
        if not entries and not names:
            continue
        if len(problems) and not entries:
            problems.raise_any()
        columns = _columns(file, names)
        unknown.update(dict.fromkeys(set(names) - set(columns.values()) - {""}))
        if several is not None and several != ("labels" in columns):
            raise DataError(
                f"{shown(file.name)}: the lists of one set have label in one and labels in another",
                hint="call the column labels in all of them; a single one is fine there",
            )
        several = "labels" in columns
        for where, data in entries:
            values = {column: data.get(name) for column, name in columns.items()}
            found = _row(where, values, base, problems)
            if len(parts) > 1:
                found = (row if row.split else replace(row, split=split) for row in found)
            rows += found
    if unknown:
        notes.append(f"columns that mean nothing here were passed over: {some(sorted(unknown))}")
    folders = [os.path.isdir(row.path) for row in rows]
    if any(folders) and not all(folders):
        odd = rows[folders.index(True)]
        problems.add(odd.where, f"{shown(odd.path)} is a folder of frames, other rows are videos")
    problems.raise_any()
    if not rows:
        raise DataError(f"{shown(path.name)}: no row in it", hint="list one video a row")
    return Listing(
        name=path.name,
        kind="frames" if all(folders) else "video",
        rows=_numbered(rows, classes),
        class_names=classes,
        several=bool(several),
        notes=notes,
    )


def _columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return for every column that is there what the file calls it."""
    lowered = {name.lower(): name for name in names}
    columns = {
        column: lowered[alias]
        for column, aliases in COLUMNS.items()
        for alias in reversed(aliases)
        if alias in lowered
    }
    labelled = {"label", "labels"} & columns.keys()
    if len(labelled) > 1:
        raise DataError(
            f"{shown(path.name)} row 1: both a column label and a column labels",
            hint="keep label for one class a clip, or labels for several",
        )
    missing = [] if "path" in columns else ["path"]
    missing += [] if labelled else ["label"]
    if missing:
        raise DataError(
            f"{shown(path.name)} row 1: no column {' and no column '.join(missing)} "
            f"({some(names)})",
            hint="name the columns in the first line: path,label[,start,end,group,split]",
        )
    return columns


def _row(where: str, data: Mapping[str, Any], base: Path, problems: Problems) -> Iterator[Row]:
    """Yield the row if it can be used; note why not otherwise."""
    before = len(problems)
    name = _text(data.get("path"))
    path = str(base / name)
    wrong = "no path" if not name else _path_trouble(name, path)
    if wrong:
        problems.add(where, wrong)
    labels = _labels(where, data, problems)
    start = _seconds(where, "start", data.get("start"), problems)
    end = _seconds(where, "end", data.get("end"), problems)
    if start is not None and end is not None and start >= end:
        problems.add(where, f"start {start:g} is not before end {end:g}")
    split = _split(where, _text(data.get("split")), problems)
    if len(problems) == before:
        yield Row(
            path=path,
            label=labels[0],
            also=labels[1:],
            where=where,
            start_seconds=start,
            end_seconds=end,
            group=_text(data.get("group")) or None,
            split=split,
        )


def _labels(where: str, data: Mapping[str, Any], problems: Problems) -> tuple[str | int, ...]:
    """Return the one label of a row, or its several; note what is wrong with them."""
    given = data.get("label")
    if "labels" in data:
        given = data["labels"]
        given = given.split(BETWEEN) if isinstance(given, str) else given
    found = given if isinstance(given, list) and "labels" in data else [given]
    labels: list[str | int] = []
    for label in found:
        if isinstance(label, bool | float | list | dict) or not _text(label):
            missing = "one of the labels is empty" if len(found) > 1 else "no label"
            problems.add(where, missing if not _text(label) else f"label {label!r} is no name")
            continue
        labels.append(label if isinstance(label, int) else _text(label))
    if not found:
        problems.add(where, "no label")
    return tuple(labels)


def _path_trouble(name: str, path: str) -> str | None:
    if "\0" in name or not is_text(name):
        return f"path {shown(name)!r} is no file name"
    if is_url(name):
        return f"{shown(name)} is a URL; download it first"
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"no file {shown(name)}"
    except OSError as error:
        return f"{shown(name)}: {(error.strerror or type(error).__name__).lower()}"
    if stat.S_ISREG(status.st_mode):
        return None  # an empty one is broken, as others are: no mistake of the list
    if not stat.S_ISDIR(status.st_mode):
        return f"{shown(name)} is not an ordinary file"
    if not any(is_picture(file.name) for file in visible(Path(path))):
        return f"the folder {shown(name)} holds no picture"
    return None


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _seconds(where: str, column: str, value: object, problems: Problems) -> float | None:
    text = _text(value)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        problems.add(where, f"{column} {shown(text)!r} is no time in seconds from 0 on")
        return None
    return seconds


def _split(where: str, text: str, problems: Problems) -> Split | None:
    if not text:
        return None
    split = ALIASES.get(text.lower())
    if split is None:
        problems.add(where, f"no split {shown(text)!r}{near_miss(text.lower(), ALIASES)}")
    return split


def _numbered(rows: list[Row], classes: tuple[str, ...] | None) -> list[Row]:
    """Return ``rows`` with labels that are all whole numbers as numbers.

    With a list of classes, a label that is one of its names stays a name.
    """
    texts = {str(label) for row in rows for label in row.labels}
    if not all(text.isascii() and text.lstrip("-").isdigit() for text in texts):
        return rows
    if classes is not None and texts <= set(classes):
        return rows
    return [row.labelled(int(label) for label in row.labels) for row in rows]
