"""The embedded tagger: which things are in a video and when, from as few frames as will do.

Not from a paper. A glance takes pictures from all over the clip, a stretch ends where the next
picture looks different, the network names one picture of each stretch, and that name holds
for the whole stretch.
Letters: T pictures glanced at, S stretches, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foveal.sampling.choose import glance_times, tag_stretches
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer_segments, call_rows, look, note, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

PART = "classifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How the tagger glances and when a stretch ends.

    Args:
        canvas: what the network sees; square, a multiple of ``thumbnail_size``.
        num_classes: K.
        num_glances: pictures of a short clip.
        glance_seconds: a clip longer than ``num_glances`` of these gets one picture for each,
            up to ``max_glances``.
        max_glances: pictures of a clip of any length; bounds memory.
        pass_megapixels: a clip whose frames have fewer pixels altogether (in millions) is read
            in one pass even where keyframes cover it: that is quick, and exact frames agree
            better with looking at everything.
        max_gap: longest gap between keyframes that cover a clip, as a share of it.
        thumbnail_size: px; pictures are compared at this size.
        max_difference: root mean square of the levels (0 to 255) in which neighbours of one
            stretch may differ.
        max_stretch: pictures in one stretch; bounds how long one look is trusted.

    Raises:
        ValueError: a number is out of range or the canvas does not divide.
    """

    canvas: Canvas
    num_classes: int
    num_glances: int = 16
    glance_seconds: float = 20.0
    max_glances: int = 64
    pass_megapixels: float = 200.0
    max_gap: float = 0.125
    thumbnail_size: int = 16
    max_difference: float = 30.0
    max_stretch: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.num_glances <= self.max_glances:
            raise ValueError(f"need 1 <= num_glances <= max_glances, got {self}")
        if min(self.num_classes, self.thumbnail_size, self.max_stretch) < 1:
            raise ValueError(f"classes, thumbnail and stretch must be >= 1, got {self}")
        if self.canvas.height != self.canvas.width or self.canvas.width % self.thumbnail_size:
            raise ValueError(
                f"the canvas must be square and a multiple of {self.thumbnail_size} px, "
                f"got {self.canvas.height}x{self.canvas.width}"
            )
        if not (self.glance_seconds > 0 and self.max_gap > 0 and self.pass_megapixels >= 0):
            raise ValueError(f"glance_seconds, gap and megapixels must be positive, got {self}")
        if not self.max_difference >= 0:
            raise ValueError(f"max_difference must be >= 0, got {self.max_difference}")


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the one part: a picture to class probabilities."""
    return (
        PartSpec(
            name=PART,
            inputs=(TensorSpec("frames", (3, cfg.canvas.height, cfg.canvas.width), "uint8"),),
            outputs=(TensorSpec("probs", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference:
    """Return the dense run: ``num_glances`` exact frames, all through the network."""
    return Reference(part=PART, canvas=cfg.canvas, num_frames=cfg.num_glances)


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return the one there is: how much a clip needs is for its glance to say."""
    return (OperatingPoint(name="stretches", family="policy"),)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Glance at the clip, cut it into stretches, look at one picture of each, answer."""
    times, keyframes = glance(cfg, clip)
    yield from plan(times, keyframes=keyframes)
    pictures = yield from look(times, cfg.canvas, role="glance")

    difference = neighbour_difference(pictures, size=cfg.thumbnail_size)
    starts = stretch_starts(cfg, difference)
    ends = [*starts[1:], len(times)]
    middles = [(start + end - 1) // 2 for start, end in zip(starts, ends, strict=True)]
    yield from note(
        saliency=(0.0, *difference),
        chosen=middles,
        text=f"{len(starts)} stretch{'' if len(starts) == 1 else 'es'} of similar pictures in "
        f"{len(times)} glances; the score is how far a picture is from the one before",
    )

    chosen = yield from look([times[i] for i in middles], cfg.canvas)
    (probs,) = yield from call_rows(PART, chosen)

    # Encoders set a keyframe where the scene changes, so a stretch begins at its keyframe;
    # with exact frames all that is known is that it begins between two pictures.
    borders = [times[i] if keyframes else (times[i - 1] + times[i]) / 2 for i in starts[1:]]
    end = max(clip.duration_seconds, times[-1])
    yield from answer_segments(tag_stretches(np.array([0.0, *borders, end]), probs))


def glance(cfg: Config, clip: ClipInfo) -> tuple[tuple[float, ...], bool]:
    """Return the ascending times of the glance, and whether they are keyframes."""
    duration = clip.duration_seconds
    count = max(cfg.num_glances, min(math.ceil(duration / cfg.glance_seconds), cfg.max_glances))
    times, keyframes = glance_times(
        clip,
        min(count, clip.num_frames or count),
        pass_megapixels=cfg.pass_megapixels,
        max_gap=cfg.max_gap,
    )
    return tuple(dict.fromkeys(times)), keyframes


def neighbour_difference(pictures: Array, *, size: int) -> Array:
    """Return how much each picture differs from the one before it, (T-1,) in levels.

    Args:
        pictures: uint8 (T,3,H,W) with H and W multiples of ``size``.
        size: pictures are averaged down to this many px each way, then compared.
    """
    num, channels, height, width = pictures.shape
    tall, wide = height // size, width // size
    # Sums of whole numbers, in two short steps: as fast as reading the pixels.
    rows = pictures.reshape(num, channels, size, tall, width).sum(axis=3, dtype=np.uint32)
    cells = rows.reshape(num, channels, size, size, wide).sum(axis=4)
    thumbnails = cells.reshape(num, -1).astype(np.float64) / (tall * wide)
    return np.asarray(np.sqrt(np.mean(np.diff(thumbnails, axis=0) ** 2, axis=1)))


def stretch_starts(cfg: Config, difference: Array) -> list[int]:
    """Return the index of the first picture of every stretch, ascending, starting with 0.

    >>> cfg = Config(canvas=Canvas(height=16, width=16), num_classes=2, max_stretch=3)
    >>> stretch_starts(cfg, np.array([5.0, 40.0, 1.0, 1.0, 1.0]))
    [0, 2, 5]
    """
    starts = [0]
    for index, step in enumerate(difference, start=1):
        if step > cfg.max_difference or index - starts[-1] >= cfg.max_stretch:
            starts.append(index)
    return starts
