"""AdaFocusV3's network: a glance, places for cubes in space-time, and a head for every prefix.

Source: arXiv 2209.13465; arXiv 2412.11228 (regions, frames by weight, the classifier's layout).
Letters: B samples, V candidate frames, T glanced at, S side of a frame, M cubes, L frames and P
side of a cube, G, D and F width of the glance's, a cube's and the fused vector, h side of the
glance's maps, H heads of the glance, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import focus_encoder, glance_encoder
from foveal.layers import (
    ImageEncoder,
    PixelNorm,
    PrefixClassifier,
    RecurrentPolicy,
    crop_at,
    lattice_corners,
    map_state,
    resample,
    run_memory,
    slice_corners,
    states_of,
    windows_of,
)
from foveal.systems.adafocus_v3.protocol import (
    Config,
    Gradient,
    glance_indices,
    regions_at,
    slot_starts,
    take_frames,
    ways,
)


class CubePolicy(nn.Module):
    """Maps of all frames glanced at to the places of all cubes: (y, x, t) in [0, 1].

    A memory of the frames starts a second one, which runs over the cubes. Cubes begin in the middle
    of the picture and spread over the clip, so that they are not all taught the same.
    """

    def __init__(self, cfg: Config, *, in_channels: int) -> None:
        super().__init__()
        width, count = cfg.policy_width, cfg.num_cubes
        self.encode = map_state(
            in_channels=in_channels,
            side=cfg.map_side,
            channels=cfg.policy_channels,
            width=width,
        )
        self.memory = nn.GRUCell(width, width)
        self.number = nn.Parameter(torch.empty(count, width).normal_(std=width**-0.5))
        self.order = nn.GRUCell(width, width)
        self.place = nn.Linear(width, 3)
        nn.init.normal_(self.place.weight, std=0.1 * width**-0.5)
        nn.init.zeros_(self.place.bias)
        spread = torch.zeros(count, 3)
        spread[:, 2] = torch.logit((torch.arange(count) + 0.5) / count)
        self.spread = nn.Parameter(spread)

    def forward(self, maps: Tensor) -> Tensor:
        """Return actions (B,M,3) for ``maps`` (B,T,G,h,h)."""
        memory = run_memory(self.memory, states_of(self.encode, maps))[:, -1]
        places = []
        for cube in range(len(self.spread)):
            memory = self.order(self.number[cube] + torch.zeros_like(memory), memory)
            places.append(torch.sigmoid(self.place(memory) + self.spread[cube]))
        return torch.stack(places, dim=1)


class SlotPolicy(nn.Module):
    """The same where each cube has its time: AdaFocusV2's policy, read as each part ends."""

    def __init__(self, cfg: Config, *, in_channels: int) -> None:
        super().__init__()
        self.places = RecurrentPolicy(
            in_channels=in_channels,
            side=cfg.map_side,
            channels=cfg.policy_channels,
            width=cfg.policy_width,
        )
        self.every = cfg.num_glances // cfg.num_cubes
        way = max(ways(cfg)[2], 1)
        times = torch.tensor([start / way for start in slot_starts(cfg)])
        self.register_buffer("times", times[:, None], persistent=False)
        self.times: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Return actions (B,M,3) for ``maps`` (B,T,G,h,h)."""
        where = self.places(maps)[:, self.every - 1 :: self.every]
        times = self.times.to(where.dtype) + torch.zeros_like(where[..., :1])
        return torch.cat([where, times], dim=2)


class RegionPolicy(nn.Module):
    """Maps of all frames to the region of each, (y, x, tall, wide) in [0, 1].

    Source: arXiv 2412.11228; the last convolution covers the map, with ``shift`` the clip as well.
    """

    def __init__(self, cfg: Config, *, in_channels: int) -> None:
        super().__init__()
        width, side = cfg.policy_channels, cfg.map_side
        layers: list[nn.Module] = []
        before = in_channels
        for size in (1, 3, 3):
            layers += [
                nn.Conv3d(before, width, size, padding=size // 2, bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            ]
            before = width
        long = cfg.num_glances if cfg.shift else 1
        last = nn.Conv3d(width, 4, (long, side, side), bias=False)
        self.encode = nn.Sequential(*layers, last, nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        """Return regions (B,T,4), with ``shift`` (B,1,4), for ``maps`` (B,T,G,h,h)."""
        regions: Tensor = self.encode(maps.transpose(1, 2))
        return regions.flatten(2).transpose(1, 2)


class TimePolicy(nn.Module):
    """Vectors of all frames glanced at to the logits of their weights."""

    def __init__(self, cfg: Config, *, in_channels: int) -> None:
        super().__init__()
        width = cfg.time_channels
        self.encode = nn.Sequential(
            nn.Conv1d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 1, 1, bias=False),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits (B,T) for ``vectors`` (B,T,G)."""
        logits: Tensor = self.encode(vectors.transpose(1, 2))
        return logits[:, 0]


@dataclass(frozen=True, slots=True)
class Glanced:
    """What the glance gives.

    Args:
        frames: all candidates (B,V,3,S,S).
        maps: (B,T,G,h,h) of the frames glanced at.
        vectors: (B,T,G).
        frame_logits: (B,T,K) of each of them alone.
        logits: (B,H,K) of the glance's prefixes; the last one is the first answer.
        best: (B,F), the largest value of every element of what they are fused to.
    """

    frames: Tensor
    maps: Tensor
    vectors: Tensor
    frame_logits: Tensor
    logits: Tensor
    best: Tensor


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking at cubes gives.

    Args:
        logits: (B,1+M,K): after the glance, and after each cube.
        cube_logits: (B,M,K), in ``region`` mode (B,M*L,K), of each cube (frame) alone.
        actions: (B,M,3) where cubes were, or (B,M*L,4) where regions were.
        indices: int64 (B,M,L), which candidates were looked at; of cubes that were interpolated,
            those of the cube itself.
    """

    logits: Tensor
    cube_logits: Tensor
    actions: Tensor
    indices: Tensor


class Network(nn.Module):
    """The training network.

    Args:
        cfg: says what is looked at.
        glance: encoder of the frames glanced at; its maps are ``cfg.map_side`` wide.
        focus: encoder of what is looked at.
    """

    def __init__(self, cfg: Config, *, glance: ImageEncoder, focus: ImageEncoder) -> None:
        super().__init__()
        self.cfg = cfg
        self.normalise: nn.Module = PixelNorm()
        self.glance = glance
        self.glance_head = _head(glance.width, cfg)
        self.glance_classifier = PrefixClassifier(
            in_width=glance.width,
            width=cfg.fused_width,
            num_frames=cfg.glance_heads,
            num_classes=cfg.num_classes,
            dropout=cfg.dropout,
        )
        if cfg.num_cubes == 0:
            return
        self.policy: nn.Module
        if cfg.place == "region":
            self.policy = RegionPolicy(cfg, in_channels=glance.width)
            self.time_policy = TimePolicy(cfg, in_channels=glance.width)
        else:
            kind = CubePolicy if cfg.place == "cube" else SlotPolicy
            self.policy = kind(cfg, in_channels=glance.width)
        if cfg.gradient == "global_map":
            self.map_head = nn.Linear(glance.width, cfg.num_classes)
        self.focus = focus
        self.focus_head = _head(focus.width, cfg)
        self.classifier = PrefixClassifier(
            in_width=focus.width,
            width=cfg.fused_width,
            num_frames=cfg.num_cubes,
            num_classes=cfg.num_classes,
            dropout=cfg.dropout,
            beside_width=cfg.fused_width,
        )

    def forward(self, frames: Tensor) -> Looked:
        """Return the predictions for a clip as the protocol makes them.

        Args:
            frames: uint8 (B,V,3,S,S) in time order.
        """
        glanced = self.glance_at(frames)
        if self.cfg.num_cubes == 0:
            nothing = glanced.logits.new_zeros(len(frames), 0, 3)
            return Looked(glanced.logits[:, -1:], nothing, nothing, nothing.long())
        actions = self.place(glanced)
        if self.cfg.place != "region":
            return self.look(glanced, actions)
        indices = self.take(self.weigh(glanced)[1])
        return self.look_at_regions(glanced, self.regions_at(actions, indices), indices)

    # --- glance and decide --------------------------------------------------------------------

    def glance_at(self, frames: Tensor, indices: Tensor | None = None) -> Glanced:
        """Return what the glance sees of ``frames`` (B,V,3,S,S).

        Args:
            frames: uint8, in time order.
            indices: int64 (B,T), which of them; the middle of each part unless given.
        """
        if indices is None:
            seen = frames[:, list(glance_indices(self.cfg))]
        else:
            seen = frames[torch.arange(len(frames), device=frames.device)[:, None], indices]
        maps, vectors, logits, best = self.glance_only(seen)
        frame_logits = self.glance_head(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        return Glanced(frames, maps, vectors, frame_logits, logits, best)

    def glance_only(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return maps, vectors, logits (B,H,K) and the maximum (B,F) of ``seen`` (B,T,3,S,S)."""
        maps, vectors = self.glance(self.normalise(seen.flatten(0, 1)))
        shape = seen.shape[:2]
        vectors = vectors.unflatten(0, shape)
        best = self.glance_classifier.best(vectors)
        return maps.unflatten(0, shape), vectors, self.glance_classifier.heads(best), best[:, -1]

    def place(self, glanced: Glanced) -> Tensor:
        """Return actions (B,M,3) or regions (B,T,4) or (B,1,4); nothing reaches the glance."""
        actions: Tensor = self.policy(glanced.maps.detach())
        return actions

    def weigh(self, glanced: Glanced) -> tuple[Tensor, Tensor]:
        """Return the weights (B,T) of the frames, and those after the temperature.

        With ``shift`` the gradient stops at the vectors, without it goes on, as released.
        """
        vectors = glanced.vectors.detach() if self.cfg.shift else glanced.vectors
        logits = self.time_policy(vectors)
        return logits.softmax(1), (logits / self.cfg.temperature).softmax(1)

    def take(self, weights: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Return which frames int64 (B,M*L) are taken by ``weights`` (B,T).

        Args:
            weights: of the frames glanced at.
            offsets: (B,M*L) in [0, 1); see :func:`protocol.take_frames`.
        """
        cfg = self.cfg
        rows = weights.detach().cpu().numpy()
        places = [None] * len(rows) if offsets is None else list(offsets.numpy())
        taken = [
            take_frames(row, num_frames=cfg.num_frames, count=cfg.picks, offsets=place)
            for row, place in zip(rows, places, strict=True)
        ]
        return torch.from_numpy(np.stack(taken)).to(weights.device)

    def regions_at(self, regions: Tensor, indices: Tensor) -> Tensor:
        """Return the regions (B,N,4) at frames ``indices`` (B,N); no gradient reaches them."""
        rows = zip(regions.detach().cpu().numpy(), indices.cpu().numpy(), strict=True)
        found = [regions_at(*row, num_frames=self.cfg.num_frames) for row in rows]
        return torch.from_numpy(np.stack(found)).to(regions)

    # --- look ---------------------------------------------------------------------------------

    def look(
        self,
        glanced: Glanced,
        actions: Tensor,
        *,
        gradient: Gradient | None = None,
        only: Tensor | None = None,
    ) -> Looked:
        """Return the predictions when the cubes are at ``actions`` (B,M,3).

        Args:
            glanced: what was glanced at.
            actions: (y, x, t) in [0, 1].
            gradient: ``lattice`` and ``pixel`` let one into the actions; otherwise cubes are
                whole pixels, as in the protocol.
            only: int64 (B,), the one cube of each clip that ``lattice`` is for.
        """
        corners = torch.round(actions.detach().clamp(0, 1) * self._ways(actions)).long()
        if gradient == "lattice" and only is None:
            vectors = self.lattice_vectors(glanced.frames, actions)
        else:
            exact = actions if gradient == "pixel" else None
            vectors = self.cube_vectors(glanced.frames, corners, exact)
        if gradient == "lattice" and only is not None:
            place = only[:, None, None]
            one = actions.gather(1, place.expand(-1, -1, 3))
            mixed = self.lattice_vectors(glanced.frames, one)
            vectors = vectors.scatter(1, place.expand(-1, -1, vectors.shape[2]), mixed)
        reach = torch.arange(self.cfg.cube_frames, device=corners.device)
        indices = corners[..., 2, None] + reach
        return self._fused(glanced, vectors, self.focus_head(vectors), actions, indices)

    def _fused(
        self, glanced: Glanced, vectors: Tensor, alone: Tensor, actions: Tensor, indices: Tensor
    ) -> Looked:
        logits = self.classifier(vectors, glanced.best)
        return Looked(torch.cat([glanced.logits[:, -1:], logits], 1), alone, actions, indices)

    def _ways(self, like: Tensor) -> Tensor:
        return torch.tensor(ways(self.cfg), dtype=like.dtype, device=like.device)

    def cube_vectors(self, frames: Tensor, corners: Tensor, exact: Tensor | None = None) -> Tensor:
        """Return the vectors (B,N,D) of cubes whose first corners are ``corners`` (B,N,3).

        Args:
            frames: (B,V,3,S,S).
            corners: int64, (y, x, t) in px and frames.
            exact: actions (B,N,3) to cut at in space instead, between pixels.
        """
        cfg = self.cfg
        clips = torch.arange(len(frames), device=frames.device)[:, None, None]
        reach = torch.arange(cfg.cube_frames, device=frames.device)
        taken = frames[clips, corners[..., 2, None] + reach].flatten(0, 2)
        size = cfg.focus_size
        if exact is None:
            where = corners[..., :2].repeat_interleave(cfg.cube_frames, dim=1).flatten(0, 1)
            cut = slice_corners(taken, where, crop_size=size)
        else:
            place = exact[..., :2].repeat_interleave(cfg.cube_frames, dim=1).flatten(0, 1)
            cut = crop_at(taken.to(place.dtype), place, crop_size=size)
        return self.encode(cut).reshape(*corners.shape[:2], -1)

    def encode(self, cut: Tensor) -> Tensor:
        """Return the vectors (N,D) of cubes (N*L,3,P,P), frame after frame: means over frames."""
        _, vectors = self.focus(self.normalise(cut))
        frames: Tensor = vectors.reshape(-1, self.cfg.cube_frames, vectors.shape[1])
        return frames.mean(dim=1)

    def lattice_vectors(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Return vectors (B,M,D) at ``actions`` (B,M,3), mixed from cubes of the lattice."""
        corners, weights = lattice_corners(
            actions, counts=lattice_counts(self.cfg), reach=ways(self.cfg)
        )
        vectors = self.cube_vectors(frames, corners.flatten(1, 2))
        mixed = vectors.reshape(*weights.shape, -1) * weights[..., None]
        return mixed.sum(dim=2)

    def look_at_regions(self, glanced: Glanced, regions: Tensor, indices: Tensor) -> Looked:
        """Return the predictions for ``regions`` (B,M*L,4) of frames ``indices`` (B,M*L)."""
        cfg = self.cfg
        clips = torch.arange(len(indices), device=indices.device)[:, None]
        cut = self.cut_regions(glanced.frames[clips, indices].flatten(0, 1), regions.flatten(0, 1))
        _, rows = self.focus(cut)
        rows = rows.unflatten(0, indices.shape)
        vectors = rows.unflatten(1, (cfg.num_cubes, cfg.cube_frames)).mean(dim=2)
        grouped = indices.reshape(-1, cfg.num_cubes, cfg.cube_frames)
        return self._fused(glanced, vectors, self.focus_head(rows), regions, grouped)

    def cut_regions(self, frames: Tensor, regions: Tensor) -> Tensor:
        """Return normalised squares (N,3,P,P) of ``frames`` (N,3,S,S) at ``regions`` (N,4)."""
        cfg = self.cfg
        side = cfg.canvas.width
        corners, windows = windows_of(
            regions, side=side, smallest=cfg.smallest_region, largest=side
        )
        size, border = cfg.focus_size, cfg.border
        if border == "zero":  # of what is normalised, as in the official code
            return resample(self.normalise(frames), corners, windows, size=size, border=border)
        cut: Tensor = self.normalise(resample(frames, corners, windows, size=size))
        return cut

    # --- learn from the glance's own map ------------------------------------------------------

    def map_logits(self, glanced: Glanced, actions: Tensor) -> Tensor:
        """Return logits (B,K) of what the glance's maps hold at ``actions``.

        The maps are constants to the gradient, which reaches the policy and the head alone. A
        cube's map lies between those of the frames glanced at before and after its middle.

        Args:
            glanced: what was glanced at.
            actions: regions (B,T,4) or (B,1,4), or cubes (B,M,3).
        """
        cfg, maps = self.cfg, glanced.maps.detach()
        side, cell = maps.shape[-1], cfg.canvas.width / maps.shape[-1]
        if cfg.place == "region":
            regions = actions.expand(-1, maps.shape[1], -1).flatten(0, 1)
            corners, windows = windows_of(
                regions, side=side, smallest=cfg.smallest_region / cell, largest=side
            )
        else:
            maps = self._maps_at(maps, actions[..., 2])
            window = cfg.focus_size / cell
            corners = (actions[..., :2] * (side - window)).flatten(0, 1)
            windows = torch.full_like(corners, window)
        size = max(1, int(cfg.focus_size / cell))
        cut = resample(maps.flatten(0, 1), corners, windows, size=size, border=cfg.border)
        pooled = cut.mean(dim=(2, 3)).reshape(*maps.shape[:3]).mean(dim=1)
        logits: Tensor = self.map_head(pooled)
        return logits

    def _maps_at(self, maps: Tensor, times: Tensor) -> Tensor:
        """Return maps (B,M,G,h,h) at ``times`` (B,M) in [0, 1] of a cube's way."""
        cfg, count = self.cfg, maps.shape[1]
        middle = times * ways(cfg)[2] + cfg.cube_frames / 2
        place = (middle * count / cfg.num_frames - 0.5).clamp(0, count - 1)
        lower = torch.floor(place.detach()).clamp(max=max(count - 2, 0))
        share = (place - lower)[..., None, None, None]
        first = lower.long()
        clips = torch.arange(len(maps), device=maps.device)[:, None]
        return (
            maps[clips, first] * (1 - share) + maps[clips, (first + 1).clamp(max=count - 1)] * share
        )


def lattice_counts(cfg: Config) -> tuple[int, int, int]:
    """Return the places along (y, x, t); 1 where a cube cannot go, or goes where it is told."""
    way_y, way_x, way_t = ways(cfg)
    free = cfg.place == "cube" and way_t > 0
    along_t = max(2, cfg.num_frames // cfg.cube_frames) if free else 1
    return (cfg.lattice if way_y else 1, cfg.lattice if way_x else 1, along_t)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    glance, map_side = glance_encoder(
        cfg.glance, size=cfg.canvas.width, shift_frames=cfg.num_glances if cfg.shift else None
    )
    assert map_side == cfg.map_side
    focus = focus_encoder(cfg.focus, shift_frames=cfg.cube_frames if cfg.shift else None)
    return Network(cfg, glance=glance, focus=focus)


def _head(width: int, cfg: Config) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(cfg.dropout), nn.Linear(width, cfg.num_classes))


# --- parts ------------------------------------------------------------------------------------


class GlancePart(nn.Module):
    """All frames glanced at to the first answer, their maps and the glance's fused vector."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B,K), (B,T,G,h,h) and (B,F) for uint8 (B,T,3,S,S)."""
        network = self.network
        maps, vectors = network.glance(network.normalise(frames.flatten(0, 1)))
        shape = frames.shape[:2]
        classifier = network.glance_classifier
        fused = classifier.fuse(vectors).unflatten(0, shape)
        best = fused.amax(dim=1)
        logits = functional.linear(best, classifier.weight[-1], classifier.bias[-1])
        return logits, maps.unflatten(0, shape), best


class CubePolicyPart(nn.Module):
    """The glance's maps to the places of all cubes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.policy = network.policy

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B,M,3) for (B,T,G,h,h)."""
        actions: Tensor = self.policy(maps)
        return actions


class RegionPolicyPart(nn.Module):
    """The glance's maps to regions and to the weights by which frames are taken."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.policy = network.policy
        self.time_policy = network.time_policy
        self.temperature = network.cfg.temperature

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,T,4), with ``shift`` (B,1,4), and (B,T) for (B,T,G,h,h)."""
        logits = self.time_policy(maps.mean(dim=(3, 4)))
        return self.policy(maps), (logits / self.temperature).softmax(1)


class CubePart(nn.Module):
    """The frames of a cube, where in them it is, and all that is known to logits and a maximum."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frames: Tensor, corner: Tensor, glanced: Tensor, best: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (B,K) and (B,F) for uint8 (B,L,3,S,S); ``prefix`` (B,) counts the cubes before."""
        network = self.network
        stacked = frames.flatten(1, 2)  # they share their place
        cut = slice_corners(stacked, corner, crop_size=network.cfg.focus_size)
        vectors = network.encode(cut.reshape(-1, 3, *cut.shape[2:]))
        return network.classifier.step(vectors, best, prefix, glanced)


class RegionPart(nn.Module):
    """The same for a region of each frame."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frames: Tensor, regions: Tensor, glanced: Tensor, best: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (B,K) and (B,F) for uint8 (B,L,3,S,S) and (B,L,4)."""
        network = self.network
        cut = network.cut_regions(frames.flatten(0, 1), regions.flatten(0, 1))
        _, rows = network.focus(cut)
        vectors = rows.reshape(-1, network.cfg.cube_frames, rows.shape[1]).mean(dim=1)
        return network.classifier.step(vectors, best, prefix, glanced)


def build(network: nn.Module, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which share its weights.

    Raises:
        ValueError: the network is not one of ``cfg``.
    """
    if not isinstance(network, Network) or network.cfg != cfg:
        raise ValueError(f"a {type(network).__name__} of another configuration has no such parts")
    parts: dict[str, nn.Module] = {"glance": GlancePart(network)}
    if cfg.num_cubes and cfg.place == "region":
        parts |= {"policy": RegionPolicyPart(network), "focus": RegionPart(network)}
    elif cfg.num_cubes:
        parts |= {"policy": CubePolicyPart(network), "focus": CubePart(network)}
    return parts
