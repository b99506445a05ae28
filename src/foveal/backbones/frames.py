"""The networks of a frame sampler by name: preview, objects in a picture, classes of a frame.

Letters: N frames, D features, K classes, O objects.

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

from typing import cast

from torch import Tensor, nn

from foveal.backbones.focus import focus_encoder, glance_encoder
from foveal.backbones.form import ImageClassifier
from foveal.backbones.image import (
    IMAGE_NETWORKS,
    NUM_PUBLISHED,
    ImageBackboneName,
    create_classifier,
)
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
        name: ``mobilenetv2``, or anything else for a few convolutions.
        size: px of what the network sees.
        blocks: pixels down and across that become one first.
    """
    if name == "mobilenetv2":
        encoder, _ = glance_encoder("mobilenetv2", size=size)
    else:
        channels, strides = PREVIEW_LAYERS
        net = conv_stack(channels, strides=strides)
        encoder = ImageEncoder(net, width=net.num_features, pool="max")
    return PictureVectors(encoder, blocks=blocks), encoder.width


class ObjectNetwork(nn.Module):
    """uint8 pictures (N,3,H,W) to the logits (N,O) of objects in them.

    Args:
        net: takes pictures normalised as its backbone wants them.
        blocks: pixels down and across that are averaged into one first.
    """

    def __init__(self, net: ImageClassifier, *, blocks: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.shrink = nn.Identity() if blocks == (1, 1) else nn.AvgPool2d(blocks)
        self.norm = net.backbone.pixel_norm()
        self.net = net

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (N,O)."""
        logits: Tensor = self.net(self.norm(self.shrink(pictures.float())))
        return logits


def object_network(name: str, *, num_objects: int, blocks: tuple[int, int]) -> ObjectNetwork:
    """Return what tells objects apart in pictures, with fresh weights.

    Args:
        name: an image network, such as ``efficientnet_b0``, is to know ImageNet's 1000 objects;
            anything else is a few convolutions.
        num_objects: O.
        blocks: pixels down and across that become one first.

    Raises:
        ValueError: a network of ImageNet is to know another number of objects.
    """
    if name in IMAGE_NETWORKS:
        if num_objects != NUM_PUBLISHED:
            raise ValueError(f"{name} knows {NUM_PUBLISHED} objects, got num_objects={num_objects}")
        return ObjectNetwork(create_classifier(cast(ImageBackboneName, name)), blocks=blocks)
    channels, strides = PREVIEW_LAYERS
    net = conv_stack(channels, strides=strides)
    return ObjectNetwork(ImageClassifier(net, num_classes=num_objects, pool="max"), blocks=blocks)


def frame_recogniser(
    name: str,
    *,
    num_classes: int,
    feature_width: int = 0,
    dropout: float = 0.0,
    several: bool = False,
) -> FrameClassifier:
    """Return a classifier of single frames, with fresh weights.

    Args:
        name: ``resnet50``, ``small`` and ``tiny`` take pictures; ``features`` takes stored ones.
        num_classes: K.
        feature_width: of stored features.
        dropout: before the last layer of those that take pictures.
        several: whether a frame may show several classes.
    """
    if name == "features":
        encoder: nn.Module = nn.Sequential(nn.Linear(feature_width, FEATURE_HIDDEN), nn.ReLU())
        return FrameClassifier(
            encoder, width=FEATURE_HIDDEN, num_classes=num_classes, several=several
        )
    if name == "tiny":
        channels, strides = TINY_RECOGNISER_LAYERS
        net = conv_stack(channels, strides=strides)
        pictures = ImageEncoder(net, width=net.num_features, pool="max")
    else:
        pictures = focus_encoder(name)
    return FrameClassifier(
        PictureVectors(pictures),
        width=pictures.width,
        num_classes=num_classes,
        dropout=dropout,
        several=several,
    )
