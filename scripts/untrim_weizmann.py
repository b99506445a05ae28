"""Make untrimmed videos of the Weizmann actions: the action is one stretch among others.

    python scripts/untrim_weizmann.py --data FOLDER --out FOLDER     # a few minutes

``FOLDER/weizmann/CLASS/SUBJECT_CLASS.avi`` are the actions, ``FOLDER/skateboard/*/*.mp4`` the
other material. Every clip gives ``--variants`` videos, ``OUT/CLASS/SUBJECT_VARIANT.mp4``, and a
line each of ``OUT/truth.jsonl`` says where the action is. The same data and versions give the same
videos.

A video is the middle of the clip (60 frames at most), lengthened to where the action fills 20 to
30 % of it. Before and after are stretches of 20 to 40 frames that show none of the ten actions, one
half of them the subject's empty scene (the median of a clip in which somebody crosses the
picture, with noise, so that it does not stand still), the other half a skateboard trick, cut to the
middle. Both get the mean and the spread of each colour that the action's own frames have, so that
brightness tells nothing. Which empty scene does not depend on the action.

Nothing is shared between subjects: a subject has its own scenes and its own ninth of the skateboard
clips, neighbours in the order of their numbers, since neighbouring numbers may show one person.

Always 180x144 px and 25 frames a second, a keyframe every 12 frames and none at a change of scene,
which would give away where stretches begin.
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from foveal.haystack.files import SAME_BYTES
from foveal.types import Canvas, FovealError
from foveal.video import render

WHOLE = Canvas(height=144, width=180)
MIDDLE = Canvas(height=144, width=180, short_side=180)
FPS = 25
KEYFRAME_INTERVAL = 12
CROSSING = ("run", "side", "skip", "walk")
"""Actions that leave every place of the picture empty most of the time."""

MOST_TARGET, MOST_OTHER = 60, 90
"""Frames taken of a clip at most."""

SHARE = (0.2, 0.3)
STRETCH = (20, 40)
NOISE = 2.0
"""Grey levels, standard deviation."""

Frames = NDArray[np.uint8]
"""RGB (F,3,144,180)."""


class MaterialError(FovealError):
    """The clips to work from are not there, or there is something where the videos should go."""

    kind = "material"


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """What a subject's videos show beside the action.

    Args:
        scenes: empty scenes (3,144,180), by the name of the clip each was made from.
        tricks: by file name.
    """

    scenes: Mapping[str, Frames]
    tricks: Mapping[str, Frames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Neighbouring frames of one source."""

    kind: Literal["action", "empty", "trick"]
    source: str
    num_frames: int


# --- what there is -----------------------------------------------------------------------------


def read(path: Path, canvas: Canvas, *, most: int) -> Frames:
    """Return the first ``most`` frames of a file on ``canvas``."""
    with av.open(str(path), metadata_errors="ignore") as container:
        decoded = islice(container.decode(video=0), most)
        return np.stack([render(frame, canvas) for frame in decoded])


def clips_of(data: Path) -> dict[str, dict[str, Path]]:
    """Return the files of the actions, by subject and class, both in order.

    Raises:
        MaterialError: there are none.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((data / "weizmann").glob("*/*.avi")):
        found.setdefault(path.name.partition("_")[0], {})[path.parent.name] = path
    if not found:
        raise MaterialError(
            f"no weizmann/CLASS/SUBJECT_CLASS.avi below {data}", hint="name the folder with --data"
        )
    return dict(sorted(found.items()))


def tricks_of(data: Path, subjects: Sequence[str]) -> dict[str, list[Path]]:
    """Return the skateboard files of each subject: of every kind its own part, by number.

    Raises:
        MaterialError: there are fewer than subjects.
    """
    shares: dict[str, list[Path]] = {subject: [] for subject in subjects}
    for folder in sorted(p for p in (data / "skateboard").glob("*") if p.is_dir()):
        files = sorted(folder.glob("*.mp4"), key=lambda path: (_number(path), path.name))
        edges = [i * len(files) // len(subjects) for i in range(len(subjects) + 1)]
        for subject, first, last in zip(subjects, edges[:-1], edges[1:], strict=True):
            shares[subject] += files[first:last]
    short = [subject for subject, files in shares.items() if not files]
    if short:
        raise MaterialError(
            f"too few skateboard/*/*.mp4 below {data}: none left for {', '.join(short)}",
            hint="there must be one for each subject at least",
        )
    return shares


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else 0


def other_of(clips: Mapping[str, Path], tricks: Sequence[Path]) -> Other:
    """Return what goes around the actions of one subject.

    Raises:
        MaterialError: there is no clip from which an empty scene could be made.
    """
    crossing = [path for name, path in clips.items() if name in CROSSING]
    if not crossing:
        raise MaterialError(
            f"no clip of {', '.join(CROSSING)} beside {next(iter(clips.values()))}",
            hint="the empty scene is made from one of them",
        )
    return Other(
        scenes={p.name: _empty(read(p, WHOLE, most=10 * MOST_TARGET)) for p in crossing},
        tricks={p.name: read(p, MIDDLE, most=MOST_OTHER) for p in tricks},
    )


def _empty(frames: Frames) -> Frames:
    return np.median(frames, axis=0).astype(np.uint8)


# --- one video ---------------------------------------------------------------------------------


def compose(
    target: Frames, name: str, other: Other, rng: np.random.Generator
) -> tuple[Frames, list[Stretch]]:
    """Return the frames of one video around ``target``, and the stretches they are made of."""
    total = round(len(target) / rng.uniform(*SHARE))
    before = int(rng.integers(total - len(target) + 1))
    look = target.astype(np.float32).mean((0, 2, 3)), target.astype(np.float32).std((0, 2, 3))
    pieces: list[Frames] = []
    stretches: list[Stretch] = []
    for wanted in (before, None, total - len(target) - before):
        if wanted is None:
            pieces.append(target)
            stretches.append(Stretch(kind="action", source=name, num_frames=len(target)))
            continue
        while wanted > 0:
            stretch, frames = _other_stretch(other, wanted, rng)
            pieces.append(_in_the_look_of(frames, look))
            stretches.append(stretch)
            wanted -= len(frames)
    return np.concatenate(pieces), stretches


def _other_stretch(
    other: Other, most: int, rng: np.random.Generator
) -> tuple[Stretch, NDArray[Any]]:
    """Return ``most`` frames of one other source at most, float or uint8."""
    wanted = min(most, int(rng.integers(STRETCH[0], STRETCH[1] + 1)))
    if rng.random() < 0.5:
        source = str(rng.choice(sorted(other.scenes)))
        noise = rng.normal(0, NOISE, (wanted, 3, WHOLE.height, WHOLE.width))
        frames = other.scenes[source] + noise.astype(np.float32)
        return Stretch(kind="empty", source=source, num_frames=wanted), frames
    source = str(rng.choice(sorted(other.tricks)))
    given = other.tricks[source]
    first = int(rng.integers(max(len(given) - wanted, 0) + 1))
    part = given[first : first + wanted]
    return Stretch(kind="trick", source=source, num_frames=len(part)), part


def _in_the_look_of(frames: NDArray[Any], look: tuple[NDArray[Any], NDArray[Any]]) -> Frames:
    """Return ``frames`` with the mean and spread of each colour that ``look`` names."""
    values = frames.astype(np.float32)
    mean, spread = values.mean((0, 2, 3)), values.std((0, 2, 3)) + 1e-3
    wanted_mean, wanted_spread = (side[:, None, None] for side in look)
    scaled = (values - mean[:, None, None]) / spread[:, None, None] * wanted_spread + wanted_mean
    return np.asarray(scaled.round().clip(0, 255).astype(np.uint8))


def shown(frames: Frames) -> Iterator[av.VideoFrame]:
    """Yield frames (F,3,H,W) as a writer takes them."""
    for picture in frames:
        last = np.ascontiguousarray(picture.transpose(1, 2, 0))
        yield av.VideoFrame.from_ndarray(last, format="rgb24")


def write(
    path: Path,
    frames: Iterable[av.VideoFrame],
    *,
    canvas: Canvas = WHOLE,
    fps: Fraction = Fraction(FPS),
    keyframe_interval: int = KEYFRAME_INTERVAL,
) -> None:
    """Write frames of the size of ``canvas`` as H.264 in MP4, with keyframes at fixed distances."""
    with av.open(str(path), "w", format="mp4") as container:
        options = {"preset": "veryfast", "crf": "18", "sc_threshold": "0", **SAME_BYTES}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = canvas.width, canvas.height, "yuv420p"
        stream.time_base = 1 / fps
        stream.codec_context.gop_size = keyframe_interval
        for number, frame in enumerate(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# --- all of them -------------------------------------------------------------------------------


def untrim(data: Path, out: Path, *, variants: int) -> list[dict[str, Any]]:
    """Write all videos and return the lines of ``truth.jsonl``, which is written last.

    Raises:
        MaterialError: ``out`` holds something, or clips are missing below ``data``.
    """
    if out.is_dir() and any(out.iterdir()):
        raise MaterialError(f"{out} is not empty", hint="name a new folder, or empty it")
    subjects = clips_of(data)
    tricks = tricks_of(data, list(subjects))
    classes = sorted({name for clips in subjects.values() for name in clips})
    lines = []
    for subject, clips in subjects.items():
        other = other_of(clips, tricks[subject])
        for name, path in clips.items():
            (out / name).mkdir(parents=True, exist_ok=True)
            whole = read(path, WHOLE, most=10 * MOST_TARGET)
            first = max(len(whole) - MOST_TARGET, 0) // 2
            target = whole[first : first + MOST_TARGET]
            for variant in range(variants):
                rng = np.random.default_rng([zlib.crc32(path.name.encode()), variant])
                frames, stretches = compose(target, path.name, other, rng)
                file = out / name / f"{subject}_{variant}.mp4"
                write(file, shown(frames))
                line = {"file": file.relative_to(out).as_posix(), "label": classes.index(name)}
                line |= {"class": name, "subject": subject, "variant": variant}
                lines.append(line | _times(stretches))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "truth.jsonl").write_text(text, encoding="utf-8")
    return lines


def _times(stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Return when the action and every stretch begin and end, in seconds."""
    told, seen = [], 0
    for stretch in stretches:
        begin, seen = seen, seen + stretch.num_frames
        times = {"start_seconds": begin / FPS, "end_seconds": seen / FPS}
        told.append({"kind": stretch.kind, "source": stretch.source, **times})
    (action,) = (one for one in told if one["kind"] == "action")
    return {
        "fps": FPS,
        "num_frames": seen,
        "start_seconds": action["start_seconds"],
        "end_seconds": action["end_seconds"],
        "stretches": told,
    }


def main() -> None:
    """Write the videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds weizmann and skateboard")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=6)
    options = parser.parse_args()
    try:
        lines = untrim(options.data, options.out, variants=options.variants)
    except FovealError as error:
        parser.exit(1, f"{error}\n")
    print(f"{len(lines)} videos in {options.out}")


if __name__ == "__main__":
    main()
