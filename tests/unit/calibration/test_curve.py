"""Pictures of accuracy by cost: read from bundles and evaluations, drawn, written as CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from foveal.bundle import BundleMissingError
from foveal.calibration.curve import Curve, CurveError, Mark, read_curves
from foveal.calibration.drawing import csv_of, draw_png, svg_of
from tests.helpers_bundle import write_colour_bundle
from tests.unit.budget.made import MACHINE, calibration, measured

SVG = "{http://www.w3.org/2000/svg}"


def bundle(path: Path, *figures: tuple[str, float, float, str]) -> Path:
    points = [
        measured(name, accuracy, gmacs, family=family, rows={"colour": 1.0})
        for name, accuracy, gmacs, family in figures
    ]
    curve = calibration(*points, machine=replace(MACHINE, part_ms={"colour": 1.0}))
    write_colour_bundle(path, answer="mean").calibrated(path, curve)
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return bundle(
        tmp_path / "one.foveal",
        ("dense 16", 0.9, 4.0, "dense"),
        ("uniform 2", 0.7, 1.0, "uniform"),
        ("random 2", 0.95, 0.5, "random"),
    )


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return bundle(
        tmp_path / "other.foveal", ("exits 50", 0.9, 2.0, "exits"), ("first 1", 0.6, 1.0, "static")
    )


def evaluation(folder: Path) -> Path:
    folder.mkdir()
    found = {
        "model": {"system": "another", "bundle": "mine.foveal"},
        "data": {"name": "clips", "split": "test"},
        "num_judged": 12,
        "cpu": "a machine",
        "accuracy": {"top1": 0.8},
        "cost": {
            "macs": {"mean": 1.5e9, "p50": 1.5e9, "p95": 2e9},
            "ms": {"mean": 5.0, "p50": 5.0, "p95": 9.0},
        },
        "answers": [
            {"answer": 0, "accuracy": 0.5, "macs": 0.5e9, "ended": 0},
            {"answer": 1, "accuracy": 0.8, "macs": 1.5e9, "ended": 12},
        ],
    }
    (folder / "evaluation.json").write_text(json.dumps(found))
    return folder


def best(curves: tuple[Curve, ...]) -> set[str]:
    return {mark.name for curve in curves for mark in curve.marks if mark.is_on_front}


def test_the_front_is_over_all_models_and_without_chance(
    one: Path, other: Path, tmp_path: Path
) -> None:
    assert best(read_curves([one])) == {"dense 16", "uniform 2"}
    assert best(read_curves([one, other])) == {"exits 50", "uniform 2"}
    everything = read_curves([one, other, evaluation(tmp_path / "test-clips")])
    assert best(everything) == {"exits 50", "as evaluated", "answer 2", "uniform 2", "answer 1"}


def test_a_run_is_its_bundle(other: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    other.rename(run / "model.foveal")
    (curve,) = read_curves([run])
    assert curve.label == "baselines: model"


def test_models_of_one_name_are_told_apart(one: Path) -> None:
    first, second = read_curves([one, str(one)])
    assert first.label == second.label == f"baselines: one ({one})"


def test_the_csv_has_a_row_a_point(one: Path, other: Path) -> None:
    curves = read_curves([one, other])
    rows = list(csv.DictReader(io.StringIO(csv_of(curves))))
    assert [row["point"] for row in rows] == [m.name for curve in curves for m in curve.marks]
    exits = next(row for row in rows if row["point"] == "exits 50")
    assert (exits["model"], exits["family"]) == ("baselines: other", "exits")
    assert (float(exits["accuracy"]), float(exits["gmacs_mean"])) == (0.9, 2.0)
    assert (float(exits["ms_p95"]), exits["is_on_front"], exits["num_clips"]) == (20.0, "1", "100")


def test_the_picture_has_a_mark_a_point_inside_its_borders(one: Path, other: Path) -> None:
    root = ElementTree.fromstring(svg_of(read_curves([one, other])))
    marks = [path for path in root.iter(f"{SVG}path") if path.get("class") == "mark"]
    assert len(marks) == 5
    for mark in marks:
        x, y = (mark.get("d") or "").lstrip("M").split("m")[0].split()
        assert 70 <= float(x) <= 560
        assert 50 <= float(y) <= 440
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"baselines: one", "baselines: other", "dense", "exits when sure"} <= set(words)
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "front"]) == 1


def test_no_two_families_look_alike() -> None:
    """By the mark alone: in the legend it covers most of the line."""
    families = ("policy", "exits", "static", "uniform", "random", "dense")
    marks = tuple(
        Mark(name=family, family=family, accuracy=0.5, gmacs=1.0 + i)
        for i, family in enumerate(families)
    )
    curve = Curve(label="one", measured_on="test", num_clips=9, machine="cpu", marks=marks)
    root = ElementTree.fromstring(svg_of([curve]))
    shapes = {
        ((mark.get("d") or "").split("m", 1)[1], mark.get("fill"))
        for mark in root.iter(f"{SVG}path")
        if mark.get("class") == "mark"
    }
    assert len(shapes) == len(families)


def test_dearer_is_further_right_and_better_is_higher(one: Path) -> None:
    root = ElementTree.fromstring(svg_of(read_curves([one])))
    places = {}
    for mark in root.iter(f"{SVG}path"):
        title = mark.find(f"{SVG}title")
        if title is not None and title.text is not None:
            x, y = (mark.get("d") or "").lstrip("M").split("m")[0].split()
            places[title.text.split(":")[0]] = (float(x), float(y))
    assert places["random 2"][0] < places["uniform 2"][0] < places["dense 16"][0]
    assert places["random 2"][1] < places["dense 16"][1] < places["uniform 2"][1]


def test_slower_is_further_right_where_time_is_drawn() -> None:
    marks = tuple(
        Mark(name=name, family="uniform", accuracy=0.5, gmacs=gmacs, p50_ms=ms)
        for name, gmacs, ms in (("slow", 1.0, 9.0), ("quick", 2.0, 3.0), ("never timed", 3.0, None))
    )
    curve = Curve(label="one", measured_on="test", num_clips=9, machine="cpu", marks=marks)
    root = ElementTree.fromstring(svg_of([curve], by="ms"))
    places = {}
    for mark in root.iter(f"{SVG}path"):
        title = mark.find(f"{SVG}title")
        if title is not None and title.text is not None:
            place = (mark.get("d") or "").lstrip("M").split("m")[0].split()
            places[title.text.split(":")[0]] = float(place[0])
    assert set(places) == {"slow", "quick"}
    assert places["quick"] < places["slow"]
    assert not [path for path in root.iter(f"{SVG}path") if path.get("class") == "front"]


@pytest.mark.parametrize(("accuracy", "gmacs"), [(1.0, 2.0), (0.0, 2.0), (0.5, 0.0), (0.5, 1e-9)])
def test_any_figures_can_be_drawn_and_no_name_breaks_the_picture(
    accuracy: float, gmacs: float
) -> None:
    mark = Mark(name='<script>"&', family="policy", accuracy=accuracy, gmacs=gmacs)
    curve = Curve(label="</svg><b>", measured_on="&", num_clips=1, machine="\x1b", marks=(mark,))
    root = ElementTree.fromstring(svg_of([curve]))
    assert not list(root.iter(f"{SVG}script"))
    assert "nan" not in svg_of([curve])


def test_the_same_picture_as_png(one: Path, tmp_path: Path) -> None:
    draw_png(read_curves([one]), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', "[" * 100_000])
def test_what_is_no_evaluation_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(CurveError, match=r"this is no evaluation\.json") as refused:
        read_curves([tmp_path])
    assert "\n" not in str(refused.value)


def test_what_holds_no_curve_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurveError, match="holds no curve"):
        read_curves([Path(str(write_colour_bundle(tmp_path / "bare.foveal").path))])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurveError, match="neither"):
        read_curves([tmp_path / "empty"])
    with pytest.raises(CurveError, match="No such file"):
        read_curves([tmp_path / "absent.json"])
    with pytest.raises(BundleMissingError):
        read_curves([tmp_path / "absent.foveal"])
