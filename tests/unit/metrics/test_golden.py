"""Average precision and hit@k against ActivityNet's own code (scripts/cut_goldens_metrics.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.metrics import Scored, hits_at_k, video_average_precisions

GOLDEN: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "golden/metrics/classification.json").read_text(encoding="utf-8")
)
SETS = ("set0", "set1", "ties0", "ties1")
SMALL = tuple(case for case in GOLDEN if case not in SETS)


def truth(case: str) -> list[tuple[Any, Any]]:
    rows = GOLDEN[case].get("truth", GOLDEN[case].get("gt"))
    return [(video, label) for video, label in rows]


def predictions(case: str) -> list[Scored]:
    rows = GOLDEN[case].get("predictions", GOLDEN[case].get("pred"))
    return [Scored(*row) for row in rows]


def hits(case: str) -> list[list[float]]:
    found = [hits_at_k(truth(case), predictions(case), k=k) for k in (1, 2, 3)]
    return np.transpose(found).tolist()


def by_name(case: str) -> list[float]:
    """Values in alphabetical order of the label, as the golden has them."""
    values = video_average_precisions(truth(case), predictions(case))
    return [values[label] for label in sorted(values, key=str)]


def test_all_cases_are_there() -> None:
    assert set(SETS) < set(GOLDEN)
    assert len(SMALL) == 3


@pytest.mark.parametrize("case", ["set0", "set1"])
def test_sets_without_ties_agree(case: str) -> None:
    np.testing.assert_allclose(by_name(case), GOLDEN[case]["cls_ap"], atol=1e-12)
    assert np.mean(by_name(case)) == pytest.approx(GOLDEN[case]["cls_mAP"][0], abs=1e-12)
    np.testing.assert_allclose(hits(case), GOLDEN[case]["hit"], atol=1e-12)


@pytest.mark.parametrize("case", ["ties0", "ties1"])
def test_ties_go_to_the_later_row_as_with_a_stable_sort(case: str) -> None:
    np.testing.assert_allclose(by_name(case), GOLDEN[case]["cls_ap_stable"], atol=1e-12)
    np.testing.assert_allclose(hits(case), GOLDEN[case]["hit_stable"], atol=1e-12)


@pytest.mark.parametrize("case", SMALL)
def test_small_cases_agree(case: str) -> None:
    values = video_average_precisions(truth(case), predictions(case))
    found = [values[label] for label in GOLDEN[case]["labels"]]
    np.testing.assert_allclose(found, GOLDEN[case]["ap"], atol=1e-12)
    np.testing.assert_allclose(hits(case), GOLDEN[case]["hit"], atol=1e-12)


def test_what_the_golden_sets_are_nasty_about_is_in_them() -> None:
    """A video without predictions, predictions on unknown videos, a label twice on a video."""
    videos = {video for video, _ in truth("set0")}
    predicted = {row.video for row in predictions("set0")}
    assert videos - predicted
    assert predicted - videos
    assert len(set(truth("set0"))) < len(truth("set0"))
    scores = [row.score for row in predictions("ties0")]
    assert len(set(scores)) < len(scores) / 2


def test_a_label_nobody_has_is_left_out_where_the_official_code_ends_with_an_error() -> None:
    rows = [*predictions("set0"), Scored("v000", "Juggling", 1.0)]
    assert video_average_precisions(truth("set0"), rows) == video_average_precisions(
        truth("set0"), predictions("set0")
    )


def test_a_label_without_predictions_has_zero() -> None:
    assert video_average_precisions([("a", "run")], []) == {"run": 0.0}
