"""Mistakes are collected, so that one run shows more than the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from foveal.dataset.samples import DataError
from foveal.video.errors import shown

MOST_SHOWN = 10
"""Problems a message spells out; the rest is counted."""

MOST_NAMES = 5
"""Names a line lists; the rest is counted."""


class Problems:
    """The mistakes found in one folder or list so far.

    Args:
        hint: what to do about them, unless one says better.
    """

    def __init__(self, *, hint: str) -> None:
        self._hint = hint
        self._lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note that ``what`` is wrong at ``where`` (a file and a row)."""
        self._lines.append(f"{shown(where)}: {what}")

    def __len__(self) -> int:
        """Return how many there are so far."""
        return len(self._lines)

    def raise_any(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            DataError: naming the first :data:`MOST_SHOWN` and counting the rest.
        """
        if not self._lines:
            return
        shown_lines = self._lines[:MOST_SHOWN]
        more = len(self._lines) - len(shown_lines)
        message = "; ".join(shown_lines) + (f"; and {more:,} more" if more else "")
        raise DataError(message, hint=self._hint, problems=self._lines)


def some(names: Iterable[str]) -> str:
    """Return ``names`` for one line: the first few, and how many more.

    >>> some(["a", "b"])
    'a, b'
    """
    listed = [shown(name) for name in names]
    more = len(listed) - MOST_NAMES
    return ", ".join(listed[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return a question naming what ``name`` may have meant, or nothing.

    >>> near_miss("jmup", ["jump", "run"])
    " (did you mean 'jump'?)"
    """
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {shown(near[0])!r}?)" if near else ""
