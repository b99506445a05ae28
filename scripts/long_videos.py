"""Make long, untrimmed videos of real clips: one Weizmann action among clips of other sources.

    python scripts/long_videos.py --data FOLDER     # all kinds; half an hour on one core
    python scripts/long_videos.py --data FOLDER --kinds short

``FOLDER/weizmann/CLASS/SUBJECT_CLASS.avi`` are the actions; distractors are
``FOLDER/skateboard/*/*.mp4`` and ``FOLDER/clips/*``. ``OUT/KIND/CLASS/SUBJECT_VARIANT.mp4`` are the
videos, ``OUT/KIND/truth.csv`` says of each where the action is (seconds from ``start`` to before
``end``) and which sources stand around it. A video that is there is not made again. The same data
and versions give the same videos.

| kind | length | size, frames a second | of whom | of each clip |
|---|---|---|---|---|
| ``short`` | 30 s | 160x128, 12.5 | everybody | 3 |
| ``calibration`` | 5 minutes | 320x256, 25 | who calibrates in one of the three splits | 1 |
| ``test`` | 5 minutes | 320x256, 25 | who tests in one of the three splits | 1 |
| ``memory`` | 10 minutes | 320x256, 25 | one who tests, one action | 1 |

The action fills 12 to 20 % of a video, in one stretch at a place drawn at random: the target clip,
shown again from its beginning when it ends (Weizmann clips last 1.4 to 5.8 s). All around it
distractors follow each other, 1 to 8 s of each, every one once before any comes again. Frames of
all sources are shown 25 a second, whatever their own rate is.

Nothing is shared between people who learn, calibrate and test in any of the three splits
(``weizmann_splits.json``): every person has its own ninth of the distractors, neighbours in
the order of their names, and only the two who always test together share theirs.

Keyframes come every 2 seconds and nowhere else, so that none gives away where a stretch begins.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray
from untrim_weizmann import MaterialError, clips_of, read, shown, tricks_of, write

from foveal.types import Canvas, FovealError

SPLITS = Path(__file__).with_name("weizmann_splits.json")
CACHE = Path(".cache/long")

SOURCE_FPS = 25
KEYFRAME_SECONDS = 2
SHARE = (0.12, 0.2)
"""Of a video that is the action."""

STRETCH_SECONDS = (1.0, 8.0)
MOST_SECONDS = 10
"""Taken of a distractor at most."""

VIDEOS = (".mp4", ".avi")

Planes = NDArray[np.uint8]
"""Frames (F, H*3/2, W) in YUV 4:2:0, as the encoder takes them."""

Who = Literal["everybody", "calibration", "test", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What videos of one kind are like.

    Args:
        seconds: length.
        height: px.
        width: px.
        every: one frame in so many of the source is shown.
        who: whose actions.
        variants: videos made of each clip.
    """

    seconds: int
    height: int
    width: int
    every: int
    who: Who
    variants: int

    @property
    def fps(self) -> Fraction:
        """Frames a second."""
        return Fraction(SOURCE_FPS, self.every)

    @property
    def num_frames(self) -> int:
        """Frames of a video."""
        return int(self.seconds * self.fps)

    def canvas(self, *, middle: bool = False) -> Canvas:
        """Return the picture: the whole frame stretched, or the middle of it in its own shape."""
        short = max(self.height, self.width) if middle else None
        return Canvas(height=self.height, width=self.width, short_side=short)


KINDS: Mapping[str, Kind] = {
    "short": Kind(seconds=30, height=128, width=160, every=2, who="everybody", variants=3),
    "calibration": Kind(seconds=300, height=256, width=320, every=1, who="calibration", variants=1),
    "test": Kind(seconds=300, height=256, width=320, every=1, who="test", variants=1),
    "memory": Kind(seconds=600, height=256, width=320, every=1, who="one", variants=1),
}


# --- who gets what -------------------------------------------------------------------------------


def splits() -> list[dict[str, list[str]]]:
    """Return the three fixed splits by subject."""
    found: list[dict[str, list[str]]] = json.loads(SPLITS.read_text(encoding="utf-8"))["splits"]
    return found


def together(told: Sequence[Mapping[str, Sequence[str]]]) -> list[tuple[str, ...]]:
    """Return everybody in groups that may share distractors: those who test together, others alone.

    >>> together([{"train": ["c", "d"], "calibration": ["c"], "test": ["a", "b"]}])
    [('a', 'b'), ('c',), ('d',)]
    """
    groups = [tuple(sorted(split["test"])) for split in told]
    testing = {name for group in groups for name in group}
    everybody = {name for split in told for part in split.values() for name in part}
    return groups + [(name,) for name in sorted(everybody - testing)]


def distractors_of(data: Path, groups: Sequence[Sequence[str]]) -> dict[str, list[Path]]:
    """Return the files that stand around the actions of each person.

    Raises:
        MaterialError: there are fewer than people.
    """
    people = [name for group in groups for name in group]
    own = tricks_of(data, people)
    others = sorted(p for p in (data / "clips").glob("*") if p.suffix in VIDEOS)
    if len(others) < len(people):
        raise MaterialError(
            f"{len(others)} clips/*{{{','.join(VIDEOS)}}} below {data} for {len(people)} people",
            hint="there must be one for each at least",
        )
    for place, name in enumerate(people):
        own[name] = (
            own[name] + others[_edge(place, others, people) : _edge(place + 1, others, people)]
        )
    return {
        name: [path for member in group for path in own[member]]
        for group in groups
        for name in group
    }


def _edge(place: int, files: Sequence[Path], people: Sequence[str]) -> int:
    return place * len(files) // len(people)


def people_of(who: Who, told: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """Return whose actions a kind shows, each person once."""
    if who == "everybody":
        return sorted(name for group in together(told) for name in group)
    if who == "one":
        return [sorted(told[0]["test"])[0]]
    return sorted({name for split in told for name in split[who]})


# --- one video -----------------------------------------------------------------------------------


def planes_of(path: Path, kind: Kind, *, middle: bool) -> Planes:
    """Return the frames of a file as a kind shows them, ``MOST_SECONDS`` at most."""
    frames = read(path, kind.canvas(middle=middle), most=MOST_SECONDS * SOURCE_FPS)
    made = [frame.reformat(format="yuv420p").to_ndarray() for frame in shown(frames[:: kind.every])]
    return np.stack(made)


def compose(
    kind: Kind, target: tuple[str, int], distractors: Mapping[str, int], rng: np.random.Generator
) -> tuple[list[tuple[str, NDArray[np.int64]]], int]:
    """Return which frames of which source follow each other, and the place of the target.

    Args:
        kind: how long the video is.
        target: its name and number of frames.
        distractors: the number of frames of each, by name.
        rng: draws.
    """
    length = round(kind.num_frames * rng.uniform(*SHARE))
    before = int(rng.integers(kind.num_frames - length + 1))
    waiting: list[str] = []
    pieces: list[tuple[str, NDArray[np.int64]]] = []
    place = 0
    for wanted in (before, None, kind.num_frames - length - before):
        if wanted is None:
            place = len(pieces)
            pieces.append((target[0], np.arange(length) % target[1]))
            continue
        while wanted > 0:
            waiting = waiting or [str(name) for name in rng.permutation(sorted(distractors))]
            name = waiting.pop()
            most = min(wanted, distractors[name], round(rng.uniform(*STRETCH_SECONDS) * kind.fps))
            first = int(rng.integers(distractors[name] - most + 1))
            pieces.append((name, np.arange(first, first + most)))
            wanted -= most
    return pieces, place


def shown_planes(
    pieces: Sequence[tuple[str, NDArray[np.int64]]], planes: Mapping[str, Planes]
) -> Iterator[av.VideoFrame]:
    """Yield the frames of a video."""
    for name, index in pieces:
        for one in index:
            yield av.VideoFrame.from_ndarray(planes[name][one], format="yuv420p")


# --- all of them ---------------------------------------------------------------------------------

COLUMNS = ("path", "label", "start", "end", "subject", "variant", "seconds", "sources")


def make(
    data: Path, out: Path, name: str, *, told: Sequence[Mapping[str, Sequence[str]]], kind: Kind
) -> Path:
    """Make the videos of one kind that are not there yet, and return ``truth.csv``.

    Args:
        data: holds the clips.
        out: where ``name`` goes.
        name: of the kind.
        told: the splits.
        kind: what its videos are like.

    Raises:
        MaterialError: clips are missing below ``data``.
    """
    groups = together(told)
    clips, files = clips_of(data), distractors_of(data, groups)
    people = people_of(kind.who, told)
    missing = [person for person in people if person not in clips]
    if missing:
        raise MaterialError(
            f"no weizmann/*/{missing[0]}_*.avi below {data}", hint="the splits name this person"
        )
    rows: list[dict[str, Any]] = []
    for group in groups:
        members = [person for person in group if person in people]
        if not members:
            continue
        around = {p.name: planes_of(p, kind, middle=True) for p in files[members[0]]}
        for person in members:
            actions = list(clips[person].items())[: 1 if kind.who == "one" else None]
            for label, path in actions:
                rows += _videos(out / name, kind, label, path, around)
        print(f"{name}: {', '.join(members)}", flush=True)
    rows.sort(key=lambda row: str(row["path"]))
    truth = out / name / "truth.csv"
    with truth.open("w", newline="", encoding="utf-8") as file:
        written = csv.DictWriter(file, COLUMNS)
        written.writeheader()
        written.writerows(rows)
    return truth


def _videos(
    folder: Path, kind: Kind, label: str, path: Path, around: Mapping[str, Planes]
) -> Iterator[dict[str, Any]]:
    """Make the videos of one clip, and yield the line of each."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    target = planes_of(path, kind, middle=False)
    person = path.name.partition("_")[0]
    lengths = {name: len(planes) for name, planes in around.items()}
    for variant in range(kind.variants):
        rng = np.random.default_rng([zlib.crc32(path.name.encode()), variant, kind.seconds])
        pieces, place = compose(kind, (path.name, len(target)), lengths, rng)
        file = folder / label / f"{person}_{variant}.mp4"
        if not file.exists():
            part = file.with_suffix(".part")
            write(
                part,
                shown_planes(pieces, {**around, path.name: target}),
                canvas=kind.canvas(),
                fps=kind.fps,
                keyframe_interval=int(KEYFRAME_SECONDS * kind.fps),
            )
            os.replace(part, file)
        before = sum(len(index) for _, index in pieces[:place])
        length = len(pieces[place][1])
        yield {
            "path": file.relative_to(folder).as_posix(),
            "label": label,
            "start": float(before / kind.fps),
            "end": float((before + length) / kind.fps),
            "subject": person,
            "variant": variant,
            "seconds": kind.seconds,
            "sources": " ".join(sorted({one for one, _ in pieces} - {path.name})),
        }


def main() -> None:
    """Make the videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--out", type=Path, default=CACHE)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    try:
        for name in options.kinds:
            truth = make(options.data, options.out, name, told=splits(), kind=KINDS[name])
            print(truth)
    except FovealError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
