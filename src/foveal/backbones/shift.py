"""Temporal shift for a whole network of pictures.

Example:
    >>> import torch
    >>> from foveal.backbones import insert_temporal_shift, small_resnet
    >>> backbone = small_resnet()
    >>> insert_temporal_shift(backbone, num_frames=4)
    3
    >>> backbone.features(torch.zeros(8, 3, 64, 64)).shape  # two clips
    torch.Size([8, 64, 8, 8])
"""

from __future__ import annotations

from timm.models import regnet
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from foveal.backbones.form import ImageBackbone
from foveal.backbones.small import InvertedBlock, ResidualBlock
from foveal.layers.temporal_shift import TemporalShift


def insert_temporal_shift(backbone: ImageBackbone, *, num_frames: int, fold_div: int = 8) -> int:
    """Wrap the first convolution of residual blocks in a :class:`TemporalShift`, in place.

    Source: arXiv 1811.08383 (residual shift). In a ResNet or RegNet: every residual block. In
    MobileNetV2, MobileNetV3 and EfficientNet: every inverted-residual block that expands its
    channels and has an identity skip. Deviation: the official code leaves out every second block
    of ResNet-101 and deeper, and shows ResNets and MobileNetV2 alone; the others follow the same
    rule.

    Args:
        backbone: fresh from :func:`foveal.backbones.create`, or a small one.
        num_frames: T of the clips whose frames will be its rows.
        fold_div: see :func:`foveal.layers.temporal_shift`.

    Returns:
        How many convolutions were wrapped.

    Raises:
        ValueError: there is no such block (DenseNet, Swin, a plain stack), or they are wrapped
            already.
    """
    num_wrapped = 0
    for block in list(backbone.modules()):
        name = _first_layer(block)
        if name is None:
            continue
        conv = getattr(block, name)
        if isinstance(conv, TemporalShift):
            raise ValueError("the backbone has temporal shifts already")
        setattr(block, name, TemporalShift(conv, num_frames=num_frames, fold_div=fold_div))
        num_wrapped += 1
    if num_wrapped == 0:
        raise ValueError(
            f"{backbone.name or 'the backbone'} has no residual block to put a temporal shift in; "
            "ResNet, RegNet, MobileNet and EfficientNet have"
        )
    return num_wrapped


def _first_layer(block: nn.Module) -> str | None:
    """Return which layer of ``block`` is to see shifted channels, if it is such a block."""
    match block:
        case BasicBlock() | Bottleneck() | regnet.Bottleneck() | ResidualBlock():
            return "conv1"
        case InvertedResidual() if block.has_skip:
            return "conv_pw"
        case InvertedBlock() if block.has_skip:
            return "expand"
        case _:
            return None
