"""What is done to the pictures of a sample in training: cut, scaled, perhaps mirrored.

All frames of a sample, under whatever name, get the same cut and the same mirroring. Letters: T
frames, H height, W width.

Example:
    >>> import torch
    >>> from foveal.layers import ResizedCrop
    >>> sample = {"frames": torch.zeros(8, 3, 96, 128, dtype=torch.uint8), "label": torch.tensor(3)}
    >>> augment = ResizedCrop(size=64, flip=False)
    >>> augment(sample, torch.Generator().manual_seed(0))["frames"].shape
    torch.Size([8, 3, 64, 64])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from foveal.types import Canvas

Augment: TypeAlias = Callable[[Mapping[str, Tensor], torch.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedCrop:
    """A crop of random area and shape, scaled to a square (Inception's).

    Args:
        size: px each way of what comes out.
        area: least and largest share of the picture.
        aspect: width over height is drawn between its inverse and it, evenly in the logarithm.
        flip: mirror half of the samples; not where left and right are classes.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: float = 4 / 3
    flip: bool = True

    def __call__(
        self, sample: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return ``sample`` with its pictures, uint8 (T,3,H,W), cut, scaled and mirrored alike."""
        height, width = _size_of(sample)
        box = random_box(height, width, generator, area=self.area, aspect=self.aspect)
        return _cut(sample, box, size=self.size, flip=self.flip and _coin(generator))


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiScaleCrop:
    """A crop whose sides are set shares of the short side, at one of thirteen fixed places.

    Source: Wang et al., "Temporal Segment Networks", arXiv 1608.00859, section 3.3 (scale
    jittering and corner cropping). Height and width are drawn apart, at most one scale apart.

    Args:
        size: px each way of what comes out.
        scales: descending.
        flip: mirror half of the samples; not where left and right are classes.
    """

    size: int
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    flip: bool = True

    def __call__(
        self, sample: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return ``sample`` with its pictures, uint8 (T,3,H,W), cut, scaled and mirrored alike."""
        height, width = _size_of(sample)
        short = min(height, width)
        sides = [int(short * scale) for scale in self.scales]
        pairs = [(a, b) for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) < 2]
        tall, wide = pairs[_draw(len(pairs), generator)]
        down, right = (height - tall) / 4, (width - wide) / 4
        quarters = [(y, x) for y in range(5) for x in range(5) if (y + x) % 2 == 0]
        y, x = quarters[_draw(len(quarters), generator)]
        box = (int(y * down), int(x * right), tall, wide)
        return _cut(sample, box, size=self.size, flip=self.flip and _coin(generator))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """Another light: contrast, brightness and colour, the same for all frames of a sample.

    Args:
        contrast: a factor is drawn from one less to one more than 1.
        brightness: levels of 255 added, either way.
        colour: levels added to each of red, green and blue, either way.
    """

    contrast: float = 0.3
    brightness: float = 25.0
    colour: float = 10.0

    def __call__(
        self, sample: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return ``sample`` with its pictures, uint8 (T,3,H,W), changed alike."""
        drawn = 2 * torch.rand(5, generator=generator) - 1
        factor = 1 + self.contrast * drawn[0]
        shift = self.brightness * drawn[1] + self.colour * drawn[2:, None, None]
        changed = dict(sample)
        for name, pictures in sample.items():
            if pictures.ndim == 4:
                pixels = pictures.float()
                offset = shift + (1 - factor) * pixels.mean()
                lit = pixels.mul_(factor).add_(offset)
                changed[name] = lit.round_().clamp_(0, 255).to(torch.uint8)
        return changed


@dataclass(frozen=True, slots=True)
class Chain:
    """One change after the other."""

    changes: tuple[Augment, ...]

    def __call__(
        self, sample: Mapping[str, Tensor], generator: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Return ``sample`` after all of them."""
        for change in self.changes:
            sample = change(sample, generator)
        return sample


def gentle(canvas: Canvas) -> tuple[Canvas, Chain]:
    """Return what suits small sets: a canvas a sixth larger, and what is done to its pictures.

    At least 55 % of the larger picture is cut out, nearly in its own shape, mirrored half of the
    time and shown in another light.

    Raises:
        ValueError: the canvas is no square.
    """
    if canvas.height != canvas.width:
        size = f"{canvas.width} x {canvas.height} px"
        raise ValueError(f"pictures of {size} cannot be cut at random, only square ones can")
    large = replace(
        canvas,
        height=canvas.height * 7 // 6,
        width=canvas.width * 7 // 6,
        short_side=None if canvas.short_side is None else canvas.short_side * 7 // 6,
    )
    return large, Chain((ResizedCrop(size=canvas.width, area=(0.55, 1.0), aspect=1.15), Jitter()))


def random_box(
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: float = 4 / 3,
    attempts: int = 10,
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random crop; the centre square if none fits."""
    for _ in range(attempts):
        drawn = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        pixels = (area[0] + (area[1] - area[0]) * drawn[0]) * height * width
        ratio = math.exp((2 * drawn[1] - 1) * math.log(aspect))
        tall, wide = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < tall <= height and 0 < wide <= width:
            top, left = int(drawn[2] * (height - tall + 1)), int(drawn[3] * (width - wide + 1))
            return top, left, tall, wide
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _size_of(sample: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return height and width of the pictures of ``sample``, which are all alike."""
    sizes = {tuple(t.shape[-2:]) for t in sample.values() if t.ndim == 4}
    if len(sizes) != 1:
        raise ValueError(
            f"a sample needs pictures of one size to be cut alike, got {sorted(sizes)}"
        )
    ((height, width),) = sizes
    return height, width


def _cut(
    sample: Mapping[str, Tensor], box: tuple[int, int, int, int], *, size: int, flip: bool
) -> dict[str, Tensor]:
    """Cut ``box`` out (bilinear, without antialiasing, as the papers do; pixels are rounded)."""
    top, left, tall, wide = box
    cut = dict(sample)
    for name, pictures in sample.items():
        if pictures.ndim != 4:
            continue
        crop = pictures[..., top : top + tall, left : left + wide]
        if (tall, wide) != (size, size):
            scaled = functional.interpolate(
                crop.float(), size=(size, size), mode="bilinear", align_corners=False
            )
            crop = scaled.round().clamp(0, 255).to(torch.uint8)
        cut[name] = crop.flip(-1) if flip else crop
    return cut


def _coin(generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < 0.5)


def _draw(number: int, generator: torch.Generator) -> int:
    return int(torch.randint(number, (), generator=generator))
