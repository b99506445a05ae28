"""The two networks of a frame sampler by name: one previews, one recognises single frames.

Letters: N frames, D features, K classes.

Example:
    >>> import torch
    >>> from foveal.backbones import frame_recogniser, preview_encoder
    >>> preview, width = preview_encoder("tiny", size=24, blocks=(2, 2))
    >>> preview(torch.zeros(4, 3, 48, 48, dtype=torch.uint8)).shape, width
    (torch.Size([4, 16]), 16)
    >>> recogniser = frame_recogniser("tiny", num_classes=10)
    >>> recogniser(torch.zeros(4, 3, 48, 48, dtype=torch.uint8)).shape
    torch.Size([4, 10])
    >>> frame_recogniser("features", num_classes=10, feature_width=32)(torch.zeros(4, 32)).shape
    torch.Size([4, 10])
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.focus import focus_encoder, glance_encoder
from foveal.backbones.image import create
from foveal.backbones.small import conv_stack
from foveal.layers.encoder import ImageEncoder
from foveal.layers.frames import FrameClassifier, PictureVectors

PREVIEW_LAYERS = ((3, 8, 16), (2, 2))
TINY_RECOGNISER_LAYERS = ((3, 16, 32, 64), (2, 2, 2))
"""Channels and strides where the networks are a few convolutions on small pictures."""
FEATURE_HIDDEN = 64
"""Width of the recogniser's one hidden layer on stored features."""


def preview_encoder(name: str, *, size: int, blocks: tuple[int, int]) -> tuple[nn.Module, int]:
    """Return what makes a vector of a candidate, and its width D.

    Args:
        name: ``mobilenetv2``, ``efficientnet_b0``, or anything else for a few convolutions.
        size: px of what the network sees.
        blocks: pixels down and across that become one first.
    """
    if name == "mobilenetv2":
        encoder, _ = glance_encoder("mobilenetv2", size=size)
    elif name == "efficientnet_b0":
        net = create("efficientnet_b0")
        encoder = ImageEncoder(net, width=net.num_features)
    else:
        channels, strides = PREVIEW_LAYERS
        net = conv_stack(channels, strides=strides)
        encoder = ImageEncoder(net, width=net.num_features, pool="max")
    return PictureVectors(encoder, blocks=blocks), encoder.width


def frame_recogniser(
    name: str, *, num_classes: int, feature_width: int = 0, dropout: float = 0.0
) -> FrameClassifier:
    """Return a classifier of single frames, with fresh weights.

    Args:
        name: ``resnet50``, ``small`` and ``tiny`` take pictures; ``features`` takes stored ones.
        num_classes: K.
        feature_width: of stored features.
        dropout: before the last layer of those that take pictures.
    """
    if name == "features":
        encoder: nn.Module = nn.Sequential(nn.Linear(feature_width, FEATURE_HIDDEN), nn.ReLU())
        return FrameClassifier(encoder, width=FEATURE_HIDDEN, num_classes=num_classes)
    if name == "tiny":
        channels, strides = TINY_RECOGNISER_LAYERS
        net = conv_stack(channels, strides=strides)
        pictures = ImageEncoder(net, width=net.num_features, pool="max")
    else:
        pictures = focus_encoder(name)
    return FrameClassifier(
        PictureVectors(pictures), width=pictures.width, num_classes=num_classes, dropout=dropout
    )
