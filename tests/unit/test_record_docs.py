"""``docs/record.md`` names every key that a record can hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from foveal.api import Comparison
from foveal.cli.recognize import record
from foveal.engine.recorder import Recorder
from foveal.records import Failure, Label, Prediction
from foveal.types import (
    ActionSegments,
    Answer,
    Call,
    Canvas,
    ClipInfo,
    Crop,
    Features,
    Look,
    Meter,
    Note,
    Plan,
    Sound,
    View,
)

DOCS = Path(__file__).parents[2] / "docs" / "record.md"
BOX = (0.0, 0.0, 0.5, 0.5)
CANVAS = Canvas(height=8, width=8, short_side=8)
VIEWS = (
    CANVAS,
    Crop(canvas=CANVAS, box=BOX, height=4, width=4),
    Sound(rate=8000, seconds=1.0, lead_seconds=0.5),
    Features(name="stored"),
)
NOTE = Note(
    time=1.0,
    box=BOX,
    saliency=(0.5,),
    chosen=(0,),
    gates={"sound": True},
    heat=((1.0,),),
    text="so",
    warning="odd",
)
OPEN = ("macs_by_part", "gates")
"""Fields whose keys are names of parts and gates."""


def fullest() -> Prediction:
    """A prediction that has looked through every view, noted everything, answered both ways."""
    recorder = Recorder()
    recorder.planned(Plan(times=(0.0,)))
    for view in VIEWS:
        recorder.looked(Look(times=(0.0,), view=view), np.zeros((1, 1)), (0.0,))
    recorder.called(Call(part="net", inputs=(np.zeros((1, 1)),), rows=1), macs=3, ms=0.1)
    recorder.noted(NOTE)
    answers = (
        Answer(probs=np.array([0.25, 0.75])),
        Answer(segments=ActionSegments((0.0,), (1.0,), (0,), (0.5,))),
    )
    for answer in answers:
        recorder.answered(answer)
    trace = recorder.trace(exit_index=1, stopped_early=False)
    unsure = Label(
        label="?", prob=0.1, start_seconds=0.0, end_seconds=1.0, known=False, guess="jump"
    )
    return Prediction(
        path="a.mp4",
        predictions=(unsure,),
        trace=trace,
        cost=recorder.cost(Meter(), trace),
        model="baselines",
        clip=ClipInfo(name="a.mp4", duration_seconds=1.0),
        answer=answers[0],
        warnings=("odd",),
        operating_point="uniform 2",
    )


def keys(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield key
            if key not in OPEN:
                yield from keys(value)
    elif isinstance(data, list):
        for item in data:
            yield from keys(item)


def test_every_key_of_a_record_is_documented() -> None:
    assert {type(view) for view in VIEWS} == set(get_args(View))
    assert all(getattr(NOTE, field.name) is not None for field in fields(Note))
    made = fullest()
    failed = Failure(path="b.mp4", kind="empty", message="it is empty", hint="copy it again")
    found = {
        *keys(record(Comparison(prediction=made, dense=made, agreement=0.5))),
        *keys(record(failed)),
    }
    assert {"agreement", "lead_seconds", "short_side", "guess", "hint", "time"} <= found
    text = DOCS.read_text(encoding="utf-8")
    quoted = {
        part
        for code in re.findall(r"`([^`]+)`", text)
        for part in re.split(r"[.\[\]]+", code.strip())
    }
    assert found - quoted == set()


def test_a_key_that_is_not_there_would_be_found() -> None:
    assert set(keys({"a": [{"b": {"c": 1}}], "gates": {"x": 1}})) == {"a", "b", "c", "gates"}
