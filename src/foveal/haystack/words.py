"""What the classes are called, and sentences about them of which some are true."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.haystack import sprites
from foveal.haystack.draws import Draws
from foveal.haystack.preset import Cue, Preset
from foveal.haystack.sound import tone_hz


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence about a class, and whether it says something true of it."""

    text: str
    relevant: bool


def class_names(preset: Preset) -> tuple[str, ...]:
    """Return the name of each class, in the order of the labels; no two are the same."""
    return tuple(
        _named(preset, cue, number, count)
        for cue, count in preset.classes
        for number in range(count)
    )


_RELATIONS = ("two approach", "two separate", "two pass", "two keep their distance")
_AXES = ("swings sideways", "swings up and down", "swings slantwise")


def _named(preset: Preset, cue: Cue, number: int, count: int) -> str:
    match cue:
        case "pattern":
            return f"pattern {number}"
        case "grating":
            angle, period = sprites.grating_look(preset, number, count)
            return f"stripes {period:g} px wide at {angle:.0f} degrees"
        case "shape":
            form, shade, size = sprites.look_of(number)
            return f"{size} {shade} {form}"
        case "direction":
            return f"heads {360 * number / count:.0f} degrees"
        case "axis":
            return _AXES[number]
        case "mover":
            return f"the {sprites.FORMS[number]} moves"
        case "relation":
            return _RELATIONS[number]
        case "tone":
            return f"tone of {tone_hz(number):.0f} Hz"


_TEMPLATES = (
    "a video of a {}",
    "it shows a {}",
    "somebody filmed a {}",
    "what can be seen here is a {}",
    "look for a {}",
)


def descriptions(preset: Preset) -> tuple[tuple[Sentence, ...], ...]:
    """Return sentences about each class, in an order that does not tell which are relevant.

    Without ``preset.sentences`` the name alone. Else each relevant one names the class or some
    of its words, and each irrelevant one those of another class.
    """
    names = class_names(preset)
    if not preset.sentences:
        return tuple((Sentence(name, True),) for name in names)
    num_relevant = math.ceil(preset.relevant * preset.sentences)
    draws = Draws.of(preset.name, "sentences", count=len(names))
    order = draws.order("order", preset.sentences)
    other = draws.integers("other", 1, max(1, len(names) - 1), preset.sentences)
    return tuple(
        tuple(
            _sentence(names, label, int(rank), int(shift), num_relevant)
            for rank, shift in zip(order[label], other[label], strict=True)
        )
        for label in range(len(names))
    )


def _sentence(
    names: tuple[str, ...], label: int, rank: int, shift: int, num_relevant: int
) -> Sentence:
    relevant = rank < num_relevant
    about = names[label] if relevant else names[(label + shift) % len(names)]
    return Sentence(_TEMPLATES[rank % len(_TEMPLATES)].format(about), relevant)
