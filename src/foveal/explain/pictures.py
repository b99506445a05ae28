"""Small pictures of the frames a run looked at, fetched again from the file after the run.

They are read at the exact timestamps of the trace, through an opening of their own, so nothing
here is ever on the bill.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from foveal.explain.story import SeenFrame
from foveal.types import Array, Canvas, ClipInfo, FovealError, Look, Plan, Source

OpenSource: TypeAlias = Callable[[str], Source]

MAX_PICTURES = 120
SMALL_PX, LARGE_PX = 160, 320
LARGE_BUDGET = 48_000
"""Bytes a picture must have to itself before it is made large."""
LEAST_BYTES = 1_500
"""Below this not even one small picture fits, so that none is fetched."""
QUANTIZERS = (4, 7, 12, 20, 31)
"""JPEG quantizers, finest first; the first that fits the budget is used."""
SAME_MOMENT_SECONDS = 1e-3
NO_ROOM = "there is no room left on this page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Pictures of one file.

    Args:
        uris: a JPEG as a ``data:`` URI by timestamp.
        num_bytes: what they take in the page.
        problem: one line on why some are missing, if any are.
    """

    uris: Mapping[float, str] = field(default_factory=dict)
    num_bytes: int = 0
    problem: str | None = None


def select(frames: Sequence[SeenFrame], *, limit: int = MAX_PICTURES) -> tuple[SeenFrame, ...]:
    """Return at most ``limit`` frames, ascending: chosen, boxed, heated first, then focused ones.

    Where a group does not fit, it is thinned out evenly.
    """
    groups: tuple[list[SeenFrame], ...] = ([], [], [])
    for frame in frames:
        groups[_rank(frame)].append(frame)
    kept: list[SeenFrame] = []
    for group in groups:
        kept += evenly(group, limit - len(kept))
    return tuple(sorted(kept, key=lambda frame: frame.seconds))


def _rank(frame: SeenFrame) -> int:
    if frame.chosen or frame.boxes or frame.heats:
        return 0
    return 1 if frame.focused else 2


def evenly(items: Sequence[SeenFrame], count: int) -> list[SeenFrame]:
    """Return ``count`` of ``items`` spread evenly over them, or all when there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def take(
    path: str, clip: ClipInfo, seconds: Sequence[float], *, budget: int, open_source: OpenSource
) -> Pictures:
    """Return pictures of the frames at ``seconds`` (ascending) that take at most ``budget`` bytes.

    A file that cannot be read any more, or that shows other frames now, gives fewer pictures
    and says so; it raises nothing.
    """
    if not seconds:
        return Pictures()
    if budget < LEAST_BYTES:
        return Pictures(problem=NO_ROOM)
    large = budget // len(seconds) >= LARGE_BUDGET
    width, height = picture_size(clip, LARGE_PX if large else SMALL_PX)
    canvas = Canvas(height=height, width=width, kernel="area")
    frames, problem = fetch(path, seconds, canvas, open_source=open_source)
    uris = within_budget(frames, budget)
    if len(uris) < len(frames):
        problem = NO_ROOM
    return Pictures(uris=uris, num_bytes=sum(len(uri) for uri in uris.values()), problem=problem)


def picture_size(clip: ClipInfo, long_side: int) -> tuple[int, int]:
    """Return width and height of a picture of the whole frame, both even, for 4:2:0 colour."""
    width, height = clip.width or 16, clip.height or 9
    scale = long_side / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def fetch(
    path: str, seconds: Sequence[float], canvas: Canvas, *, open_source: OpenSource
) -> tuple[dict[float, Array], str | None]:
    """Return uint8 (C,H,W) by time, and one line on what went wrong, if anything did."""
    found: dict[float, Array] = {}
    try:
        source = open_source(path)
    except FovealError as error:
        return found, str(error)
    try:
        source.plan(Plan(times=tuple(seconds)))
        for t in seconds:
            rows, shown = source.look(Look(times=(t,), view=canvas))
            if abs(shown[0] - t) <= SAME_MOMENT_SECONDS:
                found[t] = rows[0]
    except FovealError as error:
        return found, str(error)
    finally:
        source.close()
    if len(found) < len(set(seconds)):
        return found, "the file has other frames now than when it was looked at"
    return found, None


def within_budget(frames: Mapping[float, Array], budget: int) -> dict[float, str]:
    """Return JPEG ``data:`` URIs of as many frames as fit, at the best quality that fits all."""
    uris: dict[float, str] = {}
    for quantizer in QUANTIZERS:
        jpegs = encode(list(frames.values()), quantizer=quantizer)
        uris = {t: data_uri(jpeg) for t, jpeg in zip(frames, jpegs, strict=True)}
        if sum(len(uri) for uri in uris.values()) <= budget:
            return uris
    while sum(len(uri) for uri in uris.values()) > budget:
        uris = dict(list(uris.items())[::2]) if len(uris) > 1 else {}
    return uris


def encode(frames: Sequence[Array], *, quantizer: int) -> list[bytes]:
    """Return each uint8 (C,H,W) picture as JPEG; all are of one size.

    Args:
        frames: full-range RGB.
        quantizer: 2 (fine) to 31 (coarse).
    """
    if not frames:
        return []
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = frames[0].shape[1:]
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.qmin = encoder.qmax = quantizer
    encoder.flags |= Flags.bitexact
    jpegs: list[bytes] = []
    for number, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(frame.transpose(1, 2, 0).copy(), format="rgb24")
        picture = picture.reformat(format="yuvj420p")
        picture.pts = number
        jpegs += [bytes(packet) for packet in encoder.encode(picture)]
    return jpegs + [bytes(packet) for packet in encoder.encode(None)]


def data_uri(jpeg: bytes) -> str:
    """Return ``jpeg`` as the address of itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
