"""What is shown where and when: decided for a whole set before a single pixel is drawn.

Letters: N samples, T pictures of a sample (before repeats), K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foveal.haystack import sprites
from foveal.haystack.draws import Draws, Flags, Floats, Integers
from foveal.haystack.preset import Cue, Preset, Split

_NUM_NUISANCES = 16
"""Different drawings among which those that say nothing are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One object in every picture of every sample.

    Args:
        table: float32 (rows, p, p), what it may look like.
        row: (N,T), how it looks.
        top: (N,T) px; what lies beyond an edge is drawn at the other.
        left: (N,T) px.
        gain: (N,T) grey levels; 0 where it is absent.
    """

    table: Floats
    row: Integers
    top: Integers
    left: Integers
    gain: Floats

    @property
    def px(self) -> int:
        """Side of the object."""
        return int(self.table.shape[-1])

    def part(self, start: int, stop: int) -> Layer:
        """Return the layer of samples ``start`` to ``stop`` alone."""
        cut = {name: getattr(self, name)[start:stop] for name in ("row", "top", "left", "gain")}
        return replace(self, **cut)

    def boxes(self, size: int) -> Floats:
        """Return (N,T,4): x0, y0, x1, y1 in [0, 1], the larger part where an edge cuts it."""
        sides = [_larger_part(start, self.px, size) for start in (self.left, self.top)]
        (x0, x1), (y0, y1) = sides
        return (np.stack([x0, y0, x1, y1], axis=-1) / size).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All decisions for N samples.

    Args:
        labels: (N,).
        shown: (N,T), the class that each picture shows, also where it only distracts; -1: none.
        contrast: (N,T) grey levels, how strongly.
        evidence: (N,T), whether what it shows is the class of the sample (of the action).
        layers: what to draw.
        spot: the layer whose surroundings are brighter, if any.
        boxes: (N,T,4) around the evidence; nan where it is not to be seen.
    """

    labels: Integers
    shown: Integers
    contrast: Floats
    evidence: Flags
    layers: tuple[Layer, ...]
    spot: Layer | None
    boxes: Floats


def compose(preset: Preset, draws: Draws, split: Split) -> Scene:
    """Decide what the samples of ``draws`` show."""
    labels, shown, evidence = timetable(preset, draws, split)
    low, high = preset.contrast
    contrast = low + (high - low) * draws.uniform("contrast", shown.shape[1])
    contrast = np.where(evidence, contrast, contrast * np.float32(preset.distractor_contrast))
    boxes = np.full((*shown.shape, 4), np.nan, np.float32)
    layers: list[Layer] = []
    spot = None
    first = 0
    for cue, count in preset.classes:
        here = (shown >= first) & (shown < first + count)
        if cue in _CUES and here.any():
            local = np.where(here, shown - first, 0)
            gain = np.where(here, contrast, 0).astype(np.float32)
            drawn = _CUES[cue](preset, draws, local, gain, count)
            layers += drawn
            told = _enclosing([layer.boxes(preset.size) for layer in _telling(cue, drawn, local)])
            boxes = np.where((here & evidence)[..., None], told, boxes)
            if preset.leak or preset.blob:
                main = drawn[0]
                present = (main.gain != 0).astype(np.float32)
                spot = replace(main, gain=present * np.float32(preset.blob))
                layers.append(_leak(preset, main, local, present, count))
        first += count
    layers += _nuisances(preset, draws, shown.shape)
    return Scene(
        labels=labels,
        shown=shown,
        contrast=contrast,
        evidence=evidence,
        layers=tuple(layers),
        spot=spot if preset.blob else None,
        boxes=boxes,
    )


# --- when -----------------------------------------------------------------------------------


def timetable(preset: Preset, draws: Draws, split: Split) -> tuple[Integers, Integers, Flags]:
    """Return labels (N,), the class each picture shows (N,T; -1: none), and if it is evidence."""
    if preset.actions is not None:
        shown = _actions(preset, draws, split)
        is_shown = shown >= 0
        first = is_shown.argmax(axis=1)
        return np.take_along_axis(shown, first[:, None], axis=1)[:, 0], shown, is_shown
    labels = _labels(preset, draws, split, "label")
    num_groups = preset.frames // preset.repeat // preset.group_frames
    least, most = preset.evidence or (num_groups, num_groups)
    rank = draws.order("when", num_groups)
    num_evidence = draws.integers("evidence", least, most)[:, None]
    num_distractors = draws.integers("distractors", *preset.distractors)[:, None]
    evidence = rank < num_evidence
    distracting = ~evidence & (rank < num_evidence + num_distractors)
    num_other = max(1, preset.num_classes - 1)
    shift = draws.integers("distractor class", 1, num_other, num_groups)
    other = (labels[:, None] + shift) % preset.num_classes
    shown = np.where(evidence, labels[:, None], np.where(distracting, other, -1))
    long = preset.group_frames
    return labels, np.repeat(shown, long, axis=1), np.repeat(evidence, long, axis=1)


def _labels(preset: Preset, draws: Draws, split: Split, name: str, *shape: int) -> Integers:
    """Return class numbers (N, *shape) of those that ``split`` holds."""
    num_seen = preset.num_classes - preset.unseen
    holds = preset.test_classes if split == "test" else "seen"
    first = num_seen if holds == "unseen" else 0
    last = num_seen if holds == "seen" else preset.num_classes
    if split != "train" or preset.tail == 1:
        return draws.integers(name, first, last - 1, *shape)
    shares = preset.tail ** -(np.arange(last) / max(1, last - 1))
    border = np.cumsum(shares / shares.sum())[:-1]
    return np.searchsorted(border, draws.uniform(name, *shape), side="right").astype(np.int64)


def _actions(preset: Preset, draws: Draws, split: Split) -> Integers:
    """Return (N,T): equal parts of the clip hold one action each, with gaps around it."""
    assert preset.actions is not None
    num_frames = preset.frames // preset.repeat
    most = preset.actions[1]
    num_actions = draws.integers("actions", *preset.actions)[:, None]
    labels = _labels(preset, draws, split, "label", most)
    part = num_frames // num_actions
    longest = np.minimum(preset.action_frames[1], part - 1)
    shortest = preset.action_frames[0]
    length = shortest + np.floor(
        draws.uniform("action length", most) * (longest - shortest + 1)
    ).astype(np.int64)
    start = np.floor(draws.uniform("action start", most) * (part - length)).astype(np.int64)
    start += part * np.arange(most)
    time = np.arange(num_frames)[None, None, :]
    on = (time >= start[..., None]) & (time < (start + length)[..., None])
    on &= (np.arange(most) < num_actions)[..., None]
    return np.asarray(np.where(on, labels[..., None], -1).max(axis=1), np.int64)


# --- where ----------------------------------------------------------------------------------


def _places(preset: Preset, draws: Draws, name: str, px: int, num: int) -> tuple[Integers, ...]:
    """Return top and left (N, num): where an object of ``px`` stands in each picture."""
    room = preset.size - px + 1
    if preset.place == "jump":
        at = draws.uniform(f"{name}/at", 2, num) * room
    else:
        at = draws.uniform(f"{name}/at", 2, 1) * room
        speed = preset.speed_px if preset.place == "drift" else 0.0
        heading = 2 * np.pi * draws.uniform(f"{name}/heading")[:, None]
        way = np.stack([np.sin(heading), np.cos(heading)], axis=1) * speed
        at = _turned_back(at + way * np.arange(num), room)
    return _whole(at[:, 0], room), _whole(at[:, 1], room)


def _turned_back(at: Floats, room: float) -> Floats:
    """Return ``at`` folded into [0, room]: whoever reaches an edge turns round.

    What starts anywhere in [0, 2 * room) is anywhere at any time, on its way there or back.
    """
    return np.asarray(room - np.abs(at % (2 * room) - room), np.float32)


def _whole(at: Floats, room: int) -> Integers:
    """Return pixels from places in [0, room]; the closed end belongs to the last pixel."""
    return np.minimum(np.floor(at).astype(np.int64), room - 1)


# --- what: one function a cue, from the class shown in each picture to layers ----------------


def _pattern(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    table = sprites.patterns(p.name, count, size_px=p.object_px, cell_px=p.cell_px)
    top, left = _places(p, draws, "object", p.object_px, shown.shape[1])
    return [Layer(table=table, row=shown, top=top, left=left, gain=gain)]


def _shape(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    table = sprites.shapes(p.object_px, count)
    top, left = _places(p, draws, "object", p.object_px, shown.shape[1])
    return [Layer(table=table, row=shown, top=top, left=left, gain=gain)]


def _grating(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    table = sprites.gratings(p, count)
    phase = draws.integers("phase", 0, sprites.NUM_PHASES - 1)[:, None]
    drift = draws.integers("phase drift", 1, 3)[:, None]
    drift = drift * (2 * draws.integers("phase way", 0, 1)[:, None] - 1)
    phase = (phase + drift * np.arange(shown.shape[1])) % sprites.NUM_PHASES
    top, left = _places(p, draws, "object", p.object_px, shown.shape[1])
    row = shown * sprites.NUM_PHASES + phase
    return [Layer(table=table, row=row, top=top, left=left, gain=gain)]


def _any_form(p: Preset, draws: Draws, name: str, num: int) -> tuple[Floats, Integers]:
    """Return large bright forms and one of them for each sample, (N, num)."""
    table = sprites.shapes(p.object_px, len(sprites.FORMS))
    row = draws.integers(name, 0, len(sprites.FORMS) - 1, 1)
    return table, np.repeat(row, num, axis=1)


def _direction(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    num = shown.shape[1]
    table, row = _any_form(p, draws, "form", num)
    at = draws.uniform("mover/at", 2, 1) * p.size
    heading = 2 * np.pi * shown / count
    time = np.arange(num) * p.speed_px
    top = np.floor(at[:, 0] - np.sin(heading) * time).astype(np.int64) % p.size
    left = np.floor(at[:, 1] + np.cos(heading) * time).astype(np.int64) % p.size
    return [Layer(table=table, row=row, top=top, left=left, gain=gain)]


def _axis(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    if count > 3:
        raise ValueError(f"{p.name}: there are three axes to swing along, not {count}")
    num = shown.shape[1]
    table, row = _any_form(p, draws, "form", num)
    room = p.size - p.object_px + 1
    at = draws.uniform("mover/at", 2, 1) * 2 * room
    time = np.arange(num) * p.speed_px
    down = _turned_back(at[:, 0] + time * (shown != 0), room)
    right = _turned_back(at[:, 1] + time * (shown != 1), room)
    layer = Layer(table=table, row=row, top=_whole(down, room), left=_whole(right, room), gain=gain)
    return [layer]


def _mover(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    if count > 4:
        raise ValueError(f"{p.name}: four quarters hold four objects, not {count}")
    num = shown.shape[1]
    table = sprites.shapes(p.object_px, count)
    quarter = draws.order("quarter", 4)
    half = p.size // 2
    room = half - p.object_px + 1
    time = np.arange(num) * p.speed_px
    layers = []
    for label in range(count):
        at = draws.uniform(f"mover/at {label}", 2, 1) * 2 * room
        heading = (0.15 + 0.2 * draws.uniform(f"mover/heading {label}")[:, None]) * np.pi
        moves = time * (shown == label)
        down = _turned_back(at[:, 0] + np.sin(heading) * moves, room)
        right = _turned_back(at[:, 1] + np.cos(heading) * moves, room)
        row_of, column_of = quarter[:, label, None] // 2, quarter[:, label, None] % 2
        layers.append(
            Layer(
                table=table,
                row=np.full(shown.shape, label, np.int64),
                top=_whole(down, room) + half * row_of,
                left=_whole(right, room) + half * column_of,
                gain=gain,
            )
        )
    return layers


def _relation(p: Preset, draws: Draws, shown: Integers, gain: Floats, count: int) -> list[Layer]:
    if count > 4:
        raise ValueError(f"{p.name}: there are four relations, not {count}")
    num = shown.shape[1]
    progress = np.linspace(0, 1, num, dtype=np.float32)[None, :]
    near, far = 0.75 * p.object_px, (p.size - p.object_px) / 3
    kept = near + (far - near) * draws.uniform("apart")[:, None] * np.ones_like(progress)
    closing = far + (near - far) * progress
    opening = near + (far - near) * progress
    passing = far * (1 - 2 * progress)
    half = np.choose(
        shown, [np.broadcast_to(x, kept.shape) for x in (closing, opening, passing)] + [kept]
    )
    angle = 2 * np.pi * draws.uniform("angle")[:, None]
    aside = 0.5 * p.object_px
    room = p.size - p.object_px
    way = 2 * np.pi * draws.uniform("way")[:, None]
    start = (draws.uniform("middle", 2) - 0.5) * 0.2 * room + 0.5 * room
    table = sprites.shapes(p.object_px, len(sprites.FORMS))
    first = draws.integers("form", 0, len(sprites.FORMS) - 1, 1)
    second = (first + draws.integers("other form", 1, len(sprites.FORMS) - 1, 1)) % len(
        sprites.FORMS
    )
    layers = []
    for side, form in ((1, first), (-1, second)):
        down = start[:, :1] + np.sin(way) * p.speed_px * progress
        down = down + side * (half * np.sin(angle) + aside * np.cos(angle))
        right = start[:, 1:] + np.cos(way) * p.speed_px * progress
        right = right + side * (half * np.cos(angle) - aside * np.sin(angle))
        top, left = (np.clip(np.rint(x), 0, room).astype(np.int64) for x in (down, right))
        row = np.repeat(form, num, axis=1)
        layers.append(Layer(table=table, row=row, top=top, left=left, gain=gain))
    return layers


_Drawer = Callable[[Preset, Draws, Integers, Floats, int], list[Layer]]
_CUES: dict[Cue, _Drawer] = {
    "pattern": _pattern,
    "grating": _grating,
    "shape": _shape,
    "direction": _direction,
    "axis": _axis,
    "mover": _mover,
    "relation": _relation,
}
"""A tone is heard, not seen: see sound.py."""


def _telling(cue: Cue, layers: Sequence[Layer], shown: Integers) -> list[Layer]:
    """Return the layers that tell the class: of several objects, the one that moves."""
    if cue != "mover":
        return list(layers)
    return [
        replace(
            layers[0],
            top=np.choose(shown, [layer.top for layer in layers]),
            left=np.choose(shown, [layer.left for layer in layers]),
        )
    ]


def _leak(preset: Preset, main: Layer, shown: Integers, present: Floats, count: int) -> Layer:
    """Return a coarse drawing over ``main`` that says its class, weakly."""
    coarse = sprites.patterns(
        f"{preset.name}/leak", count, size_px=main.px, cell_px=max(1, main.px // 2)
    )
    gain = present * np.float32(preset.leak)
    return replace(main, table=coarse, row=shown, gain=gain)


def _nuisances(preset: Preset, draws: Draws, shape: tuple[int, ...]) -> list[Layer]:
    if not preset.nuisance:
        return []
    table = sprites.patterns(
        f"{preset.name}/nuisance", _NUM_NUISANCES, size_px=preset.nuisance_px, cell_px=2
    )
    at_rest = replace(preset, place="fixed")
    layers = []
    for number in range(preset.nuisance):
        name = f"nuisance {number}"
        top, left = _places(at_rest, draws, name, preset.nuisance_px, shape[1])
        row = np.repeat(draws.integers(f"{name}/row", 0, _NUM_NUISANCES - 1, 1), shape[1], axis=1)
        gain = np.full(shape, preset.contrast[1], np.float32)
        layers.append(Layer(table=table, row=row, top=top, left=left, gain=gain))
    return layers


def _larger_part(start: Integers, px: int, size: int) -> tuple[Integers, Integers]:
    """Return the ends of the larger part of [start, start + px) on a ring of ``size``."""
    beyond = start + px - size
    wraps = beyond > px // 2
    return np.where(wraps, 0, start), np.where(wraps, beyond, np.minimum(start + px, size))


def _enclosing(boxes: Sequence[Floats]) -> Floats:
    """Return the smallest boxes that enclose those of all layers."""
    low = np.minimum.reduce([box[..., :2] for box in boxes])
    high = np.maximum.reduce([box[..., 2:] for box in boxes])
    return np.concatenate([low, high], axis=-1)
