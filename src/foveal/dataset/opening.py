"""A sample as a source that can be looked at."""

from __future__ import annotations

from foveal.dataset.samples import Kind, Sample
from foveal.dataset.stored import open_stored
from foveal.types import Source
from foveal.video import FileSource, FrameFolderSource, WindowSource

FRAME_RATE = 25.0
"""Frames a second of a folder of pictures, where nothing says."""


def open_sample(sample: Sample, *, kind: Kind, threads: int | None = None) -> Source:
    """Return the source of a sample, only the stretch it names; close it when done.

    Args:
        sample: of a dataset.
        kind: of that dataset.
        threads: of the decoder; None takes the cores, at most 8.

    Raises:
        VideoError: the file cannot be used, or ends before the stretch begins.
        DataError: the stored features cannot be read any more.
    """
    source: Source
    if kind == "features":
        row = sample.row or 0
        source = open_stored(sample.path, row, rate=sample.frame_rate, name=sample.where)
    elif kind == "frames":
        source = FrameFolderSource(sample.path, fps=sample.frame_rate or FRAME_RATE)
    else:
        source = FileSource(sample.path, threads=threads)
    if sample.start_seconds is None and sample.end_seconds is None:
        return source
    return WindowSource(
        source, start_seconds=sample.start_seconds or 0.0, end_seconds=sample.end_seconds
    )
