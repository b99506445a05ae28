"""A folder of tiny clips, a bundle that names their colours, and the installed command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import foveal
from tests.helpers_bundle import COLOURS, GREY, write_clip, write_colour_bundle

SOURCES = str(Path(foveal.__file__).parent.parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Clips whose content is known, in one folder with the bundle that recognises it."""

    root: Path
    bundle: Path
    two: Path
    grey: Path
    broken: Path

    @property
    def clips(self) -> Path:
        return self.root / "clips"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    root = tmp_path_factory.mktemp("videos")
    made = Folder(
        root=root,
        bundle=root / "colour.foveal",
        two=root / "clips" / "two.mp4",
        grey=root / "clips" / "below" / "grey.mp4",
        broken=root / "clips" / "broken.mp4",
    )
    write_colour_bundle(made.bundle)
    write_clip(made.two, [COLOURS["red"], COLOURS["blue"]])
    write_clip(made.grey, [GREY])
    made.broken.write_bytes(b"")
    return made


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process: this checkout, and no say on colours."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS")}
    return {**kept, "PYTHONPATH": SOURCES, **(extra or {})}


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def foveal_command() -> Run:
    """Run ``foveal`` in a process of its own."""

    def run(
        *arguments: str | Path,
        stdin: str = "",
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "foveal", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=cwd,
            env=environment(env),
            timeout=120,
            check=False,
        )

    return run


def records(lines: str) -> dict[str, dict[str, Any]]:
    """Return the records of a JSON output by path."""
    assert lines.isascii()
    found = [json.loads(line) for line in lines.splitlines()]
    by_path = {record["path"]: record for record in found}
    assert len(by_path) == len(found)
    return by_path
