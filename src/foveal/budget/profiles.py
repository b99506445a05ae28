"""The profile of a machine: timed once for a bundle, then kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from foveal.budget.machine import describe_machine, measure_machine
from foveal.bundle import Bundle, ConfigError, Machine, decode_config, encode_config

PROFILE_SCHEMA = 1


def cache_folder() -> Path:
    """Return where profiles are kept: below ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "foveal" / "profiles"


def profile_path(bundle: Bundle, *, threads: int | None = None) -> Path:
    """Return the file of the profile of ``bundle`` on this machine with ``threads``."""
    here = describe_machine(threads)
    told = json.dumps([PROFILE_SCHEMA, bundle.fingerprint, here.name, here.cores, here.threads])
    return cache_folder() / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


def profile(bundle: Bundle, *, threads: int | None = None, again: bool = False) -> Machine:
    """Return how quick this machine is with ``bundle``; measured once, then read from the cache.

    A file there that cannot be read is measured anew, and a cache that cannot be written costs
    the next run its time and nothing else.

    Args:
        bundle: whose parts are timed.
        threads: to compute with; default: all cores this process may use.
        again: measure, whatever the cache holds.

    Raises:
        RunnerError: a part cannot be loaded or fails.
    """
    path = profile_path(bundle, threads=threads)
    known = None if again else _read(path, bundle)
    if known is not None:
        return known
    measured = measure_machine(bundle, threads=threads)
    _write(path, measured)
    return measured


def _read(path: Path, bundle: Bundle) -> Machine | None:
    try:
        machine = decode_config(Machine, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, ConfigError):
        return None
    return machine if machine.part_ms.keys() == bundle.specs.keys() else None


def _write(path: Path, machine: Machine) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(encode_config(machine), indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError:  # a home that is full or read-only must not stop a recognition
        with suppress(OSError):
            beside.unlink()
