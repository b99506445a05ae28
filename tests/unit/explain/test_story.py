"""What a trace means for a picture of the frame: places of boxes, whose score, which gate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.explain.story import read, unseen
from foveal.types import Event
from tests.unit.explain.made import clip, crops, looks, prediction


def note(**detail) -> Event:
    return Event("note", detail)


def frames(*events, **kept):
    return read(prediction(events, **kept)).frames


def test_a_stretched_canvas_puts_its_boxes_straight_on_the_frame():
    (frame,) = frames(looks([2.0]), note(box=(0.25, 0.5, 0.5, 1.0)))
    assert frame.boxes == ((0.25, 0.5, 0.5, 1.0),)
    assert frame.seen == ((0.0, 0.0, 1.0, 1.0),)
    assert unseen(frame.seen) == ()


def test_a_centre_cropped_canvas_puts_its_boxes_inside_the_crop():
    # 640x360 scaled to a short side of 270 is 480x270; its centre 240x240 is the canvas.
    (frame,) = frames(looks([2.0], size=(240, 240), short_side=270), note(box=(0.0, 0.5, 0.5, 1.0)))
    left, top, right, bottom = 120 / 480, 15 / 270, 360 / 480, 255 / 270
    assert frame.seen == (pytest.approx((left, top, right, bottom)),)
    assert frame.boxes == (pytest.approx((left, 135 / 270, 240 / 480, bottom)),)
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in unseen(frame.seen)) == pytest.approx(
        1 - (240 * 240) / (480 * 270)
    )


def test_a_portrait_frame_is_cropped_above_and_below():
    info = clip(height=640, width=360)
    (frame,) = frames(looks([2.0], size=(270, 270), short_side=270), info=info)
    assert frame.seen == (pytest.approx((0.0, 105 / 480, 1.0, 375 / 480)),)


def test_a_crop_from_the_native_frame_saw_nothing_but_its_box():
    (frame,) = frames(crops([2.0], (0.5, 0.0, 1.0, 0.5)))
    assert frame.seen == frame.boxes == ((0.5, 0.0, 1.0, 0.5),)
    assert frame.focused
    assert not frame.glanced


def test_the_canvas_of_the_crop_places_a_box_that_a_note_named_before():
    box = (0.0, 0.0, 0.5, 0.5)
    (frame,) = frames(
        looks([2.0], size=(112, 112)),
        note(time=2.0, box=box),
        crops([2.0], box, canvas=(240, 240), short_side=270),
    )
    assert frame.boxes == (pytest.approx((0.25, 15 / 270, 0.5, 0.5)),)
    assert frame.glanced
    assert frame.focused


def test_a_note_finds_its_frame_by_the_time_that_was_asked_for():
    seen = frames(
        looks([1.96, 3.96], asked=[2.0, 4.0]),
        note(time=4.0, box=(0.0, 0.0, 0.5, 0.5)),
        note(time=2.5, box=(0.0, 0.0, 0.1, 0.1)),
    )
    assert [len(frame.boxes) for frame in seen] == [0, 1]


def test_a_box_noted_before_the_look_is_drawn_on_that_look():
    seen = frames(note(time=4.0, box=(0.0, 0.0, 0.5, 0.5)), looks([4.0]))
    assert seen[0].boxes == ((0.0, 0.0, 0.5, 0.5),)


def test_boxes_of_one_frame_keep_the_order_they_were_decided_in():
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0), (0.2, 0.2, 0.4, 0.4)]
    (frame,) = frames(looks([2.0]), *(note(box=box) for box in boxes), note(box=boxes[0]))
    assert list(frame.boxes) == boxes


def test_heat_lies_on_the_frame_it_names_the_heaviest_cell_first():
    rows = ((0.0, 0.2), (0.8, 0.01))
    seen = frames(looks([1.0, 2.0]), note(time=2.0, heat=rows), note(time=2.0, heat=rows[::-1]))
    assert [len(frame.heats) for frame in seen] == [0, 2]
    first, second = seen[1].heats
    assert first.cells == (
        ((0.0, 0.5, 0.5, 1.0), 1.0),
        ((0.5, 0.0, 1.0, 0.5), 0.25),
    )  # no faint one
    assert second.cells[0] == ((0.0, 0.0, 0.5, 0.5), 1.0)


def test_heat_without_a_time_lies_on_all_frames_just_looked_at():
    seen = frames(looks([0.5]), looks([1.0, 2.0]), note(heat=((1.0,),)))
    assert [len(frame.heats) for frame in seen] == [0, 1, 1]


def test_heat_noted_before_the_look_and_of_a_centre_crop_finds_its_place():
    events = (note(time=2.0, heat=((1.0, 0.0),)), looks([2.0], size=(240, 240), short_side=270))
    (frame,) = frames(*events)
    box, weight = frame.heats[0].cells[0]
    assert box == pytest.approx((120 / 480, 15 / 270, 240 / 480, 255 / 270))
    assert weight == 1.0


def test_a_fine_map_keeps_its_heaviest_cells_and_an_empty_one_none():
    fine = tuple(tuple(1.0 + x + 40 * y for x in range(40)) for y in range(40))
    (frame,) = frames(looks([2.0]), note(heat=fine), note(heat=((0.0, 0.0),)))
    assert len(frame.heats[0].cells) == 100
    assert frame.heats[0].cells[0][0] == pytest.approx((39 / 40, 39 / 40, 1.0, 1.0))
    assert frame.heats[1].cells == ()


def test_scores_and_choices_go_to_the_frames_just_looked_at():
    seen = frames(looks([1.0, 2.0, 3.0]), note(saliency=(0.1, 0.4, 0.2), chosen=(1,)))
    assert [frame.score for frame in seen] == pytest.approx([0.25, 1.0, 0.5])
    assert [frame.chosen for frame in seen] == [False, True, False]


def test_scores_may_be_over_frames_looked_at_one_by_one():
    story = read(prediction([looks([t]) for t in (1.0, 2.0)] + [note(saliency=(1.0, 3.0))]))
    assert story.scores[0].seconds == (1.0, 2.0)


def test_scores_that_fit_no_look_are_not_put_on_frames():
    story = read(prediction([looks([1.0, 2.0]), note(saliency=(0.5,) * 49, chosen=(3, 8))]))
    assert story.scores[0].seconds is None
    assert not any(frame.chosen or frame.score for frame in story.frames)


def test_negative_scores_are_shifted_to_be_drawn():
    seen = frames(looks([1.0, 2.0, 3.0]), note(saliency=(-1.0, 0.0, 1.0)))
    assert [frame.score for frame in seen] == [0.0, 0.5, 1.0]


def test_gates_sound_and_features_keep_their_times():
    sound = {"role": "glance", "view": "sound", "rate": 4, "window_seconds": 0.5}
    stored = {"role": "glance", "view": "features", "name": "clip"}
    story = read(
        prediction(
            [
                Event("look", {**sound, "asked": [1.0], "seconds": [1.0]}),
                note(gates={"picture": True}),
                note(time=3.0, gates={"picture": False}),
                Event("look", {**stored, "asked": [2.0], "seconds": [2.5]}),
                Event("look", {**sound, "lead_seconds": 0.25, "asked": [2.0], "seconds": [2.0]}),
            ]
        )
    )
    assert story.gates == {"picture": ((1.0, True), (3.0, False))}
    assert story.sounds == ((1.0, 1.5), (1.75, 2.25))
    assert story.features == (2.5,)
    assert story.frames == ()


unit = st.floats(0, 1).map(lambda value: round(value, 3))
rectangles = st.tuples(unit, unit, unit, unit).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@given(st.lists(rectangles, max_size=4), unit, unit)
def test_every_point_is_either_seen_or_veiled(seen, x, y):
    def inside(boxes):
        return sum(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes)

    on_edge = any(x in (b[0], b[2]) or y in (b[1], b[3]) for b in seen) or {x, y} & {0, 1}
    if not on_edge:
        assert inside(unseen(seen)) <= 1
        veiled_on_its_edge = any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in unseen(seen))
        assert veiled_on_its_edge == (inside(seen) == 0)
