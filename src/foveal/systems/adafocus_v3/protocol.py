"""AdaFocusV3: glance at the clip, answer; place cubes in space-time, look at one after another.

Source: Wang et al., "AdaFocusV3: On Unified Spatial-temporal Dynamic Video Recognition", ECCV 2022,
arXiv 2209.13465 (``cube``); Wang et al., "Uni-AdaFocus: Spatial-temporal Dynamic Computation for
Video Recognition", TPAMI 2024, arXiv 2412.11228 (``region``). Letters: B samples, V candidate
frames, T of them glanced at, S side of the canvas, M cubes, L frames and P side of a cube, G
channels and h side of the glance's map, F width of the fused vector, K classes.

Deviations: no code of AdaFocusV3 is public, so that policy, lattice, length and number of cubes are
ours. Exits go by negative entropy by default (Uni-AdaFocus's released script compares raw logits:
criterion ``max_logit``). A region that is smaller than what it is scaled to reads the nearest pixel
beyond the border; ``border="zero"`` is what was released. The glance's maps leave their part, so
that the policy is paid for only by who goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from foveal.sampling.choose import segment_centres
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint, stops_and_exits
from foveal.sampling.protocol import Steps, answer, call, look, note, plan
from foveal.types import Array, Box, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

GlanceNet: TypeAlias = Literal["mobilenetv2", "small", "tiny"]
FocusNet: TypeAlias = Literal["resnet50", "small", "tiny"]
Place: TypeAlias = Literal["cube", "slot", "region"]
Gradient: TypeAlias = Literal["lattice", "pixel", "global_map"]

GLANCE_WIDTH: Mapping[GlanceNet, int] = {"mobilenetv2": 1280, "small": 16, "tiny": 16}
FOCUS_WIDTH: Mapping[FocusNet, int] = {"resnet50": 2048, "small": 96, "tiny": 64}
SMALL_MAPS: Mapping[GlanceNet, tuple[int, int]] = {"small": (32, 16), "tiny": (16, 8)}
"""Side of the pictures the small glances see, averages of blocks of pixels, and h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, and how wide the networks are.

    Args:
        canvas: square, S px; what the glance sees and cubes are cut from.
        num_classes: K.
        num_frames: V.
        num_glances: T, one from each equal part of the candidates.
        num_cubes: M; 0 answers after the glance alone.
        cube_frames: L, at most V; in ``region`` mode M * L is.
        focus_size: P in px, at most S.
        glance: network that glances.
        focus: network that looks.
        place: ``cube`` places cubes anywhere, at (y, x, t); ``slot`` gives each its time, evenly
            spread, and places it in space alone (T is then a multiple of M); ``region``
            (Uni-AdaFocus) weighs the frames, takes M * L of them from the weights' distribution,
            and a region of any size from each.
        gradient: how the position learns in training: from features of neighbouring cubes
            (``lattice``), from pixels (AdaFocusV2's), or from the glance's own map; ``region``
            knows the last alone.
        lattice: places of the lattice along each axis of space, at least 2.
        shift: temporal shifts in both encoders, over the T frames and over the L of a cube.
        smallest_region: px; sides of regions go from there to S.
        border: what lies beyond the canvas in ``region`` mode.
        temperature: that divides the logits of the frames' weights before frames are taken.
        policy_channels: of the policy's convolutions over maps.
        policy_width: of the memory of ``cube`` and ``slot``.
        time_channels: of the convolutions over time that weigh frames.
        fused_width: F.
        dropout: share of a vector dropped before a classifier, in training.

    Raises:
        ValueError: a size is not positive, the canvas is not square or too small, or choices do
            not go together.
    """

    canvas: Canvas
    num_classes: int
    num_frames: int = 48
    num_glances: int = 16
    num_cubes: int = 6
    cube_frames: int = 3
    focus_size: int = 128
    glance: GlanceNet = "mobilenetv2"
    focus: FocusNet = "resnet50"
    place: Place = "cube"
    gradient: Gradient = "lattice"
    lattice: int = 5
    shift: bool = False
    smallest_region: int = 96
    border: Literal["edge", "zero"] = "edge"
    temperature: float = 1.0
    policy_channels: int = 64
    policy_width: int = 1024
    time_channels: int = 64
    fused_width: int = 4096
    dropout: float = 0.2

    def __post_init__(self) -> None:
        side = self.canvas.width
        if self.canvas.height != side or max(self.focus_size, self.smallest_region) > side:
            raise ValueError(
                f"the canvas must be square and at least {self.focus_size} and "
                f"{self.smallest_region} px wide, got {self.canvas.height}x{side}"
            )
        sizes = (self.num_classes, self.num_frames, self.num_glances, self.cube_frames)
        widths = (self.policy_channels, self.policy_width, self.time_channels, self.fused_width)
        if min(*sizes, *widths, self.focus_size, self.smallest_region) < 1 or self.num_cubes < 0:
            raise ValueError(f"sizes must be positive, got {self}")
        if max(self.num_glances, self.picks) > self.num_frames:
            raise ValueError(
                f"of {self.num_frames} frames at most as many are glanced at or taken, "
                f"got {self.num_glances} and {self.picks}"
            )
        if self.place == "slot" and self.num_cubes and self.num_glances % self.num_cubes:
            raise ValueError(
                f"{self.num_glances} glances do not divide into {self.num_cubes} slots"
            )
        if self.place == "region" and self.gradient != "global_map":
            raise ValueError("regions learn from the glance's map: gradient='global_map'")
        if self.lattice < 2 or not self.temperature > 0 or not 0 <= self.dropout < 1:
            raise ValueError(
                "lattice must be at least 2, temperature positive and dropout in [0, 1), got "
                f"{self.lattice}, {self.temperature} and {self.dropout}"
            )
        if self.shift and f"{self.glance} {self.focus}" != "mobilenetv2 resnet50":
            raise ValueError("temporal shifts need MobileNetV2 and ResNet-50")
        pooled = SMALL_MAPS.get(self.glance, (1, 1))[0]
        if side % pooled:
            raise ValueError(
                f"the {self.glance} glance needs a multiple of {pooled} px, got {side}"
            )

    @property
    def picks(self) -> int:
        """How many frames must be there: those of one cube, or all that are taken."""
        return self.cube_frames * (self.num_cubes if self.place == "region" else 1)

    @property
    def glance_width(self) -> int:
        """G."""
        return GLANCE_WIDTH[self.glance]

    @property
    def map_side(self) -> int:
        """The side h of the glance's map."""
        small = SMALL_MAPS.get(self.glance)
        return -(-self.canvas.width // 32) if small is None else small[1]

    @property
    def glance_heads(self) -> int:
        """How many prefixes of the glance have a head: in ``region`` mode all, else the last."""
        return self.num_glances if self.place == "region" and not self.shift else 1

    @property
    def num_actions(self) -> int:
        """Rows of the policy: cubes, or frames glanced at (one row with ``shift``)."""
        if self.place != "region":
            return self.num_cubes
        return 1 if self.shift else self.num_glances


PAPER_CANVAS = Canvas(height=224, width=224, short_side=256)


def paper(*, num_classes: int = 200, focus_size: int = 128) -> Config:
    """Return our build of AdaFocusV3: six cubes of three frames, ActivityNet."""
    return Config(canvas=PAPER_CANVAS, num_classes=num_classes, focus_size=focus_size)


def paper_uni(*, num_classes: int = 200, focus_size: int = 128) -> Config:
    """Return Uni-AdaFocus, offline variant, 16 of 48 frames: ActivityNet, FCVID, Mini-Kinetics."""
    return Config(
        canvas=PAPER_CANVAS,
        num_classes=num_classes,
        num_cubes=16,
        cube_frames=1,
        focus_size=focus_size,
        place="region",
        gradient="global_map",
        policy_channels=128,
    )


def uni_released(*, num_classes: int = 200, focus_size: int = 128) -> Config:
    """Return the same with zeros beyond the border, as the published weights were trained."""
    cfg = paper_uni(num_classes=num_classes, focus_size=focus_size)
    return replace(cfg, border="zero")


def paper_uni_tsm(
    *, num_classes: int = 174, num_focus_frames: int = 12, focus_size: int = 128
) -> Config:
    """Return Uni-AdaFocus-TSM, 8 + 12 frames: Something-Something and Jester; two exits."""
    return Config(
        canvas=PAPER_CANVAS,
        num_classes=num_classes,
        num_frames=3 * num_focus_frames,
        num_glances=8,
        num_cubes=1,
        cube_frames=num_focus_frames,
        focus_size=focus_size,
        place="region",
        gradient="global_map",
        shift=True,
        policy_channels=128,
        dropout=0.5,
    )


def small(*, num_classes: int = 10, num_frames: int = 16, focus_size: int = 40) -> Config:
    """Return cubes and networks for real clips at 96 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        num_glances=8,
        num_cubes=4,
        cube_frames=2,
        focus_size=focus_size,
        smallest_region=focus_size,
        glance="small",
        focus="small",
        policy_channels=16,
        policy_width=64,
        fused_width=128,
    )


def small_uni(*, num_classes: int = 10, num_frames: int = 16, focus_size: int = 40) -> Config:
    """Return the same with regions: eight of the candidate frames, one after another."""
    cfg = small(num_classes=num_classes, num_frames=num_frames, focus_size=focus_size)
    return replace(
        cfg, num_cubes=8, cube_frames=1, place="region", gradient="global_map", time_channels=16
    )


def tiny(
    *,
    num_classes: int = 8,
    num_frames: int = 8,
    num_glances: int = 4,
    num_cubes: int = 3,
    cube_frames: int = 2,
    focus_size: int = 16,
    place: Place = "cube",
    gradient: Gradient = "lattice",
) -> Config:
    """Return a network for 64 px that one CPU thread trains in minutes."""
    return Config(
        canvas=Canvas(height=64, width=64),
        num_classes=num_classes,
        num_frames=num_frames,
        num_glances=num_glances,
        num_cubes=num_cubes,
        cube_frames=cube_frames,
        focus_size=focus_size,
        smallest_region=focus_size,
        glance="tiny",
        focus="tiny",
        place=place,
        gradient=gradient,
        policy_channels=16,
        policy_width=64,
        time_channels=16,
        fused_width=128,
        dropout=0.0,
    )


# --- the protocol -----------------------------------------------------------------------------


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return what glances and answers, what decides where, and what looks at one cube."""
    side, length = cfg.canvas.width, cfg.cube_frames
    logits = TensorSpec("logits", (cfg.num_classes,))
    fused = (cfg.fused_width,)
    maps = (cfg.num_glances, cfg.glance_width, cfg.map_side, cfg.map_side)
    glance = PartSpec(
        name="glance",
        inputs=(TensorSpec("frames", (cfg.num_glances, 3, side, side), "uint8"),),
        outputs=(logits, TensorSpec("maps", maps), TensorSpec("glanced", fused)),
    )
    if cfg.num_cubes == 0:
        return (glance,)
    decided: tuple[TensorSpec, ...]
    if cfg.place == "region":
        decided = (
            TensorSpec("regions", (cfg.num_actions, 4)),
            TensorSpec("weights", (cfg.num_glances,)),
        )
        where = TensorSpec("regions", (length, 4))
    else:
        decided = (TensorSpec("actions", (cfg.num_actions, 3)),)
        where = TensorSpec("corner", (2,), "int64")
    return (
        glance,
        PartSpec(name="policy", inputs=(TensorSpec("maps", maps),), outputs=decided),
        PartSpec(
            name="focus",
            inputs=(
                TensorSpec("frames", (length, 3, side, side), "uint8"),
                where,
                TensorSpec("glanced", fused),
                TensorSpec("best", fused),
                TensorSpec("prefix", (), "int64"),
            ),
            outputs=(logits, TensorSpec("new_best", fused)),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: no part of it classifies a whole frame at full size."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return stops after so many answers, the glance's being the first, and exits when sure."""
    return stops_and_exits(1 + cfg.num_cubes, criterion="neg_entropy")


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Glance and answer; decide where all cubes go; look at one after another and answer."""
    times = segment_centres(clip.duration_seconds, cfg.num_frames)
    yield from plan(times)
    seen = [times[i] for i in glance_indices(cfg)]
    frames = yield from look(seen, cfg.canvas, role="glance")
    logits, maps, glanced = yield from call("glance", frames)
    yield from answer(softmax(logits), logits=logits)
    if cfg.num_cubes == 0:
        return
    decided = yield from call("policy", maps)
    best = np.zeros(cfg.fused_width, np.float32)  # neutral: the fused vectors are never negative
    for prefix, (indices, where) in enumerate(cubes(cfg, *decided)):
        pixels = yield from look([times[i] for i in indices], cfg.canvas)
        for index, box in zip(indices, boxes_of(cfg, where), strict=True):
            yield from note(time=times[index], box=box)
        logits, best = yield from call(
            "focus", pixels, where, glanced, best, np.asarray(prefix, np.int64)
        )
        yield from answer(softmax(logits), logits=logits)


def glance_indices(cfg: Config) -> tuple[int, ...]:
    """Return which of the candidates are glanced at: the middle of each of T equal parts.

    >>> glance_indices(tiny(num_frames=12, num_glances=4))
    (1, 4, 7, 10)
    """
    count = cfg.num_glances
    return tuple((2 * i + 1) * cfg.num_frames // (2 * count) for i in range(count))


def cubes(cfg: Config, actions: Array, weights: Array | None = None) -> list[tuple[Array, Array]]:
    """Return each cube in its order: indices of its frames (L,), and where in them it is.

    Args:
        cfg: in ``region`` mode frames are taken by ``weights``.
        actions: (M,3), or regions (T,4) or (1,4).
        weights: (T,).

    Returns:
        For each cube int64 (L,), and its corner int64 (2,) in px, (y, x), or regions (L,4).
    """
    if weights is None:
        corners = corners_of(cfg, actions)
        reach = np.arange(cfg.cube_frames)
        return [(corner[2] + reach, corner[:2]) for corner in corners]
    taken = take_frames(weights, num_frames=cfg.num_frames, count=cfg.picks)
    regions = regions_at(actions, taken, num_frames=cfg.num_frames)
    rows = taken.reshape(cfg.num_cubes, cfg.cube_frames)
    return list(zip(rows, regions.reshape(*rows.shape, 4), strict=True))


def corners_of(cfg: Config, actions: Array) -> Array:
    """Return the first corners int64 (M,3) of cubes, (y, x, t) in px and frames, rounded.

    >>> corners_of(tiny(), np.array([[0.0, 0.5, 1.0]])).tolist()
    [[0, 24, 6]]
    """
    way = np.array(ways(cfg), np.float32)
    corners = np.rint(np.clip(actions, 0, 1).astype(np.float32) * way)
    return np.asarray(corners, np.int64)


def ways(cfg: Config) -> tuple[int, int, int]:
    """Return how far a cube can go along y and x, in px, and along t, in frames."""
    side = cfg.canvas.width - cfg.focus_size
    return (side, side, cfg.num_frames - cfg.cube_frames)


def slot_starts(cfg: Config) -> tuple[int, ...]:
    """Return the first frame of the cube in each of M equal parts: it stands in their middle.

    >>> slot_starts(tiny(num_frames=12, num_cubes=3, cube_frames=2, place="cube"))
    (1, 5, 9)
    """
    part = cfg.num_frames / cfg.num_cubes
    most = cfg.num_frames - cfg.cube_frames
    middles = ((m + 0.5) * part - cfg.cube_frames / 2 for m in range(cfg.num_cubes))
    return tuple(min(max(int(middle), 0), most) for middle in middles)


def take_frames(
    weights: Array, *, num_frames: int, count: int, offsets: Array | None = None
) -> Array:
    """Return which frames are taken: equal steps of the distribution that ``weights`` describe.

    Source: arXiv 2412.11228 (inverse of the cumulative distribution, linear within a part of the
    clip). A frame that is taken already gives way to the one after it. Deviation: a weight of
    exactly 0 cannot be divided by, so a tiny one is added to all.

    Args:
        weights: (T,), not negative, one for each equal part of the clip.
        num_frames: V.
        count: of frames to take, at most V.
        offsets: (count,) in [0, 1), where in each step is looked; its middle unless given.

    Returns:
        int64 (count,), strictly ascending, in [0, V).

    >>> take_frames(np.full(4, 0.25), num_frames=12, count=4).tolist()
    [1, 4, 7, 10]
    >>> take_frames(np.array([0.0, 1.0, 0.0]), num_frames=6, count=3).tolist()
    [2, 3, 4]
    """
    share = np.asarray(weights, np.float64) + 1e-12
    heights = np.concatenate([[0.0], np.cumsum(share / share.sum())])
    heights[-1] = 1.0
    place = np.full(count, 0.5) if offsets is None else np.asarray(offsets, np.float64)
    queries = (np.arange(count) + place) / count
    knots = np.linspace(0.0, 1.0, len(heights))
    found = np.floor(np.interp(queries, heights, knots) * num_frames).astype(np.int64)
    for i in range(1, count):
        found[i] = max(found[i], found[i - 1] + 1)
    return np.minimum(found, num_frames - count + np.arange(count))


def regions_at(regions: Array, indices: Array, *, num_frames: int) -> Array:
    """Return the regions float32 (N,4) at frames ``indices`` (N,) of V.

    Those of the frames glanced at, ``regions`` (T,4), stand in the middle of their parts of the
    clip; between them they change linearly, beyond the outer ones not at all.
    """
    count = len(regions)
    place = (np.asarray(indices, np.float64) + 0.5) * count / num_frames - 0.5
    knots = np.arange(count)
    columns = [np.interp(place, knots, regions[:, axis]) for axis in range(regions.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def boxes_of(cfg: Config, where: Array) -> list[Box]:
    """Return the boxes, x0, y0, x1, y1 of the canvas, of a cube's corner (2,) or regions (L,4)."""
    side = cfg.canvas.width
    if where.ndim == 1:
        y, x = (float(c) / side for c in where)
        share = cfg.focus_size / side
        return [(x, y, min(x + share, 1.0), min(y + share, 1.0))] * cfg.cube_frames
    boxes = []
    for y, x, tall, wide in np.clip(where, 0, 1).astype(np.float64):
        height, width = (
            (cfg.smallest_region + (side - cfg.smallest_region) * a) / side for a in (tall, wide)
        )
        top, left = y * (1 - height), x * (1 - width)
        boxes.append((left, top, min(left + width, 1.0), min(top + height, 1.0)))
    return boxes
