"""Decoded frames on disk, so that a small set is decoded once and not every epoch.

A clip is two NumPy files: its frames on one canvas, and the second each begins to show. Their name
is a hash of the file (path, size, time of change), the stretch of it and the canvas, so a changed
file or another canvas is decoded anew. Frames from the cache are those a source would give.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from foveal.types import Array, Canvas, FovealError, Look, Plan
from foveal.video import FileSource, MissingError, frame_seconds
from foveal.video.errors import shown
from foveal.video.timeline import TOLERANCE_SECONDS

_VERSION = 1
"""Of what is stored; another one is another name."""

_CHUNK = 32
"""Frames rendered at once."""

Stretch: TypeAlias = tuple[float | None, float | None]
"""Seconds of the file from which and up to which it is shown; None: its beginning and end."""


Clip: TypeAlias = tuple[str, Canvas, Stretch]
"""A file, what its frames are shown on, and which stretch of it."""


class CacheError(FovealError):
    """Frames cannot be kept where they should be."""

    kind = "cache"


def default_cache() -> Path:
    """Return where frames are kept between runs: ``$XDG_CACHE_HOME/foveal/frames``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "foveal" / "frames"


@dataclass(frozen=True, slots=True)
class Frames:
    """All frames of a stretch of video on one canvas.

    Args:
        pictures: uint8 (F,3,H,W), mapped from disk.
        seconds: float64 (F,), ascending, when each begins to show; the first may be before 0.
    """

    pictures: NDArray[np.uint8]
    seconds: NDArray[np.float64]

    def at(self, times: Array) -> NDArray[np.uint8]:
        """Return the pictures (T,3,H,W) on display at ``times`` (T,)."""
        places = np.searchsorted(self.seconds, times + TOLERANCE_SECONDS, side="right") - 1
        return self.pictures[np.clip(places, 0, None)]


class FrameCache:
    """A folder of decoded clips.

    Args:
        folder: is made when the first clip is stored.
        limit_bytes: what is stored at most; the clips not used for longest go first.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def frames(
        self, path: str, canvas: Canvas, *, stretch: Stretch = (None, None)
    ) -> Frames | None:
        """Return the frames of a stretch of the file, decoded now or before.

        Nothing is returned where the container does not say when each frame begins to show.

        Raises:
            VideoError: the file is broken.
        """
        name = self._name(path, canvas, stretch)
        return self._load(name) or self._store(name, path, canvas, stretch)

    def _name(self, path: str, canvas: Canvas, stretch: Stretch) -> str:
        """Return a name that no other clip and no earlier state of the file has."""
        try:
            stat = os.stat(path)
        except FileNotFoundError as error:
            hint = "it was there when the run began; put it back"
            raise MissingError(f"{shown(path)}: no such file", hint=hint) from error
        told = (_VERSION, os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stretch, canvas)
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _load(self, name: str) -> Frames | None:
        try:
            pictures = np.load(self._pictures(name), mmap_mode="r")
            seconds = np.load(self._seconds(name))
        except (FileNotFoundError, ValueError, EOFError):  # not there, or cut off
            return None
        return Frames(pictures, seconds) if len(seconds) == len(pictures) else None

    def _store(self, name: str, path: str, canvas: Canvas, stretch: Stretch) -> Frames | None:
        times = _within(frame_seconds(path), stretch)
        if not times:
            return None
        pictures: list[Array] = []
        seconds: list[float] = []
        source = FileSource(path, threads=1)
        try:
            source.plan(Plan(times=times))
            for start in range(0, len(times), _CHUNK):
                look = Look(times=times[start : start + _CHUNK], view=canvas)
                for picture, at in zip(*source.look(look), strict=True):
                    if at not in seconds[-1:]:  # a damaged frame: the one before stands for it
                        pictures.append(picture)
                        seconds.append(at)
        finally:
            source.close()
        begin = stretch[0] or 0.0
        self._write(self._seconds(name), np.array(seconds) - begin)
        self._write(self._pictures(name), np.stack(pictures))
        return self._load(name)

    def make_room(self, clips: Iterable[Clip] = (), *, wanted_bytes: int = 0) -> int:
        """Remove the clips not used for longest until the limit is met; return how many files went.

        Args:
            clips: those that are about to be used: room is made for them, and those of them that
                are stored already are the last to go.
            wanted_bytes: what ``clips`` take in all, stored or not yet.
        """
        own = set()
        for path, canvas, stretch in clips:
            with suppress(MissingError):  # whoever reads it says so
                own.add(self._name(path, canvas, stretch))
        files = [(f, f.stat()) for f in self.folder.glob("*.npy")] if self.folder.is_dir() else []
        mine = {file for file, _ in files if file.name.partition(".")[0] in own}
        held = sum(stat.st_size for file, stat in files if file in mine)
        left = sum(stat.st_size for _, stat in files) - held + max(held, wanted_bytes)
        removed = 0

        def turn(each: tuple[Path, os.stat_result]) -> tuple[bool, float]:
            return each[0] in mine, max(each[1].st_atime, each[1].st_mtime)

        for file, stat in sorted(files, key=turn):
            if left <= self.limit_bytes:
                break
            file.unlink(missing_ok=True)
            left -= stat.st_size
            removed += 1
        return removed

    def _pictures(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _seconds(self, name: str) -> Path:
        return self.folder / f"{name}.seconds.npy"

    def _write(self, path: Path, array: Array) -> None:
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.save(file, array)
            part.replace(path)
        except OSError as error:
            raise CacheError(
                f"{shown(str(self.folder))}: frames cannot be kept there ({error.strerror})",
                hint="make room, name another place with XDG_CACHE_HOME, or keep none: --cache 0",
            ) from error
        finally:
            with suppress(OSError):  # the error above says it
                part.unlink(missing_ok=True)


def _within(times: tuple[float, ...], stretch: Stretch) -> tuple[float, ...]:
    """Return the times of the frames that are on display somewhere in ``stretch``."""
    begin = stretch[0] or 0.0
    first = bisect.bisect_right(times, begin + TOLERANCE_SECONDS) - 1
    last = len(times) if stretch[1] is None else bisect.bisect_left(times, stretch[1])
    return times[max(first, 0) : max(last, 1)]
