"""The form of a task that everybody can open: a folder of videos for each class."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from foveal.haystack import words
from foveal.haystack.draws import Floats
from foveal.haystack.preset import Preset, Split
from foveal.haystack.sets import MODALITIES, HaystackSet, sample
from foveal.types import FovealError

KEYFRAME_INTERVAL = 12
"""Frames from one keyframe to the next; a change of scene adds none."""

_SHORT_SIDE_PX = 128
"""Frames are enlarged to at least this, by a whole number, so that no codec hurts fine detail."""

SAME_BYTES = {"threads": "1", "mbtree": "0"}
"""What x264 needs to write the same bytes each time.

The macroblock tree of its AVX-512 code gives other bits from run to run (seen with PyAV 18).
"""

_AT_ONCE = 64
"""Samples made in memory at once."""


class FolderInUseError(FovealError):
    """There is something where the videos should go."""

    kind = "folder_in_use"


def write_videos(
    folder: str | os.PathLike[str],
    preset: Preset,
    *,
    split: Split,
    count: int,
    start: int = 0,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Write samples to ``folder/split/class/*.mp4`` and yield the truth about each once it stands.

    The videos are H.264 (MPEG-4 where PyAV has no encoder for it) with AAC sound where the
    preset has sound; averaging blocks of pixels gives the frames of :func:`sample` but for
    the loss of the codec. ``folder/split/truth.jsonl`` holds a line for each, in the order of the
    numbers; ``folder/task.json`` the preset, the names of the classes and what is said of them.

    Raises:
        FolderInUseError: ``folder/split`` holds something already.
        ValueError: as :func:`sample` says.
    """
    root = Path(folder)
    place = root / split
    if place.is_dir() and any(place.iterdir()):
        raise FolderInUseError(
            f"{place} is not empty", hint="name a new folder, or remove what is there"
        )
    place.mkdir(parents=True, exist_ok=True)
    task = json.dumps(_task(preset), indent=1)
    (root / "task.json").write_text(task + "\n", encoding="utf-8")
    with (place / "truth.jsonl").open("w", encoding="utf-8") as lines:
        for first in range(start, start + count, _AT_ONCE):
            num = min(_AT_ONCE, start + count - first)
            made = sample(preset, split=split, count=num, start=first, seed=seed)
            for index in range(num):
                record = _written(place, made, index, f"{first + index:06d}.mp4")
                lines.write(json.dumps(record) + "\n")
                yield record


def _task(preset: Preset) -> dict[str, Any]:
    return {
        "preset": asdict(preset),
        "class_names": words.class_names(preset),
        "class_descriptions": [
            [asdict(sentence) for sentence in about] for about in words.descriptions(preset)
        ],
    }


def _written(place: Path, made: HaystackSet, index: int, name: str) -> dict[str, Any]:
    """Write sample ``index`` of ``made`` and return the truth about it."""
    label = int(made.labels[index])
    class_name = made.class_names[label]
    file = place / class_name.replace(" ", "-") / name
    file.parent.mkdir(exist_ok=True)
    heard = None if made.sound is None else made.sound[index]
    write_clip(
        file,
        made.frames[index],
        fps=made.preset.fps,
        sound=heard,
        sound_rate=made.preset.sound_rate,
    )
    truth = made.truth
    segments = truth.segments(index)
    return {
        "file": file.relative_to(place).as_posix(),
        "label": label,
        "class": class_name,
        "modality": MODALITIES[truth.modality[index]],
        "fps": truth.fps,
        "evidence_frames": np.flatnonzero(truth.evidence[index]).tolist(),
        "shown": truth.shown[index].tolist(),
        "boxes": [
            None if np.isnan(box).any() else [round(float(side), 6) for side in box]
            for box in truth.boxes[index]
        ],
        "segments": [
            {"start_seconds": start, "end_seconds": end, "label": which}
            for start, end, which in zip(
                segments.start_seconds, segments.end_seconds, segments.labels, strict=True
            )
        ],
    }


def write_clip(
    path: str | os.PathLike[str],
    frames: NDArray[np.uint8],
    *,
    fps: int,
    sound: Floats | None,
    sound_rate: int,
) -> None:
    """Write frames uint8 (T,3,H,W), enlarged by a whole even number, as an MP4 file."""
    scale = enlargement(frames.shape[-1])
    height, width = (scale * side for side in frames.shape[-2:])
    with av.open(os.fspath(path), "w", format="mp4") as container:
        h264 = "libx264" in av.codecs_available
        options = {"preset": "veryfast", "crf": "14", "sc_threshold": "0", **SAME_BYTES}
        video = container.add_stream(
            "libx264" if h264 else "mpeg4",
            rate=fps,
            options=options if h264 else {"qscale": "2", "threads": "1"},
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = Fraction(1, fps)
        video.codec_context.gop_size = KEYFRAME_INTERVAL
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=sound_rate, layout="mono")
        for number, picture in enumerate(frames):
            large = picture.repeat(scale, axis=1).repeat(scale, axis=2).transpose(1, 2, 0)
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), format="rgb24")
            shown.pts = number
            container.mux(video.encode(shown))
        container.mux(video.encode())
        if voice is not None and sound is not None:
            heard = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[None], np.float32), "fltp", "mono"
            )
            heard.sample_rate, heard.pts = sound_rate, 0
            heard.time_base = Fraction(1, sound_rate)
            container.mux(voice.encode(heard))
            container.mux(voice.encode())


def enlargement(size: int) -> int:
    """Return the least even factor that makes ``size`` at least 128.

    >>> enlargement(64), enlargement(24), enlargement(48)
    (2, 6, 4)
    """
    factor = -(-_SHORT_SIDE_PX // size)
    return factor + factor % 2
