"""The shared layers' equations once more in plain NumPy, one element at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from foveal.layers import TemporalEncoder, crop_at, temporal_shift


def bilinear(image: np.ndarray, y: float, x: float) -> float:
    """The value of a picture (H,W) at a fractional point; zero outside."""
    y0, x0 = math.floor(y), math.floor(x)
    beta, alpha = y - y0, x - x0

    def m(row: int, column: int) -> float:
        inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
        return float(image[row, column]) if inside else 0.0

    return (
        (1 - alpha) * (1 - beta) * m(y0, x0)
        + alpha * (1 - beta) * m(y0, x0 + 1)
        + (1 - alpha) * beta * m(y0 + 1, x0)
        + alpha * beta * m(y0 + 1, x0 + 1)
    )


def slow_crop(images: np.ndarray, positions: np.ndarray, crop_size: int) -> np.ndarray:
    num_images, channels, height, width = images.shape
    crop = np.empty((num_images, channels, crop_size, crop_size))
    for b, c, i, j in np.ndindex(*crop.shape):
        y = positions[b, 0] * (height - crop_size) + i
        x = positions[b, 1] * (width - crop_size) + j
        crop[b, c, i, j] = bilinear(images[b, c], y, x)
    return crop


@pytest.mark.parametrize(("height", "width", "crop_size"), [(9, 9, 4), (6, 11, 5), (7, 5, 5)])
def test_the_crop_is_bilinear_sampling(height: int, width: int, crop_size: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 2, height, width))
    positions = rng.uniform(-0.5, 1.5, (6, 2))
    positions[:3] = [[0, 1], [1, 0.3], [0.25, 0]]
    ours = crop_at(torch.from_numpy(images), torch.from_numpy(positions), crop_size=crop_size)
    np.testing.assert_allclose(ours, slow_crop(images, positions, crop_size), atol=1e-12)


def test_the_crops_gradient_is_the_slope_of_the_bilinear_surface() -> None:
    """Central differences are exact between whole pixels, where the surface is a plane a side."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(4, 1, 8, 10))
    positions = (rng.integers(0, 4, (4, 2)) + 0.5) / (4, 6)  # half-way between two pixels
    weights = rng.normal(size=(4, 1, 4, 4))
    wanted = np.empty((4, 2))
    for axis in range(2):
        shift = np.zeros(2)
        shift[axis] = 0.01
        up, down = (slow_crop(images, positions + s, 4) for s in (shift, -shift))
        wanted[:, axis] = (weights * (up - down)).sum((1, 2, 3)) / 0.02
    leaf = torch.tensor(positions, requires_grad=True)
    (
        crop_at(torch.from_numpy(images), leaf, crop_size=4) * torch.from_numpy(weights)
    ).sum().backward()
    np.testing.assert_allclose(leaf.grad, wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("num_clips", "num_frames", "channels", "fold_div"),
    [(2, 4, 8, 8), (1, 5, 16, 4), (3, 2, 10, 8), (2, 1, 8, 8), (1, 3, 4, 2), (1, 3, 4, 10)],
)
def test_the_shift_moves_channels_in_time(
    num_clips: int, num_frames: int, channels: int, fold_div: int
) -> None:
    x = np.random.default_rng(2).normal(size=(num_clips, num_frames, channels, 2, 3))
    fold = channels // fold_div
    wanted = np.zeros_like(x)
    for n, t, c in np.ndindex(num_clips, num_frames, channels):
        source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
        if 0 <= source < num_frames:
            wanted[n, t, c] = x[n, source, c]
    rows = torch.from_numpy(x).flatten(0, 1)
    ours = temporal_shift(rows, num_frames=num_frames, fold_div=fold_div)
    np.testing.assert_array_equal(ours, wanted.reshape(rows.shape))


def test_a_temporal_encoder_is_pytorchs_transformer() -> None:
    torch.manual_seed(0)
    ours = TemporalEncoder(12, num_frames=16, width=24, heads=4, ffn=40, layers=2).eval()
    seen = torch.randn(3, 16, 12)
    theirs = [
        nn.TransformerEncoderLayer(24, 4, 40, dropout=0.0, batch_first=True).eval() for _ in "ab"
    ]
    with torch.no_grad():
        wanted = ours.project(seen) + ours.code
        for layer, other in zip(ours.layers, theirs, strict=True):
            other.self_attn.in_proj_weight.copy_(layer.attend.qkv.weight)
            other.self_attn.in_proj_bias.copy_(layer.attend.qkv.bias)
            pairs = [
                (other.self_attn.out_proj, layer.attend.out),
                (other.linear1, layer.think[0]),
                (other.linear2, layer.think[3]),
                (other.norm1, layer.after_attend),
                (other.norm2, layer.after_think),
            ]
            for target, source in pairs:
                target.load_state_dict(source.state_dict())
            wanted = other(wanted)
        assert torch.allclose(ours(seen), wanted, atol=1e-5)
