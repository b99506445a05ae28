"""The curve in a manifest: kept as it was measured, refused when it breaks a rule."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.bundle import MAX_POINTS, Bundle, BundleInvalidError
from tests.unit.budget.made import MACHINE, calibration, measured

Spoil = Callable[[Callable[[dict[str, Any]], None]], Path]
CURVE = calibration(measured("all", 0.9, 2.0), measured("one", 0.8, 1.0, family="exits"))


def manifest_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        data: dict[str, Any] = json.loads(archive.read("bundle.json"))
    return data


def test_a_bundle_keeps_its_curve_and_everything_else(toy: Bundle, tmp_path: Path) -> None:
    written = toy.calibrated(tmp_path / "with.foveal", CURVE)
    again = Bundle.open(tmp_path / "with.foveal")
    assert written.manifest == again.manifest
    assert again.manifest.calibration == CURVE
    assert again.manifest.schema == 3
    assert replace(again.manifest, schema=1, calibration=None) == toy.manifest
    again.verify()
    np.testing.assert_array_equal(again.context()["bank"], toy.context()["bank"])
    assert again.fingerprint == toy.fingerprint


def test_a_bundle_takes_its_curve_up_in_place(toy: Bundle) -> None:
    path = Path(str(toy.path))
    toy.calibrated(path, CURVE)
    assert Bundle.open(path).manifest.calibration == CURVE
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_without_a_curve_older_versions_read_it_still(toy: Bundle) -> None:
    manifest = manifest_of(Path(str(toy.path)))
    assert manifest["schema"] == 1
    assert "calibration" not in manifest


def put(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(manifest: dict[str, Any]) -> None:
        *folders, last = key.split(".")
        place: Any = manifest["calibration"]
        for folder in folders:
            place = place[int(folder)] if isinstance(place, list) else place[folder]
        place[last] = value

    return edit


def crowd(manifest: dict[str, Any]) -> None:
    found = manifest["calibration"]
    one = found["points"][0]
    found["points"] = [
        {**one, "point": {**one["point"], "name": f"{i}"}} for i in range(MAX_POINTS + 1)
    ]


def older(manifest: dict[str, Any]) -> None:
    manifest["schema"] = 1


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (put("points.0.accuracy", 1.5), r"points\[0\]: point .all.: accuracy, confidence"),
        (put("points.0.known_from", 1.5), "accuracy, confidence and known_from lie in"),
        (put("points.0.mean_macs", -1), "costs lie between 0 and max_macs"),
        (put("points.0.held_macs", 1e12), "costs lie between 0 and max_macs"),
        (put("points.0.p95_ms", 1.0), "times are out of order"),
        (put("points.0.rows", {"other": 1.0}), "calls parts that are not there"),
        (put("points.0.rows", {"head": -1.0}), "not negative"),
        (put("points.0.point.solve", "max_prob"), "exits were never solved"),
        (put("points.0.point.family", "magic"), "expected one of"),
        (put("points.0.point.name", "a\nb"), "needs a name"),
        (put("points.0.point.exit_rule", {"thresholds": ["x"]}), "thresholds"),
        (put("points.0.point.name", "one"), "'one' appears twice"),
        (put("machine.part_ms", {"tail": 1.0}), "the calibration timed"),
        (put("machine.part_ms", {"head": 0.0}), "must be positive and finite"),
        (put("points", []), "1 to 256 points"),
        (crowd, "1 to 256 points"),
        (older, "calibration needs schema 2, got 1"),
    ],
)
def test_a_curve_that_breaks_a_rule_is_one_line(
    toy: Bundle, spoil: Spoil, edit: Callable[[dict[str, Any]], None], told: str
) -> None:
    assert MACHINE.part_ms.keys() == toy.specs.keys()
    toy.calibrated(Path(str(toy.path)), CURVE)
    with pytest.raises(BundleInvalidError, match=told) as caught:
        Bundle.open(spoil(edit))
    assert "\n" not in str(caught.value)
