"""One JSON file per result: what was measured, and all it takes to have the number again."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "foveal",
    "numpy",
    "av",
    "onnxruntime",
    "torch",
    "torchvision",
    "timm",
    "decord",
    "torchcodec",
)


def cpu_name() -> str:
    """Return the processor's model name, or the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.machine()


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those ``packages`` that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit the working directory is at, ``+`` appended if it has changes.

    Raises:
        RuntimeError: this is not a git checkout; a result without its commit is worth nothing.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(("git", *arguments), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"results are written from a git checkout: {done.stderr.strip()}")
        return done.stdout.strip()

    # Changes to the results themselves do not change what was measured.
    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if dirty else "")


def command() -> str:
    """Return how this process was started, without the machine's own paths."""
    here = Path.cwd()
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    script = Path(sys.argv[0]).resolve()
    if script.is_relative_to(here):
        words[0] = str(script.relative_to(here))
    shown = [w if not Path(w).is_absolute() else f"<{Path(w).name}>" for w in words]
    return "python " + shlex.join(shown)


def write_result(
    path: str | os.PathLike[str],
    *,
    title: str,
    measured: Mapping[str, Any],
    reported: Mapping[str, Any] | None = None,
    protocol: str,
    seeds: Sequence[int] = (),
    threads: int | None = None,
    claim: Mapping[str, Any] | None = None,
) -> None:
    """Write one result as JSON.

    Args:
        path: below ``results/``; folders are made.
        title: one line saying what was measured.
        measured: the numbers, with units in their names.
        reported: what a paper says, with its source; never mixed with ``measured``.
        protocol: data, splits, baselines and cost rule in a sentence or two.
        seeds: every seed used.
        threads: cores the measured code was given.
        claim: ``text``, ``holds`` and, where it helps, ``why``; the claim of a system also says
            which (``system``), and ``scripts/make_claims.py`` carries it into the package.
    """
    data = {
        "title": title,
        "protocol": protocol,
        "claim": None if claim is None else dict(claim),
        "measured": dict(measured),
        "reported": None if reported is None else dict(reported),
        "seeds": list(seeds),
        "command": command(),
        "commit": commit(),
        "versions": versions(),
        "hardware": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": threads,
        },
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
