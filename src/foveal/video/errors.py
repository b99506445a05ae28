"""What can be wrong with a video: one class, one ``kind`` and one line for each cause."""

from __future__ import annotations

import re

from foveal.types import FovealError

_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)


def public(name: str) -> str:
    """Return ``name`` without the user and password that a URL may hold.

    >>> public("https://me:secret@example.org/a.mp4")
    'https://***@example.org/a.mp4'
    """
    return _USER.sub(r"\1***@", name)


def shown(name: str) -> str:
    r"""Return ``name`` fit for one line of a terminal: nothing unprintable or secret is in it.

    >>> print(shown("a\nb.mp4"))
    a\nb.mp4
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in public(name))


class VideoError(FovealError):
    """Something is wrong with one input; the subclass says what."""

    kind = "video"


class MissingError(VideoError):
    """There is no such file."""

    kind = "missing"


class UnreadableError(VideoError):
    """It exists but cannot be opened: permission, a folder, a device."""

    kind = "unreadable"


class EmptyFileError(VideoError):
    """The file has no bytes."""

    kind = "empty"


class NotVideoError(VideoError):
    """The bytes are not a video container."""

    kind = "not_video"


class TruncatedError(VideoError):
    """A video container whose pictures are cut off."""

    kind = "truncated"


class NoVideoStreamError(VideoError):
    """A media container with neither picture nor sound, for instance subtitles."""

    kind = "no_video_stream"


class AudioOnlyError(VideoError):
    """A media container with sound and no moving picture."""

    kind = "audio_only"


class NoFramesError(VideoError):
    """A video stream that holds no frame, for instance the header of a fragmented file."""

    kind = "no_frames"


class UndecodableError(VideoError):
    """Frames are there and none can be decoded: no decoder, encrypted or damaged."""

    kind = "undecodable"


class NetworkError(VideoError):
    """A URL that cannot be fetched."""

    kind = "network"


class NoSoundError(VideoError):
    """Sound was asked of a file that has none."""

    kind = "no_sound"


class NothingFoundError(VideoError):
    """A folder or a pattern that holds no video."""

    kind = "nothing_found"


class CrashedError(VideoError):
    """The native decoder took its process down on this file."""

    kind = "crashed"


class OutsideError(VideoError):
    """A stretch was asked for that lies outside the video."""

    kind = "outside"
