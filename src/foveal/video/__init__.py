"""Video in: exactly the frames asked for, rendered once, and clear words for broken files.

Importing this package does not import PyAV; that happens when the first file is opened.
"""

from foveal.video.doctor import Finding, doctor, write_bad
from foveal.video.errors import (
    AudioOnlyError,
    CrashedError,
    EmptyFileError,
    MissingError,
    NetworkError,
    NoFramesError,
    NoSoundError,
    NothingFoundError,
    NotVideoError,
    NoVideoStreamError,
    OutsideError,
    TruncatedError,
    UndecodableError,
    UnreadableError,
    VideoError,
)
from foveal.video.file_source import FileSource, available_cores, open_source
from foveal.video.frame_folder import FrameFolderSource
from foveal.video.memory import ArraySource, FeatureSource
from foveal.video.names import expand, is_url
from foveal.video.picture import is_picture
from foveal.video.probing import frame_seconds, probe
from foveal.video.render import render
from foveal.video.window import WindowSource

__all__ = [
    "ArraySource",
    "AudioOnlyError",
    "CrashedError",
    "EmptyFileError",
    "FeatureSource",
    "FileSource",
    "Finding",
    "FrameFolderSource",
    "MissingError",
    "NetworkError",
    "NoFramesError",
    "NoSoundError",
    "NoVideoStreamError",
    "NotVideoError",
    "NothingFoundError",
    "OutsideError",
    "TruncatedError",
    "UndecodableError",
    "UnreadableError",
    "VideoError",
    "WindowSource",
    "available_cores",
    "doctor",
    "expand",
    "frame_seconds",
    "is_picture",
    "is_url",
    "open_source",
    "probe",
    "render",
    "write_bad",
]
