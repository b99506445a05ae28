"""The sound track as windows of mono samples, in constant memory."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foveal.types import Meter
from foveal.video.errors import NoSoundError, shown
from foveal.video.opening import has_decoder, open_container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame

_LEAD_SECONDS = 0.25
"""Sound decoded before a window, so that codec and resampler have settled when it begins."""


class SoundReader:
    """Reads windows of one file's sound track.

    Args:
        name: path or URL.
        zero_seconds: time of the first shown picture on the container's clock.
        meter: packets and bytes are counted here.

    Raises:
        NoSoundError: there is no sound track that can be decoded.
    """

    def __init__(self, name: str, *, zero_seconds: float, meter: Meter) -> None:
        from av.stream import Discard

        self._name = name
        self._zero = zero_seconds
        self._meter = meter
        self._container = open_container(name)
        stream = next(filter(has_decoder, self._container.streams.audio), None)
        if stream is None:
            self._container.close()
            hint = "check ClipInfo.has_sound first, or give a file with sound"
            raise NoSoundError(f"{shown(name)}: has no sound that can be decoded", hint=hint)
        self._stream = stream
        self.damaged = False  # whether some of what was read could not be decoded
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = Discard.all

    def window(self, start_seconds: float, rate: int, num_samples: int) -> NDArray[np.float32]:
        """Return ``num_samples`` mono samples at ``rate`` Hz from ``start_seconds`` on.

        The window depends on its own time only, not on what was read before. Samples outside
        the track are zero.

        Returns:
            float32 (num_samples,), in [-1, 1].
        """
        from av.audio.resampler import AudioResampler

        out = np.zeros(num_samples, np.float32)
        begin = start_seconds + self._zero
        end = begin + num_samples / rate
        resampler = AudioResampler(format="flt", layout="mono", rate=rate)
        at: int | None = None  # where the next resampled sample belongs in the window
        for frame in self._frames(begin - _LEAD_SECONDS, end):
            if at is None:
                at = round((float(frame.time or 0.0) - begin) * rate)
            for piece in resampler.resample(frame):
                at = _place(out, at, piece)
            if at >= num_samples:
                return np.clip(out, -1.0, 1.0, out=out)
        if at is not None:
            for piece in resampler.resample(None):
                at = _place(out, at, piece)
        return np.clip(out, -1.0, 1.0, out=out)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _frames(self, begin: float, end: float) -> Iterator[AudioFrame]:
        """Yield decoded frames that overlap [begin, end) on the container's clock."""
        import av

        time_base = self._stream.time_base or Fraction(1, 1000)
        first = self._stream.start_time or 0
        with contextlib.suppress(av.FFmpegError):  # a stream that cannot seek is read from here
            self._container.seek(max(round(begin / time_base), first), stream=self._stream)
        for packet in self._container.demux(self._stream):
            self._meter.packets_read += 1
            self._meter.bytes_read += packet.size
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError:  # damaged sound stays silent
                self.damaged = True
                continue
            for frame in frames:
                time = float(frame.time or 0.0)
                if time >= end:
                    return
                if time + frame.samples / frame.sample_rate > begin:
                    yield frame


def _place(out: NDArray[np.float32], at: int, piece: AudioFrame) -> int:
    """Copy one resampled piece to its place in the window; return where the next one goes."""
    samples = piece.to_ndarray().reshape(-1)
    low, high = max(at, 0), min(at + len(samples), len(out))
    if low < high:
        out[low:high] = samples[low - at : high - at]
    return at + len(samples)
