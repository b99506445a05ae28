"""Every working system made ready once for all contract tests of a process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foveal.systems.index import System
from tests.contract.subjects import Subject, make_subject


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Callable[[System], Subject]:
    """Return a function from a row to its subject; what is exported is exported once."""
    folder = tmp_path_factory.mktemp("contract")
    made: dict[str, Subject] = {}

    def get(row: System) -> Subject:
        if row.name not in made:
            made[row.name] = make_subject(row, folder)
        return made[row.name]

    return get
