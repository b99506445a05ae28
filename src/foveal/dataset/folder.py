"""Class folders: ``DATA/<class>/*`` or ``DATA/{train,val,test}/<class>/*``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from foveal.dataset.listing import Listing, Row, is_text, visible
from foveal.dataset.problems import Problems, some
from foveal.dataset.samples import ALIASES, DataError, Split
from foveal.video import is_picture
from foveal.video.errors import shown
from foveal.video.names import SUFFIXES


@dataclass(slots=True)
class Found:
    """What lies below one class folder."""

    videos: list[Path] = field(default_factory=list)
    clips: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def read_folder(root: Path) -> Listing:
    """Return the samples of class folders; the folder's name is the class.

    Videos may lie at any depth below their class. Where there is no video, a folder that holds
    pictures is one clip. Hidden names are passed over.

    Raises:
        DataError: no class folder, an empty one, or a name that is not text.
    """
    problems = Problems(hint="put videos into one folder for each class")
    found: dict[tuple[Split | None, str], Found] = {}
    loose = 0
    for split, folder in _split_folders(root):
        loose += sum(1 for path in visible(folder) if _is_video(path))
        for child in visible(folder):
            if child.is_dir():
                found[split, child.name] = search(child)
    if not found:
        raise DataError(
            f"{shown(str(root))}: no folder of a class in it",
            hint="put the videos into DATA/<class>/, or name a list of them",
        )
    frames = not any(below.videos for below in found.values())
    rows: list[Row] = []
    for (split, name), below in found.items():
        where = name if split is None else f"{split}/{name}"
        if not is_text(name):
            problems.add(where, "the folder's name is not UTF-8")
        if frames and root / where in below.clips:
            problems.add(where, "pictures lie in the class folder; each clip needs its own folder")
        elif not (below.clips if frames else below.videos):
            problems.add(where, "no video in this class folder")
        rows += _rows(root, split, name, below.clips if frames else below.videos, problems)
    problems.raise_any()
    return Listing(
        name=root.resolve().name,
        kind="frames" if frames else "video",
        rows=rows,
        notes=_notes(found.values(), frames=frames, loose=loose),
    )


def _rows(
    root: Path, split: Split | None, name: str, paths: list[Path], problems: Problems
) -> Iterator[Row]:
    for path in paths:
        where = str(path.relative_to(root))
        if not is_text(where):
            problems.add(where, "the name is not UTF-8")
        else:
            yield Row(path=str(path), label=name, where=where, split=split)


def _split_folders(root: Path) -> list[tuple[Split | None, Path]]:
    """Return the folders whose children are classes, with the split each stands for."""
    folders = [path for path in visible(root) if path.is_dir()]
    splits = [(ALIASES.get(path.name.lower()), path) for path in folders]
    if folders and all(split is not None for split, _ in splits):
        return list(splits)
    return [(None, root)]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def search(folder: Path) -> Found:
    """Return what lies below ``folder`` at any depth; hidden names are passed over."""
    found = Found()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        pictures = 0
        for name in sorted(name for name in files if not name.startswith(".")):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                found.videos.append(Path(parent, name))
            else:
                pictures += is_picture(name)
                found.others[suffix or "no ending"] += 1
        if pictures:
            found.clips.append(Path(parent))
    return found


def _notes(found: Iterable[Found], *, frames: bool, loose: int) -> list[str]:
    notes = ["read as frame folders, one a clip" if frames else "read as class folders of videos"]
    others: Counter[str] = Counter()
    for below in found:
        others.update(below.others)
    if frames:
        others = Counter({s: n for s, n in others.items() if not is_picture("x" + s)})
    if others:
        kinds = some(f"{count:,} {suffix}" for suffix, count in others.most_common())
        notes.append(f"files that are no videos were passed over: {kinds}")
    if loose:
        lie, were = ("video lies", "was") if loose == 1 else ("videos lie", "were")
        notes.append(f"{loose:,} {lie} outside any class folder and {were} passed over")
    return notes
