"""Generated videos whose evidence is sparse by a known amount, and the truth about where it is.

>>> from foveal.haystack import find, sample
>>> made = sample(find("salient-frames-v1"), split="train", count=100, seed=0)
>>> made.frames.shape, made.labels.shape, int(made.truth.evidence.sum(axis=1).max())
((100, 10, 3, 32, 32), (100,), 2)
"""

from foveal.haystack.features import FeatureSet, class_vectors, features
from foveal.haystack.files import FolderInUseError, write_videos
from foveal.haystack.preset import FeatureView, Preset, Split
from foveal.haystack.presets import PRESETS, PresetError, find
from foveal.haystack.sets import MODALITIES, HaystackSet, Truth, sample

__all__ = [
    "MODALITIES",
    "PRESETS",
    "FeatureSet",
    "FeatureView",
    "FolderInUseError",
    "HaystackSet",
    "Preset",
    "PresetError",
    "Split",
    "Truth",
    "class_vectors",
    "features",
    "find",
    "sample",
    "write_videos",
]
