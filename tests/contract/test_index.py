"""The table of systems and the folders agree both ways; working rows keep the contract's form."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import foveal
from foveal.systems import index

SYSTEMS = Path(foveal.__file__).parent / "systems"
WORKING = [row for row in index.ALL if row.status == "working"]


def protocol_of(row):
    return importlib.import_module(f"{row.module}.protocol")


def test_eighteen_papers_each_listed_once():
    assert len(index.PAPERS) == 18
    names = [row.name for row in index.ALL]
    assert len(set(names)) == len(names)
    for row in index.PAPERS:
        assert "arXiv" in row.paper
    assert index.find("gfnet").title == "GFNet"
    with pytest.raises(KeyError):
        index.find("gfnett")


def test_every_working_row_has_its_folder_and_every_folder_its_row():
    folders = {path.parent.name for path in SYSTEMS.glob("*/protocol.py")}
    assert folders == {row.name for row in WORKING}
    assert folders


@pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
def test_a_working_system_has_the_form_of_the_contract(row):
    protocol = protocol_of(row)
    assert is_dataclass(protocol.Config)
    assert protocol.Config.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(protocol.Config))
    assert inspect.isgeneratorfunction(protocol.steps)
    assert list(inspect.signature(protocol.steps).parameters) == ["cfg", "context", "clip"]
    assert list(inspect.signature(protocol.parts).parameters) == ["cfg"]
    assert list(inspect.signature(protocol.reference).parameters) == ["cfg"]
    assert (SYSTEMS / row.name / "README.md").stat().st_size > 500


@pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
def test_a_system_imports_no_other_system_and_no_engine(row):
    for path in (SYSTEMS / row.name).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        others = [r.name for r in index.ALL if r.name != row.name]
        assert not any(f"foveal.systems.{name}" in text for name in others), path.name
        assert "foveal.engine" not in text, path.name
