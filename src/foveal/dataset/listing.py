"""What every reader of a format gives: rows as they were found, not yet checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from foveal.dataset.samples import DataError, Kind, Split
from foveal.video.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry of a list, or one file of a folder.

    Args:
        path: file or folder; it may be missing.
        label: a name, or a number where the format numbers its classes.
        also: further ones, where a clip may have several.
        where: for messages, e.g. ``labels.csv row 12``.
        start_seconds: as :class:`~foveal.dataset.samples.Sample` has it.
        end_seconds: as :class:`~foveal.dataset.samples.Sample` has it.
        group: given by the list itself.
        split: given by the list itself.
        row: of a stored array.
    """

    path: str
    label: str | int
    where: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    group: str | None = None
    split: Split | None = None
    row: int | None = None
    also: tuple[str | int, ...] = ()

    @property
    def labels(self) -> tuple[str | int, ...]:
        """All of them, the first one first."""
        return (self.label, *self.also)

    def labelled(self, labels: Iterable[str | int]) -> Row:
        """Return the row with other labels, at least one."""
        first, *also = labels
        return replace(self, label=first, also=tuple(also))


@dataclass(slots=True, kw_only=True)
class Listing:
    """All rows of a folder or list.

    Args:
        name: of the folder or list.
        kind: what the rows are.
        rows: in the order they were found; files that are missing are not among them.
        own: the user's own list, where a mistake is an error; in a public set it is counted.
        class_names: where the format gives them in order; else they come from the rows.
        several: whether it says that clips may have several labels.
        notes: for the user.
    """

    name: str
    kind: Kind
    rows: list[Row]
    own: bool = True
    class_names: tuple[str, ...] | None = None
    several: bool = False
    notes: list[str] = field(default_factory=list)


def read_text(path: Path) -> str:
    """Return the content of a text file.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(
            f"{shown(path.name)} row {row}: not UTF-8 text", hint="save the list as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{shown(str(path))}: cannot be read ({reason.lower()})",
            hint="check the path and its permissions",
        ) from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that hold something, stripped, with their numbers from 1.

    Raises:
        DataError: as :func:`read_text`.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def is_text(name: str) -> bool:
    """Return whether a name is sound Unicode (a file's name on disk may be any bytes)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, hidden names left out.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise DataError(
            f"{shown(str(folder))}: cannot be read ({reason})", hint="check its permissions"
        ) from error
