"""Pixels as they come from a source, made into what a network was trained on.

Letters: B rows, T frames, C channels, H height, W width.

Example:
    >>> import torch
    >>> from foveal.layers import PixelNorm
    >>> norm = PixelNorm()
    >>> frames = torch.full((2, 8, 3, 4, 4), 255, dtype=torch.uint8)
    >>> norm(frames).shape, norm(frames).dtype
    (torch.Size([2, 8, 3, 4, 4]), torch.float32)
    >>> norm(frames)[0, 0, :, 0, 0]
    tensor([2.2489, 2.4286, 2.6400])
    >>> PixelNorm(mean=(0.5,), std=(0.25,))(frames[:, :, :1]).max()
    tensor(2.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""RGB in [0, 1], as networks trained on ImageNet expect it."""
IMAGENET_STD = (0.229, 0.224, 0.225)


class PixelNorm(nn.Module):
    """uint8 pixels (...,C,H,W) to float32, ``(pixels / 255 - mean) / std`` a channel.

    Float pixels are taken to be on the same 0-255 scale, so that gradients can reach them.

    Args:
        mean: a channel, on [0, 1].
        std: a channel, on [0, 1], positive.
    """

    def __init__(
        self,
        *,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"need as many means as positive stds, got {mean} and {std}")
        # Constants of the graph, not weights: they are in no checkpoint.
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Return normalised pixels, float32 unless ``pixels`` are float already."""
        x = pixels if pixels.is_floating_point() else pixels.float()
        return (x - self.mean) / self.std
