"""What lies in between: windows of any size, and features between places of a lattice.

Source: Wang et al., "AdaFocusV3", ECCV 2022, arXiv 2209.13465 (interpolated deep features); Wang et
al., "Uni-AdaFocus", TPAMI 2024, arXiv 2412.11228 (deformable windows, of pictures and of maps).
Letters: N pictures, C channels, H height, W width, S side of the output.

Example:
    >>> import torch
    >>> from foveal.layers import lattice_corners, resample, windows_of
    >>> place = torch.tensor([[0.5, 0.25, 0.0]])
    >>> corners, weights = lattice_corners(place, counts=(3, 3, 1), reach=(8, 8, 4))
    >>> corners[0].tolist(), weights[0].tolist()
    ([[4, 0, 0], [4, 4, 0], [8, 0, 0], [8, 4, 0]], [0.5, 0.5, 0.0, 0.0])
    >>> picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> whole = windows_of(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), side=4, smallest=2, largest=4)
    >>> resample(picture, *whole, size=2)
    tensor([[[[ 2.5000,  4.5000],
              [10.5000, 12.5000]]]])
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor

Border = Literal["edge", "zero"]


def lattice_corners(
    actions: Tensor, *, counts: Sequence[int], reach: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the corners of the lattice around each place, and their weights.

    With ``u = action * (count - 1)``
    the lower corner is ``min(floor(u), count - 2)`` and the weight of the upper one ``u`` minus
    it, an axis at a time; a corner's weight is the product over the axes.

    Args:
        actions: (...,3) in [0, 1], (y, x, t).
        counts: places of the lattice along each axis. Along one with a single place nothing is
            interpolated: the nearest whole place is taken.
        reach: how far a cube can go along each, in px and frames.

    Returns:
        int64 (...,C,3) and (...,C), C being 2 for each axis that is interpolated; weights are not
        negative and sum to 1, and alone carry the gradient.
    """
    corners: list[list[Tensor]] = []
    weights: list[list[Tensor]] = []
    for axis, (count, way) in enumerate(zip(counts, reach, strict=True)):
        place = actions[..., axis]
        if count < 2:
            corners.append([torch.round(place.detach() * way).long()])
            weights.append([torch.ones_like(place).detach()])
            continue
        u = place * (count - 1)
        lower = torch.floor(u.detach()).clamp(0, count - 2)
        upper_weight = u - lower
        corners.append([torch.round((lower + b) * (way / (count - 1))).long() for b in (0, 1)])
        weights.append([1 - upper_weight, upper_weight])
    found = [torch.stack(choice, dim=-1) for choice in product(*corners)]
    shares = [y * x * t for y, x, t in product(*weights)]
    return torch.stack(found, dim=-2), torch.stack(shares, dim=-1)


def resample(
    images: Tensor, corners: Tensor, windows: Tensor, *, size: int, border: Border = "edge"
) -> Tensor:
    """Return the windows of ``images``, each scaled to ``size`` x ``size`` (bilinear).

    Output i along an axis reads ``corner + window * (i + 1/2) / size - 1/2``.

    Args:
        images: (N,C,H,W) of any type.
        corners: float (N,2), (y, x), in px.
        windows: (N,2), (tall, wide), in px.
        size: of the output, in px.
        border: what is read beyond it: the nearest pixel, or 0 as in the official code.

    Returns:
        (N,C,size,size) of the corners' type, differentiable with respect to them and the windows.
    """
    height, width = images.shape[2:]
    steps = (torch.arange(size, device=corners.device, dtype=corners.dtype) + 0.5) / size
    reads = corners[:, :, None] + windows[:, :, None] * steps - 0.5
    rows = _taps(reads[:, 0], height, border)
    columns = _taps(reads[:, 1], width, border)
    mixed = torch.zeros((), dtype=corners.dtype, device=corners.device)
    for index, weight in rows:
        place = index[:, None, :, None].expand(-1, images.shape[1], -1, width)
        mixed = mixed + images.gather(2, place).to(corners.dtype) * weight[:, None, :, None]
    out = torch.zeros((), dtype=corners.dtype, device=corners.device)
    for index, weight in columns:
        place = index[:, None, None, :].expand(-1, images.shape[1], size, -1)
        out = out + mixed.gather(3, place) * weight[:, None, None, :]
    return out


def _taps(reads: Tensor, size: int, border: Border) -> list[tuple[Tensor, Tensor]]:
    """Return the lower and the upper pixel (N,S) of each read along one axis, with weights."""
    if border == "edge":
        reads = reads.clamp(0, size - 1)
    lower = torch.floor(reads.detach())
    share = reads - lower
    taps = []
    for step, weight in ((0, 1 - share), (1, share)):
        index = lower + step
        if border == "zero":
            weight = weight * ((index >= 0) & (index <= size - 1))
        taps.append((index.clamp(0, size - 1).long(), weight))
    return taps


def windows_of(
    regions: Tensor, *, side: int, smallest: float, largest: float
) -> tuple[Tensor, Tensor]:
    """Return corners and windows (N,2) of ``regions`` (N,4), in cells of a picture of ``side``.

    Args:
        regions: (y, x, tall, wide) in [0, 1].
        side: of the picture or map.
        smallest: side of the region at size 0, in the same cells, and
        largest: at size 1.
    """
    windows = smallest + (largest - smallest) * regions[:, 2:]
    return regions[:, :2] * (side - windows), windows
