"""The clips the benchmarks are run on, made once and kept; every frame carries its number."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 13
FPS = 25
DEFAULT_CACHE = Path(tempfile.gettempdir()) / "foveal-benchmarks"

Picture = NDArray[np.uint8]


def long_clip(cache: Path) -> Path:
    """Return 5 minutes of 1280x720 with a keyframe every 250 frames."""
    path = cache / "long_300s_1280x720_keyint250.mp4"
    return _made(path, num_frames=7500, width=1280, height=720, keyint=250)


def short_clip(cache: Path) -> Path:
    """Return 10 seconds of 340x256."""
    path = cache / "short_10s_340x256.mp4"
    return _made(path, num_frames=250, width=340, height=256, keyint=250)


def _made(path: Path, *, num_frames: int, width: int, height: int, keyint: int) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path, num_frames=num_frames, width=width, height=height, keyint=keyint)
    return path


def texture(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise with detail at every scale, as in natural pictures, in [0, 1]."""
    total = np.zeros((size, size), np.float32)
    for octave in range(3, 10):
        cells = 2**octave
        coarse = rng.random((cells, cells), dtype=np.float32)
        total += np.kron(coarse, np.ones((size // cells, size // cells), np.float32)) / 1.7**octave
    total -= total.min()
    return total / total.max()


def make_clip(path: Path, *, num_frames: int, width: int, height: int, keyint: int) -> None:
    """Write a moving texture with sensor noise as H.264 (x264, preset veryfast)."""
    rng = np.random.default_rng(0)
    far, near = (texture(2048, rng) * 120 for _ in range(2))
    tint = (texture(2048, rng) * 90 + 83).astype(np.uint8)
    noise = rng.normal(0, 2, (8, height, width)).astype(np.float32)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(partial), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {
            "preset": "veryfast",  # 3 B-frames with pyramid, as by default
            "x264-params": f"keyint={keyint}:min-keyint={keyint}:scenecut=0",
        }
        for index in range(num_frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            turn = 2 * np.pi * index / 400
            x = int((2048 - width) * (0.5 + 0.4 * np.cos(turn)))
            y = int((2048 - height) * (0.5 + 0.4 * np.sin(turn)))
            back = far[y : y + height, x : x + width]
            x, y = (index * 3) % (2048 - width), (index // 2) % (2048 - height)
            luma = 16 + back + near[y : y + height, x : x + width] * 0.6 + noise[index % 8]
            luma = np.clip(luma, 16, 235).astype(np.uint8)
            burn(luma, index)
            _fill(frame.planes[0], luma)
            half = tint[y // 2 : y // 2 + height // 2, x // 2 : x // 2 + width // 2]
            _fill(frame.planes[1], half)
            _fill(frame.planes[2], 255 - half)
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    partial.rename(path)


def _fill(plane: av.video.plane.VideoPlane, values: Picture) -> None:
    rows, columns = values.shape
    np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:rows, :columns] = values


def burn(luma: Picture, index: int) -> None:
    """Write ``index`` as a row of light and dark blocks along the top."""
    height, width = luma.shape
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        luma[: height // 8, left:right] = 235 if index >> bit & 1 else 16


def read_number(picture: Picture) -> int:
    """Return the number burnt into a (H,W,3) picture of any size."""
    height, width = picture.shape[:2]
    row = picture[height // 16].mean(axis=-1)
    return sum(int(row[(2 * bit + 1) * width // (2 * BITS)] > 128) << bit for bit in range(BITS))


def repeated_clip(cache: Path, *, minutes: int) -> Path:
    """Return ten seconds of 1280x720 over and over for ``minutes``, the packets copied."""
    path = cache / f"repeated_{minutes}min_1280x720.mp4"
    if path.exists():
        return path
    ten = _made(cache / "ten_10s_1280x720.mp4", num_frames=250, width=1280, height=720, keyint=250)
    partial = path.with_suffix(".part.mp4")
    with av.open(str(ten)) as given, av.open(str(partial), "w") as out:
        source = given.streams.video[0]
        target = out.add_stream_from_template(source)
        for turn in range(6 * minutes):
            given.seek(0)
            for packet in given.demux(source):
                if packet.dts is None or packet.pts is None:
                    continue  # the empty packet at the end
                packet.pts += turn * int(10 / source.time_base)
                packet.dts += turn * int(10 / source.time_base)
                packet.stream = target
                out.mux(packet)
    partial.rename(path)
    return path
