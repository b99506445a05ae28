"""Clips, sources and predictions made by hand, and a reader of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np

from foveal.records import Label, Prediction
from foveal.types import (
    ActionSegments,
    Answer,
    Array,
    ClipInfo,
    Cost,
    Event,
    FovealError,
    Look,
    Meter,
    Plan,
    Trace,
)

VOID = {"br", "circle", "img", "input", "link", "meta", "path", "polyline", "rect"}


class MovedError(FovealError):
    kind = "missing"


def moved(path: str) -> PictureSource:
    raise MovedError(f"{path}: there is no such file", hint="check the path")


@dataclass
class PictureSource:
    """Any picture at any time: level of grey by ``level``, or noise that no codec can shrink."""

    info: ClipInfo
    level: Callable[[float], int] | None = None
    late_by: float = 0.0
    breaks_after: float = float("inf")
    meter: Meter = field(default_factory=Meter)
    warnings: Sequence[str] = ()
    closed: int = 0
    looked: list[float] = field(default_factory=list)

    def plan(self, plan: Plan) -> None:
        self.planned = set(plan.times)

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        assert set(look.times) <= self.planned
        if max(look.times) > self.breaks_after:
            raise MovedError("the file is cut off", hint="copy it again")
        self.looked += look.times
        shape = (3, look.view.height, look.view.width)
        rows = [self._picture(t, shape) for t in look.times]
        return np.stack(rows), tuple(t + self.late_by for t in look.times)

    def _picture(self, t: float, shape: tuple[int, ...]) -> Array:
        if self.level is not None:
            return np.full(shape, self.level(t), np.uint8)
        return np.random.default_rng(int(t * 1000)).integers(0, 256, shape, np.uint8)

    def close(self) -> None:
        self.closed += 1


def clip(**changes) -> ClipInfo:
    known = {
        "name": "videos/clip.mp4",
        "duration_seconds": 10.0,
        "num_frames": 250,
        "fps": 25.0,
        "height": 360,
        "width": 640,
        "keyframe_seconds": (0.0, 5.0),
    }
    return ClipInfo(**{**known, **changes})


def looks(times, *, role="glance", size=(224, 224), short_side=None, asked=None) -> Event:
    return Event(
        "look",
        {
            "role": role,
            "view": "canvas",
            "size": list(size),
            "short_side": short_side,
            "asked": list(asked or times),
            "seconds": list(times),
        },
    )


def crops(times, box, *, canvas=(224, 224), short_side=None) -> Event:
    return Event(
        "look",
        {
            "role": "focus",
            "view": "crop",
            "size": [96, 96],
            "box": list(box),
            "canvas_size": list(canvas),
            "short_side": short_side,
            "asked": list(times),
            "seconds": list(times),
        },
    )


def prediction(
    events: Sequence[Event] = (),
    *,
    labels: Sequence[Label] | None = None,
    info: ClipInfo | None = None,
    path: str = "videos/clip.mp4",
    stopped_early: bool = False,
    model: str = "made by hand",
) -> Prediction:
    info = info or clip()
    if labels is None:
        labels = [Label(label="kite", prob=0.8, start_seconds=0.0, end_seconds=10.0)]
    trace = Trace(tuple(events), sum(e.kind == "answer" for e in events) - 1, stopped_early)
    return Prediction(
        path=path,
        predictions=tuple(labels),
        trace=trace,
        cost=Cost(
            macs={"glance": 300_000_000, "focus": 1_200_000_000},
            frames_decoded=40,
            frames_used=len(trace.frame_seconds()),
            packets_read=44,
            bytes_read=1_234_567,
            ms={"decode": 120.0, "render": 20.0, "decide": 1.5, "compute": 58.5},
        ),
        model=model,
        clip=info,
        answer=Answer(
            segments=ActionSegments(
                tuple(p.start_seconds for p in labels),
                tuple(p.end_seconds for p in labels),
                tuple(range(len(labels))),
                tuple(p.prob for p in labels),
            )
        ),
    )


@dataclass
class Tag:
    name: str
    attributes: dict[str, str]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def classes(self) -> set[str]:
        return set((self.attributes.get("class") or "").split())


class Reader(HTMLParser):
    """Every element with its own and its children's text; an unbalanced page fails."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[Tag] = []
        self.open: list[Tag] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {[tag.name for tag in self.open]}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"attribute given twice in <{tag}>: {names}"
        self.tags.append(Tag(tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(self.tags[-1])

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.tags.append(Tag(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data):
        for tag in self.open:
            tag.pieces.append(data)

    def find(self, name: str | None = None, css: str | None = None) -> list[Tag]:
        wanted = set((css or "").split())
        return [t for t in self.tags if name in (None, t.name) and wanted <= t.classes]

    def row(self, name: str) -> str:
        """Return the words of a row of the time line, to know that it is there."""
        (row,) = [t for t in self.find("div", "name") if t.text == name]
        return row.text
