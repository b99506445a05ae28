"""Open one file or URL with FFmpeg, safely, and say in one line why it cannot be used.

A local name can reach that one file and nothing else, whatever it is called and whatever it
contains: only the file protocol is allowed, and formats that name other files (playlists,
concat scripts, image patterns) are not on the list of formats. A URL can reach http(s) only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foveal.types import Meter
from foveal.video.errors import (
    AudioOnlyError,
    EmptyFileError,
    MissingError,
    NetworkError,
    NotVideoError,
    NoVideoStreamError,
    TruncatedError,
    UndecodableError,
    UnreadableError,
    VideoError,
    shown,
)
from foveal.video.geometry import ASPECT_LIMITS, Orientation
from foveal.video.names import has_scheme, is_url

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

FORMATS = (
    # moving pictures
    "mov,matroska,avi,mpegts,mpegtsraw,mpeg,mpegvideo,flv,live_flv,kux,asf,asf_o,ogg,rm,mxf,gxf,"
    "nut,wtv,dv,dhav,ivf,h264,hevc,vvc,m4v,mjpeg,mjpeg_2000,av1,obu,evc,h263,h261,vc1,vc1test,"
    "yuv4mpegpipe,gif,apng,swf,nsv,roq,bink,smk,thp,lxf,r3d,ifv,filmstrip,ea,4xm,nuv,pva,avs,"
    "amv,fli,mtv,pmp,vivo,xmv,rpl,nc,mvi,mv,"
    # sound and text, to be told from files that are no media at all
    "wav,w64,mp3,aac,flac,ac3,eac3,amr,amrnb,amrwb,aiff,au,caf,ape,tta,wv,dts,truehd,opus,loas,"
    "srt,ass,webvtt,microdvd,subviewer,sami"
)
"""Demuxers that may be used; none of them opens a second file."""

TIMEOUTS = (20.0, 30.0)
"""Seconds to wait for a server: to answer, and for the next bytes."""

_LEAD_SECONDS = 10

_MAGIC = (b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")
_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"wide", b"free", b"skip", b"styp")


@dataclass(slots=True)
class Opened:
    """A container and the one video stream of it that is used.

    Args:
        name: path or URL.
        container: the open file.
        stream: the chosen video stream; no other is read.
        threads: decoder threads.
        orientation: how the pictures are displayed; None where only the frames can say.
        pixel_aspect: width of a stored pixel over its height.
        has_sound: whether there is an audio stream with a decoder.
        meter: what reading and decoding this file has cost so far.
    """

    name: str
    container: InputContainer
    stream: VideoStream
    threads: int
    orientation: Orientation | None
    pixel_aspect: float
    has_sound: bool
    meter: Meter = field(default_factory=Meter)

    @property
    def format(self) -> str:
        """Short name of the container format."""
        return str(self.container.format.name).split(",")[0]

    def rewind(self) -> None:
        """Go back to the first packet, by opening the file again if it cannot seek."""
        import av

        start, time_base = self.stream.start_time, self.stream.time_base
        if start is not None and time_base:
            lead = round(_LEAD_SECONDS / time_base)  # decoding times are before shown times
            with contextlib.suppress(av.FFmpegError):
                self.container.seek(start - lead, stream=self.stream)
                return
        again = open_video(self.name, threads=self.threads)
        self.container.close()
        self.container, self.stream = again.container, again.stream

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def open_container(name: str) -> InputContainer:
    """Open a path or an http(s) URL without decoding.

    Raises:
        VideoError: with the kind that says why not.
    """
    import av

    av.logging.set_level(None)  # the user gets our one line, not FFmpeg's
    url = is_url(name)
    if not url:
        check_file(name)
    try:
        return av.open(
            name if url else "file:" + name,
            container_options={
                "format_whitelist": FORMATS,
                "protocol_whitelist": "http,https,tls,tcp" if url else "file",
            },
            metadata_errors="ignore",
            timeout=TIMEOUTS if url else None,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _cannot_open(name, error) from error


def open_video(name: str, *, threads: int = 1) -> Opened:
    """Open ``name`` and choose its video stream; other streams are not read.

    Args:
        name: path or http(s) URL.
        threads: decoder threads; 0 lets FFmpeg choose.

    Raises:
        VideoError: with the kind that says why not.
    """
    from av.codec.context import ThreadType
    from av.stream import Discard

    container = open_container(name)
    try:
        stream = _choose_stream(name, container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        stream.thread_type = ThreadType.FRAME | ThreadType.SLICE
        # FFmpeg's VP9 decoder can crash when it is flushed after a damaged picture with threads.
        stream.thread_count = 1 if stream.codec_context.codec.canonical_name == "vp9" else threads
        return Opened(
            name=name,
            container=container,
            stream=stream,
            threads=threads,
            orientation=_orientation(stream),
            pixel_aspect=_pixel_aspect(stream),
            has_sound=any(has_decoder(s) for s in container.streams.audio),
        )
    except VideoError:
        container.close()
        raise


def check_file(path: str) -> None:
    """Raise the error that says why ``path`` is no readable, non-empty file, if it is none."""
    if has_scheme(path) and not os.path.lexists(path):
        hint = "download it first, or name the file without file://"
        raise NetworkError(f"{shown(path)}: only http and https URLs can be read", hint=hint)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableError(f"{shown(path)}: is a folder", hint="name a file in it")
        if not stat.S_ISREG(status.st_mode):
            hint = "copy its content to a file first"
            raise UnreadableError(f"{shown(path)}: is not an ordinary file", hint=hint)
        if status.st_size == 0:
            hint = "copy or download it again"
            raise EmptyFileError(f"{shown(path)}: the file is empty (0 bytes)", hint=hint)
        with open(path, "rb"):
            pass
    except ValueError as error:  # a NUL in the name
        raise MissingError(f"{shown(path)}: no such file", hint="check the name") from error
    except OSError as error:
        raise _os_error(path, error) from error


def _os_error(path: str, error: OSError) -> VideoError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return MissingError(f"{shown(path)}: no such file", hint="check the name and the folder")
    reason = (error.strerror or type(error).__name__).lower()
    return UnreadableError(
        f"{shown(path)}: cannot be read ({reason})", hint="check its permissions and the disk"
    )


def _cannot_open(name: str, error: Exception) -> VideoError:
    """Return the error that a failed ``av.open`` means."""
    import av

    if is_url(name):
        if isinstance(error, (av.InvalidDataError, av.ArgumentError)):
            hint = "give the address of a video file, not of a page or a playlist"
            return NotVideoError(f"{shown(name)}: what the server sent is not a video", hint=hint)
        return cannot_fetch(name, error)
    if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
        return _os_error(name, error)
    if looks_like_video(name):
        hint = "copy or download it again; if it was being recorded, the recording did not finish"
        message = f"{shown(name)}: a video whose index is cut off or damaged"
        return TruncatedError(message, hint=hint)
    hint = "give a video file, or a picture that ends in .jpg or .png (a playlist is none)"
    return NotVideoError(f"{shown(name)}: not a video container", hint=hint)


def cannot_fetch(name: str, error: Exception, *, begun: bool = False) -> NetworkError:
    """Return what the error of a URL means.

    Args:
        name: the URL.
        error: from FFmpeg.
        begun: whether the file was open already.
    """
    import av

    number = getattr(error, "errno", None)
    hint = "check the address and the connection"
    if isinstance(error, av.error.ExitError) or number == errno.ETIMEDOUT:
        why = "the server did not send anything in time"
        hint = "try again, or download it first"
    elif number == errno.ENOSYS or (begun and number == errno.EIO):
        why = "broke off while it was read"
        if number == errno.ENOSYS:
            why = "the server does not send single parts of a file"
        hint = "download it first, or use a server that supports range requests"
    elif number == errno.EIO:
        why = "the server cannot be reached"
    elif number == errno.ECONNREFUSED:
        why = "the server refuses the connection"
    else:
        reason = getattr(error, "strerror", None) or type(error).__name__
        why = f"broke off ({reason})" if begun else f"cannot be fetched ({reason})"
    return NetworkError(f"{shown(name)}: {why}", hint=hint)


def looks_like_video(path: str) -> bool:
    """Return whether a file begins like a video container, readable or not."""
    with open(path, "rb") as file:
        head = file.read(565)
    transport = len(head) > 376 and head[0] == head[188] == head[376] == 0x47
    return head.startswith(_MAGIC) or head[8:12] == b"AVI " or head[4:8] in _BOXES or transport


def has_decoder(stream: Stream) -> bool:
    """Return whether there is a decoder for a stream (PyAV's types promise one always)."""
    context: object = stream.codec_context
    return context is not None


def _choose_stream(name: str, container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        if container.streams.audio:
            hint = "give a file with moving pictures"
            raise AudioOnlyError(f"{shown(name)}: sound only, no moving picture", hint=hint)
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        hint = "give a file with moving pictures"
        raise NoVideoStreamError(f"{shown(name)}: no video stream (it holds {kinds})", hint=hint)
    best = container.streams.best("video")
    stream = next((s for s in streams if best is not None and s.index == best.index), streams[0])
    if not has_decoder(stream):
        hint = "re-encode it, for instance to H.264"
        raise UndecodableError(f"{shown(name)}: no decoder for its video stream", hint=hint)
    return stream


def _orientation(stream: VideoStream) -> Orientation | None:
    """Return how the stream is displayed, read from the header without decoding, if it says."""
    for container in ("mp4", "mov"):  # neither carries all codecs that may be turned
        matrix = _display_matrix(stream, container)
        if matrix is not None:
            return Orientation.of_matrix(matrix, pixel_aspect=_pixel_aspect(stream))
    return None


def _pixel_aspect(stream: VideoStream) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if ASPECT_LIMITS[0] <= aspect <= ASPECT_LIMITS[1] else 1.0


def _display_matrix(stream: VideoStream, container: str) -> tuple[int, ...] | None:
    """Return the stream's display matrix, or None if ``container`` cannot carry the codec.

    PyAV shows it on decoded frames only, so the stream's header is copied to an empty file in
    memory (about 0.1 ms), where it is a plain field.
    """
    import av

    memory = io.BytesIO()
    options = {"movflags": "empty_moov+frag_keyframe"}
    try:
        out = av.open(memory, "w", format=container, options=options)
        out.add_stream_from_template(stream, opaque=True)
        out.start_encoding()
        out.close()
    except (av.FFmpegError, ValueError):
        return None
    header = memory.getvalue()
    track = header.find(b"tkhd")
    if track < 0:
        return None
    matrix: tuple[int, ...] = struct.unpack_from(">9i", header, track + 44)
    return matrix
