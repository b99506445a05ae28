"""EfficientNet-Lite0 as one part of the tagger: a picture to ImageNet probabilities.

Source: Liu, Tan et al., "EfficientNet-Lite", 2020 (a variant of arXiv 1905.11946 without
squeeze-and-excitation and with ReLU6); the layers come from timm.
Letters: B pictures, K classes.
"""

from __future__ import annotations

from itertools import pairwise

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from foveal.systems.tagger.protocol import PART, Config

ARCHITECTURE = "tf_efficientnet_lite0"


class Classifier(nn.Module):
    """uint8 pictures (B,3,H,W), H and W multiples of 32, to probabilities (B,K)."""

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        self.net = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return probabilities float32 (B,K)."""
        logits: Tensor = self.net((frames.float() - 127.0) / 128.0)
        return logits.softmax(dim=-1)


def build(cfg: Config) -> dict[str, nn.Module]:
    """Return the parts with random weights, in evaluation mode."""
    return {PART: Classifier(num_classes=cfg.num_classes).eval()}


@torch.no_grad()
def make_static(part: Classifier) -> None:
    """Rewrite ``part`` for export, in place; its outputs stay the same.

    Batch normalisation is folded into the convolution before it, and TensorFlow's "same"
    padding, which depends on the input size, becomes the fixed padding it amounts to where
    every stage halves an even size.
    """
    for module in list(part.net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(module, name, _fixed_padding(child))
    for module in list(part.net.modules()):
        names = [name for name, _ in module.named_children()]
        for before, after in pairwise(names):
            norm = getattr(module, after)
            if isinstance(norm, BatchNormAct2d):
                _fold(getattr(module, before), norm)
                setattr(module, after, norm.act)


def _fixed_padding(conv: Conv2dSame) -> nn.Sequential:
    size = conv.kernel_size[0]
    if conv.stride != (2, 2) or conv.kernel_size != (size, size) or conv.dilation != (1, 1):
        raise ValueError(f"only square convolutions with stride 2 can be rewritten, got {conv}")
    before, after = (size - 2) // 2, (size - 1) // 2
    plain = nn.Conv2d(
        conv.in_channels, conv.out_channels, size, stride=2, groups=conv.groups, bias=False
    )
    plain.weight = conv.weight
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), plain)


def _fold(before: nn.Module, norm: BatchNormAct2d) -> None:
    conv = before[-1] if isinstance(before, nn.Sequential) else before
    if not isinstance(conv, nn.Conv2d):
        raise ValueError(f"batch normalisation follows {type(before).__name__}, not a convolution")
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("batch normalisation without statistics cannot be folded")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - mean * scale)
