"""A list in a folder of videos: which of the two is read is said."""

from __future__ import annotations

import os.path
from pathlib import Path

from foveal.dataset.folder import search
from foveal.dataset.listing import Listing, visible
from foveal.dataset.problems import some
from foveal.dataset.samples import DataError
from foveal.video.errors import shown

HOW = "--format folder"
"""How folders are taken where a list lies beside them."""


def folders_beside(list_: Path, root: Path) -> dict[str, int]:
    """Return the folders of ``root`` that hold clips (videos or frames) and how many, by name.

    They could be the classes, had not ``list_`` been found in ``root``. Lists of public sets lie
    beside folders as a rule and have a folder as their place, so that they have none.
    """
    if list_ == root or not root.is_dir():
        return {}
    found = {child.name: search(child) for child in visible(root) if child.is_dir()}
    videos = {name: len(below.videos) for name, below in found.items() if below.videos}
    return videos or {name: len(below.clips) for name, below in found.items() if below.clips}


def note_beside(listing: Listing, list_: Path, root: Path, folders: dict[str, int]) -> str:
    """Return one line: the list is read and not the folders, what that makes of the videos, how.

    Args:
        listing: what ``list_`` holds.
        list_: found in ``root``.
        root: what the user named.
        folders: as :func:`folders_beside` found them.
    """
    places = [Path(os.path.abspath(root / name)) for name in folders]
    used = {
        path
        for path in (Path(os.path.abspath(row.path)) for row in listing.rows)
        if any(path.is_relative_to(place) for place in places)
    }
    cut = sum(1 for r in listing.rows if r.start_seconds is not None or r.end_seconds is not None)
    stretches = f", {cut:,} of its {len(listing.rows):,} clips cut by start and end" if cut else ""
    return (
        f"{shown(list_.name)} says which clips there are and what they show{stretches}; the "
        f"folders beside it ({some(folders)}) are not taken as classes ({len(used):,} "
        f"of their {sum(folders.values()):,} clips are in the list), which {HOW} would do"
    )


def hint_beside(error: DataError, folders: dict[str, int]) -> DataError:
    """Return ``error``, met in a list, with how to take the folders that lie beside it."""
    if not folders:
        return error
    return DataError(
        error.message,
        hint=f"{error.hint}; or take the folders beside it as classes with {HOW}",
        problems=error.problems,
    )
