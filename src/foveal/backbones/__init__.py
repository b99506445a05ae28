"""Networks that turn pictures into feature maps, all of one form."""

from foveal.backbones.image import (
    ImageBackbone,
    ImageBackboneName,
    create,
    insert_temporal_shift,
)
from foveal.backbones.small import conv_stack

__all__ = [
    "ImageBackbone",
    "ImageBackboneName",
    "conv_stack",
    "create",
    "insert_temporal_shift",
]
