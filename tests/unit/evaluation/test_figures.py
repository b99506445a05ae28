"""From lines to figures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from foveal.evaluation.figures import MAX_MISTAKES, calibration, figures, gather
from foveal.metrics import cooled, expected_calibration_error, fit_temperature
from tests.unit.evaluation.rows import ABOUT, failed, row

NAMES = ("cat", "dog", "fox")


def made(rows: list[dict[str, Any]], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    found = figures(gather(rows, names), about=ABOUT)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_a_small_evaluation_by_hand() -> None:
    found = made(
        [
            row("a", "cat", [0.8, 0.1, 0.1], ms=4, frames=2),
            row("b", "cat", [0.2, 0.5, 0.3], ms=8, frames=4),
            row("c", "dog", [0.1, 0.6, 0.3], ms=12, frames=6),
            failed("d", "dog"),
            failed("e", "fox", kind="truncated"),
        ]
    )
    assert (found["num_clips"], found["num_judged"]) == (5, 3)
    assert found["failed"] == {"empty": 1, "truncated": 1}
    assert found["accuracy"] == {"top1": 0.666667, "top5": None, "mean_class": 0.75}
    assert found["classes"] == [
        {"class": "cat", "num_clips": 2, "accuracy": 0.5, "average_precision": 1.0},
        {"class": "dog", "num_clips": 1, "accuracy": 1.0, "average_precision": 1.0},
    ]
    assert found["mean_average_precision"] == 1.0
    assert found["confusion"] == [
        {"label": "cat", "predicted": "cat", "num_clips": 1},
        {"label": "cat", "predicted": "dog", "num_clips": 1},
        {"label": "dog", "predicted": "dog", "num_clips": 1},
    ]
    assert found["cost"]["frames_used"] == {"mean": 4.0, "p50": 4.0, "p95": 5.8}
    assert found["cost"]["frames_decoded"]["mean"] == 8.0
    assert found["cost"]["ms"] == {"mean": 8.0, "p50": 8.0, "p95": 11.6}
    assert found["cost"]["ms_by_stage"]["decode"] == 4.0
    assert found["views"] == {"num_clips": 1, "num_crops": 1}
    assert found["evidence"] is None
    (mistake,) = found["mistakes"]
    assert mistake == {
        "sample": "b",
        "path": "clips/b",
        "label": "cat",
        "predicted": "dog",
        "prob": 0.5,
        "prob_of_label": 0.2,
    }


def test_top_5_is_said_where_there_are_more_than_five_classes() -> None:
    names = tuple("abcdef")
    rows = [
        row("1", "f", [0.3, 0.2, 0.2, 0.1, 0.1, 0.1]),
        row("2", "e", [0.3, 0.2, 0.2, 0.1, 0.1, 0.1]),
    ]
    assert made(rows, names)["accuracy"]["top5"] == 0.5
    rows = [row("1", "e", [0.3, 0.2, 0.2, 0.2, 0.1])]
    assert made(rows, names[:5])["accuracy"]["top5"] is None


def test_the_curve_ends_clips_at_each_answer_or_at_their_last() -> None:
    found = made(
        [
            row("a", "cat", [0.8, 0.1, 0.1], macs=(10, 20), answers=(1, 0)),
            row("b", "cat", [0.8, 0.1, 0.1], macs=(10,), answers=(0,)),
            row("c", "dog", [0.8, 0.1, 0.1], macs=(10, 20, 30), answers=(1, 0, 0)),
        ]
    )
    assert found["answers"] == [
        {"answer": 0, "accuracy": 0.666667, "macs": 10.0, "ended": 1},
        {"answer": 1, "accuracy": 0.666667, "macs": 23.333, "ended": 1},
        {"answer": 2, "accuracy": 0.666667, "macs": 33.333, "ended": 1},
    ]
    assert found["answers"][-1]["accuracy"] == found["accuracy"]["top1"]


def test_each_half_takes_the_temperature_of_the_other() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)) * 3
    logits[np.arange(60), labels] += 1
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    after = np.empty_like(probs)
    after[::2] = cooled(probs[::2], fit_temperature(probs[1::2], labels[1::2]))
    after[1::2] = cooled(probs[1::2], fit_temperature(probs[::2], labels[::2]))
    found = calibration(probs, labels)
    assert found["error"] == pytest.approx(expected_calibration_error(probs, labels), abs=1e-6)
    assert found["error_after"] == pytest.approx(
        expected_calibration_error(after, labels), abs=1e-6
    )
    assert found["temperature"] == pytest.approx(fit_temperature(probs, labels), abs=1e-6)
    assert found["error_after"] < found["error"]
    assert sum(one["num_clips"] for one in found["bins"]) == 60


def test_one_clip_has_no_other_half() -> None:
    found = made([row("a", "cat", [0.8, 0.1, 0.1])])["calibration"]
    assert found["error"] == 0.2
    assert (found["error_after"], found["bins_after"]) == (None, [])


def test_the_surest_mistakes_come_first_and_are_few() -> None:
    rows = [row(f"{i:02d}", "dog", [0.4 + i / 100, 0.3, 0.3 - i / 100]) for i in range(20)]
    mistakes = made(rows)["mistakes"]
    assert [one["sample"] for one in mistakes] == [f"{i:02d}" for i in range(19, 7, -1)]
    assert len(mistakes) == MAX_MISTAKES


def test_evidence_is_averaged_over_the_clips_that_have_some() -> None:
    seen = {"modality": "picture", "looks": 4, "on_evidence": 3, "chance": 0.2}
    found = made(
        [
            row("a", "cat", [1, 0, 0], evidence={**seen, "box_coverage": 0.5, "box_area": 0.1}),
            row("b", "cat", [1, 0, 0], evidence={**seen, "on_evidence": 0, "chance": 0.4}),
            row("c", "cat", [1, 0, 0], evidence={**seen, "looks": 0, "on_evidence": 0}),
            row("d", "cat", [1, 0, 0]),
        ]
    )["evidence"]
    assert found == {
        "num_clips": 3,
        "found": 0.333333,
        "precision": 0.375,
        "chance": 0.266667,
        "num_boxed": 1,
        "box_coverage": 0.5,
        "box_area": 0.1,
    }


def test_where_clips_show_several_classes_any_of_them_is_right() -> None:
    rows = [
        row("a", "cat", [0.8, 0.7, 0.1], labels=["cat", "dog"]),
        row("b", "dog", [0.6, 0.5, 0.3], labels=["dog"]),
        row("c", "fox", [0.1, 0.2, 0.9], labels=["fox", "dog"]),
    ]
    found = figures(gather(rows, NAMES, several=True), about=ABOUT)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["accuracy"] == {"top1": 0.666667, "top5": None, "mean_class": None}
    assert found["confusion"] is None
    assert found["calibration"] is None
    # Ranked by score: cat a b c, of which a; dog a b c, of which all; fox c b a, of which c.
    assert [one["average_precision"] for one in found["classes"]] == [1.0, 1.0, 1.0]
    assert [one["num_clips"] for one in found["classes"]] == [1, 3, 1]
    assert {one["accuracy"] for one in found["classes"]} == {None}
    (mistake,) = found["mistakes"]
    assert (mistake["sample"], mistake["label"], mistake["predicted"]) == ("b", "dog", "cat")
    assert found["answers"][-1]["accuracy"] == found["accuracy"]["top1"]


def test_a_mistake_names_all_that_a_clip_shows() -> None:
    rows = [row("a", "cat", [0.2, 0.3, 0.9], labels=["cat", "dog"])]
    (mistake,) = figures(gather(rows, NAMES, several=True), about=ABOUT)["mistakes"]
    assert (mistake["label"], mistake["prob_of_label"]) == ("cat | dog", 0.3)
