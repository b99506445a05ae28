"""The command line. Only what parses arguments is loaded before a command is known to run."""

from __future__ import annotations

import os
import sys
import time

STARTED = time.perf_counter()
"""When the process began to be Foveal, for the wall time on the bill."""


def main() -> None:
    """Run the command that the arguments name and leave with its exit code."""
    from foveal.cli.guard import INTERRUPTED, prepare_streams

    prepare_streams()
    # NumPy would start a thread a core for matrix products nobody here computes, and each spins
    # through the first tenth of a second.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from foveal.cli import app

        code = app.main(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise SystemExit(code)
