"""Whether a look met the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.dataset import Sample
from foveal.evaluation import EvaluationError
from foveal.evaluation.evidence import located, read_truth, truth_of
from foveal.records import Prediction
from foveal.types import Answer, ClipInfo, Cost, Event, Trace

TRUTH: dict[str, Any] = {
    "modality": "picture",
    "fps": 4,
    "evidence_frames": [2, 3],
    "shown": [-1, -1, 5, 5, -1, -1, -1, -1],
    "boxes": [None, None, [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5], None, None, None, None],
}


def prediction(*events: Event) -> Prediction:
    return Prediction(
        path="a.mp4",
        predictions=(),
        trace=Trace(events, 0, False),
        cost=Cost(macs={}),
        model="toy",
        clip=ClipInfo(name="a.mp4", duration_seconds=2.0, num_frames=8, width=64, height=64),
        answer=Answer(probs=np.array([1.0])),
    )


def look(role: str, *frames: int) -> Event:
    seconds = [frame / 4 for frame in frames]
    detail = {"view": "canvas", "size": [64, 64], "short_side": None}
    return Event("look", {"role": role, **detail, "asked": seconds, "seconds": seconds})


def crop(frame: int, *box: float) -> Event:
    detail = {"view": "crop", "size": [8, 8], "canvas_size": [64, 64], "short_side": None}
    at = [frame / 4]
    return Event("look", {"role": "focus", **detail, "box": box, "asked": at, "seconds": at})


def test_close_looks_count_and_glances_do_not() -> None:
    found = located(prediction(look("glance", *range(8)), look("focus", 2, 3, 4)), TRUTH)
    assert found == {"modality": "picture", "chance": 0.25, "looks": 3, "on_evidence": 2}


def test_where_nothing_was_looked_at_closely_every_frame_counts() -> None:
    found = located(prediction(look("glance", *range(0, 8, 2))), TRUTH)
    assert (found["looks"], found["on_evidence"]) == (4, 1)


def test_a_box_is_measured_by_how_much_of_the_evidence_it_holds() -> None:
    looks = (crop(2, 0.75, 0.5, 1.0, 1.0), crop(3, 0.5, 0.5, 1.0, 1.0), crop(7, 0.0, 0.0, 1.0, 1.0))
    found = located(prediction(*looks), TRUTH)
    assert (found["looks"], found["on_evidence"]) == (3, 2)
    assert found["box_coverage"] == pytest.approx((0.5 + 0.0) / 2)
    assert found["box_area"] == pytest.approx((0.125 + 0.25) / 2)


def test_a_glance_in_which_a_box_was_chosen_is_a_close_look() -> None:
    note = Event("note", {"time": 0.5, "box": (0.5, 0.5, 1.0, 1.0)})
    found = located(prediction(look("glance", 0, 1, 2), note), TRUTH)
    assert (found["looks"], found["on_evidence"], found["box_coverage"]) == (1, 1, 1.0)


def test_sound_is_found_by_listening_there() -> None:
    def listen(*seconds: float) -> Event:
        detail = {"view": "sound", "rate": 8000, "window_seconds": 0.25}
        return Event(
            "look", {"role": "focus", **detail, "asked": list(seconds), "seconds": list(seconds)}
        )

    truth = {**TRUTH, "modality": "sound"}
    found = located(prediction(look("focus", 2), listen(0.0, 0.5, 0.75, 1.0)), truth)
    assert (found["looks"], found["on_evidence"]) == (4, 2)


def test_truth_is_read_beside_a_list_and_below_a_folder(tmp_path: Path) -> None:
    split = tmp_path / "test"
    split.mkdir()
    line = (
        '{"file": "x/a.mp4", "modality": "picture", "fps": 4, "evidence_frames": [],'
        ' "shown": [], "boxes": []}\n'
    )
    (split / "truth.jsonl").write_text(line)
    sample = Sample(path=str(split / "x" / "a.mp4"), label=0, where="a")
    stretch = Sample(path=sample.path, label=0, where="a", start_seconds=1.0)
    for data in (tmp_path, split, split / "list.csv"):
        known = read_truth(data)
        found = truth_of(known, sample)
        assert found is not None
        assert found["fps"] == 4
        assert truth_of(known, stretch) is None
    assert read_truth(tmp_path / "other" / "list.csv") == {}
    (split / "truth.jsonl").write_text(line + '{"file": "b.mp4"}\n')
    with pytest.raises(EvaluationError, match=r"truth.jsonl line 2: this tells no truth"):
        read_truth(tmp_path)
