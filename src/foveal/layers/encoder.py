"""A backbone as the encoder of a glance or of what is looked at: pictures to a map and a vector.

Letters: N pictures, D features, h rows and w columns of a map.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from foveal.layers import ImageEncoder
    >>> encoder = ImageEncoder(nn.Conv2d(3, 8, 3, stride=2, padding=1), width=8, pool="max")
    >>> map_, vector = encoder(torch.zeros(2, 3, 16, 16))
    >>> tuple(map_.shape), tuple(vector.shape)
    ((2, 8, 8, 8), (2, 8))
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

CPU_ROWS = 8
"""Activations of many more, at paper size, do not stay near the caches."""


class ImageEncoder(nn.Module):
    """Normalised pictures to a feature map and one vector.

    Args:
        net: pictures (N,3,H,W) to a map (N,D,h,w).
        width: D.
        scale: what shrinks the pictures first; ``None`` takes them as they are.
        pool: how a map becomes a vector.
        cpu_rows: how many pictures a CPU takes at once in evaluation; a whole number of clips
            where ``net`` looks at the frames of a clip together.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        width: int,
        scale: nn.Module | None = None,
        pool: Literal["mean", "max"] = "mean",
        cpu_rows: int = CPU_ROWS,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.net = net
        self.width = width
        self.pool = pool
        self.cpu_rows = cpu_rows

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map (N,D,h,w) and the vector (N,D)."""
        maps = self._maps(pictures if self.scale is None else self.scale(pictures))
        return maps, maps.mean((2, 3)) if self.pool == "mean" else maps.amax((2, 3))

    def _maps(self, pictures: Tensor) -> Tensor:
        # A graph has no loop over rows, and what learns keeps all activations anyway.
        whole = torch.is_grad_enabled() or self.training or torch.compiler.is_compiling()
        if whole or pictures.device.type != "cpu":
            maps: Tensor = self.net(pictures)
            return maps
        return torch.cat([self.net(rows) for rows in torch.split(pictures, self.cpu_rows)])
