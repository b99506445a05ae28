from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers_video import make_clip


@pytest.fixture(scope="session")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One short real clip; every file gets a mark of its own after it."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return Path(make_clip(path, num_frames=4, width=64, height=48)).read_bytes()


@pytest.fixture
def put(tmp_path: Path, clip_bytes: bytes) -> Callable[..., Path]:
    """Return a function that writes a clip at each of the given paths below the test's folder."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(clip_bytes + name.encode())
        return tmp_path

    return write
