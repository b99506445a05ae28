"""Sources that need no file: frames in memory, and stored features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from foveal.types import Array, Canvas, ClipInfo, Crop, Features, Look, Meter, Plan, Sound
from foveal.video.errors import NoSoundError, shown
from foveal.video.planned import check_planned, frame_on_display
from foveal.video.render import render_view


class ArraySource:
    """Frames in memory as a source; frame i is on display from second i / fps on.

    Frames that already have the size of the canvas are taken for canvas pictures and are given
    back untouched, so a clip rendered from a file and its copy in memory have equal pixels.

    Args:
        frames: uint8 (T,3,H,W), RGB, full range.
        fps: frames per second.
        name: what the trace and the record call it.
        sound: float (samples,) in [-1, 1], mono; None for a silent clip.
        sound_rate: its samples per second; goes with ``sound``.

    Raises:
        ValueError: wrong shape, dtype or rate.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8],
        *,
        fps: float,
        name: str = "array",
        sound: Array | None = None,
        sound_rate: int | None = None,
    ) -> None:
        if frames.ndim != 4 or frames.shape[1] != 3 or not len(frames) or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 (T,3,H,W) with T >= 1, got {frames.dtype} {frames.shape}"
            )
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        if (sound is None) != (sound_rate is None) or (sound is not None and sound.ndim != 1):
            raise ValueError("sound must be (samples,) and comes with sound_rate")
        self._frames = frames
        self._fps = fps
        self._sound = sound
        self._sound_rate = sound_rate or 1
        self._planned: set[float] = set()
        self._keyframes = False
        self._pictures: dict[tuple[int, Canvas | Crop], NDArray[np.uint8]] = {}
        self._meter = Meter()
        self._info = ClipInfo(
            name=name,
            duration_seconds=len(frames) / fps,
            num_frames=len(frames),
            fps=fps,
            height=frames.shape[2],
            width=frames.shape[3],
            keyframe_seconds=tuple(i / fps for i in range(len(frames))),
            has_sound=sound is not None,
            container="array",
        )

    @property
    def info(self) -> ClipInfo:
        """What is known of the clip."""
        return self._info

    @property
    def meter(self) -> Meter:
        """What has been spent so far."""
        return self._meter

    @property
    def warnings(self) -> list[str]:
        """Nothing: an array has no surprises."""
        return []

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at."""
        self._planned = set(plan.times)
        self._keyframes = plan.keyframes
        self._pictures = {}

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return the rows asked for and the true timestamp of each.

        Raises:
            ValueError: a time is not in the plan, or the view is of stored features.
            NoSoundError: sound is asked of a silent clip.
        """
        check_planned(look, self._planned)
        view = look.view
        if isinstance(view, Features):
            raise ValueError(f"an array source holds no stored features ({view.name!r} asked)")
        if isinstance(view, Sound):
            return np.stack([self._window(t, view) for t in look.times]), look.times
        places = [
            frame_on_display(
                t, fps=self._fps, num_frames=len(self._frames), keyframes=self._keyframes
            )
            for t in look.times
        ]
        rows = [self._picture(place, view) for place in places]
        return np.stack(rows), tuple(place / self._fps for place in places)

    def close(self) -> None:
        """Let go of the pictures made; safe to call twice."""
        self._pictures = {}

    def _picture(self, place: int, view: Canvas | Crop) -> NDArray[np.uint8]:
        key = (place, view)
        if key not in self._pictures:
            self._pictures[key] = render_view(self._frames[place], view)
            self._meter.frames_converted += 1
        return self._pictures[key]

    def _window(self, seconds: float, view: Sound) -> NDArray[np.float32]:
        if self._sound is None:
            hint = "check ClipInfo.has_sound first, or give the sound too"
            raise NoSoundError(f"{shown(self._info.name)}: has no sound", hint=hint)
        start = seconds - view.lead_seconds
        at = (start + np.arange(view.num_samples) / view.rate) * self._sound_rate
        samples = np.arange(len(self._sound))
        heard = np.interp(at, samples, self._sound, left=0.0, right=0.0)
        return np.clip(heard, -1.0, 1.0).astype(np.float32)


class FeatureSource:
    """Stored features as a source: named arrays of vectors with the second of each.

    Args:
        features: by name, the seconds (T,) ascending and the vectors (T,D).
        duration_seconds: length of the clip they come from.
        name: what the trace and the record call it.

    Raises:
        ValueError: an array has the wrong shape or its seconds do not ascend.
    """

    def __init__(
        self,
        features: Mapping[str, tuple[Array, Array]],
        *,
        duration_seconds: float,
        name: str = "features",
    ) -> None:
        self._features: dict[str, tuple[NDArray[np.float64], NDArray[np.float32]]] = {}
        for key, (seconds, vectors) in features.items():
            times = np.asarray(seconds, np.float64)
            rows = np.asarray(vectors, np.float32)
            if rows.ndim != 2 or times.shape != rows.shape[:1] or not len(rows):
                raise ValueError(
                    f"features {key!r} need seconds (T,) and vectors (T,D) with T >= 1, "
                    f"got {times.shape} and {rows.shape}"
                )
            if np.any(np.diff(times) <= 0):
                raise ValueError(f"features {key!r}: seconds must ascend")
            self._features[key] = (times, rows)
        self._planned: set[float] = set()
        self._meter = Meter()
        longest = max((len(rows) for _, rows in self._features.values()), default=0)
        self._info = ClipInfo(
            name=name,
            duration_seconds=duration_seconds,
            num_frames=longest or None,
            fps=longest / duration_seconds if duration_seconds > 0 else 0.0,
            container="features",
        )

    @property
    def info(self) -> ClipInfo:
        """What is known of the clip."""
        return self._info

    @property
    def meter(self) -> Meter:
        """What has been spent so far: nothing is decoded."""
        return self._meter

    @property
    def warnings(self) -> list[str]:
        """Nothing to warn of."""
        return []

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at."""
        self._planned = set(plan.times)

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return for each time the vector whose time is nearest (ties: the earlier).

        Raises:
            ValueError: a time is not in the plan, or there are no features of that name.
        """
        check_planned(look, self._planned)
        if not isinstance(look.view, Features) or look.view.name not in self._features:
            names = ", ".join(sorted(self._features)) or "none"
            raise ValueError(f"only stored features can be looked at here ({names}): {look.view}")
        times, rows = self._features[look.view.name]
        places = [int(np.argmin(np.abs(times - t))) for t in look.times]
        return rows[places], tuple(float(times[p]) for p in places)

    def close(self) -> None:
        """Nothing to let go of."""
