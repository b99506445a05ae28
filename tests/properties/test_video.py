"""Whatever is looked at in whatever order: the right frames, at most the groups' own decode."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.types import Canvas, Look, Plan
from foveal.video import FileSource
from foveal.video.geometry import Orientation, pixel_span
from foveal.video.schedule import Schedule
from tests.helpers_video import FPS, make_clip, read_number

CANVAS = Canvas(height=32, width=64)
NUM_FRAMES = 96
NAMES = ("gop 1.mp4", "gop 5.mp4", "gop 12.mkv", "gop 24 B.mp4", "gop 40.ts", "gop 200 B.mp4")


@cache
def clip(name: str) -> str:
    gop = int(name.split()[1].split(".")[0])
    bf = "3" if "B" in name else "0"
    path = Path(mkdtemp()) / name
    return make_clip(path, num_frames=NUM_FRAMES, gop=gop, options={"bf": bf, "sc_threshold": "0"})


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    threads=st.sampled_from([1, 2]),
    numbers=st.lists(st.integers(0, NUM_FRAMES - 1), min_size=1, max_size=30),
    data=st.data(),
)
def test_any_subset_in_any_order_costs_at_most_its_groups(
    name: str, threads: int, numbers: list[int], data: st.DataObject
) -> None:
    gop = int(name.split()[1].split(".")[0])
    source = FileSource(clip(name), threads=threads)
    source.plan(Plan(times=tuple(number / FPS for number in numbers)))
    order = data.draw(st.permutations(numbers))
    while order:
        count = data.draw(st.integers(1, 4))
        part, order = order[:count], order[count:]
        rows, seconds = source.look(Look(times=tuple(n / FPS for n in part), view=CANVAS))
        assert [read_number(row) for row in rows] == part
        np.testing.assert_allclose(seconds, [n / FPS for n in part], atol=1e-6)
    groups = {number // gop for number in numbers}
    whole = sum(min(gop, NUM_FRAMES - group * gop) for group in groups)
    assert source.meter.frames_decoded <= 1.1 * whole
    assert source.meter.frames_converted == len(set(numbers))
    source.close()


@given(
    order=st.permutations(range(24)),
    reach=st.integers(0, 5),
    times=st.lists(st.integers(-2, 26), min_size=1, max_size=8),
)
def test_a_schedule_wants_exactly_what_is_on_display(
    order: list[int], reach: int, times: list[int]
) -> None:
    shown = sorted(range(24), key=lambda n: (n + order[n] % (reach + 1), n))  # decoding order
    schedule = Schedule(times)
    early: dict[int, bool] = {}
    for place, pts in enumerate(shown):
        schedule.see(pts, min(shown[place:]))  # decoding time: nothing earlier follows
        verdict = schedule.wanted(pts)
        if verdict is not None:
            early[pts] = verdict
    schedule.end()
    last = max(times)
    on_display = {max((n for n in range(24) if n <= t), default=None) for t in times}
    for pts in range(24):
        expected = pts in on_display
        assert early.get(pts, expected) is expected  # a verdict is never taken back
        assert schedule.wanted(pts) is (expected if pts <= last else None)


@given(
    turns=st.integers(0, 3),
    mirrored=st.booleans(),
    edges=st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True),
)
def test_stored_boxes_keep_their_area(turns: int, mirrored: bool, edges: list[float]) -> None:
    x0, x1 = sorted(edges[:2])
    y0, y1 = sorted(edges[2:])
    a0, b0, a1, b1 = Orientation(quarter_turns=turns, mirrored=mirrored).stored_box(
        (x0, y0, x1, y1)
    )
    sides = (a1 - a0, b1 - b0)
    expected = (y1 - y0, x1 - x0) if turns % 2 else (x1 - x0, y1 - y0)
    np.testing.assert_allclose(sides, expected, atol=1e-12)


@given(low=st.floats(0, 1), high=st.floats(0, 1), size=st.integers(1, 400), step=st.integers(1, 4))
def test_pixel_spans_lie_inside_and_touch_as_they_should(
    low: float, high: float, size: int, step: int
) -> None:
    low, high = min(low, high), max(low, high)
    start, length = pixel_span(low, high, size, step)
    assert 0 <= start < start + length <= size
    assert start % step == 0
    cuts = [0.0, low, high, 1.0]
    spans = [pixel_span(a, b, size, step) for a, b in pairwise(cuts) if (b - a) * size >= 2 * step]
    for (first, first_length), (second, _) in pairwise(spans):
        assert first + first_length <= second
