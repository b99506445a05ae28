"""What the lists of public data sets share: files found by name, decay counted, siblings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from foveal.dataset.listing import Listing, Row, read_text
from foveal.dataset.problems import Problems, some
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.video.errors import shown
from foveal.video.names import SUFFIXES

MOST_MISSING = 0.5
"""Of the listed files this share may be gone (videos vanish from the web); more is a mistake."""


class VideoIndex:
    """The videos below a folder by their name without ending.

    A list can so name nothing but files of that folder, whatever is written in it.

    Args:
        folder: searched once, at any depth; hidden names are passed over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, list[Path]] = {}
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in SUFFIXES and not name.startswith("."):
                    self._found.setdefault(stem, []).append(Path(parent, name))

    def find(self, stem: str, *, near: Sequence[str] = ()) -> Path | None:
        """Return the video of that name; of several, the one whose folders have a name in ``near``.

        Spaces in ``near`` may be underscores in the folder's name.
        """
        found = self._found.get(stem, [])
        names = {name.replace(" ", "_").lower() for name in near}

        def apart(path: Path) -> bool:
            folders = path.relative_to(self.folder).parts[:-1]
            return not names & {part.replace(" ", "_").lower() for part in folders}

        return min(found, key=lambda path: (apart(path), path), default=None)


class PublicList:
    """Rows of a public list, and a count of what is not there.

    Args:
        name: for messages.
        videos: the folder of the files.
        problems: of the list's text.
    """

    def __init__(self, name: str, videos: Path) -> None:
        self.name = name
        self.index = VideoIndex(videos)
        self.problems = Problems(hint="download the list again; it differs from its format")
        self.rows: list[Row] = []
        self.labels: set[str] = set()
        self.unlabelled = 0
        self.senseless = 0
        self._files: dict[str, bool] = {}

    def find(self, stems: Iterable[str], *, near: Sequence[str] = ()) -> Path | None:
        """Return the first of ``stems`` that is there, and count a listed file."""
        names = list(stems)
        found = (self.index.find(stem, near=near) for stem in names)
        path = next((path for path in found if path is not None), None)
        self._files[names[0]] = path is not None
        return path

    def listing(self, *, notes: Sequence[str], class_names: Sequence[str] | None = None) -> Listing:
        """Return what was gathered.

        Raises:
            DataError: the text has mistakes, or too many files are missing.
        """
        self.problems.raise_any()
        here, listed = sum(self._files.values()), len(self._files)
        lines = list(notes)
        if here < listed:
            missing = [name for name, there in self._files.items() if not there]
            if listed - here > MOST_MISSING * listed:
                raise DataError(
                    f"{shown(self.name)}: {listed - here:,} of {listed:,} listed files are not "
                    f"below {shown(str(self.index.folder))} ({some(missing)})",
                    hint="name the folder of the videos, or list those you have in a CSV file",
                )
            lines.append(f"{here:,} of {listed:,} listed files are here; the others are left out")
        if self.unlabelled:
            lines.append(f"{self.unlabelled:,} listed videos have no label and are left out")
        if self.senseless:
            lines.append(
                f"{self.senseless:,} stretches that end before they begin, or begin after their "
                "video ends, are left out"
            )
        names = tuple(class_names) if class_names is not None else None
        if names is None and self.labels:
            names = tuple(sorted(self.labels))
        return Listing(
            name=self.name,
            kind="video",
            rows=self.rows,
            own=False,
            class_names=names,
            notes=lines,
        )


def split_in(name: str) -> Split | None:
    """Return the split a file's name speaks of, if it speaks of one.

    >>> split_in("something-something-v2-validation.json")
    'validation'
    """
    words = re.findall("[a-z]+", Path(name).stem.lower())
    return next((ALIASES[word] for word in reversed(words) if word in ALIASES), None)


def with_siblings(path: Path) -> list[tuple[Split | None, Path]]:
    """Return a list's file and, if it is that of train, those named alike of the other splits."""
    split = split_in(path.name)
    found: list[tuple[Split | None, Path]] = [(split, path)]
    if split != "train":
        return found
    *_, last = re.finditer("training|train", path.name, re.IGNORECASE)
    for alias, other in ALIASES.items():
        sibling = path.with_name(path.name[: last.start()] + alias + path.name[last.end() :])
        if other != "train" and sibling.is_file() and (other, sibling) not in found:
            found.append((other, sibling))
    return found


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        row = getattr(error, "lineno", 1)
        raise DataError(
            f"{shown(path.name)} row {row}: not JSON ({shown(str(error))})",
            hint="download the list again",
        ) from error


def whole_number(value: object) -> int | None:
    """Return a whole number given as one or as text, or None if it is none."""
    try:
        return None if isinstance(value, bool | float) else int(str(value))
    except ValueError:
        return None
