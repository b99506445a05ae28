"""The encoders of the AdaFocus family by name: cheap ones that glance, costly ones that look.

Letters: N pictures, D features, h side of a map.

Example:
    >>> import torch
    >>> from foveal.backbones import focus_encoder, glance_encoder
    >>> glance, map_side = glance_encoder("tiny", size=64)
    >>> map_, vector = glance(torch.zeros(2, 3, 64, 64))
    >>> tuple(map_.shape), tuple(vector.shape), map_side
    ((2, 16, 8, 8), (2, 16), 8)
    >>> tuple(focus_encoder("tiny")(torch.zeros(2, 3, 16, 16))[1].shape)
    (2, 64)
"""

from __future__ import annotations

from torch import nn

from foveal.backbones.image import create
from foveal.backbones.shift import insert_temporal_shift
from foveal.backbones.small import conv_stack
from foveal.layers.encoder import CPU_ROWS, ImageEncoder

RESNET_GLANCE_PX = 96
FOCUS_CPU_ROWS = 16
"""Squares of 96 to 160 px: of half as many ResNet-50 took 1.1 to 1.6 times as long."""
POOLED_PX = {"small": 32, "tiny": 16}
"""Side of the pictures the small glances see, averages of blocks of pixels."""
GLANCE_LAYERS = {"small": ((3, 8, 16, 16), (1, 2, 1)), "tiny": ((3, 8, 16, 16), (1, 2, 1))}
FOCUS_LAYERS = {
    "small": ((3, 16, 32, 64, 96), (2, 2, 2, 1)),
    "tiny": ((3, 24, 48, 64), (1, 2, 2)),
}
"""Channels and strides of the encoders that are a few convolutions."""


def glance_encoder(
    name: str, *, size: int, shift_frames: int | None = None
) -> tuple[ImageEncoder, int]:
    """Return the encoder of a glance and h of its map.

    Args:
        name: ``small`` and ``tiny`` see averages of blocks of pixels, ``resnet50`` pictures made
            smaller, ``mobilenetv2`` all of them.
        size: of the pictures, in px.
        shift_frames: frames of a clip, whose neighbours MobileNetV2 then sees (temporal shift).
    """
    scale: nn.Module | None = None
    if name in GLANCE_LAYERS:
        channels, strides = GLANCE_LAYERS[name]
        net = conv_stack(channels, strides=strides)
        scale = nn.AvgPool2d(size // POOLED_PX[name])
        size = POOLED_PX[name]
    elif name == "resnet50":
        net = create("resnet50")
        size = RESNET_GLANCE_PX
        scale = nn.Upsample((size, size), mode="bilinear", align_corners=True)
    else:
        net = create("mobilenetv2_100")
        if shift_frames is not None:
            insert_temporal_shift(net, num_frames=shift_frames, fold_div=8)
    encoder = ImageEncoder(
        net, width=net.num_features, scale=scale, cpu_rows=shift_frames or CPU_ROWS
    )
    return encoder, -(-size // net.stride)


def focus_encoder(name: str, *, shift_frames: int | None = None) -> ImageEncoder:
    """Return the encoder of what is looked at.

    Args:
        name: ``small``, ``tiny`` or ``resnet50``.
        shift_frames: frames of a clip, whose neighbours ResNet-50 then sees (temporal shift).
    """
    if name in FOCUS_LAYERS:
        channels, strides = FOCUS_LAYERS[name]
        net = conv_stack(channels, strides=strides)
        return ImageEncoder(net, width=net.num_features, pool="max")
    net = create("resnet50")
    if shift_frames is None:
        return ImageEncoder(net, width=net.num_features, cpu_rows=FOCUS_CPU_ROWS)
    insert_temporal_shift(net, num_frames=shift_frames, fold_div=8)
    return ImageEncoder(net, width=net.num_features, cpu_rows=shift_frames)
