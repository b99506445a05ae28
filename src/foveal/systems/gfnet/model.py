"""GFNet's network: two encoders, a recurrent policy, and a classifier that grows with every step.

Source: arXiv 2010.05300, section 3, and arXiv 2201.03014. Letters: B samples, F frames, S side of a
frame, P side of the square, T steps, D width of a vector, C channels of the stacked maps, h side of
a map, M width of the memory, W width of the fusion's state, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import conv_stack, create, insert_temporal_shift
from foveal.layers import ImageEncoder, PixelNorm, slice_at
from foveal.systems.gfnet.protocol import Config

PICTURE_CPU_ROWS = 16
"""Pictures of 96 px: of half as many ResNet-50 took 1.8 times as long."""

STD = 0.1
"""Of a drawn action around its mean, a coordinate. (The official constant is named a variance, but
used as this.)"""

Place = Callable[[Tensor, int], Tensor]
"""Means (B,2) of the policy and the number of the square (from 0) to where it is put, (B,2)."""


class Policy(nn.Module):
    """The newest map and a memory to where the next square goes, and to what that is worth."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        channels, side, _ = cfg.map_shape
        width, few = cfg.policy_width, cfg.policy_channels
        flat = few * side * side
        layers: list[nn.Module]
        match cfg.policy:
            case "flat":
                layers = [
                    nn.Flatten(),
                    nn.Linear(channels * side * side, cfg.policy_hidden),
                    nn.ReLU(),
                    nn.Linear(cfg.policy_hidden, width),
                    nn.ReLU(),
                ]
            case "conv":
                layers = [
                    nn.Conv2d(channels, few, 1, bias=False),
                    nn.ReLU(),
                    nn.Flatten(),
                    nn.Linear(flat, width),
                    nn.ReLU(),
                ]
            case "video":
                layers = [
                    nn.Conv2d(channels, few, 1, bias=False),
                    nn.BatchNorm2d(few),
                    nn.ReLU(),
                    nn.Flatten(),
                    nn.Linear(flat, width),
                    nn.BatchNorm1d(width),
                    nn.ReLU(),
                ]
        self.encode = nn.Sequential(*layers)
        self.memory = nn.GRUCell(width, width)
        self.actor = nn.Sequential(nn.Linear(width, 2), nn.Sigmoid())
        self.critic = nn.Linear(width, 1)

    def step(self, seen: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean action (B,2) and the new memory (B,M) for a map (B,C,h,h)."""
        memory = self.memory(self.encode(seen), memory)
        return self.actor(memory), memory

    def evaluate(self, maps: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replay a whole sequence from an empty memory.

        Args:
            maps: (L,B,C,h,h), detached.
            actions: (L,B,2).

        Returns:
            Log-density of the actions, the critic's values and the entropy, (L,B) each.
        """
        states = self.encode(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        memory = torch.zeros_like(states[0])
        memories = []
        for state in states.unbind(0):
            memory = self.memory(state, memory)
            memories.append(memory)
        kept = torch.stack(memories)
        log_prob = log_density(actions, self.actor(kept))
        entropy = torch.full_like(log_prob, math.log(2 * math.pi * math.e * STD**2))
        return log_prob, self.critic(kept)[..., 0], entropy

    def start(self, seen: Tensor) -> Tensor:
        """Return an empty memory (B,M)."""
        return seen.new_zeros(seen.shape[0], self.memory.hidden_size)


def log_density(actions: Tensor, means: Tensor) -> Tensor:
    """Return the log-density of ``actions`` (...,2), two normals with std 0.1 around ``means``."""
    squares = ((actions - means) / STD).square().sum(dim=-1)
    return -0.5 * squares - math.log(2 * math.pi * STD**2)


class RecurrentFusion(nn.Module):
    """Vectors to answers by a GRU and one linear layer, shared over the steps."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.memory = nn.GRUCell(cfg.width, cfg.fusion_width)
        self.head = nn.Linear(cfg.fusion_width, cfg.num_classes)

    def forward(
        self, vectors: Tensor, own: Tensor, state: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B,K) and the new state (B,W).

        Args:
            vectors: (B,F,D) of the newest picture.
            own: (B,K), the answer of the encoder's own head to them.
            state: (B,W).
            prefix: (B,) steps before this one.
        """
        state = self.memory(vectors.mean(dim=1), state)
        return self.head(state), state


class CascadeFusion(nn.Module):
    """Vectors to answers by a linear layer for each step, on all vectors so far."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        later, width = cfg.num_steps - 1, cfg.num_steps * cfg.width
        self.weight = nn.Parameter(torch.zeros(later, cfg.num_classes, width))
        self.bias = nn.Parameter(torch.zeros(later, cfg.num_classes))
        for step in range(later):  # as nn.Linear draws its weights; the rest is never used
            used = (step + 2) * cfg.width
            nn.init.uniform_(self.weight[step, :, :used], -(used**-0.5), used**-0.5)
            nn.init.uniform_(self.bias[step], -(used**-0.5), used**-0.5)
        self.width = cfg.width

    def forward(
        self, vectors: Tensor, own: Tensor, state: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As of :class:`RecurrentFusion`; the first step is the encoder's own answer."""
        vector = vectors.mean(dim=1)
        places = state.shape[1] // self.width
        here = torch.arange(places, device=state.device) == prefix[:, None]
        state = state + (here[:, :, None] * vector[:, None]).flatten(1)
        which = (prefix - 1).clamp(min=0)
        later = torch.matmul(self.weight[which], state[:, :, None])[:, :, 0] + self.bias[which]
        return torch.where(prefix[:, None] == 0, own, later), state


class MeanFusion(nn.Module):
    """The answer to the glance plus the mean of the answers to the squares (AdaFocus)."""

    def forward(
        self, vectors: Tensor, own: Tensor, state: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As of :class:`RecurrentFusion`; ``own`` is a mean over frames already."""
        glance, squares = state.chunk(2, dim=1)
        first = (prefix == 0)[:, None]
        glance = torch.where(first, own, glance)
        squares = torch.where(first, squares, squares + own)
        logits = glance + squares / prefix.clamp(min=1)[:, None].to(own)
        return logits, torch.cat([glance, squares], dim=1)


FUSIONS: Mapping[str, Callable[[Config], nn.Module]] = {
    "rnn": RecurrentFusion,
    "cascade": CascadeFusion,
    "mean": lambda cfg: MeanFusion(),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one picture of every frame gives.

    Args:
        map: (B,C,h,h), the maps of all frames stacked.
        vectors: (B,F,D).
        own: (B,K), the answer of the encoder's own head, the mean over frames.
    """

    map: Tensor
    vectors: Tensor
    own: Tensor


@dataclass(frozen=True, slots=True)
class Looked:
    """What all steps give.

    Args:
        logits: (B,T,K), one answer a step.
        own_logits: (B,T,K) of the encoders' own heads.
        actions: (B,T-1,2) where the squares were, (y, x) in [0, 1].
        means: (B,T-1,2) where the policy meant them to be.
        maps: the maps (B,C,h,h) that the policy saw, detached, T - 1 of them.
    """

    logits: Tensor
    own_logits: Tensor
    actions: Tensor
    means: Tensor
    maps: tuple[Tensor, ...]


class Network(nn.Module):
    """The training network: in evaluation mode it does what the protocol does, exits off."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.normalise: nn.Module = PixelNorm()
        self.glance = make_encoder(cfg)
        self.glance_head = nn.Linear(cfg.width, cfg.num_classes)
        self.focus = self.glance if cfg.share_encoder else make_encoder(cfg)
        self.focus_head = self.glance_head
        if not cfg.share_encoder:
            self.focus_head = nn.Linear(cfg.width, cfg.num_classes)
        self.policy = Policy(cfg)
        self.fusion = FUSIONS[cfg.fusion](cfg)

    def forward(self, frames: Tensor) -> Looked:
        """Return what the steps give for ``frames`` uint8 (B,F,3,S,S), squares at their means."""
        return self.run(frames, lambda means, _: means)

    def run(self, frames: Tensor, place: Place, *, policy: bool = True) -> Looked:
        """Return what the steps give when squares go where ``place`` says.

        Args:
            frames: uint8 (B,F,3,S,S).
            place: from the policy's means to actions.
            policy: whether it is asked; without it ``place`` gets zeros.
        """
        seen = self.see_small(frames)
        state = self.first_state(seen)
        logits, state = self.answer(seen, state, prefix=0)
        all_logits, own, actions, means, maps = [logits], [seen.own], [], [], []
        memory = self.policy.start(seen.map)
        for step in range(1, self.cfg.num_steps):
            mean = seen.map.new_zeros(len(frames), 2)
            if policy:
                mean, memory = self.policy.step(seen.map.detach(), memory)
            maps.append(seen.map.detach())
            action = place(mean, step - 1)
            seen = self.see_square(frames, action)
            logits, state = self.answer(seen, state, prefix=step)
            all_logits.append(logits)
            own.append(seen.own)
            actions.append(action)
            means.append(mean)
        nothing = frames.new_zeros(len(frames), 0, 2, dtype=torch.float32)
        return Looked(
            logits=torch.stack(all_logits, dim=1),
            own_logits=torch.stack(own, dim=1),
            actions=torch.stack(actions, dim=1) if actions else nothing,
            means=torch.stack(means, dim=1) if means else nothing,
            maps=tuple(maps),
        )

    def see_small(self, frames: Tensor) -> Seen:
        """Return what the glance gives for ``frames`` (B,F,3,S,S)."""
        # Normalised when they are few: the weights of a resized pixel add up to one.
        small = functional.interpolate(
            frames.flatten(0, 1).float(),
            (self.cfg.glance_size,) * 2,
            mode=self.cfg.resize,
            align_corners=True,
        )
        return self._seen(self.glance, self.glance_head, self.normalise(small), frames)

    def see_square(self, frames: Tensor, actions: Tensor) -> Seen:
        """Return what squares at ``actions`` (B,2) give, one place in all frames of a clip."""
        stacked = frames.flatten(1, 2)
        squares = slice_at(stacked, actions, crop_size=self.cfg.focus_size)
        rows = squares.reshape(-1, frames.shape[2], *squares.shape[2:])
        return self._seen(self.focus, self.focus_head, self.normalise(rows), frames)

    def _seen(self, encoder: nn.Module, head: nn.Module, rows: Tensor, frames: Tensor) -> Seen:
        shape = frames.shape[:2]
        maps, vectors = encoder(rows)
        own = head(vectors).unflatten(0, shape).mean(dim=1)
        return Seen(maps.unflatten(0, shape).flatten(1, 2), vectors.unflatten(0, shape), own)

    def first_state(self, seen: Seen) -> Tensor:
        """Return the state (B,W) before the first step."""
        return seen.own.new_zeros(seen.own.shape[0], self.cfg.state_width)

    def answer(self, seen: Seen, state: Tensor, *, prefix: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B,K) and the new state (B,W) after ``prefix`` earlier steps."""
        number = prefix
        if not isinstance(number, Tensor):
            number = torch.full((state.shape[0],), number, device=state.device)
        logits, state = self.fusion(seen.vectors, seen.own, state, number)
        if isinstance(prefix, int) and prefix == 0 and self.cfg.glance_head == "own":
            logits = seen.own
        return logits, state


class GlancePart(nn.Module):
    """Frames (B,F,3,S,S) to the first answer, the map and the fusion's state."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B,K), map (B,C,h,h) and state (B,W)."""
        seen = self.network.see_small(frames)
        logits, state = self.network.answer(seen, self.network.first_state(seen), prefix=0)
        return logits, seen.map, state


class PolicyPart(nn.Module):
    """A map and a memory to where the next square goes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.policy = network.policy

    def forward(self, seen: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (B,2) and the new memory (B,M)."""
        return self.policy.step(seen, memory)


class FocusPart(nn.Module):
    """Frames and a place to the next answer, the map there and the state."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frames: Tensor, action: Tensor, state: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B,K), map (B,C,h,h) and state (B,W)."""
        seen = self.network.see_square(frames, action)
        logits, state = self.network.answer(seen, state, prefix=prefix)
        return logits, seen.map, state


TINY_LAYERS: Mapping[str, tuple[Sequence[int], Sequence[int]]] = {
    "small": ((3, 16, 32, 64, 64), (2, 2, 2, 1)),
    "tiny": ((3, 16, 32, 32), (1, 2, 2)),
}
"""Channels and strides of the encoders that are a few convolutions."""


def make_encoder(cfg: Config) -> ImageEncoder:
    """Return an encoder with fresh weights."""
    if cfg.encoder in TINY_LAYERS:
        channels, strides = TINY_LAYERS[cfg.encoder]
        net = conv_stack(channels, strides=strides)
        return ImageEncoder(net, width=net.num_features, pool="max")
    assert cfg.encoder != "small"
    assert cfg.encoder != "tiny"
    net = create(cfg.encoder)
    rows = PICTURE_CPU_ROWS
    if cfg.shift:
        insert_temporal_shift(net, num_frames=cfg.num_frames, fold_div=8)
        rows = cfg.num_frames
    return ImageEncoder(net, width=net.num_features, cpu_rows=rows)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts by name; they share the network's weights."""
    made: dict[str, nn.Module] = {"glance": GlancePart(network)}
    if cfg.num_steps > 1:
        made |= {"policy": PolicyPart(network), "focus": FocusPart(network)}
    return made
