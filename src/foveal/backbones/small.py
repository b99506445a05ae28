"""Small convolutional networks for a CPU, in the form of :mod:`foveal.backbones.image`.

Example:
    >>> import torch
    >>> from foveal.backbones import conv_stack
    >>> backbone = conv_stack((3, 8, 16, 16), strides=(1, 2, 1))
    >>> backbone.features(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 16, 8, 8])
    >>> backbone.num_features, backbone.stride
    (16, 2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from foveal.backbones.image import ImageBackbone


def conv_stack(channels: Sequence[int], *, strides: Sequence[int]) -> ImageBackbone:
    """Return a stack of 3x3 convolution, batch normalisation and ReLU.

    Args:
        channels: of the picture, then of every layer.
        strides: of every layer.

    Raises:
        ValueError: there is no layer, or not one stride for each.
    """
    if len(strides) < 1 or len(channels) != len(strides) + 1:
        raise ValueError(f"need a stride for each layer, got {channels} and strides {strides}")
    layers = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )
        for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
    ]
    return ImageBackbone(
        nn.Sequential(*layers), num_features=channels[-1], stride=math.prod(strides)
    )
