"""Run a command as a cold process and measure what a user waits for and what it takes."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cold:
    """One finished process: wall seconds, peak resident memory in MB, standard output."""

    seconds: float
    peak_mb: float
    output: str


def run_cold(command: Sequence[str], *, scratch: Path) -> Cold:
    """Run ``command`` to its end.

    Raises:
        RuntimeError: it failed (the message holds the end of its standard error), or this process
            is the larger one: until it starts, a child counts as large as its parent.
    """
    out, err = scratch / "cold.out", scratch / "cold.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {err.read_text(errors='replace')[-500:]}")
    if usage.ru_maxrss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        raise RuntimeError("this process is larger than the one it measures: run it once more")
    return Cold(seconds, usage.ru_maxrss / 1024, out.read_text())
