"""Image networks from timm, in the one form that systems use.

Letters: B pictures, C channels of the picture, D features, H height, W width.

Example:
    >>> import torch
    >>> from foveal.backbones import create, insert_temporal_shift
    >>> with torch.device("meta"):  # shapes without memory
    ...     backbone = create("mobilenetv2_100")
    ...     backbone.features(torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 1280, 7, 7])
    >>> backbone.num_features, backbone.stride
    (1280, 32)
    >>> insert_temporal_shift(backbone, num_frames=8, fold_div=8)  # layers that were wrapped
    10
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import timm
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from foveal.layers.temporal_shift import TemporalShift

ImageBackboneName: TypeAlias = Literal[
    "mobilenetv2_100", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"
]
"""Names as in timm."""

NUM_FEATURES: Mapping[ImageBackboneName, int] = {
    "mobilenetv2_100": 1280,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
}
"""D of every network."""

STRIDE = 32
"""Of all of them."""


class ImageBackbone(nn.Module):
    """Pictures to a feature map.

    Args:
        net: float (B,C,H,W), normalised, to float (B,D,H/stride,W/stride), sizes rounded up.
        num_features: D.
        stride: px of the picture a cell of the map covers.
    """

    def __init__(self, net: nn.Module, *, num_features: int, stride: int) -> None:
        super().__init__()
        self.net = net
        self.num_features = num_features
        self.stride = stride

    def features(self, x: Tensor) -> Tensor:
        """Return the map (B,D,h,w) of pictures (B,C,H,W)."""
        result: Tensor = self.net(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Return :meth:`features`."""
        return self.features(x)


def create(
    name: ImageBackboneName, *, pretrained: bool = False, in_channels: int = 3
) -> ImageBackbone:
    """Return a network without its classifier: the map before pooling.

    Args:
        name: see :data:`ImageBackboneName`.
        pretrained: with ImageNet weights, which timm downloads; fresh ones otherwise.
        in_channels: C.

    Raises:
        ValueError: the name is none of them.
    """
    if name not in NUM_FEATURES:
        raise ValueError(f"no backbone {name!r}; there are {', '.join(NUM_FEATURES)}")
    net = timm.create_model(
        name, pretrained=pretrained, num_classes=0, global_pool="", in_chans=in_channels
    )
    return ImageBackbone(net, num_features=NUM_FEATURES[name], stride=STRIDE)


def insert_temporal_shift(backbone: ImageBackbone, *, num_frames: int, fold_div: int = 8) -> int:
    """Wrap the first convolution of residual blocks in a :class:`TemporalShift`, in place.

    Source: arXiv 1811.08383 (residual shift). In a ResNet: every residual block. In MobileNetV2:
    every inverted-residual block that expands its channels and has an identity skip. Deviation:
    the official code leaves out every second block of ResNet-101 and deeper.

    Args:
        backbone: fresh from :func:`create`.
        num_frames: T of the clips whose frames will be its rows.
        fold_div: see :func:`foveal.layers.temporal_shift`.

    Returns:
        How many convolutions were wrapped.

    Raises:
        ValueError: there is no such block, or they are wrapped already.
    """
    num_wrapped = 0
    for block in list(backbone.modules()):
        if isinstance(block, BasicBlock | Bottleneck):
            name = "conv1"
        elif isinstance(block, InvertedResidual) and block.has_skip:
            name = "conv_pw"
        else:
            continue
        conv = getattr(block, name)
        if isinstance(conv, TemporalShift):
            raise ValueError("the backbone has temporal shifts already")
        setattr(block, name, TemporalShift(conv, num_frames=num_frames, fold_div=fold_div))
        num_wrapped += 1
    if num_wrapped == 0:
        raise ValueError("the backbone has no residual block to put a temporal shift in")
    return num_wrapped
