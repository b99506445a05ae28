"""Small networks for a CPU, in the form of :class:`foveal.backbones.ImageBackbone`.

Letters: B pictures, C channels, H height, W width.

Example:
    >>> import torch
    >>> from foveal.backbones import conv_stack, small_mobilenet, small_resnet
    >>> backbone = conv_stack((3, 8, 16, 16), strides=(1, 2, 1))
    >>> backbone.features(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 16, 8, 8])
    >>> backbone.num_features, backbone.stride
    (16, 2)
    >>> small_resnet().features(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 64, 8, 8])
    >>> small_mobilenet().features(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 128, 7, 7])
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from foveal.backbones.form import ImageBackbone


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
        _conv(before, after, stride=stride)
        for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
    ]
    return ImageBackbone(
        nn.Sequential(*layers), num_features=channels[-1], stride=math.prod(strides)
    )


def small_resnet(*, width: int = 16, in_channels: int = 3) -> ImageBackbone:
    """Return a stem and three residual blocks: a map of ``4 * width`` features at 1/8 of the size.

    For pictures of 64 to 128 px whose evidence is fine. With 16 channels: 77,392 parameters; 12.5 M
    MACs at 64 px, 28.1 M at 96 px, 50.0 M at 128 px.

    Args:
        width: channels of the first block; doubled in each of the others.
        in_channels: C.
    """
    net = nn.Sequential(
        _conv(in_channels, width, stride=2),
        ResidualBlock(width, width, stride=1),
        ResidualBlock(width, 2 * width, stride=2),
        ResidualBlock(2 * width, 4 * width, stride=2),
    )
    return ImageBackbone(net, num_features=4 * width, stride=8)


def small_mobilenet(*, width: int = 16, in_channels: int = 3) -> ImageBackbone:
    """Return a stem and six inverted residual blocks: ``8 * width`` features at 1/16 of the size.

    For pictures of 96 to 128 px at a glance. With 16 channels: 191,872 parameters; 9.28 M MACs at
    64 px, 20.9 M at 96 px, 37.1 M at 128 px.

    Args:
        width: channels after the stem; 2, 4 and 8 times as many later.
        in_channels: C.
    """
    channels = (width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width)
    strides = (2, 1, 2, 1, 2, 1)
    blocks = [
        InvertedBlock(before, after, stride=stride)
        for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
    ]
    net = nn.Sequential(_conv(in_channels, width, stride=2), *blocks)
    return ImageBackbone(net, num_features=8 * width, stride=16)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip, which is a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, after, stride=stride)
        self.conv2 = nn.Sequential(
            nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.skip = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B,after,H/stride,W/stride) of maps (B,before,H,W)."""
        result: Tensor = self.activation(self.conv2(self.conv1(x)) + self.skip(x))
        return result


class InvertedBlock(nn.Module):
    """Three times the channels, a depthwise 3x3 convolution, few channels again.

    Source: Sandler et al., "MobileNetV2", CVPR 2018, arXiv 1801.04381; there six times.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        hidden = 3 * before
        self.has_skip = stride == 1 and before == after
        self.expand = _conv(before, hidden, size=1)
        self.depthwise = _conv(hidden, hidden, stride=stride, groups=hidden)
        self.reduce = nn.Sequential(nn.Conv2d(hidden, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B,after,H/stride,W/stride) of maps (B,before,H,W)."""
        reduced: Tensor = self.reduce(self.depthwise(self.expand(x)))
        return x + reduced if self.has_skip else reduced


def _conv(
    before: int, after: int, *, size: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU; sizes are divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
