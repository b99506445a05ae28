"""From what a user names to single videos: files, folders, patterns, lists and URLs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TextIO

from foveal.video.errors import NothingFoundError, VideoError, shown

# fmt: off
SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif",
    ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg",
    ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut",
    ".obu", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})
# fmt: on
"""What is taken for a video inside a folder; a file named directly is always tried."""


_SCHEME = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Return whether ``name`` is fetched over the network (http or https)."""
    return name.lower().startswith(("http://", "https://"))


def has_scheme(name: str) -> bool:
    """Return whether ``name`` is written like a URL of any kind (``ftp://``, ``file://``)."""
    return _SCHEME.match(name) is not None


def expand(
    inputs: Iterable[str], *, stdin: TextIO | None = None
) -> Iterator[str | tuple[str, VideoError]]:
    """Yield the videos that ``inputs`` name, in order and as late as possible.

    A folder gives the video-like files below it, sorted, hidden ones left out; a pattern
    (``*``, ``?``, ``[...]``, ``**``) the files it matches; ``-`` the names in ``stdin``, one a
    line, or ended by NULs if its first line holds one (``find -print0``); anything else is given
    back as it is, so that opening it says what is wrong.

    Yields:
        a path or URL, or a pair (input, error) for an input that names nothing; the inputs
        after it still follow.
    """
    for name in inputs:
        if name == "-":
            if stdin is None:
                raise ValueError("the list '-' needs stdin")
            yield from expand(_lines(stdin))
        elif is_url(name) or os.path.isfile(name):
            yield name
        elif os.path.isdir(name):
            yield from _or_error(name, _below(name), "this folder holds no video")
        elif glob.has_magic(name) and not has_scheme(name) and not os.path.lexists(name):
            yield from _or_error(name, _matches(name), "this pattern matches no video")
        else:
            yield name


def _lines(stdin: TextIO) -> Iterator[str]:
    first = stdin.readline()
    rest = chain((first,), stdin)
    names = _ended_by_nul(rest) if "\0" in first else (line.rstrip("\r\n") for line in rest)
    return (name for name in names if name and name != "-")


def _ended_by_nul(lines: Iterable[str]) -> Iterator[str]:
    begun = ""
    for line in lines:
        *whole, begun = (begun + line).split("\0")
        yield from whole
    yield begun.rstrip("\r\n")  # the last one, if no NUL ends it


def _or_error(
    name: str, found: Iterator[str], message: str
) -> Iterator[str | tuple[str, VideoError]]:
    empty = True
    for path in found:
        empty = False
        yield path
    if empty:
        hint = "name a file, or check the spelling (known endings: .mp4, .mkv, .avi, ...)"
        yield name, NothingFoundError(f"{shown(name)}: {message}", hint=hint)


def _matches(pattern: str) -> Iterator[str]:
    for path in sorted(glob.iglob(pattern, recursive=True)):
        if os.path.isdir(path):
            if not pattern.endswith("**"):
                yield from _below(path)
        else:
            yield path


def _below(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in SUFFIXES:
                yield os.path.join(parent, file)
