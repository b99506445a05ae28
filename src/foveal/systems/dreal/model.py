"""DREAL's networks: blocks with attention, and the recurrent critic that judges each module.

Source: arXiv 2007.06156; SE: Hu et al., CVPR 2018, arXiv 1709.01507; CBAM: Woo et al., ECCV 2018,
arXiv 1807.06521; SGE: Li et al., arXiv 1905.09646. No code of DREAL is public: the critic's form
and what neutralises a module are those of the description this is written from. Letters: B samples,
T frames, N = B T pictures, C channels, H height, W width, L modules, D width of the critic, K
classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import create
from foveal.layers import PixelNorm
from foveal.systems.dreal.protocol import PART, Config

ACTION_SIDE = 7
"""A spatial map is averaged to this many rows and columns before the critic sees it."""

Weights = tuple[Tensor, ...]
"""What a module multiplies its input by, one after the other: (N,C,1,1) or (N,C or 1,H,W)."""


class SqueezeExcite(nn.Module):
    """A weight in [0, 1] for each channel, from the mean of all channels."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        few = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, few)
        self.excite = nn.Linear(few, channels)

    def weights(self, x: Tensor) -> Weights:
        """Return the weights for a map (N,C,H,W)."""
        hidden = functional.relu(self.squeeze(x.mean((2, 3))))
        return (torch.sigmoid(self.excite(hidden))[:, :, None, None],)


class ChannelThenSpace(nn.Module):
    """CBAM: channel weights from mean and maximum, then spatial weights of what they leave."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        few = max(channels // reduction, 1)
        self.squeeze = nn.Linear(channels, few)
        self.excite = nn.Linear(few, channels)
        self.space = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def weights(self, x: Tensor) -> Weights:
        """Return channel weights and spatial weights for a map (N,C,H,W)."""
        hidden = functional.relu(self.squeeze(x.mean((2, 3)))) + functional.relu(
            self.squeeze(x.amax((2, 3)))
        )
        channel = torch.sigmoid(self.excite(hidden))[:, :, None, None]
        left = x * channel
        both = torch.cat([left.mean(1, keepdim=True), left.amax(1, keepdim=True)], dim=1)
        return channel, torch.sigmoid(self.space(both))


class GroupEnhance(nn.Module):
    """SGE: for each group of channels, how alike a place is to the group's mean."""

    def __init__(self, channels: int, *, groups: int) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels cannot be parted into {groups} groups")
        self.groups = groups
        self.weight = nn.Parameter(torch.zeros(groups, 1, 1))
        self.bias = nn.Parameter(torch.ones(groups, 1, 1))

    def weights(self, x: Tensor) -> Weights:
        """Return the weights (N,C,H,W) for a map (N,C,H,W)."""
        parted = x.reshape(x.shape[0], self.groups, -1, *x.shape[2:])
        alike = (parted * parted.mean((3, 4), keepdim=True)).sum(dim=2)
        centred = alike - alike.mean((2, 3), keepdim=True)
        spread = centred.square().mean((2, 3), keepdim=True).sqrt() + 1e-5
        gate = torch.sigmoid(centred / spread * self.weight + self.bias)
        repeats = x.shape[1] // self.groups
        return (gate[:, :, None].expand(-1, -1, repeats, -1, -1).flatten(1, 2),)


AttentionModule: TypeAlias = SqueezeExcite | ChannelThenSpace | GroupEnhance


def make_attention(cfg: Config, channels: int) -> AttentionModule:
    """Return a module for maps of ``channels``."""
    match cfg.attention:
        case "se":
            return SqueezeExcite(channels, reduction=cfg.reduction)
        case "cbam":
            return ChannelThenSpace(channels, reduction=cfg.reduction)
        case "sge":
            return GroupEnhance(channels, groups=min(cfg.groups, channels))


def neutral(weights: Weights) -> Weights:
    """Return every weight as its own mean: no choice among channels or places, the same scale."""
    return tuple(w.mean((1, 2, 3), keepdim=True).expand_as(w) for w in weights)


def multiplied(x: Tensor, weights: Weights) -> Tensor:
    """Return ``x`` times all weights."""
    for weight in weights:
        x = x * weight
    return x


class Block(nn.Module):
    """A convolution, batch normalisation and ReLU, and the module behind them."""

    def __init__(self, before: int, after: int, stride: int, attention: AttentionModule) -> None:
        super().__init__()
        self.width = after
        self.conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.attention = attention

    def features(self, x: Tensor) -> Tensor:
        """Return what the module sees."""
        return functional.relu(self.norm(self.conv(x)))

    def after(self, x: Tensor, weighted: Tensor) -> Tensor:
        """Return the block's output, given what the module left."""
        return weighted


class ResidualBlock(nn.Module):
    """A residual block of a timm ResNet, with the module before its sum."""

    def __init__(self, block: nn.Module, attention: AttentionModule) -> None:
        super().__init__()
        self.width = branch_width(block)
        self.block = block
        self.attention = attention

    def features(self, x: Tensor) -> Tensor:
        """Return what the module sees: the branch before the sum."""
        block = self.block
        names = ["conv1", "bn1", "act1", "conv2", "bn2"]
        names += ["act2", "conv3", "bn3"] if hasattr(block, "conv3") else []
        for name in names:
            x = block.get_submodule(name)(x)
        return x

    def after(self, x: Tensor, weighted: Tensor) -> Tensor:
        """Return the block's output: branch and shortcut, added and rectified."""
        shortcut = x
        if isinstance(self.block.downsample, nn.Module):
            shortcut = self.block.downsample(x)
        return functional.relu(weighted + shortcut)


AnyBlock: TypeAlias = Block | ResidualBlock


def branch_width(block: nn.Module) -> int:
    """Return the channels of a timm residual block's branch."""
    last = "conv3" if hasattr(block, "conv3") else "conv2"
    return cast(nn.Conv2d, block.get_submodule(last)).out_channels


@dataclass(frozen=True, slots=True)
class Passed:
    """What one forward pass leaves for the critic.

    Args:
        logits: (B,K).
        features: what each module saw, (N,C,H,W).
        weights: what each multiplied by.
        inputs: of each block, to go on from there.
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    weights: tuple[Weights, ...]
    inputs: tuple[Tensor, ...]


class Recogniser(nn.Module):
    """Frames to logits: the plain attention network, which is what is exported."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.normalise: nn.Module = PixelNorm()
        self.stem, blocks, width = _trunk(cfg)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, cfg.num_classes)

    @property
    def each_block(self) -> list[AnyBlock]:
        """The blocks in order, a module in each."""
        return [cast(AnyBlock, block) for block in self.blocks]

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,K) of frames uint8 (B,T,3,H,W)."""
        return self.passed(frames).logits

    def passed(self, frames: Tensor) -> Passed:
        """Return logits, and what every module saw and did."""
        x = self.stem(self.normalise(frames.flatten(0, 1)))
        features, weights, inputs = [], [], []
        for block in self.each_block:
            inputs.append(x)
            seen = block.features(x)
            chosen = block.attention.weights(seen)
            features.append(seen)
            weights.append(chosen)
            x = block.after(x, multiplied(seen, chosen))
        logits = self._answer(x, frames.shape[1])
        return Passed(logits, tuple(features), tuple(weights), tuple(inputs))

    def without(self, passed: Passed, module: int, num_frames: int) -> Tensor:
        """Return the logits (B,K) with one module neutralised, computed from its block on."""
        block = self.each_block[module]
        seen, chosen = passed.features[module], neutral(passed.weights[module])
        x = block.after(passed.inputs[module], multiplied(seen, chosen))
        for later in self.each_block[module + 1 :]:
            seen = later.features(x)
            x = later.after(x, multiplied(seen, later.attention.weights(seen)))
        return self._answer(x, num_frames)

    def _answer(self, x: Tensor, num_frames: int) -> Tensor:
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits.reshape(-1, num_frames, logits.shape[1]).mean(dim=1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that each module sees."""
        return tuple(block.width for block in self.each_block)


class Critic(nn.Module):
    """What each action is worth, module by module: an LSTM over the modules."""

    def __init__(self, cfg: Config, widths: Sequence[int]) -> None:
        super().__init__()
        sizes = [action_width(cfg, width) for width in widths]
        d = cfg.critic_width
        self.states = nn.ModuleList(nn.Linear(width, d) for width in widths)
        self.actions = nn.ModuleList(nn.Linear(size, d) for size in sizes)
        self.memory = nn.LSTMCell(2 * d, d)
        self.value = nn.Linear(d, 1)

    def forward(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Return values (N,L) of states (N,C) and actions (N,A), one pair for each module."""
        memory: tuple[Tensor, Tensor] | None = None
        values = []
        for see, act, state, action in zip(self.states, self.actions, states, actions, strict=True):
            both = torch.cat([functional.relu(see(state)), functional.relu(act(action))], dim=1)
            memory = self.memory(both, memory)
            values.append(self.value(memory[0])[:, 0])
        return torch.stack(values, dim=1)


def action_width(cfg: Config, channels: int) -> int:
    """Return the width of a module's action as the critic sees it."""
    space = ACTION_SIDE**2
    return {"se": channels, "cbam": channels + space, "sge": min(cfg.groups, channels) * space}[
        cfg.attention
    ]


def flat_action(cfg: Config, weights: Weights) -> Tensor:
    """Return a module's weights as one row (N,A): maps averaged to 7 x 7."""
    rows = []
    for weight in weights:
        if weight.shape[2] == 1 and weight.shape[3] == 1 and cfg.attention != "sge":
            rows.append(weight.flatten(1))
            continue
        if cfg.attention == "sge":  # the channels of a group share their map
            groups = min(cfg.groups, weight.shape[1])
            weight = weight[:, :: weight.shape[1] // groups]
        rows.append(functional.adaptive_avg_pool2d(weight, ACTION_SIDE).flatten(1))
    return torch.cat(rows, dim=1)


class Network(nn.Module):
    """What is trained: the recogniser, and the critic that is thrown away."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.recogniser = Recogniser(cfg)
        self.critic = Critic(cfg, self.recogniser.widths)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,K) of frames uint8 (B,T,3,H,W); the critic is not asked."""
        logits: Tensor = self.recogniser(frames)
        return logits


SMALL: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "small": ((3, 16, 32, 64, 96), (2, 2, 2, 1)),
    "tiny": ((3, 16, 24, 32), (1, 2, 2)),
}
"""Channels and strides of the networks that are a few blocks."""


def _trunk(cfg: Config) -> tuple[nn.Module, list[AnyBlock], int]:
    """Return what comes before the blocks, the blocks, and the channels of the last map."""
    if cfg.backbone == "small" or cfg.backbone == "tiny":
        channels, strides = SMALL[cfg.backbone]
        few: list[AnyBlock] = [
            Block(before, after, stride, make_attention(cfg, after))
            for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
        ]
        return nn.Identity(), few, channels[-1]
    backbone = create(cfg.backbone)
    net = backbone.net
    stem = nn.Sequential(*(net.get_submodule(name) for name in ("conv1", "bn1", "act1", "maxpool")))
    blocks: list[AnyBlock] = [
        ResidualBlock(block, make_attention(cfg, branch_width(block)))
        for layer in ("layer1", "layer2", "layer3", "layer4")
        for block in net.get_submodule(layer).children()
    ]
    return stem, blocks, backbone.num_features


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> Mapping[str, nn.Module]:
    """Return the one part by its name; nothing of the critic is in it."""
    return {PART: network.recogniser}
