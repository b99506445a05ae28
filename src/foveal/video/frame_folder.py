"""A folder of numbered pictures, or one picture, as a source."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.types import Array, Canvas, ClipInfo, Crop, Features, Look, Meter, Plan, Sound
from foveal.video.errors import (
    MissingError,
    NoSoundError,
    NothingFoundError,
    UndecodableError,
    UnreadableError,
    shown,
)
from foveal.video.opening import check_file
from foveal.video.picture import is_picture, read_head
from foveal.video.planned import check_planned, frame_on_display
from foveal.video.render import render_view
from foveal.video.store import FrameStore, Picture

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_NUMBER = re.compile(r"(\d+)")
_FLOW = "flow_"
"""Optical flow lies beside the pictures in common tools' folders, under names that begin so."""


class FrameFolderSource:
    """JPEG or PNG files in the order of their numbers; one is decoded when it is looked at.

    Frame i is on display from second i / fps on, and every frame is a keyframe. Hidden files and
    other suffixes are passed over, and so is optical flow (``flow_*``) beside pictures. Turns that
    a JPEG's Exif note asks for are made.

    Args:
        folder: holds the pictures; or the name of one picture, which is a clip of one frame.
        fps: frames per second.

    Raises:
        ValueError: ``fps`` is not positive.
        MissingError: there is no such folder.
        UnreadableError: it cannot be read.
        NothingFoundError: it holds no picture.
        UndecodableError: the first picture is none.
    """

    def __init__(self, folder: str, *, fps: float = 25.0) -> None:
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._name = folder
        self._fps = fps
        self._files = _pictures(folder)
        self._meter = Meter()
        self._store = FrameStore(self._rendered)
        self._planned: set[float] = set()
        self._keyframes = False
        head = self._read(0)
        first = read_head(head)
        if first is None:
            raise self._broken(0)
        self._first = first
        self._info = ClipInfo(
            name=folder,
            duration_seconds=len(self._files) / fps,
            num_frames=len(self._files),
            fps=fps,
            height=first.height,
            width=first.width,
            keyframe_seconds=tuple(i / fps for i in range(len(self._files))),
            codec=first.codec,
            container="frames",
        )

    @property
    def info(self) -> ClipInfo:
        """What is known of the clip; height and width are those stored in the first picture."""
        return self._info

    @property
    def meter(self) -> Meter:
        """What has been spent so far; a picture is one packet."""
        return self._meter

    @property
    def warnings(self) -> list[str]:
        """Nothing: what is wrong with a picture is an error."""
        return []

    def plan(self, plan: Plan) -> None:
        """Replace the set of times that may be looked at; other pictures are dropped."""
        self._planned = set(plan.times)
        self._keyframes = plan.keyframes
        self._store.retain({self._place(t) for t in plan.times})

    def look(self, look: Look) -> tuple[Array, tuple[float, ...]]:
        """Return the rows asked for and the true time of each.

        Raises:
            ValueError: a time is not in the plan, or the view is of stored features.
            NoSoundError: pictures have no sound.
            UndecodableError: a picture is damaged or of another size than the first.
            UnreadableError: a picture cannot be read (any more).
        """
        check_planned(look, self._planned)
        view = look.view
        if isinstance(view, Features):
            raise ValueError(f"a frame folder holds no stored features ({view.name!r} asked)")
        if isinstance(view, Sound):
            hint = "check ClipInfo.has_sound first"
            raise NoSoundError(f"{shown(self._name)}: has no sound", hint=hint)
        self._store.canvas = view if isinstance(view, Canvas) else view.canvas
        places = [self._place(t) for t in look.times]
        return (
            np.stack([self._picture(place, view) for place in places]),
            tuple(place / self._fps for place in places),
        )

    def close(self) -> None:
        """Let go of the pictures made; safe to call twice."""
        self._store.retain(set())

    def _place(self, seconds: float) -> int:
        count = len(self._files)
        return frame_on_display(seconds, fps=self._fps, num_frames=count, keyframes=self._keyframes)

    def _picture(self, place: int, view: Canvas | Crop) -> Picture:
        if not self._store.has(place, view):
            started = time.perf_counter()
            self._store.add(place, self._decoded(place))
            self._meter.decode_ms += (time.perf_counter() - started) * 1e3
        return self._store.picture(place, view)

    def _rendered(self, frame: VideoFrame, view: Canvas | Crop) -> Picture:
        started = time.perf_counter()
        picture = render_view(frame, view, orientation=self._first.orientation)
        self._meter.frames_converted += 1
        self._meter.render_ms += (time.perf_counter() - started) * 1e3
        return picture

    def _decoded(self, place: int) -> VideoFrame:
        import av

        data = self._read(place)
        self._meter.packets_read += 1
        self._meter.bytes_read += len(data)
        head = read_head(data)
        if head is None or not head.whole:
            raise self._broken(place)
        # Straight to the decoder: no demuxer sees the name, which it might take for a pattern.
        decoder = av.CodecContext.create(head.codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        try:
            frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        except av.FFmpegError as error:
            raise self._broken(place) from error
        if not frames:
            raise self._broken(place)
        self._meter.frames_decoded += 1
        first = self._first
        if (frames[0].height, frames[0].width) != (first.height, first.width):
            raise UndecodableError(
                f"{shown(self._files[place])}: {frames[0].width}x{frames[0].height} px, but the "
                f"first picture of its folder has {first.width}x{first.height}",
                hint="give every clip a folder of its own, with pictures of one size",
            )
        return frames[0]

    def _read(self, place: int) -> bytes:
        try:
            with open(self._files[place], "rb") as file:
                return file.read()
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise UnreadableError(
                f"{shown(self._files[place])}: cannot be read ({reason})",
                hint="check its permissions and the disk",
            ) from error

    def _broken(self, place: int) -> UndecodableError:
        return UndecodableError(
            f"{shown(self._files[place])}: not a picture that can be decoded",
            hint="write it again as JPEG or PNG, or take it out",
        )


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Return what to sort by so that ``frame10`` comes after ``frame9``.

    >>> sorted(["f10.png", "f9.png"], key=natural_key)
    ['f9.png', 'f10.png']
    """
    return tuple(
        (int(part), "") if part.isdigit() and part.isascii() else (-1, part)
        for part in _NUMBER.split(name)
        if part
    )


def _pictures(folder: str) -> list[str]:
    """Return the paths of the pictures of ``folder`` in natural order."""
    if is_picture(folder) and not os.path.isdir(folder):
        check_file(folder)
        return [folder]
    try:
        names = [n for n in os.listdir(folder) if not n.startswith(".") and is_picture(n)]
    except (FileNotFoundError, ValueError) as error:
        raise MissingError(f"{shown(folder)}: no such folder", hint="check the name") from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UnreadableError(
            f"{shown(folder)}: cannot be read as a folder ({reason})", hint="check the path"
        ) from error
    names = [name for name in names if not name.startswith(_FLOW)] or names
    if not names:
        hint = "put the frames of one clip into it as .jpg or .png"
        raise NothingFoundError(f"{shown(folder)}: this folder holds no picture", hint=hint)
    names.sort(key=lambda name: (natural_key(name), name))
    return [str(Path(folder, name)) for name in names]
