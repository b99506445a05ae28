"""Confidence distillation: a student scans every clip and says where the teacher can be trusted.

Source: Manzuri Shalmani, Chiang and Zheng, "Efficient Action Recognition Using Confidence
Distillation", ICPR 2022, arXiv 2109.02137. The paper's equations could not be read; the card says
what is reconstructed. Letters: N clips of a video, L frames of a clip, l of them for the student,
K classes, V videos.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from foveal.sampling.checks import check_folds, check_pass
from foveal.sampling.choose import USUAL_FPS, key_bursts, top_k_in_order
from foveal.sampling.confidence import softmax
from foveal.sampling.operating import OperatingPoint, ladder
from foveal.sampling.protocol import Steps, answer, call_rows, look, note, plan
from foveal.sampling.salient import evenly
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, Step, TensorSpec

STUDENT = "student"
TEACHER = "teacher"

Mode: TypeAlias = Literal["topk", "threshold", "student", "uniform"]
"""Which clips the teacher sees.

``topk``: those of highest confidence. ``threshold``: those above ``theta``, at least one.
``student``: none. ``uniform``: clips at equal distances, and no student: what the plain teacher
would look at. The paper's cascade is an exit rule on either of the first two: the student's vote
is an answer, which stops a sample where the criterion ``own``, the video confidence, reaches tau.
"""

Networks: TypeAlias = Literal["paper", "small", "tiny"]

Pool: TypeAlias = Literal["mean", "max"]

TIE_BREAK = 1e-6
"""Weight of the student's largest probability in the order: confidences saturate at 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What is looked at, which clips the teacher gets, and how the two are joined.

    Args:
        canvas: what the teacher sees.
        student_canvas: what the student sees, the same part of the picture with fewer pixels;
            ``None``: the teacher's.
        num_classes: number of classes.
        num_clips: N, none overlapping where the video has frames enough.
        clip_frames: L.
        student_step: the student sees every so-manieth frame of a clip.
        num_chosen: K, clips the teacher sees in the modes with a fixed number, 1..N.
        mode: see :data:`Mode`.
        theta: confidence in [0, 1] above which a clip goes to the teacher, in mode ``threshold``.
        rho: share of the student's vote in the joint answer, in [0, 1].
        weighting: of the teacher's clips in the joint answer: by the student's confidence, or
            all alike.
        networks: ``paper`` is 3D ResNeXt-101 and 3D ShuffleNetV2; ``small`` and ``tiny`` are a few
            convolutions.
        pool: what is taken of a clip's map over the places of a moment, before the mean over time.
            Where few pixels tell the class the mean drowns it.
        dropout: before the teacher's last layer, while training.
        num_folds: teachers that each leave a part of the training videos out; 0: the student is
            taught by the teacher itself.
        pass_megapixels: of longer clips the scanned clips begin at keyframes; see
            :func:`foveal.sampling.choose.key_times`.

    Raises:
        ValueError: a number is out of range or a choice unknown.
    """

    canvas: Canvas
    student_canvas: Canvas | None = None
    num_classes: int
    num_clips: int = 12
    clip_frames: int = 16
    student_step: int = 1
    num_chosen: int = 4
    mode: Mode = "topk"
    theta: float = 0.5
    rho: float = 0.2
    weighting: Literal["confidence", "equal"] = "confidence"
    networks: Networks = "paper"
    pool: Pool = "mean"
    dropout: float = 0.5
    num_folds: int = 2
    pass_megapixels: float = 200.0

    def __post_init__(self) -> None:
        if min(self.num_classes, self.num_clips, self.clip_frames, self.student_step) < 1:
            raise ValueError(f"classes, clips, frames and student_step must be >= 1, got {self}")
        if not 1 <= self.num_chosen <= self.num_clips:
            raise ValueError(
                f"num_chosen must be in 1..{self.num_clips} (num_clips), got {self.num_chosen}"
            )
        check_folds(self.num_folds)
        for name in ("theta", "rho"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        check_pass(self.pass_megapixels)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        choices = {"mode": Mode, "networks": Networks, "pool": Pool}
        for name, choice in choices.items():
            if getattr(self, name) not in get_args(choice):
                raise ValueError(
                    f"{name} must be one of {get_args(choice)}, got {getattr(self, name)!r}"
                )
        if self.weighting not in ("confidence", "equal"):
            raise ValueError(f"weighting must be confidence or equal, got {self.weighting!r}")
        small, large = self.student_view, self.canvas
        if small.height * large.width != small.width * large.height or small.height > large.height:
            raise ValueError(
                f"student_canvas must have the shape of canvas and no more pixels, got "
                f"{small.height}x{small.width} for {large.height}x{large.width}"
            )

    @property
    def student_view(self) -> Canvas:
        """What the student sees a frame through."""
        return self.canvas if self.student_canvas is None else self.student_canvas

    @property
    def student_frames(self) -> int:
        """l: frames of a clip that the student sees."""
        return -(-self.clip_frames // self.student_step)


def paper(*, num_classes: int = 101, num_clips: int = 12) -> Config:
    """Return the setting for UCF101: clips of 16 frames at 112 px, the student every 2nd at 56."""
    return Config(
        canvas=Canvas(height=112, width=112, short_side=128),
        student_canvas=Canvas(height=56, width=56, short_side=64, kernel="area"),
        student_step=2,
        num_classes=num_classes,
        num_clips=num_clips,
    )


def small(*, num_classes: int = 10, num_clips: int = 8) -> Config:
    """Return a setting for real clips on a CPU: 8 clips of 4 frames, 64 px and 32 px."""
    return Config(
        canvas=Canvas(height=64, width=64),
        student_canvas=Canvas(height=32, width=32, kernel="area"),
        student_step=2,
        num_classes=num_classes,
        num_clips=num_clips,
        clip_frames=4,
        num_chosen=min(3, num_clips),
        networks="small",
        dropout=0.2,
    )


def tiny(*, num_classes: int = 10, num_clips: int = 12) -> Config:
    """Return the scaled-down setting: 12 clips of 4 frames of 16 px, the student every 2nd."""
    return Config(
        canvas=Canvas(height=16, width=16),
        student_step=2,
        num_classes=num_classes,
        num_clips=num_clips,
        clip_frames=4,
        num_chosen=min(4, num_clips),
        networks="tiny",
        dropout=0.1,
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the two parts; each takes one clip a row."""
    small, large = cfg.student_view, cfg.canvas
    student = (cfg.student_frames, 3, small.height, small.width)
    teacher = (cfg.clip_frames, 3, large.height, large.width)
    return (
        PartSpec(
            name=STUDENT,
            inputs=(TensorSpec("clip", student, "uint8"),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)), TensorSpec("confidence", (1,))),
        ),
        PartSpec(
            name=TEACHER,
            inputs=(TensorSpec("clip", teacher, "uint8"),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: the teacher scores clips, and no part scores a single frame."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return every number of clips, the cascade, and what they are measured against.

    Mode ``threshold`` has no candidates: its theta means what the confidences of one network say,
    and is solved on calibration clips by :func:`theta_for`.
    """
    counts = ladder(cfg.num_clips)
    points = [
        OperatingPoint(
            name=f"confident {count}",
            family="policy",
            settings={"mode": "topk", "num_chosen": count},
        )
        for count in counts
    ]
    settings = {"mode": "topk", "num_chosen": cfg.num_chosen}
    points.append(OperatingPoint(name="cascade", family="exits", settings=settings, solve="own"))
    points.append(OperatingPoint(name="student", family="static", settings={"mode": "student"}))
    for count in counts:
        points.append(
            OperatingPoint(
                name="dense" if count == cfg.num_clips else f"uniform {count}",
                family="dense" if count == cfg.num_clips else "uniform",
                settings={"mode": "uniform", "num_chosen": count},
            )
        )
    return tuple(points)


# --- one video -------------------------------------------------------------------------------


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Scan all clips with the student, answer with its vote, ask the teacher where it is worth it.

    Only the clips that the student chose are fetched at the teacher's resolution.
    """
    clips = clip_times(cfg, clip)
    yield from plan(t for times in clips for t in times)
    if cfg.mode == "uniform":
        taught = yield from teach(cfg, clips, evenly(len(clips), cfg.num_chosen))
        yield from answer(taught.mean(axis=0))
        return

    seen = [times[:: cfg.student_step] for times in clips]
    frames = yield from look((t for times in seen for t in times), cfg.student_view, role="glance")
    logits, confidence = yield from call_rows(STUDENT, by_clip(frames, len(clips)))
    probs, trust = softmax(logits), confidence[:, 0].astype(np.float64)
    vote = weighted_mean(probs, trust)
    sure = video_confidence(trust, vote, num_chosen=cfg.num_chosen)
    if cfg.mode == "student":
        yield from explain(cfg, trust, np.zeros(0, np.int64), sure)
        yield from answer(vote, sure=sure)
        return
    chosen = choose(cfg, trust, probs)
    yield from explain(cfg, trust, chosen, sure)
    yield from answer(vote, sure=sure)  # the cascade may stop here

    taught = yield from teach(cfg, clips, chosen)
    weights = trust[chosen] if cfg.weighting == "confidence" else np.ones(len(chosen))
    yield from answer((1 - cfg.rho) * weighted_mean(taught, weights) + cfg.rho * vote, sure=sure)


def teach(
    cfg: Config, clips: tuple[tuple[float, ...], ...], chosen: Array
) -> Generator[Step, Any, Array]:
    """Fetch the chosen clips for the teacher; return its probabilities, float64 (chosen,K)."""
    times = [t for i in chosen for t in clips[i]]
    frames = yield from look(times, cfg.canvas)
    (logits,) = yield from call_rows(TEACHER, by_clip(frames, len(chosen)))
    return softmax(logits)


def explain(cfg: Config, trust: Array, chosen: Array, sure: float) -> Steps:
    """Note the confidence over time and the frames of the clips that the teacher is to see."""
    each = cfg.student_frames
    kept = (chosen[:, None] * each + np.arange(each)).ravel()
    told = f"{len(chosen)} for the teacher" if len(chosen) else "none for the teacher"
    yield from note(
        saliency=np.repeat(trust, each),
        chosen=kept,
        text=f"{len(trust)} clips scanned, video confidence {sure:.3f}: {told}",
    )


def clip_times(cfg: Config, clip: ClipInfo) -> tuple[tuple[float, ...], ...]:
    """Return the times of N clips of L frames in succession, each in the middle of its part.

    Clips overlap where there are fewer than N times L frames, and the last frame is repeated
    where there are fewer than L. Of a long video that keyframes cover, each begins at the last
    keyframe before.

    >>> info = ClipInfo(name="clip", duration_seconds=2.0, num_frames=20, fps=10.0)
    >>> cfg = Config(canvas=Canvas(height=8, width=8), num_classes=2, num_clips=2, clip_frames=3,
    ...     num_chosen=1)
    >>> [[round(t, 2) for t in times] for times in clip_times(cfg, info)]
    [[0.35, 0.45, 0.55], [1.35, 1.45, 1.55]]
    """
    fps = clip.fps
    if fps <= 0:
        known = bool(clip.num_frames and clip.duration_seconds)
        fps = (clip.num_frames or 0) / clip.duration_seconds if known else USUAL_FPS
    frames = clip.num_frames or max(1, round(clip.duration_seconds * fps))
    width, length = frames / cfg.num_clips, cfg.clip_frames
    last = max(frames - length, 0)
    starts = [
        min(max(int((i + 0.5) * width - 0.5 * length), 0), last) for i in range(cfg.num_clips)
    ]
    planned = [
        min((min(start + j, frames - 1) + 0.5) / fps, clip.duration_seconds)
        for start in starts
        for j in range(length)
    ]
    times = key_bursts(clip, planned, length=length, pass_megapixels=cfg.pass_megapixels)
    return tuple(times[i : i + length] for i in range(0, len(times), length))


def by_clip(frames: Array, num_clips: int) -> Array:
    """Return frames (clips*L,C,H,W) as clips (clips,L,C,H,W)."""
    return frames.reshape(num_clips, -1, *frames.shape[1:])


# --- the arithmetic of choosing ----------------------------------------------------------------


def weighted_mean(probs: Array, weights: Array) -> Array:
    """Return the mean (K,) of ``probs`` (M,K) by ``weights`` (M,), or the plain one if all are 0.

    >>> weighted_mean(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([3.0, 1.0])).tolist()
    [0.75, 0.25]
    """
    total = weights.sum()
    shares = weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
    return np.asarray(shares @ probs)


def video_confidence(trust: Array, vote: Array, *, num_chosen: int) -> float:
    """Return how sure the student is of a video: mean of its best clips times its best class.

    Args:
        trust: confidence (N,) of each clip.
        vote: (K,), the confidence-weighted mean of its probabilities.
        num_chosen: how many clips count.
    """
    return float(np.sort(trust)[::-1][:num_chosen].mean() * vote.max())


def choose(cfg: Config, trust: Array, probs: Array) -> Array:
    """Return the clips for the teacher, ascending; ties go to the lower index.

    Args:
        cfg: says the mode.
        trust: confidence (N,).
        probs: of the student, (N,K); they only order clips of equal confidence.
    """
    order = trust + TIE_BREAK * probs.max(axis=1)
    if cfg.mode != "threshold":
        return top_k_in_order(order, cfg.num_chosen)
    above = np.flatnonzero(trust > cfg.theta)
    return above if len(above) else top_k_in_order(order, 1)


# --- calibration (stage 4) ---------------------------------------------------------------------


def theta_for(trust: Array, *, num_calls: float) -> float:
    """Return the least theta with which a video costs at most ``num_calls`` in the mean.

    Args:
        trust: confidences (V,N) of calibration clips, of the length that will be used.
        num_calls: of the teacher, in the mean over videos; at least 1, since each video gets one.

    Raises:
        ValueError: fewer than one call.

    >>> theta_for(np.array([[0.1, 0.9], [0.2, 0.8]]), num_calls=1.5)
    0.1
    """
    if num_calls < 1:
        raise ValueError(f"num_calls must be at least 1, got {num_calls}")
    for theta in np.unique(np.concatenate([[0.0], np.clip(trust.ravel(), 0, 1)])):
        calls = np.maximum((trust > theta).sum(axis=1), 1)
        if calls.mean() <= num_calls:
            return float(theta)
    return 1.0
