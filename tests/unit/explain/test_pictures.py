"""Pictures: which frames, how many bytes, and what happens when the file is gone."""

from __future__ import annotations

import base64
import io

import av
import numpy as np
import pytest

from foveal.explain.pictures import (
    LARGE_PX,
    MAX_PICTURES,
    NO_ROOM,
    SMALL_PX,
    encode,
    picture_size,
    select,
    take,
    within_budget,
)
from foveal.explain.story import Heat, SeenFrame
from tests.unit.explain.made import PictureSource, clip, moved

BOX = (0.0, 0.0, 0.5, 0.5)


def frame(seconds, *, focused=False, chosen=False, boxes=(), heats=()):
    return SeenFrame(
        seconds=seconds,
        glanced=not focused,
        focused=focused,
        seen=((0.0, 0.0, 1.0, 1.0),),
        boxes=boxes,
        heats=heats,
        chosen=chosen,
        score=None,
    )


def decoded(jpeg: bytes):
    with av.open(io.BytesIO(jpeg)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_chosen_boxed_and_attended_frames_come_first_then_focused_ones():
    frames = [frame(float(i)) for i in range(500)]
    frames += [frame(600.0 + i, focused=True) for i in range(100)]
    frames += [frame(800.0, chosen=True), frame(801.0, boxes=(BOX,))]
    frames += [frame(802.0, heats=(Heat(cells=((BOX, 1.0),)),))]
    shown = select(frames)
    assert len(shown) == MAX_PICTURES
    assert [f.seconds for f in shown] == sorted(f.seconds for f in shown)
    assert [f.seconds for f in shown[-3:]] == [800.0, 801.0, 802.0]
    assert sum(f.focused and not f.chosen for f in shown) == 100
    # The rest is spread over all the glances, not taken from the start.
    glances = [f.seconds for f in shown if f.seconds < 500]
    assert len(glances) == 17
    assert max(np.diff([0.0, *glances, 499.0])) <= 500 / 17 + 1


def test_too_many_chosen_frames_are_thinned_out_evenly():
    shown = select([frame(float(i), chosen=True) for i in range(240)])
    assert [f.seconds for f in shown] == [2.0 * i + 1 for i in range(120)]


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (341, 255), (0, 0)])
def test_pictures_keep_the_shape_of_the_frame_in_even_pixels(width, height):
    got_width, got_height = picture_size(clip(width=width, height=height), SMALL_PX)
    assert max(got_width, got_height) == SMALL_PX
    assert got_width % 2 == got_height % 2 == 0
    if width:
        assert got_width / got_height == pytest.approx(width / height, rel=0.02)


def test_jpegs_show_the_picture_and_are_the_same_every_time():
    y, x = np.mgrid[0:90, 0:160]
    picture = np.stack([x, y * 2, 255 - x]).astype(np.uint8)
    one, two = encode([picture, picture], quantizer=4)
    assert one == two == encode([picture], quantizer=4)[0]
    assert one.startswith(b"\xff\xd8")
    difference = decoded(one).transpose(2, 0, 1).astype(int) - picture
    assert np.abs(difference).mean() < 4
    assert len(encode([picture], quantizer=31)[0]) < len(one)


def test_quality_falls_and_then_pictures_go_until_the_budget_holds():
    noise = np.random.default_rng(0).integers(0, 256, (8, 3, 90, 160), np.uint8)
    frames = {float(i): picture for i, picture in enumerate(noise)}
    sizes = []
    for budget in (500_000, 60_000, 12_000, 100):
        uris = within_budget(frames, budget)
        sizes.append(sum(map(len, uris.values())))
        assert sizes[-1] <= budget
        assert len(uris) == 8 or budget <= 12_000
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] > 0
    assert sizes[3] == 0


def test_few_pictures_are_large_and_are_read_at_the_exact_times_then_closed():
    source = PictureSource(clip(), level=lambda t: int(t * 20))
    taken = take("clip.mp4", clip(), [1.0, 7.5], budget=200_000, open_source=lambda path: source)
    assert source.looked == [1.0, 7.5]
    assert source.closed == 1
    assert taken.problem is None
    for t, uri in taken.uris.items():
        picture = decoded(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))
        assert picture.shape == (LARGE_PX * 360 // 640, LARGE_PX, 3)
        assert abs(float(picture.mean()) - t * 20) < 3
    assert taken.num_bytes == sum(map(len, taken.uris.values()))


def test_a_file_that_moved_away_gives_no_pictures_and_one_line():
    taken = take("gone.mp4", clip(), [1.0], budget=200_000, open_source=moved)
    assert taken.uris == {}
    assert taken.problem is not None
    assert "gone.mp4" in taken.problem


def test_a_file_that_breaks_half_way_gives_what_came_before():
    source = PictureSource(clip(), breaks_after=3.0)
    taken = take("a.mp4", clip(), [1.0, 2.0, 5.0], budget=200_000, open_source=lambda _: source)
    assert set(taken.uris) == {1.0, 2.0}
    assert taken.problem is not None
    assert "cut off" in taken.problem
    assert source.closed == 1


def test_a_file_that_changed_since_shows_no_wrong_frames():
    source = PictureSource(clip(), late_by=0.02)
    taken = take("a.mp4", clip(), [1.0], budget=200_000, open_source=lambda _: source)
    assert taken.uris == {}
    assert taken.problem is not None
    assert "other frames now" in taken.problem


def test_without_room_nothing_is_opened():
    taken = take("a.mp4", clip(), [1.0], budget=10, open_source=moved)
    assert taken.uris == {}
    assert taken.problem == NO_ROOM
