"""From a real file to the page: the pictures are the frames the trace names."""

from __future__ import annotations

import base64
import io
from functools import partial

import av
import numpy as np
import pytest

from foveal.engine.executor import Executor, Job
from foveal.explain import page
from foveal.records import Label, Prediction
from foveal.sampling.protocol import answer, look, plan
from foveal.types import Canvas
from foveal.video import open_source
from tests.unit.engine.fakes import FakeRunner
from tests.unit.explain.made import Reader

FPS = 10
CANVAS = Canvas(height=32, width=32, short_side=32)


@pytest.fixture
def greys(tmp_path) -> str:
    """Return a clip whose frame i has the level 5 i all over, with a keyframe every 12."""
    path = str(tmp_path / "greys.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * i, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def looking(times, keyframes, clip):
    yield from plan(times, keyframes=keyframes)
    yield from look(times, CANVAS)
    yield from answer(np.array([0.25, 0.75]))


@pytest.mark.parametrize("keyframes", [False, True])
def test_pictures_are_the_frames_that_were_looked_at(greys, keyframes):
    steps = partial(looking, (0.33, 1.7, 3.05, 4.6), keyframes)
    job = Job(name=greys, open=partial(open_source, greys), steps=steps)
    (outcome,) = Executor(FakeRunner({}), fetch_threads=0).run([job])
    made = Prediction(
        path=greys,
        predictions=(Label(label="grey", prob=0.75, start_seconds=0.0, end_seconds=5.0),),
        trace=outcome.trace,
        cost=outcome.cost,
        model="fake",
        clip=outcome.clip,
        answer=outcome.answer,
    )
    got = Reader(page([made]))
    seconds = outcome.trace.frame_seconds()
    images = got.find("img")
    assert [image.attributes["alt"] for image in images] == [
        f"the frame at {t:.2f} s" for t in seconds
    ]
    for t, image in zip(seconds, images, strict=True):
        jpeg = base64.b64decode(image.attributes["src"].removeprefix("data:image/jpeg;base64,"))
        with av.open(io.BytesIO(jpeg)) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="gray")
        assert abs(float(picture.mean()) - 5 * round(t * FPS)) < 2.5  # half a frame
    assert page([made]) == page([made])


def test_what_the_page_fetches_is_not_on_the_bill(greys):
    steps = partial(looking, (4.6,), False)
    job = Job(name=greys, open=partial(open_source, greys), steps=steps)
    (outcome,) = Executor(FakeRunner({}), fetch_threads=0).run([job])
    before = outcome.cost.to_json()
    made = Prediction(
        path=greys,
        predictions=(),
        trace=outcome.trace,
        cost=outcome.cost,
        model="fake",
        clip=outcome.clip,
        answer=outcome.answer,
    )
    page([made])
    assert made.cost.to_json() == before
    assert made.cost.frames_used == 1
