from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from foveal.api import Comparison
from foveal.cli import many as many_module
from foveal.cli import show as show_module
from foveal.cli.many import many
from foveal.cli.names import Names
from foveal.cli.show import Checked, name_of, one, stretches
from foveal.records import Failure, Label
from foveal.types import Answer
from tests.unit.cli.made import known, prediction, unknown

HOSTILE = "clips/a[red]b\n\x1b[2J\u202e\udcff.mp4"
SHOWN = r"clips/a[red]b\n\x1b[2J\u202e\xff.mp4"
BROKEN = Failure(
    path=HOSTILE, kind="truncated", message=f"{HOSTILE}: cut off", hint="copy it again"
)


def names(*paths: str) -> Names:
    return Names(list(paths))


def show_many(results: Iterable[object], *paths: str) -> int:
    return many(results, names(*paths))  # type: ignore[arg-type]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns that shows no colours."""
    text = io.StringIO()

    def console(stream: object) -> Console:
        return Console(
            file=text, width=80, force_terminal=False, markup=False, emoji=False, highlight=False
        )

    monkeypatch.setattr(show_module, "console_on", console)
    monkeypatch.setattr(many_module, "console_on", console)
    return text


def test_one_file_shows_labels_times_and_the_bill(capsys: pytest.CaptureFixture[str]) -> None:
    labels = (known(2, 9, "analog clock", 0.931), unknown(9, 60, "tub", 0.2))
    assert one(prediction(*labels)) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "clips/holiday.mp4  1:00.0, 640x360, 25 frames/s" in out
    assert re.search(r"0:02\.0 - 0:09\.0 +analog clock +93\.1 %", out)
    assert re.search(r"0:09\.0 - 1:00\.0 +nothing it knows \(tub\) +20\.0 %", out)
    assert "Looked at 16 of 1,500 frames, 31 decoded, 6.21 GMACs." in out
    assert "decode 310 ms, render 40 ms, decide 0.3 ms, compute 301 ms." in out
    assert "names things (objects), not actions" in out


def test_only_the_tagger_speaks_of_things(capsys: pytest.CaptureFixture[str]) -> None:
    one(prediction(known(0, 60, "walk", 0.9), model="ocsampler"))
    out = capsys.readouterr().out
    assert "objects" not in out
    assert re.search(r"when +label +probability", out)


def test_glances_and_close_looks_are_told_apart(screen: io.StringIO) -> None:
    made = prediction(known(0, 60, "tub", 0.9), closely=(1.0, 3.0, 4.0))
    one(made)
    assert "Glanced at 1 of 1,500 frames, looked closely at 3, 31 decoded" in screen.getvalue()
    show_many([made, made], "a", "b")
    assert "Glanced at 2 of 3,000 frames, looked closely at 6, 62 decoded" in screen.getvalue()


def test_a_file_of_unknown_length_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    one(prediction(known(0, 60, "tub", 0.9), num_frames=None))
    assert "16 frames (how many there are is not known)" in capsys.readouterr().out


def test_neighbours_that_show_nothing_known_share_a_row() -> None:
    labels = [
        unknown(0, 1, "tub", 0.1),
        unknown(1, 2, "vase", 0.3),
        unknown(2, 3, "tub", 0.2),
        known(3, 4, "clock", 0.9),
        unknown(4, 5, "tub", 0.1),
    ]
    rows = list(stretches(labels))
    assert [len(row) for row in rows] == [3, 1, 1]
    assert name_of(rows[0]) == "nothing it knows (vase, tub)"
    many_guesses = [unknown(i, i + 1, f"thing {i}", 0.1) for i in range(9)]
    assert name_of(many_guesses) == "nothing it knows (thing 0, thing 1, thing 2, ...)"


def test_with_several_labels_a_stretch_is_never_joined_with_the_next() -> None:
    labels = [
        known(0, 5, "a", 0.8),
        unknown(0, 5, "b", 0.1),
        unknown(5, 9, "c", 0.3),
        unknown(5, 9, "d", 0.1),
    ]
    assert [row[0] for row in stretches(labels)] == labels
    assert name_of([labels[1]], also=True) == "(b)"


def test_a_file_that_failed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert one(BROKEN) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"foveal: {SHOWN}: cut off; copy it again\n"


def test_many_files_are_a_row_each_wherever_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a/very/" + "long/" * 30 + "path.mp4"
    results = [
        prediction(known(0, 9, "clock", 0.9), known(9, 60, "sea", 0.7), path=long),
        BROKEN,
        prediction(unknown(0, 60, "tub", 0.2), num_frames=None, warnings=("odd\nheader",)),
    ]
    assert show_many(results, long, HOSTILE, "clips/holiday.mp4") == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    row = next(line for line in lines if line.startswith(long))
    assert re.search(r" 16/1,500 +6\.21 +652 ms +sea 70\.0 %, clock 90\.0 %", row)
    assert f"{SHOWN}  " in out
    assert "failed: cut off; copy it again" in out
    assert re.search(r"16/\? .*nothing it knows \(tub\); note: odd\\nheader", out)
    assert "3 files, 1 failed." in out
    assert "Looked at 32 frames (how many there are is not known)" in out
    assert len(lines) == 1 + 3 + 1 + 4


def test_rows_fit_a_narrow_terminal(screen: io.StringIO) -> None:
    results = [
        prediction(*(known(i, i + 1, f"thing {i}", 0.9) for i in range(9)), path="日本" * 40),
        BROKEN,
        prediction(unknown(0, 60, "tub", 0.2), path="ordinary.mp4", warnings=("a note " * 20,)),
    ]
    show_many(results, "日本" * 40, HOSTILE, "ordinary.mp4")
    one(results[0])  # type: ignore[arg-type]
    shown = screen.getvalue()
    assert max(cell_len(line) for line in shown.splitlines()) <= 80
    # Nothing is cut: what does not fit goes on below.
    assert "…" not in shown
    assert re.sub(r"\s", "", shown).count("日本") >= 20
    assert "and 6 more" in re.sub(r"\s+", " ", shown)


def checked(*, agreement: float | None) -> Comparison:
    labels: tuple[Label, ...] = (known(0, 60, "clock", 0.9),)
    return Comparison(
        prediction=prediction(*labels, macs=2_000_000_000),
        dense=prediction(*labels, macs=8_000_000_000),
        agreement=agreement,
    )


def test_the_check_tells_agreement_and_savings(capsys: pytest.CaptureFixture[str]) -> None:
    assert one(checked(agreement=0.952)) == 0
    out = capsys.readouterr().out
    assert "16 frames for 8.00 GMACs and 652 ms" in out
    assert "75.0 % fewer MACs and 0.0 % less time" in out
    assert "Both agree on 95.2 % of the frames that the dense run is sure of (from 30 %)." in out


def test_the_check_of_many_files_is_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    results = [checked(agreement=a) for a in (1.0, 0.5, None)]
    assert show_many(results, "a", "b", "c") == 0
    out = capsys.readouterr().out
    assert "dense agrees 50.0 %, 75.0 % fewer MACs" in out
    assert "dense agrees -," in out
    assert "48 frames for 24.0 GMACs" in out
    assert "Both agree on 75.0 %" in out


def test_a_check_without_a_sure_frame_says_so() -> None:
    totals = Checked()
    totals.add(checked(agreement=None))
    assert "The dense run is sure of no frame (from 30 %)" in totals.sentence()


def test_the_check_of_a_clip_speaks_of_the_clip(capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier answers once for all frames; the dense run names each of them."""
    clip = prediction(known(0, 60, "jump", 0.9), answer=Answer(probs=np.array([0.1, 0.9])))
    result = replace(checked(agreement=0.5), prediction=clip)
    assert one(result) == 0
    out = capsys.readouterr().out
    assert "looks at 16 frames, each on its own, for 8.00 GMACs" in out
    assert (
        "Of the frames that the dense run is sure of (from 30 %), 50.0 % show the class that this "
        "run gives the clip." in out
    )
