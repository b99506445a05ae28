"""Predictions made by hand, so that what is shown does not depend on decoder or network."""

from __future__ import annotations

from foveal.records import Label, Prediction
from foveal.types import ActionSegments, Answer, ClipInfo, Cost, Event, Trace

STAGES_MS = {"decode": 310.2, "render": 40.1, "decide": 0.33, "compute": 301.0}


def known(start: float, end: float, label: str, prob: float) -> Label:
    return Label(label=label, prob=prob, start_seconds=start, end_seconds=end)


def unknown(start: float, end: float, guess: str, prob: float) -> Label:
    return Label(
        label="nothing it knows",
        prob=prob,
        start_seconds=start,
        end_seconds=end,
        known=False,
        guess=guess,
    )


def prediction(
    *labels: Label,
    path: str = "clips/holiday.mp4",
    model: str = "tagger",
    num_frames: int | None = 1500,
    warnings: tuple[str, ...] = (),
    macs: int = 6_212_000_000,
    closely: tuple[float, ...] = (),
    answer: Answer | None = None,
) -> Prediction:
    look = {"role": "glance", "view": "canvas", "size": [8, 8], "asked": [1.0], "seconds": [1.0]}
    events = [Event("look", look)]
    if closely:
        detail = {"role": "focus", "view": "crop", "asked": closely, "seconds": closely}
        events += [Event("look", detail)] * 2
    return Prediction(
        path=path,
        predictions=labels,
        trace=Trace(tuple(events), 0, False),
        cost=Cost(macs={"net": macs}, frames_decoded=31, frames_used=16, ms=STAGES_MS),
        model=model,
        clip=ClipInfo(
            name=path, duration_seconds=60, num_frames=num_frames, fps=25, height=360, width=640
        ),
        answer=answer or Answer(segments=ActionSegments((), (), (), ())),
        warnings=warnings,
    )
