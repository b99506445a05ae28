"""The command line. Only what parses arguments is loaded before a command is known to run."""

from __future__ import annotations

import time

STARTED = time.perf_counter()
"""When the process began to be Foveal, for the wall time on the bill."""


def main() -> None:
    """Run the command that the arguments name and leave with its exit code."""
    from foveal.cli.guard import prepare_streams

    prepare_streams()
    try:
        from foveal.cli.app import app

        app(prog_name="foveal")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
