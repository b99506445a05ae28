"""Small test clips made with PyAV; every frame carries its number as light and dark blocks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10
WIDTH, HEIGHT, FPS = 160, 96, 25

Picture = NDArray[np.uint8]


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """Return RGB (H,W,3): ``number`` in the upper half, a moving pattern below."""
    y, x = np.mgrid[:height, :width]
    red = (x * 3 + number * 5) % 200 + 20
    green = (y * 4 + number * 3) % 200 + 20
    blue = (x + y + number * 7) % 200 + 20
    picture = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        picture[: height // 2, left:right] = 230 if number >> bit & 1 else 20
    return picture


def read_number(picture: Picture) -> int:
    """Return the number in an upright RGB picture (3,H,W) that shows the whole frame."""
    _, height, width = picture.shape
    row = picture[:, height // 4].mean(axis=0)
    return sum(int(row[(2 * bit + 1) * width // (2 * BITS)] > 125) << bit for bit in range(BITS))


def make_clip(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 60,
    gop: int = 12,
    fps: int = FPS,
    width: int = WIDTH,
    height: int = HEIGHT,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: float = 0.0,
    mirrored: bool = False,
    sound: NDArray[np.float32] | None = None,
    sound_rate: int = 16000,
) -> str:
    """Write a clip whose frame i shows the number i, and return its path.

    Args:
        path: its ending chooses the container unless ``container`` does.
        ticks: timestamp of each frame in ``time_base`` (default: one tick a frame at ``fps``).
        rotation: counter-clockwise degrees in the display matrix, as FFmpeg counts them.
        mirrored: whether the display matrix also mirrors left and right.
        sound: mono samples to go with the pictures (AAC).
    """
    base = time_base or Fraction(1, fps)
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.gop_size = gop
        stream.options = options or {}
        stream.codec_context.time_base = base
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        voice = None
        if sound is not None:
            voice = out.add_stream("aac", rate=sound_rate, layout="mono")
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_picture(index, width, height), "rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = ticks[index] if ticks else index, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if voice is not None and sound is not None:
            heard = av.AudioFrame.from_ndarray(sound.reshape(1, -1), "fltp", "mono")
            heard.sample_rate, heard.pts, heard.time_base = sound_rate, 0, Fraction(1, sound_rate)
            out.mux(voice.encode(heard))
            out.mux(voice.encode())
    return str(path)


def with_sound(pictures: Path, path: Path, second: NDArray[np.float32]) -> str:
    """Copy an H.264 file, put a track beside its pictures (AAC), and return the new path.

    The tracks are interleaved, as in any file that was not made at a stroke, and only a second of
    sound is in memory at a time.

    Args:
        pictures: of whole seconds.
        path: of the new file.
        second: mono samples of one second, heard again and again.
    """
    rate, done = len(second), 0
    with av.open(str(pictures)) as source, av.open(str(path), "w") as out:
        shown = source.streams.video[0]
        video = out.add_stream_from_template(shown)
        voice = out.add_stream("aac", rate=rate, layout="mono", options={"aac_coder": "fast"})
        for packet in source.demux(shown):
            if packet.dts is None:
                continue
            while done < float(packet.dts * shown.time_base) + 1:
                heard = av.AudioFrame.from_ndarray(second[None], "fltp", "mono")
                heard.sample_rate, heard.pts = rate, done * rate
                heard.time_base = Fraction(1, rate)
                out.mux(voice.encode(heard))
                done += 1
            packet.stream = video
            out.mux(packet)
        out.mux(voice.encode())
    return str(path)


def make_sound(path: Path, samples: NDArray[np.float32], rate: int = 16000) -> str:
    """Write a file with sound only, and return its path."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        pcm = (samples * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return str(path)


def plain_decode(path: str) -> list[av.VideoFrame]:
    """Return every frame that reading through on one thread gives, in order of output."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        return [frame for packet in container.demux(stream) for frame in stream.decode(packet)]


def keyframe_numbers(path: str) -> list[int]:
    """Return the numbers (in order of output) of the frames that are keyframes."""
    return [number for number, frame in enumerate(plain_decode(path)) if frame.key_frame]


KINDS: dict[str, dict[str, object]] = {
    "h264.mp4": {},
    "pyramid.mp4": {"options": {"x264-params": "bframes=5:b-pyramid=normal:b-adapt=0"}, "gop": 30},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "interlaced.mp4": {"options": {"x264-params": "tff=1:bframes=2"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "cut_start.mp4": {"ticks": range(-10, 50)},
    "late_start.mp4": {"ticks": range(75, 135)},
    "h264.mkv": {},
    "h264.ts": {},
    "open_gop.ts": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "h264.flv": {},
    "h264.avi": {},
    "no_b_frames.avi": {"options": {"bf": "0"}},
    "raw.h264": {"container": "h264"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "variable_rate.mp4": {
        "ticks": [i * 40 + (i % 5) * 7 + (400 if i > 30 else 0) for i in range(60)],
        "time_base": Fraction(1, 1000),
    },
    "variable_rate.mkv": {
        "ticks": [i * 40 + (i % 5) * 7 + (400 if i > 30 else 0) for i in range(60)],
        "time_base": Fraction(1, 1000),
    },
}
"""Kinds of file every exactness test runs over: name (the ending is the container) and options."""
