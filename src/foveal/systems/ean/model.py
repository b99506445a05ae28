"""EAN's network: motion codes and kernels that follow the clip, and attention between objects.

Source: arXiv 2107.10771. Letters: B clips, N segments, R = B*N rows, C and P channels, D width of
an object, M objects, K classes, H, W sides of a frame, h, w of a map, U channels inside an
adaptive block.

Deviations: where the motion code is ``stacked``, the last convolution on the way back starts
small, as the other's does; the official code scales the one before a normalisation, which undoes
it. Layers of the official code that nothing reads are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import ImageBackbone, create, small_resnet
from foveal.layers import PixelNorm, SelfAttention
from foveal.systems.ean.protocol import BURST, PART, Config

SMALL_START = 0.01
"""What the last convolution of a residual branch is multiplied with when it is fresh."""

STACK_WEIGHTS = (0.6, 0.2, 0.2)
"""Of the stem's map, the motion code and the stacked differences."""


# --- motion inside the backbone ---------------------------------------------------------------


class MotionExcitation(nn.Module):
    """Channels that change from segment to segment are strengthened, others weakened.

    Source: Li et al., "TEA", CVPR 2020, arXiv 2004.01398, section 3.1. The gate is in
    (-0.5, 0.5); that of the last segment, which nothing follows, is 0 up to the norm's bias.
    """

    def __init__(self, channels: int, *, num_segments: int, reduction: int = 16) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.num_segments = num_segments
        self.squeeze = nn.Conv2d(channels, narrow, 1, bias=False)
        self.squeeze_norm = nn.BatchNorm2d(narrow)
        self.transform = nn.Conv2d(narrow, narrow, 3, padding=1, groups=narrow, bias=False)
        self.expand = nn.Conv2d(narrow, channels, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return gates (R,C,1,1) of maps (R,C,h,w)."""
        narrow = self.squeeze_norm(self.squeeze(x))
        ahead = _by_clip(self.transform(narrow), self.num_segments)
        clips = _by_clip(narrow, self.num_segments)
        change = torch.cat([ahead[:, 1:] - clips[:, :-1], torch.zeros_like(clips[:, :1])], dim=1)
        pooled = change.flatten(0, 1).mean((2, 3), keepdim=True)
        gates: Tensor = self.expand_norm(self.expand(pooled)).sigmoid() - 0.5
        return gates

    def forward(self, x: Tensor) -> Tensor:
        """Return maps like ``x`` (R,C,h,w)."""
        return x + x * self.gate(x)


class LearntShift(nn.Module):
    """A depthwise convolution in time that begins as a temporal shift of a quarter of the channels.

    Fresh it is :func:`foveal.layers.temporal_shift` with ``fold_div=8``.
    """

    def __init__(self, channels: int, *, num_segments: int) -> None:
        super().__init__()
        self.num_segments = num_segments
        self.conv = nn.Conv2d(
            channels, channels, (3, 1), padding=(1, 0), groups=channels, bias=False
        )
        fold = channels // 8
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:fold, 0, 2] = 1
            self.conv.weight[fold : 2 * fold, 0, 0] = 1
            self.conv.weight[2 * fold :, 0, 1] = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return maps like ``x`` (R,C,h,w)."""
        series = _by_clip(x, self.num_segments).transpose(1, 2).flatten(3)
        return torch.transpose(self.conv(series), 1, 2).reshape(x.shape)


class MotionLayer(nn.Sequential):
    """What stands before the second convolution of every residual block."""

    def __init__(self, channels: int, *, num_segments: int) -> None:
        super().__init__()
        self.excite = MotionExcitation(channels, num_segments=num_segments)
        self.shift = LearntShift(channels, num_segments=num_segments)


# --- latent motion code -----------------------------------------------------------------------


def space_to_depth(x: Tensor, patch: int) -> Tensor:
    """Return (R, p*p*C, T, H/p, W/p) of ``x`` (R,C,T,H,W); channels are row, column, colour."""
    rows, channels, times, height, width = x.shape
    cut = x.reshape(rows, channels, times, height // patch, patch, width // patch, patch)
    return cut.permute(0, 4, 6, 1, 2, 3, 5).reshape(
        rows, patch * patch * channels, times, height // patch, width // patch
    )


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """Return (R,C,T,h*p,w*p) of ``x`` (R, p*p*C, T, h, w), the inverse of `space_to_depth`."""
    rows, deep, times, height, width = x.shape
    channels = deep // patch**2
    cut = x.reshape(rows, patch, patch, channels, times, height, width)
    return cut.permute(0, 3, 4, 5, 1, 6, 2).reshape(
        rows, channels, times, height * patch, width * patch
    )


def differences(bursts: Tensor) -> Tensor:
    """Return the 4 differences (R,3,4,h,w) of frames (R,5,3,h,w), each from the next."""
    return (bursts[:, 1:] - bursts[:, :-1]).transpose(1, 2)


def every_second(frames: Tensor) -> Tensor:
    """Return every second pixel (...,H/2,W/2) of frames (...,H,W), as the paper halves them."""
    return frames[..., ::2, ::2]


class MotionCode(nn.Module):
    """Differences within a burst, through patches and a narrow code, to a residual for the stem.

    A burst that stands still gives exactly 0 with fresh statistics.

    Args:
        patch: px of a patch of the half-size frames.
        width: of the code.
        groups: of its 3x3x3 convolutions.
        back_patch: cells each way that a patch covers in the result.
        back_channels: of the result, for each of the 4 differences.
        deep: two layers in and two out (the 16-segment network), else one.
    """

    def __init__(
        self,
        *,
        patch: int,
        width: int,
        groups: int,
        back_patch: int,
        back_channels: int,
        deep: bool,
    ) -> None:
        super().__init__()
        self.patch, self.back_patch = patch, back_patch
        deep_in, deep_out = 3 * patch**2, back_channels * back_patch**2
        self.project = _one_or_two(deep_in, width, width, deep=deep)
        self.first = nn.Sequential(
            nn.Conv3d(width, width, 3, padding=1, groups=groups, bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, 1, bias=False),
            nn.BatchNorm3d(width),
        )
        self.second = nn.Sequential(
            nn.Conv3d(width, width, 3, padding=1, groups=groups, bias=False),
            nn.BatchNorm3d(width),
        )
        self.back = _one_or_two(width, width, deep_out, deep=deep)

    def forward(self, changes: Tensor) -> Tensor:
        """Return (R, 4*back_channels, h, w) of differences (R,3,4,H/2,W/2).

        Channel ``c * 4 + t`` belongs to difference t.
        """
        code = self.project(space_to_depth(changes, self.patch))
        code = code + self.first(code)
        code = code + self.second(code)
        return depth_to_space(self.back(code), self.back_patch).flatten(1, 2)


class StackedDifferences(nn.Sequential):
    """All differences of a burst as channels of one picture, (R,12,H/2,W/2) to (R,C,h,w)."""

    def __init__(self, *, hidden: int, channels: int, groups: int, stride: int = 2) -> None:
        super().__init__(
            nn.Conv2d(3 * (BURST - 1), hidden, 3, stride=stride, padding=1, bias=False),
            nn.ReLU(),
            nn.BatchNorm2d(hidden),
            nn.Conv2d(hidden, channels, 3, padding=1, groups=4, bias=False),
            nn.ReLU(),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False),
        )


def _one_or_two(before: int, width: int, after: int, *, deep: bool) -> nn.Sequential:
    if not deep:
        return nn.Sequential(nn.Conv3d(before, after, 1, bias=False))
    return nn.Sequential(
        nn.Conv3d(before, width, 1, bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(),
        nn.Conv3d(width, after, 1, bias=False),
    )


# --- event adaptive block ---------------------------------------------------------------------


class AdaptiveBlock(nn.Module):
    """Three scales in time times three in space, weighed by a matrix that the clip chooses.

    Block (o, i) of the matrix weighs "scale i in time, then scale o in space". Scales are 1, 3 and
    5 wide; the widest is a 3 with holes.

    Args:
        channels: P, of which an inner layer has ``channels / compress``, U.
    """

    def __init__(self, channels: int, *, compress: int) -> None:
        super().__init__()
        inner = channels // compress
        third = inner // 3
        self.inner = inner
        self.thirds = [third, third, inner - 2 * third]
        self.compress = nn.Conv3d(channels, inner, 1, groups=4, bias=False)
        self.descriptor = _descriptor(inner, max(1, inner // 16))
        self.matrix = nn.Linear(4 * max(1, inner // 16), inner**2)
        self.pool_project = nn.Conv3d(inner, inner, 1, bias=False)
        self.temporal = nn.ModuleList(
            nn.Conv3d(c, c, (3, 1, 1), padding=(d, 0, 0), dilation=(d, 1, 1), bias=False)
            for d, c in enumerate(self.thirds[1:], start=1)
        )
        self.norm = nn.BatchNorm3d(inner)
        self.activation: nn.Module = nn.ReLU()
        self.spatial = nn.ModuleList(
            nn.Conv3d(c, c, (1, 3, 3), padding=(0, d, d), dilation=(1, d, d), bias=False)
            for d, c in enumerate(self.thirds[1:], start=1)
        )
        self.expand = nn.Conv3d(inner, channels, 1, groups=4, bias=False)

    def mixing(self, z: Tensor) -> Tensor:
        """Return the matrices (B,U,U), out by in, of compressed maps ``z`` (B,U,N,h,w)."""
        described = self.descriptor(z).mean((2, 3, 4))
        matrices: Tensor = self.matrix(described).unflatten(1, (self.inner, self.inner))
        return matrices

    def scales(self, z: Tensor, matrices: Tensor) -> Tensor:
        """Return (B,U,N,h,w): all scales in time, mixed, then all scales in space."""
        timed = self.activation(self.norm(self._thirds(z, self.temporal)))
        mixed = torch.bmm(matrices, timed.flatten(2)).reshape(z.shape)
        return self._thirds(mixed, self.spatial)

    def _thirds(self, x: Tensor, convs: Iterable[nn.Module]) -> Tensor:
        same, *others = torch.split(x, self.thirds, dim=1)
        return torch.cat([same, *(conv(part) for conv, part in zip(convs, others, strict=True))], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps like ``x`` (B,P,N,h,w) and the matrices (B,U,U)."""
        z = self.compress(x)
        matrices = self.mixing(z)
        y = self.scales(z, matrices) + self.pool_project(_highest(z))
        return x + self.expand(y), matrices


def _highest(z: Tensor) -> Tensor:
    """Return the largest of the 3x3x3 cells around every cell of (B,U,N,h,w).

    First in space, then in time: PyTorch's pooling in three dimensions is ten times slower.
    """
    near = functional.max_pool2d(z.flatten(1, 2), 3, stride=1, padding=1)
    series = near.reshape(z.shape).flatten(3)
    return functional.max_pool2d(series, (3, 1), stride=1, padding=(1, 0)).reshape(z.shape)


def _descriptor(inner: int, width: int) -> nn.Sequential:
    """Return the network whose mean describes a clip: seven convolutions, U to 4*width channels."""
    layers: list[nn.Module] = [
        nn.Conv3d(inner, width, 1, bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(),
    ]
    channels = (width, width, width, 2 * width, 2 * width, 2 * width, 4 * width)
    for before, after in pairwise(channels):
        stride = 1 if before == after else 2
        layers += [
            nn.Conv3d(before, after, 3, stride=stride, padding=stride),
            nn.BatchNorm3d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


# --- sparse transformer -----------------------------------------------------------------------


class TokenNorm(nn.Module):
    """Batch normalisation of tokens (B,n,D) over clips and tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B,n,D)."""
        result: Tensor = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        return result


class TransformerLayer(nn.Module):
    """Attention and three linear layers, each after a norm and beside a skip."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(TokenNorm(width), SelfAttention(width, heads=heads, bias=False))
        self.think = nn.Sequential(
            TokenNorm(width),
            nn.Linear(width, width),
            TokenNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            TokenNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B,n,D)."""
        tokens = tokens + self.attend(tokens)
        result: Tensor = tokens + self.think(tokens)
        return result


class SparseTransformer(nn.Module):
    """Select M objects softly in every segment, relate them, and add what that tells to the mean.

    Fresh it adds exactly 0.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int,
        score_width: int,
        num_objects: int,
        num_cells: int,
        heads: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.squeeze = nn.Conv3d(features, width, 1, bias=False)
        self.position = nn.Parameter(torch.randn(width, num_cells))
        self.scorer = nn.Sequential(
            nn.Conv3d(width, score_width, 1),
            nn.ReLU(),
            nn.BatchNorm3d(score_width),
            nn.Conv3d(score_width, score_width, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm3d(score_width),
            nn.Conv3d(score_width, score_width, (1, 3, 3), padding=(0, 1, 1)),
            nn.ReLU(),
            nn.BatchNorm3d(score_width),
            nn.Conv3d(score_width, num_objects, (1, 3, 3), padding=(0, 1, 1)),
        )
        self.layers = nn.Sequential(*(TransformerLayer(width, heads=heads) for _ in range(layers)))
        self.expand = nn.Linear(width, features, bias=False)
        self.norm = nn.BatchNorm1d(features)
        nn.init.zeros_(self.norm.weight)

    def object_maps(self, squeezed: Tensor) -> Tensor:
        """Return maps (B,M,N,h,w) of (B,D,N,h,w): not negative, of sum 1 in every segment."""
        scores = self.scorer(squeezed)
        maps: Tensor = scores.flatten(3).softmax(-1).unflatten(3, scores.shape[3:])
        return maps

    def tokens(self, squeezed: Tensor, maps: Tensor) -> Tensor:
        """Return tokens (B, M*N, D), object by object: means of features and place under a map."""
        placed = squeezed + self.position.reshape(squeezed.shape[1:])
        by_segment = placed.flatten(3).permute(0, 2, 3, 1)  # (B,N,h*w,D)
        weights = maps.flatten(3).transpose(1, 2)  # (B,N,M,h*w)
        return torch.matmul(weights, by_segment).transpose(1, 2).flatten(1, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B,F) and object maps (B,M,N,h,w) of a map ``x`` (B,F,N,h,w)."""
        squeezed = self.squeeze(x)
        maps = self.object_maps(squeezed)
        related = self.layers(self.tokens(squeezed, maps)).mean(1)
        return x.mean((2, 3, 4)) + self.norm(self.expand(related)), maps


# --- the network ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the network says of B clips.

    Args:
        logits: (B,K).
        maps: (B,M,N,h,w) where its objects are, ``None`` without the transformer.
        mixing: the matrix (B,U,U) of each adaptive block.
    """

    logits: Tensor
    maps: Tensor | None
    mixing: tuple[Tensor, ...]


class Network(nn.Module):
    """The whole of it; what ``cfg`` switches off is not there."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        shape, segments = cfg.shape, cfg.num_segments
        self.num_segments, self.burst = segments, cfg.burst
        self.backbone = create("resnet50") if cfg.backbone == "resnet50" else small_resnet()
        self.normalise = PixelNorm() if cfg.normalise else PixelNorm(mean=(0.0,), std=(1.0,))
        widths = [_width(block) for stage in _stages(self.backbone) for block in stage]
        self.moving = nn.ModuleList(MotionLayer(c, num_segments=segments) for c in widths)
        self.motion: MotionCode | None = None
        self.stack: StackedDifferences | None = None
        stem = shape.sites[0]
        if cfg.motion != "off":
            self.motion = MotionCode(
                patch=cfg.patch_px,
                width=cfg.motion_width,
                groups=cfg.motion_groups,
                back_patch=cfg.back_patch,
                back_channels=stem // (BURST - 1),
                deep=cfg.motion == "stacked",
            )
        if cfg.motion == "stacked":
            self.stack = StackedDifferences(
                hidden=24,
                channels=stem,
                groups=cfg.motion_groups,
                stride=shape.stem_stride // 2,
            )
        sites = shape.sites if cfg.adaptive else ()
        self.adaptive = nn.ModuleList(AdaptiveBlock(c, compress=cfg.compress) for c in sites)
        self.transformer: SparseTransformer | None = None
        if cfg.transformer:
            height, width = cfg.map_size
            self.transformer = SparseTransformer(
                shape.features,
                width=cfg.object_width,
                score_width=cfg.score_width,
                num_objects=cfg.num_objects,
                num_cells=segments * height * width,
                heads=cfg.num_heads,
                layers=cfg.num_layers,
            )
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(shape.features, cfg.num_classes)
        _start(self)

    def forward(self, frames: Tensor) -> Recognised:
        """Return what uint8 ``frames`` (B, N*5, 3, H, W) show; N frames without a motion code."""
        x = self.begin(frames.reshape(-1, self.burst, *frames.shape[2:]))
        mixing: list[Tensor] = []
        x = self._adapt(x, 0, mixing)
        moving = iter(self.moving)
        for number, stage in enumerate(_stages(self.backbone), start=1):
            for block in stage:
                x = _run(block, next(moving), x)
            x = self._adapt(x, number, mixing)
        clips = _by_clip(x, self.num_segments).transpose(1, 2)
        features, maps = clips.mean((2, 3, 4)), None
        if self.transformer is not None:
            features, maps = self.transformer(clips)
        return Recognised(self.head(self.dropout(features)), maps, tuple(mixing))

    def begin(self, bursts: Tensor) -> Tensor:
        """Return the stem's map (R,C,h,w) of uint8 bursts (R,5,3,H,W), with their motion in it."""
        stem = _stem(self.backbone, self.normalise(bursts[:, self.burst // 2]))
        if self.motion is None:
            return stem
        changes = differences(self.normalise(every_second(bursts)))
        code: Tensor = self.motion(changes)
        if self.stack is None:
            return stem + code
        stacked: Tensor = self.stack(changes.flatten(1, 2))
        a, b, c = STACK_WEIGHTS
        return a * stem + b * code + c * stacked

    def _adapt(self, x: Tensor, site: int, mixing: list[Tensor]) -> Tensor:
        if site >= len(self.adaptive):
            return x
        clips, matrices = self.adaptive[site](_by_clip(x, self.num_segments).transpose(1, 2))
        mixing.append(matrices)
        return torch.flatten(clips.transpose(1, 2), 0, 1)


def _by_clip(x: Tensor, num_segments: int) -> Tensor:
    """Return rows (R,...) as (B,N,...)."""
    return x.reshape(-1, num_segments, *x.shape[1:])


# --- the two backbones, block by block: one keeps published names, so nothing is wrapped --------


def _stem(backbone: ImageBackbone, pictures: Tensor) -> Tensor:
    net: Any = backbone.net
    if backbone.name is None:
        small: Tensor = net[0](pictures)
        return small
    large: Tensor = net.maxpool(net.act1(net.bn1(net.conv1(pictures))))
    return large


def _stages(backbone: ImageBackbone) -> list[list[Any]]:
    net: Any = backbone.net
    if backbone.name is None:
        return [[block] for block in net[1:]]
    return [list(stage) for stage in (net.layer1, net.layer2, net.layer3, net.layer4)]


def _width(block: Any) -> int:
    """Return the channels between the first and the second convolution of a residual block."""
    return int((block.conv2 if isinstance(block.conv2, nn.Conv2d) else block.conv2[0]).in_channels)


def _run(block: Any, moving: nn.Module, x: Tensor) -> Tensor:
    """Return what a residual block makes of ``x`` with ``moving`` before its second convolution."""
    if not isinstance(block.conv2, nn.Conv2d):
        small: Tensor = block.activation(block.conv2(moving(block.conv1(x))) + block.skip(x))
        return small
    skip = x if block.downsample is None else block.downsample(x)
    out = moving(block.act1(block.bn1(block.conv1(x))))
    out = block.act2(block.bn2(block.conv2(out)))
    large: Tensor = block.act3(block.bn3(block.conv3(out)) + skip)
    return large


def _start(network: Network) -> None:
    """Draw fresh weights as the paper's code does."""
    layers = list(network.modules())
    shifts = {layer.conv for layer in layers if isinstance(layer, LearntShift)}
    lasts: set[Any] = {layer.expand for layer in layers if isinstance(layer, AdaptiveBlock)}
    lasts |= {layer.back[-1] for layer in layers if isinstance(layer, MotionCode)}
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer not in shifts | lasts:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    with torch.no_grad():
        for last in lasts:
            last.weight.mul_(SMALL_START)
    nn.init.normal_(network.head.weight, std=0.001)
    nn.init.zeros_(network.head.bias)


# --- parts ------------------------------------------------------------------------------------


class NetworkPart(nn.Module):
    """Frames to logits, and to object maps where there are objects."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return (B,K), and (B,M,N,h,w), for uint8 (B, N*5, 3, H, W)."""
        said = self.network(frames)
        return said.logits if said.maps is None else (said.logits, said.maps)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the one part; it shares the network's weights."""
    return {PART: NetworkPart(network)}
