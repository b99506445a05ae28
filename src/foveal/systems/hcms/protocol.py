"""HCMS: listen at every step, and look (at a frame, at a burst of frames) only where a gate opens.

Source: Weng, Wu, Li, Chen, Jiang, "HCMS: Hierarchical and Conditional Modality Selection for
Efficient Video Recognition", ACM TOMM 2023, arXiv 2104.09760. Three LSTMs are stacked by cost:
sound, appearance, motion. A gate reads the cheaper level and its own level's memory, never what it
is about to pay for. Letters: T steps, M frames of a burst, S samples of a window of sound, A, V, D
features of sound (its last one says that there was none), of a frame and of a burst, d1, d2, d3
widths of the memories, K classes. The card says what is known of the paper and what is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from foveal.sampling.checks import check_folds, check_pass
from foveal.sampling.choose import key_bursts, segment_bursts
from foveal.sampling.confidence import sigmoid, softmax
from foveal.sampling.operating import OperatingPoint
from foveal.sampling.protocol import Steps, answer, call, listen, look, note, plan
from foveal.types import Array, Canvas, ClipInfo, PartSpec, Reference, Sound, TensorSpec

Sense: TypeAlias = Literal["sound", "appearance", "motion"]
SENSES: tuple[Sense, ...] = ("sound", "appearance", "motion")
"""From cheap to dear, as the levels are stacked."""

LISTEN, APPEAR, GATE, MOVE, CLASSIFY = "listen", "appear", "motion_gate", "move", "classifier"
"""The parts, in the order of a step; the gate of appearance is in the first one."""

THETAS = (0.3, 0.5, 0.7, 0.9)
"""At which gates are offered as operating points."""

EXIT_STEPS = 2
"""Steps in a row that must be sure before a sample ends early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """How a window of sound becomes a picture of mel bands over time.

    Args:
        rate: samples a second.
        window: samples of a frame (Hann).
        hop: samples from one frame to the next.
        num_frames: of a picture.
        num_bands: of a picture.
        fft_size: samples the spectrum is taken of, at least ``window``.
        low_hz: where the first band begins.
        high_hz: where the last one ends.

    Raises:
        ValueError: a number is out of range.
    """

    rate: int = 16_000
    window: int = 400
    hop: int = 160
    num_frames: int = 96
    num_bands: int = 64
    fft_size: int = 512
    low_hz: float = 125.0
    high_hz: float = 7500.0

    def __post_init__(self) -> None:
        if min(self.rate, self.hop, self.num_frames, self.num_bands, self.window) < 1:
            raise ValueError(f"sizes must be positive, got {self}")
        if self.fft_size < self.window or not 0 <= self.low_hz < self.high_hz <= self.rate / 2:
            raise ValueError(f"the spectrum must hold the window and the bands, got {self}")

    @property
    def num_samples(self) -> int:
        """S."""
        return (self.num_frames - 1) * self.hop + self.window

    @property
    def view(self) -> Sound:
        """The window around the time of a look."""
        seconds = self.num_samples / self.rate
        return Sound(rate=self.rate, seconds=seconds, lead_seconds=seconds / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What may be looked at and listened to, how wide the levels are, when gates open.

    Args:
        canvas: of every frame.
        num_classes: K.
        num_steps: T.
        burst: M, frames in succession whose differences show motion; the one in the middle shows
            appearance.
        ear: what is heard at every step.
        widths: d1 < d2 < d3.
        networks: ``paper`` is a MobileNetV1 for sound and two ResNet-50, one with temporal shifts;
            ``small`` and ``tiny`` are a few convolutions.
        senses: the ones in use. What is not is never fetched and counts as zeros; a lowest level
            that is not in use overwrites nothing. Baselines of one or two senses, equally wide.
        gates: ``learned``, or ``open`` for everything in use at every step.
        thetas: the gates of appearance and motion open where the probability of opening is above
            these; 0 opens always, 1 never.
        strict: motion opens only where appearance does.
        readout: the classifier reads the last memory, or the ``mean`` of its logits over the steps
            counts.
        num_folds: senses that each leave a part of the training clips out; levels and gates learn
            from what these make of that part. 0: from what the senses make of clips they know.
        several_labels: whether a clip may show several classes; each has its own probability then.
        exit_confidence: end after two steps in a row that are surer than this; not in the paper,
            and not in the training network.
        pass_megapixels: of longer clips bursts begin at keyframes; see
            :func:`foveal.sampling.choose.key_times`.

    Raises:
        ValueError: a number is out of range or a choice unknown.
    """

    canvas: Canvas
    num_classes: int
    num_steps: int = 10
    burst: int = 8
    ear: Ear = Ear()
    widths: tuple[int, int, int] = (64, 512, 1024)
    networks: Literal["paper", "small", "tiny"] = "paper"
    senses: tuple[Sense, ...] = SENSES
    gates: Literal["learned", "open"] = "learned"
    thetas: tuple[float, float] = (0.5, 0.5)
    strict: bool = False
    readout: Literal["last", "mean"] = "last"
    num_folds: int = 0
    several_labels: bool = False
    exit_confidence: float | None = None
    pass_megapixels: float = 200.0

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.num_steps < 1 or self.burst < 2:
            raise ValueError(f"need classes, steps and at least two frames a burst, got {self}")
        if not 0 < self.widths[0] < self.widths[1] < self.widths[2]:
            raise ValueError(f"widths must ascend, got {self.widths}")
        if self.networks not in SIZES:
            raise ValueError(f"networks must be one of {', '.join(SIZES)}, got {self.networks!r}")
        if not self.senses or self.senses != tuple(s for s in SENSES if s in self.senses):
            raise ValueError(f"senses must be some of {SENSES}, in that order, got {self.senses}")
        if self.gates not in ("learned", "open") or self.readout not in ("last", "mean"):
            raise ValueError(f"no such choice: {self.gates!r} or {self.readout!r}")
        if self.gates == "learned" and "sound" not in self.senses:
            raise ValueError("gates are learned from sound: without it they must be open")
        if not all(0 <= theta <= 1 for theta in self.thetas):
            raise ValueError(f"thetas must lie in [0, 1], got {self.thetas}")
        check_folds(self.num_folds)
        if self.exit_confidence is not None and not 0 < self.exit_confidence <= 1:
            raise ValueError(f"exit_confidence must lie in (0, 1], got {self.exit_confidence}")
        check_pass(self.pass_megapixels)

    @property
    def features(self) -> tuple[int, int, int]:
        """A, V and D."""
        return SIZES[self.networks]

    @property
    def middle(self) -> int:
        """The frame of a burst that shows appearance, and in whose middle sound is heard."""
        return self.burst // 2


SIZES: Mapping[str, tuple[int, int, int]] = {
    "paper": (1025, 2048, 2048),
    "small": (65, 64, 64),
    "tiny": (17, 32, 48),
}
"""Features of sound (and whether there is none), of a frame, of a burst, by the networks' name."""


def activitynet(*, num_classes: int = 200) -> Config:
    """Return the setting for ActivityNet: 10 steps, ResNet-50, memories of 64, 512 and 1024."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
    )


def fcvid(*, num_classes: int = 239) -> Config:
    """Return the setting for FCVID: wider memories."""
    return Config(
        canvas=Canvas(height=224, width=224, short_side=256),
        num_classes=num_classes,
        widths=(256, 1024, 2048),
    )


def small(*, num_classes: int = 10, num_steps: int = 6) -> Config:
    """Return a setting for real clips with sound on one CPU thread: bursts of 4 frames of 96 px."""
    return Config(
        canvas=Canvas(height=96, width=96),
        num_classes=num_classes,
        num_steps=num_steps,
        burst=4,
        ear=Ear(fft_size=400),
        widths=(32, 64, 96),
        networks="small",
    )


def tiny(*, num_classes: int = 10) -> Config:
    """Return the scaled-down setting: 7 pairs of frames of 32 px, a quarter second of sound each.

    A clip of Haystack's ``modalities-v1`` has 8 frames, 4 a second: 7 pairs, no two alike.
    """
    return Config(
        canvas=Canvas(height=32, width=32),
        num_classes=num_classes,
        num_steps=7,
        burst=2,
        ear=Ear(
            rate=8000,
            window=200,
            hop=200,
            num_frames=10,
            num_bands=16,
            fft_size=200,
            high_hz=2000.0,
        ),
        widths=(16, 32, 48),
        networks="tiny",
    )


def parts(cfg: Config) -> tuple[PartSpec, ...]:
    """Return the parts: a level each, the gate of motion, and the classifier."""
    picture = (3, cfg.canvas.height, cfg.canvas.width)
    heard, seen, _ = cfg.features
    d1, d2, d3 = cfg.widths
    sound = TensorSpec("sound", (heard,))
    return (
        PartSpec(
            name=LISTEN,
            inputs=(
                TensorSpec("window", (cfg.ear.num_samples,)),
                TensorSpec("h1", (d1,)),
                TensorSpec("c1", (d1,)),
                TensorSpec("h2", (d2,)),
            ),
            outputs=(
                sound,
                TensorSpec("new_h1", (d1,)),
                TensorSpec("new_c1", (d1,)),
                TensorSpec("opens", (1,)),
            ),
        ),
        PartSpec(
            name=APPEAR,
            inputs=(
                TensorSpec("frame", picture, "uint8"),
                sound,
                TensorSpec("h2", (d2,)),
                TensorSpec("c2", (d2,)),
            ),
            outputs=(
                TensorSpec("appearance", (seen,)),
                TensorSpec("new_h2", (d2,)),
                TensorSpec("new_c2", (d2,)),
            ),
        ),
        PartSpec(
            name=GATE,
            inputs=(sound, TensorSpec("h2", (d2,)), TensorSpec("h3", (d3,))),
            outputs=(TensorSpec("opens", (1,)),),
        ),
        PartSpec(
            name=MOVE,
            inputs=(
                TensorSpec("frames", (cfg.burst, *picture), "uint8"),
                sound,
                TensorSpec("appearance", (seen,)),
                TensorSpec("h3", (d3,)),
                TensorSpec("c3", (d3,)),
            ),
            outputs=(TensorSpec("new_h3", (d3,)), TensorSpec("new_c3", (d3,))),
        ),
        PartSpec(
            name=CLASSIFY,
            inputs=(TensorSpec("h3", (d3,)),),
            outputs=(TensorSpec("logits", (cfg.num_classes,)),),
        ),
    )


def reference(cfg: Config) -> Reference | None:
    """Return nothing: no part of it classifies a frame alone."""
    return None


def operating_points(cfg: Config) -> tuple[OperatingPoint, ...]:
    """Return always-on, a few thetas of both gates, and sound alone, all of one set of weights."""
    if cfg.gates == "open":
        return (OperatingPoint(name="always on", family="static"),)
    points = [OperatingPoint(name="always on", family="static", settings={"thetas": (0.0, 0.0)})]
    for theta in THETAS:
        settings = {"thetas": (theta, theta)}
        points.append(OperatingPoint(name=f"theta {theta:g}", family="policy", settings=settings))
    settings = {"thetas": (1.0, 1.0)}
    return (*points, OperatingPoint(name="sound alone", family="static", settings=settings))


State: TypeAlias = tuple[Array, Array]
"""What a level remembers: h and c, float32 (d,)."""


def steps(cfg: Config, context: Mapping[str, Array], clip: ClipInfo) -> Steps:
    """Listen, look where the gates open, and answer after the last step."""
    planned = segment_bursts(clip, num_segments=cfg.num_steps, length=cfg.burst)
    times = key_bursts(clip, planned, length=cfg.burst, pass_megapixels=cfg.pass_megapixels)
    yield from plan(times)
    heard, seen, _ = cfg.features
    first, second, third = (_empty(width) for width in cfg.widths)
    told: list[Array] = []
    opened = [0, 0, 0]

    for k in range(cfg.num_steps):
        burst = times[k * cfg.burst : (k + 1) * cfg.burst]
        now = burst[cfg.middle]
        sound, appearance = np.zeros(heard, np.float32), np.zeros(seen, np.float32)
        is_heard = looks = moves = False

        if "sound" in cfg.senses:
            window = yield from listen(clip, now, cfg.ear.view)
            is_heard = bool(window.any())
            sound, *new, opens = yield from call(LISTEN, window, *first, second[0])
            first = (new[0], new[1])
            looks = cfg.gates == "learned" and is_open(opens, cfg.thetas[0])
        looks = "appearance" in cfg.senses and (looks or cfg.gates == "open")
        second = overwritten(second, first) if "sound" in cfg.senses else second
        if looks:
            frame = yield from look(now, cfg.canvas)
            appearance, *new = yield from call(APPEAR, frame, sound, *second)
            second = (new[0], new[1])

        if "motion" in cfg.senses and cfg.gates == "learned" and (looks or not cfg.strict):
            (opens,) = yield from call(GATE, sound, second[0], third[0])
            moves = is_open(opens, cfg.thetas[1])
        moves = moves or ("motion" in cfg.senses and cfg.gates == "open")
        third = third if cfg.senses == ("motion",) else overwritten(third, second)
        if moves:
            frames = yield from look(burst, cfg.canvas)
            new_h, new_c = yield from call(MOVE, frames, sound, appearance, *third)
            third = (new_h, new_c)

        yield from note(time=now, gates={"sound": is_heard, "appearance": looks, "motion": moves})
        opened = [n + was for n, was in zip(opened, (is_heard, looks, moves), strict=True)]
        if cfg.readout == "mean" or cfg.exit_confidence is not None or k == cfg.num_steps - 1:
            (logits,) = yield from call(CLASSIFY, third[0])
            told.append(logits)
            if is_sure(cfg, told):
                break

    yield from note(text=summary(cfg, opened, len(told) and k + 1))
    yield from answer(probs_of(cfg, told))


def is_open(opens: Array, theta: float) -> bool:
    """Return whether a gate that opens with probability ``opens`` (1,) does at ``theta``."""
    return theta == 0 or bool(opens[0] > theta)


def overwritten(state: State, below: State) -> State:
    """Return ``state`` with its first units those of the level below (equation of LiteEval).

    >>> h, _ = overwritten((np.arange(4.0), np.zeros(4)), (np.array([8.0, 9.0]), np.zeros(2)))
    >>> h.tolist()
    [8.0, 9.0, 2.0, 3.0]
    """
    h, c = (
        np.concatenate([low, own[low.shape[0] :]]) for low, own in zip(below, state, strict=True)
    )
    return h, c


def read(cfg: Config, told: list[Array]) -> Array:
    """Return the logits (K,) that count, of those after each step that was read."""
    return np.mean(told, axis=0) if cfg.readout == "mean" else told[-1]


def probs_of(cfg: Config, told: list[Array]) -> Array:
    """Return the probabilities (K,) that follow: of one class of all, or of each by itself."""
    logits = read(cfg, told)
    return sigmoid(logits) if cfg.several_labels else softmax(logits)


def is_sure(cfg: Config, told: list[Array]) -> bool:
    """Return whether the last two steps were surer than the limit, if there is one."""
    if cfg.exit_confidence is None or len(told) < EXIT_STEPS:
        return False
    ends = range(len(told) - EXIT_STEPS + 1, len(told) + 1)
    return all(probs_of(cfg, told[:end]).max() > cfg.exit_confidence for end in ends)


def summary(cfg: Config, opened: list[int], num_steps: int) -> str:
    """Return one line on what was used, and on what the sound was like."""
    heard, looked, moved = opened
    line = f"looked at a frame in {looked} and at motion in {moved} of {num_steps} steps"
    if "sound" not in cfg.senses:
        return line
    if heard < num_steps:
        return f"{line}; nothing was heard in {num_steps - heard}"
    return line


def _empty(width: int) -> State:
    return np.zeros(width, np.float32), np.zeros(width, np.float32)
