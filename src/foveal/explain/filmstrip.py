"""The filmstrip: each frame that was looked at, with what was looked at in it."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.explain.markup import clock, count, join, number, text
from foveal.explain.pictures import Pictures, picture_size
from foveal.explain.story import SeenFrame, Story, unseen
from foveal.types import Box, ClipInfo

CROWDS = ((3, "few"), (8, "some"), (20, "several"))
"""How large the cards are, by how many there are."""
HUES = 4
"""Colours that the maps of a frame take in turn."""
HEAT_OPACITY = 0.55
"""Of the heaviest cell of a map."""


def filmstrip(
    shown: Sequence[SeenFrame], pictures: Pictures, *, num_frames: int, clip: ClipInfo
) -> str:
    """Return a card for each of the ``shown`` frames out of ``num_frames`` looked at."""
    width, height = picture_size(clip, 320)
    shape = "portrait" if height > width else "landscape"
    crowd = next((name for most, name in CROWDS if len(shown) <= most), "many")
    cards = join(_card(frame, pictures.uris.get(frame.seconds), clip) for frame in shown)
    notes = []
    if len(shown) < num_frames:
        notes.append(
            f"{len(shown):,} of {count(num_frames, 'frame')} shown, chosen and marked ones first; "
            "every one is on the time line."
        )
    missing = sum(frame.seconds not in pictures.uris for frame in shown)
    if missing:
        which = "The pictures" if missing == len(shown) else count(missing, "picture")
        notes.append(f"{which} could not be shown: {pictures.problem}.")
    if any(unseen(frame.seen) for frame in shown):
        notes.append("Veiled parts of a picture lie outside what it looked at.")
    lines = join(f'<p class="aside">{text(note)}</p>' for note in notes)
    style = f"--shape:{width}/{height}"
    return f'<div class="strip {shape} {crowd}" style="{style}">\n{cards}\n</div>\n{lines}'


def _card(frame: SeenFrame, uri: str | None, clip: ClipInfo) -> str:
    within = clip.duration_seconds
    at = clock(frame.seconds, within=within, decimals=2 if within < 3600 else 1)
    roles = " ".join(
        name
        for name, holds in (
            ("glanced", frame.glanced),
            ("focused", frame.focused),
            ("chosen", frame.chosen),
        )
        if holds
    )
    image = f'<img src="{uri}" alt="the frame at {at}">' if uri else ""
    score = ""
    if frame.score is not None:
        score = (
            f'<div class="score" title="its score">'
            f'<i style="width:{number(100 * frame.score, 1)}%"></i></div>'
        )
    return (
        f'<figure class="shot {roles}"><div class="picture">{image}{_overlay(frame)}</div>{score}'
        f'<figcaption><time>{at}</time><span class="roles">{_chips(frame)}</span></figcaption>'
        "</figure>"
    )


def _chips(frame: SeenFrame) -> str:
    chips = []
    if frame.glanced:
        chips.append('<i class="glance" title="glanced at"></i>')
    if frame.focused:
        chips.append('<i class="focus" title="looked at closely"></i>')
    return "".join(chips) + ("<b>chosen</b>" if frame.chosen else "")


def _overlay(frame: SeenFrame) -> str:
    veils = "".join(_rect(box, "veil") for box in unseen(frame.seen))
    heats = "".join(
        _heat_cell(box, weight, i % HUES)
        for i, heat in enumerate(frame.heats)
        for box, weight in heat.cells
    )
    boxes = "".join(_rect(box, "under") + _rect(box, "box") for box in frame.boxes)
    numbers = ""
    if len(frame.boxes) > 1:
        numbers = "".join(
            f'<text x="{_share(box[0])}" y="{_share(box[1])}" dx="5" dy="13">{i}</text>'
            for i, box in enumerate(frame.boxes, start=1)
        )
    drawn = f"{heats}{veils}{boxes}{numbers}"
    return f'<svg aria-hidden="true">{drawn}</svg>' if drawn else ""


def _rect(box: Box, css: str) -> str:
    x0, y0, x1, y1 = box
    return (
        f'<rect class="{css}" x="{_share(x0)}" y="{_share(y0)}" '
        f'width="{_share(x1 - x0)}" height="{_share(y1 - y0)}"/>'
    )


def _heat_cell(box: Box, weight: float, hue: int) -> str:
    cell = _rect(box, f"heat hue{hue}").removesuffix("/>")
    return f'{cell} opacity="{number(HEAT_OPACITY * weight)}"/>'


def _share(value: float) -> str:
    return f"{number(100 * value)}%"


def key(story: Story) -> str:
    """Return what the colours of the cards mean, as far as they are used."""
    keys = []
    if any(frame.glanced for frame in story.frames):
        keys.append('<span><i class="glance"></i> glanced at</span>')
    if any(frame.focused for frame in story.frames):
        keys.append('<span><i class="focus"></i> looked at closely</span>')
    if any(frame.boxes for frame in story.frames):
        keys.append('<span><i class="boxed"></i> where it looked</span>')
    maps = max((len(frame.heats) for frame in story.frames), default=0)
    if maps:
        colours = "".join(f'<i class="heated hue{i}"></i>' for i in range(min(maps, HUES)))
        keys.append(f"<span>{colours} what it attended to</span>")
    if any(frame.score is not None for frame in story.frames):
        keys.append('<span><i class="scored"></i> its score, by which it chose</span>')
    if any(unseen(frame.seen) for frame in story.frames):
        keys.append('<span><i class="veiled"></i> never looked at</span>')
    return f'<p class="key">{"".join(keys)}</p>\n'
