"""Labelled videos: from a folder or a list to checked samples in three splits.

::

    data = read_dataset("tricks/")               # tricks/<class>/*.mp4
    for sample in data.samples["train"]:
        source = open_sample(sample, kind=data.kind)

Nothing is decoded while a dataset is read. docs/data.md has every format.
"""

from foveal.dataset.detect import Format
from foveal.dataset.identity import clips_fingerprint, fingerprint, named_samples
from foveal.dataset.opening import open_sample
from foveal.dataset.read import Purpose, read_dataset
from foveal.dataset.samples import SPLITS, DataError, Dataset, Kind, Sample, Split, truth_of

__all__ = [
    "SPLITS",
    "DataError",
    "Dataset",
    "Format",
    "Kind",
    "Purpose",
    "Sample",
    "Split",
    "clips_fingerprint",
    "fingerprint",
    "named_samples",
    "open_sample",
    "read_dataset",
    "truth_of",
]
