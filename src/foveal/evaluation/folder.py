"""The folder of an evaluation: what was asked, a line a clip, and what it comes to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
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
        self.rows: dict[str, dict[str, Any]] = {}
        """What is done, by the name of the sample."""
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
        raw = path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            with path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(raw[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                name = row["sample"]
            except (ValueError, KeyError, TypeError) as error:
                raise EvaluationError(
                    f"{path} line {number}: this is no line of an evaluation ({error})",
                    hint="remove that line to have its clip judged again",
                ) from error
            if name in self.rows:
                raise EvaluationError(
                    f"{path} line {number}: {name} is there twice", hint="remove one of the two"
                )
            self.rows[name] = row

    def lines(self) -> IO[bytes]:
        """Return ``clips.jsonl`` opened to add to."""
        return (self.place / CLIPS).open("ab")

    def add(self, file: IO[bytes], row: dict[str, Any]) -> None:
        """Write down one clip; once this returns, stopping the process loses it no more."""
        file.write(line_of(row))
        file.flush()
        self.rows[row["sample"]] = row

    def put_in_order(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Rewrite the lines in the order of ``names``, so that it does not tell of a stop."""
        rows = [self.rows[name] for name in names]
        write_whole(self.place / CLIPS, b"".join(map(line_of, rows)))
        return rows


def line_of(row: Mapping[str, Any]) -> bytes:
    """Return a row as a line of ``clips.jsonl``."""
    return (json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by way of another beside it; what was there stays until then.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    try:
        beside.write_bytes(raw)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
