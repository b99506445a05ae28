"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from foveal.cli.terminal import console_on

T = TypeVar("T")


def tracked(items: Iterable[T], total: int | None, *, beside: Console | None = None) -> Iterator[T]:
    """Yield ``items`` and move a bar; without ``total`` it only counts.

    Args:
        items: what is counted, as it comes.
        total: how many will come.
        beside: the console of standard output, where rows are printed meanwhile. A bar and rows
            on the same terminal must share a console, or they overwrite each other.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    shared = beside if beside is not None and sys.stdout.isatty() else console_on(sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=shared,
        transient=True,
        # Rows are printed to standard output directly, wherever the bar is.
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        task = progress.add_task("files", total=total)
        for item in items:
            yield item
            progress.advance(task)
