"""Files with the same bytes under different names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from foveal.dataset.check import Labels
from foveal.dataset.listing import Listing
from foveal.dataset.problems import Problems
from foveal.dataset.samples import DataError
from foveal.video.errors import shown

_ENDS_BYTES = 2**16
"""Of files of one size the two ends are compared first, and the whole only where these agree."""


def find_copies(
    listing: Listing, labels: Sequence[Labels], files: Sequence[str]
) -> list[tuple[str, str]]:
    """Return pairs of ``files`` of one content; they must not be parted.

    Only the user's own videos are compared, and only whole ones.

    Raises:
        DataError: copies have different labels or were given different splits.
    """
    if not listing.own or listing.kind != "video":
        return []
    problems = Problems(hint="keep one of the two, or put both on one side")
    by_size: dict[int, dict[str, int]] = defaultdict(dict)
    for place, row in enumerate(listing.rows):
        if row.start_seconds is None and row.end_seconds is None:
            by_size[_size(row.path)].setdefault(files[place], place)
    pairs: list[tuple[str, str]] = []
    for size, alike in by_size.items():
        if len(alike) < 2 or not size:  # empty files are broken, not copies
            continue
        for file, other in _equal(alike):
            row, twin = listing.rows[alike[file]], listing.rows[alike[other]]
            where = shown(twin.where)
            if set(labels[alike[file]]) != set(labels[alike[other]]):
                problems.add(row.where, f"a copy of {where} under another label")
            elif row.split != twin.split:
                problems.add(row.where, f"in {row.split}, but a copy of {where} in {twin.split}")
            pairs.append((file, other))
    problems.raise_any()
    if pairs:
        listing.notes.append(
            f"{len(pairs):,} files are copies of others, byte by byte; copies stay together"
        )
    return pairs


def _equal(files: dict[str, int]) -> list[tuple[str, str]]:
    """Return each file that equals an earlier one, with that one."""
    ends: dict[bytes, list[str]] = defaultdict(list)
    for file in files:
        ends[_digest(file, whole=False)].append(file)
    first: dict[bytes, str] = {}
    pairs: list[tuple[str, str]] = []
    for alike in ends.values():
        if len(alike) < 2:
            continue
        for file in alike:
            other = first.setdefault(_digest(file, whole=True), file)
            if other != file:
                pairs.append((file, other))
    return pairs


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _digest(path: str, *, whole: bool) -> bytes:
    try:
        with open(path, "rb") as file:
            if whole:
                return hashlib.file_digest(file, "blake2b").digest()
            head = file.read(_ENDS_BYTES)
            file.seek(-min(_ENDS_BYTES, len(head)), 2)
            return hashlib.blake2b(head + file.read()).digest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> DataError:
    reason = (error.strerror or type(error).__name__).lower()
    return DataError(f"{shown(path)}: cannot be read ({reason})", hint="check its permissions")
