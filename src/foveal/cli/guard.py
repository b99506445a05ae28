"""How a command ends: with an exit code and at most one line, whatever happens."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from foveal.cli.text import clean, count

T = TypeVar("T")

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED, BROKEN_PIPE = 130, 141
"""What a shell reports for a process that SIGINT or SIGPIPE ended."""


def prepare_streams() -> None:
    """Let text that cannot be written show its code, and names that are no text be read."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def guarded(work: Callable[[], int]) -> int:
    """Return the exit code of ``work``; turn every error into one line on standard error.

    With the environment variable ``FOVEAL_DEBUG`` set, an unexpected error keeps its traceback.
    """
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from foveal.types import FovealError

        if isinstance(error, FovealError):
            complain(error.message, hint=error.hint)
            return USAGE
        if os.environ.get("FOVEAL_DEBUG"):
            raise
        if isinstance(error, OSError) and error.strerror:
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            complain(f"{where}{error.strerror}", hint="check the path, the rights and the space")
            return FAILED
        complain(
            f"{type(error).__name__}: {error}",
            hint="this is a fault in Foveal; FOVEAL_DEBUG=1 shows where",
        )
        return FAILED
    return code


def complain(message: str, *, hint: str) -> None:
    """Print one line on standard error: what is wrong, and what to do.

    Of several processes that ``torchrun`` started, the first one says it.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"foveal: {clean(message)}; {clean(hint)}", file=sys.stderr, flush=True)


class Finished:
    """Counts the files that are finished, to say it if the run is stopped."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._total: int | None = None

    def counted(self, items: Iterable[T], total: int | None) -> Iterator[T]:
        """Yield ``items``; each counts when the next one is asked for.

        Args:
            items: one for each file.
            total: how many will come, if that is known.
        """
        self._number, self._total = 0, total
        for item in items:
            yield item
            self._number += 1

    def sentence(self) -> str:
        """Return how far it got; nothing if it did not count."""
        if self._number is None:
            return ""
        if self._total is None:
            return f"foveal: stopped after {count(self._number, 'file')}\n"
        return f"foveal: stopped after {self._number:,} of {count(self._total, 'file')}\n"


@contextmanager
def stop_at_once(finished: Finished) -> Iterator[None]:
    """End the process on Ctrl-C without waiting for the frame or file that is being read.

    A thread inside the decoder cannot be told to stop, and waiting for it could take minutes.
    Only for work that leaves nothing half done behind.

    Args:
        finished: says how far it got.
    """

    def stop(_signal: int, _frame: object) -> None:
        _leave(finished.sentence())

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # signals belong to the main thread; elsewhere nobody presses Ctrl-C
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(last_words: str) -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os.write(2, last_words.encode())
    processes = sys.modules.get("multiprocessing")
    if processes is not None and (children := processes.active_children()):
        for child in children:
            child.kill()
        raise KeyboardInterrupt  # with them gone nothing is left to wait for
    os._exit(INTERRUPTED)


def _forget_output() -> None:
    # What is still buffered would complain once more when the interpreter closes the stream.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
