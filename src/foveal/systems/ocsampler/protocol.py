"""OCSampler: skim all candidate frames at once, keep N of them, classify those once.

Source: Lin, Duan, Chen, Lin and Wang, "OCSampler: Compressing Videos to One Clip with
Single-step Sampling", CVPR 2022, arXiv 2201.04388. The card says what differs and why.
Letters: T candidates, N chosen frames, F frames of the video, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foveal.sampling.checks import check_pass
from foveal.sampling.choose import key_times, top_k_in_order
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call, look, note, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, TensorSpec

SKIM = "skim"
CLASSIFIER = "classifier"

COUNT_MASSES = (0.995, 0.985, 0.975, 0.96, 0.94, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2)
"""Shares of certainty that a budget can be solved for, from dear to cheap."""

NOMINAL_FPS = 25.0
"""Grid on which candidates are placed where a container tells neither frames nor rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, how much of it is kept, and which networks look.

    Args:
        canvas: what both parts are given; the skim network resizes it inside its part.
        num_classes: K.
        num_candidates: T, the frames skimmed.
        num_frames: N, the frames classified; one of ``frame_counts``.
        frame_counts: every N the classifier is exported and counted for, ascending.
        skim_size: px each way of what the skim network sees.
        shift_div: one channel in so many is shifted a frame back, and one a frame ahead.
        networks: ``paper`` is MobileNetV2 and ResNet-50, ``small`` and ``tiny`` a few
            convolutions on grey pictures.
        head: ``shared`` scores sets of any size alike; ``per_count`` keeps a last layer for
            each N up to T.
        offset_seed: of the offsets inside the segments, drawn afresh for every video.
        choose: ``skim`` keeps what the skim network finds salient; ``uniform`` skips it and
            takes candidates at equal distances: what the plain model would look at.
        budget: ``fixed`` keeps N frames of every video; ``video`` lets a head on the skim features
            say how many, N at most.
        count_mass: tau; the fewest frames that suffice with at least this probability, by the head.
            0 takes the number it thinks likeliest.
        pass_megapixels: of longer clips the candidates are keyframes; see
            :func:`foveal.sampling.choose.key_times`.

    Raises:
        ValueError: a number is out of range or a choice unknown.
    """

    canvas: Canvas
    num_classes: int
    num_candidates: int = 10
    num_frames: int = 6
    frame_counts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)
    skim_size: int = 128
    shift_div: int = 10
    networks: Literal["paper", "small", "tiny"] = "paper"
    head: Literal["shared", "per_count"] = "shared"
    offset_seed: int = 255
    choose: Literal["skim", "uniform"] = "skim"
    budget: Literal["fixed", "video"] = "fixed"
    count_mass: float = 0.0
    pass_megapixels: float = 200.0

    def __post_init__(self) -> None:
        counts = self.frame_counts
        if list(counts) != sorted(set(counts)) or not counts or counts[0] < 1:
            raise ValueError(f"frame_counts must be positive and ascend, got {counts}")
        if self.num_frames not in counts:
            raise ValueError(f"num_frames {self.num_frames} must be one of frame_counts {counts}")
        if counts[-1] > self.num_candidates:
            raise ValueError(
                f"num_candidates {self.num_candidates} must be at least {counts[-1]}, the most of "
                f"frame_counts {counts}"
            )
        if min(self.num_classes, self.skim_size, self.shift_div) < 1 or self.offset_seed < 0:
            raise ValueError(f"classes, skim size and shift_div must be positive, got {self}")
        if self.networks not in ("paper", "small", "tiny"):
            raise ValueError(f"networks must be paper, small or tiny, got {self.networks!r}")
        if self.head not in ("shared", "per_count"):
            raise ValueError(f"head must be shared or per_count, got {self.head!r}")
        if self.choose not in ("skim", "uniform"):
            raise ValueError(f"choose must be skim or uniform, got {self.choose!r}")
        if self.budget not in ("fixed", "video"):
            raise ValueError(f"budget must be fixed or video, got {self.budget!r}")
        if not 0 <= self.count_mass <= 1:
            raise ValueError(f"count_mass must be in [0, 1], got {self.count_mass}")
        check_pass(self.pass_megapixels)


def activitynet(*, num_frames: int = 6, num_classes: int = 200) -> Config:
    """Return the paper's setting on ActivityNet: 10 candidates, 224 px, ResNet-50."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=224),
        num_classes=num_classes,
        num_frames=num_frames,
    )


def mini_kinetics(*, num_frames: int = 4, num_classes: int = 200) -> Config:
    """Return the paper's setting on Mini-Kinetics: more channels shifted in time."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=224),
        num_classes=num_classes,
        num_frames=num_frames,
        shift_div=8,
    )


def tiny(*, num_classes: int = 8, num_frames: int = 3) -> Config:
    """Return the scaled-down setting: 10 grey candidates of 32 px, skimmed at 16 px."""
    return Config(
        canvas=Canvas(height=32, width=32),
        num_classes=num_classes,
        num_frames=num_frames,
        frame_counts=tuple(range(1, 11)),
        skim_size=16,
        shift_div=6,
        networks="tiny",
    )


def small(*, num_classes: int = 10, num_frames: int = 3) -> Config:
    """Return a setting for real clips on one CPU thread: 10 candidates of 96 px, skimmed at 48."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_frames=num_frames,
        frame_counts=tuple(range(1, 11)),
        skim_size=48,
        shift_div=8,
        networks="small",
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the two parts: all candidates to a logit each, a set of frames to class logits."""
    picture = (3, cfg.canvas.height, cfg.canvas.width)
    skimmed = [TensorSpec("frame_logits", (cfg.num_candidates,))]
    if cfg.budget == "video":
        skimmed.append(TensorSpec("count_logits", (len(cfg.frame_counts),)))
    return (
        PartSpec(
            name=SKIM,
            inputs=(TensorSpec("candidates", (cfg.num_candidates, *picture), "uint8"),),
            outputs=tuple(skimmed),
        ),
        PartSpec(
            name=CLASSIFIER,
            inputs=(TensorSpec("chosen", ("frames", *picture), "uint8"),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)),),
            axes={"frames": cfg.frame_counts},
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: the classifier scores a set, and no part scores a single frame."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return every number of frames kept, by the skim network and at equal distances.

    Where the video decides how many, shares of certainty take the place of the first.
    """
    points: list[OperatingPoint] = []
    if cfg.budget == "video":
        most = {"num_frames": cfg.num_frames, "choose": "skim"}
        points = [
            OperatingPoint(
                name=f"enough with {100 * mass:g} %",
                family="policy",
                settings={**most, "count_mass": mass},
            )
            for mass in COUNT_MASSES
        ]
    for count in reversed(cfg.frame_counts):
        for choose in ("uniform",) if cfg.budget == "video" else ("skim", "uniform"):
            points.append(
                OperatingPoint(
                    name=f"{'salient' if choose == 'skim' else 'uniform'} {count}",
                    family="policy" if choose == "skim" else "uniform",
                    settings={"num_frames": count, "choose": choose},
                )
            )
    return tuple(points)


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Skim all candidates, keep the N most salient in time order, classify them once."""
    times, keyframes = key_times(
        clip,
        candidate_times(cfg, clip),
        pass_megapixels=cfg.pass_megapixels,
        max_gap=1 / cfg.num_candidates,  # a keyframe in every part
    )
    if cfg.choose == "uniform":
        yield from uniform_steps(cfg, times, keyframes=keyframes)
        return
    yield from plan(times, keyframes=keyframes)
    candidates = yield from look(times, cfg.canvas, role="glance")
    frame_logits, *count_logits = yield from call(SKIM, candidates)

    count = count_of(cfg, count_logits[0]) if count_logits else cfg.num_frames
    chosen = top_k_in_order(frame_logits, count)
    yield from note(
        saliency=softmax(frame_logits),
        chosen=chosen,
        text=f"{count} of {len(times)} candidates kept",
    )

    frames = yield from look([times[i] for i in chosen], cfg.canvas)
    (logits,) = yield from call(CLASSIFIER, frames)
    yield from answer(softmax(logits))


def count_of(cfg: Config, count_logits: Array) -> int:
    """Return how many frames a video gets: one of ``frame_counts``, ``num_frames`` at most.

    >>> cfg = tiny(num_frames=10)
    >>> count_of(cfg, np.log([0.5, 0.1, 0.3, 0.1, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9]))
    1
    >>> from dataclasses import replace
    >>> certain = np.log([0.5, 0.1, 0.3, 0.1, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9])
    >>> count_of(replace(cfg, count_mass=0.8), certain)
    3
    """
    if cfg.count_mass == 0:
        place = int(np.argmax(count_logits))
    else:
        held = np.cumsum(softmax(count_logits))
        # The last digit of a sum must not ask for one more.
        place = int(np.searchsorted(held, cfg.count_mass - 1e-6))
    return min(cfg.frame_counts[min(place, len(cfg.frame_counts) - 1)], cfg.num_frames)


def uniform_steps(cfg: Config, times: tuple[float, ...], *, keyframes: bool) -> Steps:
    """Classify N of the candidates at equal distances; the others are never looked at."""
    chosen = (np.arange(cfg.num_frames) * 2 + 1) * len(times) // (2 * cfg.num_frames)
    kept = tuple(times[i] for i in chosen)
    yield from plan(kept, keyframes=keyframes)
    frames = yield from look(kept, cfg.canvas)
    (logits,) = yield from call(CLASSIFIER, frames)
    yield from answer(softmax(logits))


def candidate_times(cfg: Config, clip: ClipInfo) -> tuple[float, ...]:
    """Return the times (T,) of the candidates: the middle of each candidate's time on display."""
    rate = clip.fps if clip.fps > 0 else NOMINAL_FPS
    num_frames = clip.num_frames or max(round(clip.duration_seconds * rate), 1)
    rng = np.random.RandomState(cfg.offset_seed)
    index = candidate_indices(num_frames, cfg.num_candidates, rng)
    return tuple(float(t) for t in (index + 0.5) * (clip.duration_seconds / num_frames))


def candidate_indices(
    num_frames: int, num_candidates: int, rng: np.random.RandomState, *, start: int = 0
) -> Array:
    """Return one frame index int64 (T,) in 0..F-1 for each of T equal parts of the video.

    The legacy generator is meant: only its stream of numbers is the one the published models
    were tested with (seed 255 for every video) and is frozen by NumPy.

    Args:
        num_frames: F. With F >= 2T, part i holds frames ``i F // T`` to ``(i+1) F // T - 1``
            and one of them is drawn. With T <= F < 2T, indices 0..T-1 are pushed on by one at
            each of F-T places drawn. With F < T, frames follow each other and begin again.
        num_candidates: T.
        rng: gives the offsets.
        start: first index where F < T.

    Raises:
        ValueError: there is no frame or no candidate.

    >>> candidate_indices(3, 5, np.random.RandomState(255)).tolist()
    [0, 1, 2, 0, 1]
    """
    if num_frames < 1 or num_candidates < 1:
        raise ValueError(f"need frames and candidates, got {num_frames} and {num_candidates}")
    grid = np.arange(num_candidates)
    if num_frames < num_candidates:
        return np.asarray((start + grid) % num_frames)
    if num_frames < 2 * num_candidates:
        jumps = np.zeros(num_candidates + 1, np.int64)
        places = rng.choice(num_candidates + 1, num_frames - num_candidates, replace=False)
        jumps[places] = 1
        return np.asarray(grid + np.cumsum(jumps)[:-1])
    edges = np.arange(num_candidates + 1) * num_frames // num_candidates
    return np.asarray(edges[:-1] + rng.randint(np.diff(edges)))
