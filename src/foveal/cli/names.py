"""The videos that a command is to work on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from foveal.video import expand
from foveal.video.errors import VideoError

Name: TypeAlias = str | tuple[str, VideoError]
"""A path or URL, or an input that names no video with the error that says so."""


class Names:
    """The videos that the inputs name, or in its place the error of an input that names none.

    All are listed before the first is read, so that progress can be shown; only a list on
    standard input is taken line by line as there is room, however long it is.
    """

    def __init__(self, inputs: list[str]) -> None:
        self._rest = iter(expand(inputs, stdin=sys.stdin))
        streamed = "-" in inputs
        self._known: list[Name] = list(islice(self._rest, 2 if streamed else None))
        self.total = None if streamed else len(self._known)
        self.nothing = not self._known
        self.only_one = len(self._known) == 1

    def __iter__(self) -> Iterator[Name]:
        yield from self._known
        yield from self._rest

    def known(self) -> list[str]:
        """Return the names known so far that may be read."""
        return [name for name in self._known if isinstance(name, str)]

    def longest(self) -> int:
        """Return the length of the longest name known so far."""
        return max(map(len, self.known()), default=0)
