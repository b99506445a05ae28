"""Torch blocks that more than one system uses; each module's docstring has an example."""

from foveal.layers.augment import Chain, Jitter, MultiScaleCrop, ResizedCrop, gentle, random_box
from foveal.layers.crop import crop_at, slice_at, slice_corners
from foveal.layers.encoder import CPU_ROWS, ImageEncoder
from foveal.layers.frames import (
    FrameClassifier,
    PictureVectors,
    consensus_loss,
    drawn_frames,
    mean_answer,
    most_salient,
    scaled_rows,
    taken,
)
from foveal.layers.interpolate import lattice_corners, resample, windows_of
from foveal.layers.labels import class_probs, has_class, is_right, label_loss, label_losses
from foveal.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, PixelNorm
from foveal.layers.policy import RecurrentPolicy, map_state, run_memory, states_of
from foveal.layers.prefix import PrefixClassifier
from foveal.layers.temporal import SelfAttention, TemporalEncoder, sinusoids
from foveal.layers.temporal_shift import TemporalShift, temporal_shift

__all__ = [
    "CPU_ROWS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Chain",
    "FrameClassifier",
    "ImageEncoder",
    "Jitter",
    "MultiScaleCrop",
    "PictureVectors",
    "PixelNorm",
    "PrefixClassifier",
    "RecurrentPolicy",
    "ResizedCrop",
    "SelfAttention",
    "TemporalEncoder",
    "TemporalShift",
    "class_probs",
    "consensus_loss",
    "crop_at",
    "drawn_frames",
    "gentle",
    "has_class",
    "is_right",
    "label_loss",
    "label_losses",
    "lattice_corners",
    "map_state",
    "mean_answer",
    "most_salient",
    "random_box",
    "resample",
    "run_memory",
    "scaled_rows",
    "sinusoids",
    "slice_at",
    "slice_corners",
    "states_of",
    "taken",
    "temporal_shift",
    "windows_of",
]
