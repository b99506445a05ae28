from __future__ import annotations

import pytest

from foveal.types import Canvas
from foveal.video.geometry import (
    Orientation,
    canvas_offset,
    displayed_box,
    pixel_span,
    scaled_size,
)

ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "turns", "mirrored"),
    [
        ((ONE, 0, 0, 0, ONE), 0, False),
        ((0, ONE, 0, -ONE, 0), 1, False),
        ((-ONE, 0, 0, 0, -ONE), 2, False),
        ((0, -ONE, 0, ONE, 0), 3, False),
        ((-ONE, 0, 0, 0, ONE), 0, True),
        ((ONE, 0, 0, 0, -ONE), 2, True),
        ((0, ONE, 0, ONE, 0), 3, True),
        ((0, 0, 0, 0, 0), 0, False),
        ((ONE, 100, 0, -100, ONE), 0, False),
    ],
)
def test_display_matrices(matrix: tuple[int, ...], turns: int, mirrored: bool) -> None:
    view = Orientation.of_matrix((*matrix, 0, 0, 0, 1 << 30))
    assert (view.quarter_turns, view.mirrored) == (turns, mirrored)


def test_displayed_size_knows_turns_and_pixel_shape() -> None:
    assert Orientation().displayed_size(720, 576) == (720, 576)
    assert Orientation(pixel_aspect=16 / 9).displayed_size(640, 480) == (1138, 480)
    assert Orientation(pixel_aspect=0.5).displayed_size(640, 480) == (640, 960)
    assert Orientation(quarter_turns=1).displayed_size(720, 576) == (576, 720)


def test_stored_boxes_undo_the_display() -> None:
    corner = (0.0, 0.0, 0.5, 0.25)  # top left as displayed
    assert Orientation().stored_box(corner) == corner
    assert Orientation(mirrored=True).stored_box(corner) == (0.5, 0.0, 1.0, 0.25)
    assert Orientation(quarter_turns=1).stored_box(corner) == (0.0, 0.5, 0.25, 1.0)
    assert Orientation(quarter_turns=2).stored_box(corner) == (0.5, 0.75, 1.0, 1.0)
    assert Orientation(quarter_turns=3).stored_box(corner) == (0.75, 0.0, 1.0, 0.5)


def test_the_canvas_is_the_centre_of_the_scaled_picture() -> None:
    canvas = Canvas(height=224, width=224, short_side=256)
    assert scaled_size(canvas, 1280, 720) == (455, 256)
    assert scaled_size(canvas, 720, 1280) == (256, 455)
    assert canvas_offset(canvas, (455, 256)) == (115, 16)
    box = displayed_box(canvas, 1280, 720, (0.0, 0.0, 1.0, 1.0))
    assert box == pytest.approx((115 / 455, 16 / 256, 339 / 455, 240 / 256))
    whole = Canvas(height=10, width=20)
    assert displayed_box(whole, 7, 5, (0.0, 0.5, 1.0, 1.0)) == (0.0, 0.5, 1.0, 1.0)


def test_pixel_spans_are_never_empty_and_never_outside() -> None:
    assert pixel_span(0.25, 0.75, 100, 2) == (26, 50)
    assert pixel_span(0.999, 1.0, 101, 2) == (100, 1)
    assert pixel_span(0.0, 0.0001, 1, 2) == (0, 1)
    assert pixel_span(0.0, 1.0, 101, 2) == (0, 101)


def test_impossible_orientations_are_refused() -> None:
    with pytest.raises(ValueError, match="quarter turns"):
        Orientation(quarter_turns=4)
    with pytest.raises(ValueError, match="pixel aspect"):
        Orientation(pixel_aspect=0.0)
