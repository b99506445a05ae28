"""The page: self-contained, safe, and right for few and many classes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from foveal.dataset import Sample
from foveal.evaluation.figures import figures, gather
from foveal.evaluation.report import report
from tests.unit.evaluation.rows import ABOUT, failed, row


def page(
    rows: list[dict[str, Any]], names: tuple[str, ...], *, several: bool = False, **about: Any
) -> str:
    clips = gather(rows, names, several=several)
    found = figures(clips, about={**ABOUT, **about})
    by_name = {one["sample"]: one for one in rows}
    worst = [by_name[one["sample"]] for one in found["mistakes"]]
    samples = {
        one["sample"]: Sample(path=f"/gone/{one['sample']}", label=0, where=one["sample"])
        for one in rows
    }
    return report(found, clips, worst=worst, samples=samples, kind="video")


def one_hot(k: int, num: int) -> list[float]:
    return [float(i == k) for i in range(num)]


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    made = page([row("a", "x", [0.9, 0.1]), row("b", "y", [0.9, 0.1])], ("x", "y"))
    assert "<script" not in made
    assert not re.search(r"(src|href)=\"(?!data:|#)", made)
    assert "url(" not in made
    assert "default-src 'none'" in made


def test_names_and_messages_are_text() -> None:
    data = {**ABOUT["data"], "name": "<i>set", "warnings": ["<i>beware"], "notes": ["<i>note"]}
    rows = [row("<i>a", "<i>x", [0.1, 0.9]), failed("<i>b", "y")]
    made = page(rows, ("<i>x", "y"), data=data)
    assert "<i>" not in made
    assert "<b>broken" not in made
    assert made.count("&lt;i&gt;") >= 6


@pytest.mark.parametrize(("num", "drawn"), [(24, "matrix"), (25, "heat"), (401, None)])
def test_confusion_is_numbers_a_drawing_or_a_list(num: int, drawn: str | None) -> None:
    names = tuple(f"class {k}" for k in range(num))
    rows = [row(f"{k}", names[k], one_hot(max(k, 1), num)) for k in range(num)]
    made = page(rows, names)
    assert ('<table class="matrix"' in made) == (drawn == "matrix")
    assert ('<svg class="heat"' in made) == (drawn == "heat")
    if drawn != "matrix":
        assert "<tr><th>class 0</th><th>class 1</th><td>1</td></tr>" in made


def test_a_frame_that_is_gone_is_said_and_costs_no_page() -> None:
    rows = [row("a.mp4", "x", [0.2, 0.8])]
    assert "Its frames cannot be shown: /gone/a.mp4" in page(rows, ("x", "y"))


def test_all_but_the_worst_classes_are_folded_away() -> None:
    names = tuple(f"class {k}" for k in range(23))
    made = page([row(f"{k}", names[k], one_hot(k, 23)) for k in range(23)], names)
    assert "<summary>3 better ones</summary>" in made
    assert made.count('class="gauge"') == 23


def test_without_mistakes_there_is_nothing_to_show() -> None:
    made = page([row("a", "x", [0.9, 0.1]), row("b", "y", [0.2, 0.8])], ("x", "y"))
    assert "There are none." in made
    assert "What could not be read" not in made
    assert "Where it looked" not in made


def test_costs_that_differ_are_drawn_and_others_named() -> None:
    rows = [row(f"{i}", "x", [0.9, 0.1], ms=float(i)) for i in range(5)]
    made = page(rows, ("x", "y"))
    assert made.count("<figcaption>") == 1
    assert "Every clip takes the same: multiply-accumulates, frames used, frames decoded." in made


def test_several_answers_make_a_curve() -> None:
    rows = [row("a", "x", [0.9, 0.1], macs=(10, 20), answers=(1, 0))]
    assert '<polyline class="line" points="333.3,100 1000,0"/>' in page(rows, ("x", "y"))
    assert "One answer a clip" in page([row("a", "x", [0.9, 0.1])], ("x", "y"))


def test_of_several_classes_neither_confusion_nor_calibration_is_drawn() -> None:
    rows = [
        row("a", "x", [0.9, 0.8], labels=["x", "y"]),
        row("b", "y", [0.7, 0.6], labels=["y"]),
    ]
    made = page(rows, ("x", "y"), several=True)
    assert "What was taken for what" not in made
    assert "How sure" not in made
    assert "mean class accuracy" not in made
    assert "<td>right</td>" not in made
    assert re.search(r"<span>100.% mean average precision</span>", made)
    assert "name a class of the clip as the likeliest" in made
    assert made.count('class="gauge"') == 2
