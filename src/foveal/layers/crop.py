"""A crop that has a gradient with respect to where it is.

Source: Wang et al., "AdaFocus V2", CVPR 2022, arXiv 2112.14238, section 3 (interpolation-based
patch selection). A position in [0, 1] is the top-left corner's share of the way it can go.
Deviation: the official code reaches the same pixels through normalised coordinates and loses
precision there (up to 6e-5 of the image's amplitude in float32, and gradients that are rounding
noise at whole-pixel corners). Here whole pixels are looked up and mixed, so a whole-pixel corner
gives the exact slice, and there the gradient is the one towards larger coordinates (towards
smaller ones at the far border, where nothing lies beyond).
Letters: B images, C channels, H height, W width, P side of the crop.

Example:
    >>> import torch
    >>> from foveal.layers import crop_at
    >>> image = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> crop_at(image, torch.tensor([[0.5, 1.0]]), crop_size=2)  # corner at y=1, x=2
    tensor([[[[ 6.,  7.],
              [10., 11.]]]])
    >>> position = torch.tensor([[0.25, 0.5]], requires_grad=True)  # corner at y=0.5, x=1
    >>> crop_at(image, position, crop_size=2).mean().backward()
    >>> position.grad  # 2 px of way, 4 grey levels a row and 1 a column
    tensor([[8., 2.]])
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop_at(images: Tensor, positions: Tensor, *, crop_size: int) -> Tensor:
    """Return the square of ``crop_size`` px whose top-left corner is at ``positions``.

    The corner in px is ``position * (H - P, W - P)``; pixel (i, j) of the crop is the bilinear
    sample of the image at (corner_y + i, corner_x + j). Frames that share a position may be
    stacked on the channels. Reads outside the image are zero; positions in [0, 1] make none.

    Args:
        images: float (B,C,H,W).
        positions: (B,2) in the order (y, x), of the images' type, finite.
        crop_size: P in px, from 1 to the shorter side.

    Returns:
        A tensor (B,C,P,P), differentiable with respect to images and positions.

    Raises:
        ValueError: shapes do not fit, or the crop is larger than the image.
    """
    if images.ndim != 4 or tuple(positions.shape[1:]) != (2,):
        raise ValueError(
            f"expected images (B,C,H,W) and positions (B,2), "
            f"got {tuple(images.shape)} and {tuple(positions.shape)}"
        )
    height, width = images.shape[2:]
    if not 1 <= crop_size <= min(height, width):
        raise ValueError(f"a crop of {crop_size} px does not fit an image of {height}x{width}")
    rows, row_inside, beta = _reads(positions[:, 0], height, crop_size)
    columns, column_inside, alpha = _reads(positions[:, 1], width, crop_size)
    # One gather brings the (P+1)x(P+1) pixels that the crop mixes.
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    index = index[:, None].expand(-1, images.shape[1], -1)
    side = crop_size + 1
    pixels = images.flatten(2).gather(2, index).reshape(*images.shape[:2], side, side)
    pixels = pixels * (row_inside[:, :, None] & column_inside[:, None, :])[:, None]
    beta, alpha = beta[:, None, None, None], alpha[:, None, None, None]
    mixed = (1 - beta) * pixels[:, :, :-1] + beta * pixels[:, :, 1:]
    crop: Tensor = (1 - alpha) * mixed[..., :-1] + alpha * mixed[..., 1:]
    return crop


def _reads(position: Tensor, size: int, crop_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return along one axis: the P+1 indices to read, which are inside, the upper one's weight."""
    corner = position * (size - crop_size)
    # At the far border the pair of pixels is the last one inside, with all weight on its upper.
    first = torch.floor(corner) - (corner == size - crop_size).to(corner.dtype)
    steps = torch.arange(crop_size + 1, device=position.device)
    index = first.detach().long()[:, None] + steps
    inside = (index >= 0) & (index < size)
    return index.clamp(0, size - 1), inside, corner - first.detach()


def slice_at(images: Tensor, positions: Tensor, *, crop_size: int) -> Tensor:
    """Return the whole-pixel square whose corner is at ``floor(positions * (H - P, W - P))``.

    Source: Wang et al., "Glance and Focus", NeurIPS 2020, arXiv 2010.05300 (hard crop). Nothing is
    mixed, so pixels keep their type, and positions get no gradient. Only a position of exactly 1
    reaches the last corner.

    Args:
        images: (B,C,H,W) of any type.
        positions: float (B,2) in the order (y, x); outside [0, 1] the nearest border is meant.
        crop_size: P in px, from 1 to the shorter side.

    Returns:
        A tensor (B,C,P,P) of the images' type.

    Raises:
        ValueError: shapes do not fit, or the crop is larger than the image.
    """
    if images.ndim != 4 or tuple(positions.shape[1:]) != (2,):
        raise ValueError(
            f"expected images (B,C,H,W) and positions (B,2), "
            f"got {tuple(images.shape)} and {tuple(positions.shape)}"
        )
    height, width = images.shape[2:]
    if not 1 <= crop_size <= min(height, width):
        raise ValueError(f"a crop of {crop_size} px does not fit an image of {height}x{width}")
    inside = positions.detach().clamp(0, 1)
    way = torch.tensor([height - crop_size, width - crop_size], device=positions.device)
    return slice_corners(images, torch.floor(inside * way).long(), crop_size=crop_size)


def slice_corners(images: Tensor, corners: Tensor, *, crop_size: int) -> Tensor:
    """Return the squares whose top-left pixels are ``corners``, as they are.

    Args:
        images: (B,C,H,W) of any type.
        corners: int64 (B,2) in the order (y, x), in px, inside.
        crop_size: P in px, from 1 to the shorter side.

    Returns:
        A tensor (B,C,P,P) of the images' type.
    """
    width = images.shape[3]
    steps = torch.arange(crop_size, device=corners.device)
    rows, columns = corners[:, :1] + steps, corners[:, 1:] + steps
    index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    index = index[:, None].expand(-1, images.shape[1], -1)
    taken = images.flatten(2).gather(2, index)
    return taken.reshape(*images.shape[:2], crop_size, crop_size)
