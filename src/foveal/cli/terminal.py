"""Where rows are printed: wrapped to a terminal, whole and without colour anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foveal.cli.text import clean

ENDLESS = 100_000
"""Width of an output that is no terminal: nothing is wrapped or cut for a reader's screen."""

GAP = 2
"""Width of nothing between two columns."""

MAX_NAME = 60
"""Where there is no terminal, longer names push the rest of their row to the right."""


PROSE = 100
"""Width of sentences in an output that is no terminal: nobody takes them apart by lines."""


def console_on(stream: TextIO, *, width: int = ENDLESS) -> Console:
    """Return a console that takes names literally: no markup, no emoji, no highlighting.

    Args:
        stream: where it prints.
        width: where that is no terminal.
    """
    columns = None if stream.isatty() else width
    return _Console(file=stream, width=columns, markup=False, emoji=False, highlight=False)


class _Console(Console):
    """A console that leaves it to the command what to do when its reader is gone."""

    def on_broken_pipe(self) -> None:
        """Let the error rise that is being handled; Rich would end the process with 1."""
        raise BrokenPipeError


def table(*headers: str, right: tuple[int, ...] = ()) -> Table:
    """Return an empty table with a thin line below its headers.

    Args:
        headers: of the columns.
        right: indices of the columns that stand to the right.
    """
    made = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0))
    for i, header in enumerate(headers):
        made.add_column(header, justify="right" if i in right else "left", overflow="fold")
    return made


class Rows:
    """Rows that appear one by one, so their columns are settled before the first is known.

    Args:
        out: where they go.
        longest_name: characters of the longest name of a file, the first column.
        figures: header and width of the columns after it, which stand to the right.
        last: header of the column that takes what is left of the line.
    """

    def __init__(
        self,
        out: Console,
        *,
        longest_name: int,
        figures: Sequence[tuple[str, int]] = (),
        last: str,
    ) -> None:
        self._out = out
        self._wraps = out.width != ENDLESS
        free = out.width - sum(width + GAP for _, width in figures)
        widest = max(12, free // 2 - GAP) if self._wraps else MAX_NAME
        self._widths = [min(max(longest_name, len("file")), widest), *(w for _, w in figures)]
        self._headers: list[str] | None = ["file", *(name for name, _ in figures), last]

    def show(self, *cells: Text) -> None:
        """Print ``cells`` in their columns; the last one takes what is left of the line."""
        if self._headers is not None:
            headers, self._headers = self._headers, None
            self.show(*(Text(header, style="dim") for header in headers))
        row = Table.grid(padding=(0, GAP, 0, 0))
        for i, width in enumerate(self._widths[: len(cells) - 1]):
            row.add_column(
                width=width if self._wraps else None,
                min_width=width,
                justify="right" if i else "left",
                no_wrap=not self._wraps,
                overflow="fold",
            )
        row.add_column(no_wrap=not self._wraps, overflow="fold")
        row.add_row(*cells)
        self._out.print(row)


def trouble(name: str, message: str, hint: str) -> Text:
    """Return what is wrong with the file of the row, which is not named once more."""
    cause = clean(message).removeprefix(f"{clean(name)}: ")
    return Text(f"{cause}; {clean(hint)}", style="red")
