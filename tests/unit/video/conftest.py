from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers_video import KINDS, make_clip


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that makes a clip of one of ``KINDS``, once a session."""
    folder: Path = tmp_path_factory.mktemp("clips")
    made: dict[str, str] = {}

    def of(kind: str) -> str:
        if kind not in made:
            made[kind] = make_clip(folder / kind, **KINDS[kind])  # type: ignore[arg-type]
        return made[kind]

    return of
