"""``foveal demo`` on a clip and a bundle of our own; ``.ci/run`` runs the real one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import foveal.api
import foveal.demo
from foveal.cli.app import main
from foveal.demo import DemoObject
from tests.e2e.conftest import Folder
from tests.helpers_bundle import COLOURS, GREY, write_clip

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def drawn(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> list[DemoObject]:
    """What the demo says is in its clip: red, grey, blue, two seconds each."""
    claimed = [
        DemoObject(label="red", start_seconds=0.0, end_seconds=2.0),
        DemoObject(label="blue", start_seconds=4.0, end_seconds=6.0),
    ]

    def make(path: str | os.PathLike[str]) -> tuple[DemoObject, ...]:
        colours = [COLOURS["red"], GREY, COLOURS["blue"]]
        write_clip(Path(path), colours, frames_each=20)
        return tuple(claimed)

    model = foveal.api.load(folder.bundle)
    monkeypatch.setattr(foveal.demo, "make_demo_clip", make)
    monkeypatch.setattr(foveal.api, "load", lambda: model)
    return claimed


def test_truth_stands_beside_the_answer(
    drawn: list[DemoObject], tmp_path: Path, capsys: Capture
) -> None:
    page, kept = tmp_path / "page.html", tmp_path / "new" / "folder"
    assert main(["demo", "--keep", str(kept), "--explain", str(page)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1 +red +0:00\.0 - 0:02\.0 +0:00\.0 - 0:01\.5 +100\.0 %", out)
    assert re.search(r"2 +blue +0:04\.0 - 0:06\.0 +0:04\.5 - 0:06\.0 +100\.0 %", out)
    strips = dict(re.findall(r"^ (drawn|seen|looked at) *\|([^|]{60})\|$", out, flags=re.MULTILINE))
    assert strips["drawn"] == "1" * 20 + " " * 20 + "2" * 20
    assert strips["seen"] == "1" * 15 + " " * 30 + "2" * 15
    assert strips["looked at"].count("^") == 4
    assert re.search(r"frames looked at +4 +16 +75\.0 %", out)
    assert "2 of 2 drawn objects found." in out
    assert (kept / "demo.mp4").is_file()
    assert "red" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "thing",
    [
        DemoObject(label="green", start_seconds=0.0, end_seconds=2.0),  # never seen
        DemoObject(label="blue", start_seconds=0.0, end_seconds=2.0),  # seen at another time
        DemoObject(label="red", start_seconds=0.0, end_seconds=4.0),  # seen too briefly
    ],
)
def test_an_object_that_was_missed_is_told_by_the_exit_code(
    drawn: list[DemoObject], thing: DemoObject, capsys: Capture
) -> None:
    drawn.append(thing)
    assert main(["demo"]) == 1
    out = capsys.readouterr().out
    assert re.search(rf"3 +{thing.label} .* missed", out)
    assert "2 of 3 drawn objects found." in out
