"""The folder of an evaluation: what was asked, a line a clip, and what it comes to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from foveal.evaluation.errors import EvaluationError

ASKED = "asked.json"
CLIPS = "clips.jsonl"
FIGURES = "evaluation.json"
REPORT = "report.html"

DIFFERENCES: Mapping[str, str] = {
    "schema": "was made by another version of Foveal",
    "bundle_sha256": "is of another bundle",
    "operating_point": "is of another operating point",
    "scores": "was made before the bundle was calibrated as it is now",
    "clips_sha256": "is of other clips",
    "split": "is of another split",
}
"""What may differ from what is asked now, and how a message says it."""


class Folder:
    """Opens the folder ``place`` for what is ``asked``, to go on where it was.

    Args:
        place: made if it is not there.
        asked: plain JSON data under the keys of :data:`DIFFERENCES`.

    Raises:
        EvaluationError: it holds something else, or a line in it is broken.
    """

    def __init__(self, place: Path, asked: Mapping[str, Any]) -> None:
        self.place = place
        self._places: dict[str, int] = {}
        known = place / ASKED
        if known.is_file():
            self._check(known, asked)
            self._read()
            return
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise EvaluationError(
                f"{place}: this is there and holds no evaluation",
                hint="name a new folder with --out",
            )
        place.mkdir(parents=True, exist_ok=True)
        write_whole(known, json.dumps(dict(asked), indent=1) + "\n")

    def _check(self, known: Path, asked: Mapping[str, Any]) -> None:
        try:
            before = json.loads(known.read_text(encoding="utf-8"))
            found = [words for key, words in DIFFERENCES.items() if before[key] != asked[key]]
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(
                f"{known}: this cannot be read ({error})", hint="name a new folder with --out"
            ) from error
        if found:
            raise EvaluationError(
                f"{self.place}: the evaluation in it {' and '.join(found)}",
                hint="name another folder with --out, or remove this one",
            )

    def _read(self) -> None:
        """Take in the lines that are whole; what a stopped process left of one is cut off."""
        path = self.place / CLIPS
        if not path.exists():
            return
        with path.open("r+b") as file:
            at = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    file.truncate(at)
                    return
                try:
                    name = json.loads(line)["sample"]
                except (ValueError, KeyError, TypeError) as error:
                    raise EvaluationError(
                        f"{path} line {number}: this is no line of an evaluation ({error})",
                        hint="remove that line to have its clip judged again",
                    ) from error
                if name in self._places:
                    raise EvaluationError(
                        f"{path} line {number}: {name} is there twice", hint="remove one of the two"
                    )
                self._places[name] = at
                at += len(line)

    def __contains__(self, name: str) -> bool:
        """Return whether the clip of that name has its line."""
        return name in self._places

    def __len__(self) -> int:
        """Return how many clips have their line."""
        return len(self._places)

    def lines(self) -> IO[bytes]:
        """Return ``clips.jsonl`` opened to add to."""
        return (self.place / CLIPS).open("ab")

    def add(self, file: IO[bytes], row: Mapping[str, Any]) -> None:
        """Write down one clip; once this returns, stopping the process loses it no more."""
        line = line_of(row)
        self._places[row["sample"]] = file.tell()
        file.write(line)
        file.flush()

    def rows(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Yield the lines of these clips, one at a time in memory."""
        with (self.place / CLIPS).open("rb") as file:
            for name in names:
                file.seek(self._places[name])
                yield json.loads(file.readline())

    def put_in_order(self, names: Sequence[str]) -> None:
        """Rewrite the lines in the order of ``names``, so that it does not tell of a stop."""
        if list(self._places) == list(names):
            return
        places: dict[str, int] = {}
        with beside(self.place / CLIPS) as part, (self.place / CLIPS).open("rb") as file:
            for name in names:
                file.seek(self._places[name])
                places[name] = part.tell()
                part.write(file.readline())
        self._places = places


def line_of(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of ``clips.jsonl``."""
    return (json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def write_whole(path: Path, content: str) -> None:
    """Write a file by way of another beside it; what was there stays until then.

    Raises:
        OSError: it cannot be written.
    """
    with beside(path) as part:
        part.write(content.encode("utf-8", "surrogateescape"))


@contextmanager
def beside(path: Path) -> Iterator[IO[bytes]]:
    """Give a file beside ``path`` that takes its place if all goes well."""
    other = path.with_name(f".{path.name}.part")
    try:
        with other.open("wb") as part:
            yield part
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)
