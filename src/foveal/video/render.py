"""The one function that makes every pixel any part sees.

A decoded frame goes from its own format (YUV of any depth) to small full-range RGB in one
swscale pass; what is not looked at is never converted. The kernels widen with the reduction,
so large reductions do not alias. Turning is done last, on the small picture.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from foveal.types import Box, Canvas, Crop, check_box
from foveal.video.geometry import (
    Orientation,
    canvas_offset,
    displayed_box,
    pixel_span,
    scaled_size,
)

if TYPE_CHECKING:
    from av.buffer import Buffer
    from av.filter import Graph
    from av.filter.context import FilterContext
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""Untagged pictures at least this wide or higher than this are BT.709, others BT.601."""

_MAX_OVERSIZE = 4
"""Pictures whose canvas-scaled area exceeds the canvas by more are cut before scaling."""

_AV_KNOWN_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
_SWS_BT709, _SWS_BT601, _SWS_BT2020 = 1, 5, 9
_FULL_RANGE, _LIMITED_RANGE = 2, 1

_local = threading.local()


def render(
    frame: VideoFrame | NDArray[np.uint8],
    canvas: Canvas,
    *,
    box: Box | None = None,
    size: tuple[int, int] | None = None,
    orientation: Orientation | None = None,
) -> NDArray[np.uint8]:
    """Return the picture the canvas shows of ``frame``, or a native cut of it.

    Args:
        frame: a decoded frame, or RGB (C,H,W) uint8. An array that already has the size of
            the canvas is a canvas: it is returned untouched.
        canvas: geometry and kernel.
        box: in canvas coordinates; the native pixels shown there are scaled to ``size``. Cut
            edges lie on whole native pixels (on whole colour samples where colour is
            subsampled).
        size: height and width of the cut in px; goes with ``box``.
        orientation: how the frame is displayed; by default what the frame itself says.

    Returns:
        uint8 (3,H,W), RGB, full range.

    Raises:
        ValueError: ``box`` without ``size``, a box outside the canvas, or a wrong array.
    """
    if (box is None) != (size is None):
        raise ValueError("box and size go together")
    if isinstance(frame, np.ndarray):
        if frame.ndim != 3 or frame.shape[0] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 (3,H,W), got {frame.dtype} {frame.shape}")
        if frame.shape[1:] == (canvas.height, canvas.width):
            if box is None:
                return frame
            canvas = Canvas(height=canvas.height, width=canvas.width, kernel=canvas.kernel)
        frame = _as_frame(frame)
    view = orientation if orientation is not None else frame_orientation(frame)
    width, height = view.displayed_size(frame.width, frame.height)
    if box is not None and size is not None:
        shown = displayed_box(canvas, width, height, check_box(box))
        return _cut(frame, view, shown, size[1], size[0], canvas.kernel)
    scaled = scaled_size(canvas, width, height)
    if scaled[0] * scaled[1] > _MAX_OVERSIZE * canvas.width * canvas.height:
        shown = displayed_box(canvas, width, height, WHOLE)
        return _cut(frame, view, shown, canvas.width, canvas.height, canvas.kernel)
    picture = _upright(_convert(frame, *_stored(view, *scaled), canvas.kernel), view)
    left, top = canvas_offset(canvas, scaled)
    return np.ascontiguousarray(picture[:, top : top + canvas.height, left : left + canvas.width])


def render_view(
    frame: VideoFrame | NDArray[np.uint8],
    view: Canvas | Crop,
    *,
    orientation: Orientation | None = None,
) -> NDArray[np.uint8]:
    """Return what ``view`` shows of ``frame``: the canvas, or the native cut of a crop.

    Args:
        frame: as for :func:`render`.
        view: what is looked at.
        orientation: as for :func:`render`.

    Returns:
        uint8 (3,H,W), RGB, full range.

    Raises:
        ValueError: the crop's box is outside the canvas, or the array is wrong.
    """
    if isinstance(view, Canvas):
        return render(frame, view, orientation=orientation)
    size = (view.height, view.width)
    return render(frame, view.canvas, box=view.box, size=size, orientation=orientation)


def frame_orientation(frame: VideoFrame) -> Orientation:
    """Return the orientation a decoded frame carries (square pixels)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    return Orientation.of_matrix(struct.unpack("=9i", cast("Buffer", data)))


def _cut(
    frame: VideoFrame, view: Orientation, shown: Box, width: int, height: int, kernel: str
) -> NDArray[np.uint8]:
    """Return the displayed box ``shown`` at ``width`` x ``height``, converting nothing else."""
    x0, y0, x1, y1 = view.stored_box(shown)
    chroma = next((c for c in frame.format.components if c.is_chroma), None)
    step_x = -(-frame.width // chroma.width) if chroma is not None else 1
    step_y = -(-frame.height // chroma.height) if chroma is not None else 1
    left, cut_width = pixel_span(x0, x1, frame.width, step_x)
    top, cut_height = pixel_span(y0, y1, frame.height, step_y)
    native = _cut_native(frame, left, top, cut_width, cut_height)
    small = _convert(native, *_stored(view, width, height), kernel, tagged=frame)
    return np.ascontiguousarray(_upright(small, view))


def _cut_native(frame: VideoFrame, left: int, top: int, width: int, height: int) -> VideoFrame:
    """Return a window into the frame's own memory (FFmpeg's crop filter; nothing is copied)."""
    if (width, height) == (frame.width, frame.height):
        return frame
    key = (frame.format.name, frame.width, frame.height, width, height)
    cached: tuple[tuple[Any, ...], Graph, FilterContext] | None = getattr(_local, "crop", None)
    if cached is None or cached[0] != key:
        cached = (key, *_crop_graph(frame, width, height))
        _local.crop = cached
    _, graph, crop = cached
    crop.process_command("x", str(left))
    crop.process_command("y", str(top))
    graph.vpush(frame)
    return graph.vpull()


def _crop_graph(frame: VideoFrame, width: int, height: int) -> tuple[Graph, FilterContext]:
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000",
    )
    crop = graph.add("crop", f"w={width}:h={height}:x=0:y=0:exact=1")
    sink = graph.add("buffersink")
    graph.link_nodes(source, crop, sink).configure()
    return graph, crop


def _convert(
    frame: VideoFrame, width: int, height: int, kernel: str, *, tagged: VideoFrame | None = None
) -> NDArray[np.uint8]:
    """Scale and convert in one pass to RGB (3,H,W), still as stored (not turned)."""
    from av.video.reformatter import Interpolation

    reformatter: VideoReformatter | None = getattr(_local, "reformatter", None)
    if reformatter is None:
        from av.video.reformatter import VideoReformatter

        reformatter = _local.reformatter = VideoReformatter()
    kernels = {
        "area": Interpolation.AREA,
        "bilinear": Interpolation.BILINEAR,
        "bicubic": Interpolation.BICUBIC,
    }
    # planar output: twice as fast as packed RGB here, and already (C,H,W); with these flags it
    # is rounded to the nearest level and the same on every machine
    exact = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    small = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="gbrp",
        src_colorspace=_matrix(tagged or frame),
        src_color_range=_range(tagged or frame),
        dst_color_range=_FULL_RANGE,
        interpolation=int(kernels[kernel] | exact | Interpolation.FULL_CHR_H_INP),
        threads=1,
    )
    planes = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)[:, :width]
        for plane in small.planes
    ]
    green, blue, red = planes
    return np.stack([red, green, blue])


def _matrix(frame: VideoFrame) -> int:
    """Return swscale's number of the frame's colour matrix; untagged ones go by size."""
    tag = frame.colorspace
    if tag in _AV_KNOWN_MATRICES:
        return int(tag) if tag != 6 else _SWS_BT601
    if tag == 10:  # BT.2020 constant luminance: nearest that swscale has
        return _SWS_BT2020
    large = frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT
    return _SWS_BT709 if large else _SWS_BT601


def _range(frame: VideoFrame) -> int:
    """Return the frame's colour range; untagged grey, RGB and JPEG formats are full."""
    if frame.color_range in (_FULL_RANGE, _LIMITED_RANGE):
        return int(frame.color_range)
    name = frame.format.name
    full = frame.format.is_rgb or name.startswith(("yuvj", "gray", "ya", "mono", "pal8"))
    return _FULL_RANGE if full else _LIMITED_RANGE


def _stored(view: Orientation, width: int, height: int) -> tuple[int, int]:
    return (height, width) if view.sideways else (width, height)


def _upright(picture: NDArray[np.uint8], view: Orientation) -> NDArray[np.uint8]:
    """Mirror, then turn a (C,H,W) picture from stored to displayed."""
    if view.mirrored:
        picture = picture[:, :, ::-1]
    return np.rot90(picture, -view.quarter_turns, axes=(1, 2)) if view.quarter_turns else picture


def _as_frame(array: NDArray[np.uint8]) -> VideoFrame:
    """Wrap RGB (3,H,W) as a frame that swscale reads."""
    from av.video.frame import VideoFrame

    return VideoFrame.from_ndarray(np.ascontiguousarray(array.transpose(1, 2, 0)), format="rgb24")
