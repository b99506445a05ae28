"""The examples run as they stand, on clips drawn here."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers_bundle import COLOURS, write_clip

EXAMPLES = Path(__file__).parents[2] / "examples"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of each colour, no two alike."""
    folder = tmp_path_factory.mktemp("data") / "colours"
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(12):
            shades = [tuple(np.clip(colour + chance.integers(-20, 20, 3), 0, 255))] * 2
            write_clip(folder / name / f"{i}.mp4", shades, frames_each=4)  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_every_example_is_tried_here() -> None:
    assert {f.name for f in EXAMPLES.glob("*.py")} == {"own_loop.py", "train_on_clips.py"}


def test_train_on_clips(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run(monkeypatch, "train_on_clips.py", clips, tmp_path / "run")
    said = capsys.readouterr().out
    assert re.fullmatch(r"\d+\.\d% right at 0\.\d{3} GMACs a clip\n", said)
    assert (tmp_path / "run" / "mine.foveal").stat().st_size > 5_000


def test_own_loop(clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    run(monkeypatch, "own_loop.py", clips)
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 20
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
