"""AdaFocusV2's network: a glance, a policy, one square a frame, and a head for every prefix.

Source: arXiv 2112.14238, sections 3.2 to 3.4; the head for every prefix is FrameExit's (arXiv
2104.13400). Letters: B samples, T frames, S side of a frame, P side of the square, K classes,
G, L and F width of the glance's, the focus's and the fused vector, M width of the memory, h side
of the glance's feature map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.backbones import focus_encoder, glance_encoder
from foveal.layers import (
    ImageEncoder,
    PixelNorm,
    PrefixClassifier,
    RecurrentPolicy,
    crop_at,
    map_state,
)
from foveal.systems.adafocus_v2.protocol import Config, frame_order


@dataclass(frozen=True, slots=True)
class Glanced:
    """What the glance gives, frames in the order they are seen.

    Args:
        frames: the pixels (B,T,3,S,S).
        maps: (B,T,G,h,h).
        vectors: (B,T,G).
        logits: (B,T,K) of the glance alone, for its own loss.
    """

    frames: Tensor
    maps: Tensor
    vectors: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class Looked:
    """What looking at one square a frame gives, frames in the order they are seen.

    Args:
        logits: (B,T,K), one prediction for every prefix.
        focus_logits: (B,T,K) of the squares alone, for their own loss.
        actions: (B,T,2) where they were, (y, x) in [0, 1].
    """

    logits: Tensor
    focus_logits: Tensor
    actions: Tensor


class Network(nn.Module):
    """The training network of the offline variant.

    Args:
        cfg: with ``place="frame"``.
        glance: encoder whose map is ``map_side`` px wide.
        focus: encoder of the squares.
        map_side: h.
    """

    def __init__(
        self, cfg: Config, *, glance: ImageEncoder, focus: ImageEncoder, map_side: int
    ) -> None:
        super().__init__()
        self.order = frame_order(cfg.num_frames)
        self.focus_size = cfg.focus_size
        self.normalise: nn.Module = PixelNorm()
        self.glance = glance
        self.glance_head = _head(glance.width, cfg)
        self.policy = RecurrentPolicy(
            in_channels=glance.width,
            side=map_side,
            channels=cfg.policy_channels,
            width=cfg.policy_width,
        )
        self.focus = focus
        self.focus_head = _head(focus.width, cfg)
        self.classifier = PrefixClassifier(
            in_width=glance.width + focus.width,
            width=cfg.fused_width,
            num_frames=cfg.num_frames,
            num_classes=cfg.num_classes,
            dropout=cfg.dropout,
        )

    def forward(self, frames: Tensor, actions: Tensor | None = None) -> Looked:
        """Return the predictions for a clip.

        Args:
            frames: uint8 (B,T,3,S,S) in time order.
            actions: (B,T,2) to look there instead, frames in the order they are seen.
        """
        glanced = self.glance_at(frames)
        return self.look(glanced, self.place(glanced) if actions is None else actions)

    def glance_at(self, frames: Tensor) -> Glanced:
        """Return what the glance sees of ``frames`` (B,T,3,S,S) in time order."""
        ordered = frames[:, list(self.order)]
        maps, vectors = self.glance(self.normalise(ordered.flatten(0, 1)))
        shape = frames.shape[:2]
        logits = self.glance_head(vectors)
        return Glanced(
            ordered,
            maps.unflatten(0, shape),
            vectors.unflatten(0, shape),
            logits.unflatten(0, shape),
        )

    def place(self, glanced: Glanced, *, detach: bool = True) -> Tensor:
        """Return actions (B,T,2); no gradient reaches the glance unless ``detach`` is off."""
        actions: Tensor = self.policy(glanced.maps.detach() if detach else glanced.maps)
        return actions

    def look(self, glanced: Glanced, actions: Tensor) -> Looked:
        """Return the predictions when the squares are at ``actions`` (B,T,2)."""
        squares = self.cut(glanced.frames.flatten(0, 1), actions.flatten(0, 1))
        _, vectors = self.focus(squares)
        shape = actions.shape[:2]
        both = torch.cat([glanced.vectors, vectors.unflatten(0, shape)], dim=-1)
        focus_logits = self.focus_head(vectors).unflatten(0, shape)
        return Looked(self.classifier(both), focus_logits, actions)

    def cut(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Return normalised squares (N,3,P,P) of ``frames`` (N,3,S,S) at ``actions`` (N,2)."""
        pixels = frames if frames.is_floating_point() else frames.float()
        squares: Tensor = self.normalise(crop_at(pixels, actions, crop_size=self.focus_size))
        return squares


class ShiftEncoder(nn.Module):
    """Frames of a clip, each of which sees its neighbours, with two heads.

    The final head reads detached vectors, so that its loss trains it alone; the other's loss
    trains the encoder, and through the square's pixels the policy.
    """

    def __init__(self, encoder: ImageEncoder, *, num_frames: int, cfg: Config) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.encoder = encoder
        self.dropout = nn.Dropout(cfg.dropout)
        self.final = nn.Linear(encoder.width, cfg.num_classes)
        self.regular = nn.Linear(encoder.width, cfg.num_classes)
        for head in (self.final, self.regular):
            nn.init.normal_(head.weight, std=0.001)
            nn.init.zeros_(head.bias)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps (B*T,D,h,h), final logits (B,K) and regular ones for (B*T,3,H,W)."""
        maps, vectors = self.encoder(pictures)
        vectors = self.dropout(vectors)
        final = self.final(vectors.detach())
        return maps, self._mean(final), self._mean(self.regular(vectors))

    def _mean(self, rows: Tensor) -> Tensor:
        return rows.reshape(-1, self.num_frames, rows.shape[1]).mean(dim=1)


@dataclass(frozen=True, slots=True)
class ShiftLooked:
    """What the TSM variant gives.

    Args:
        logits: (B,K), glance and focus added.
        glance_logits: (B,K) of the head that trains the glance.
        focus_logits: (B,K) of the head that trains focus and policy.
        actions: (B,2) where the square was, (y, x) in [0, 1].
    """

    logits: Tensor
    glance_logits: Tensor
    focus_logits: Tensor
    actions: Tensor


class ShiftNetwork(nn.Module):
    """The training network of the TSM variant: one square for the whole clip.

    Args:
        cfg: with ``place="video"``.
        glance: encoder of all frames glanced at, its map ``map_side`` px wide.
        focus: encoder of the squares.
        map_side: h.
    """

    def __init__(
        self, cfg: Config, *, glance: ImageEncoder, focus: ImageEncoder, map_side: int
    ) -> None:
        super().__init__()
        self.focus_size = cfg.focus_size
        self.normalise: nn.Module = PixelNorm()
        self.glance = ShiftEncoder(glance, num_frames=cfg.num_frames, cfg=cfg)
        self.policy = shift_policy(
            in_channels=cfg.num_frames * glance.width,
            side=map_side,
            channels=cfg.policy_channels,
            width=cfg.policy_width,
        )
        self.focus = ShiftEncoder(focus, num_frames=cfg.num_focus_frames, cfg=cfg)

    def forward(
        self, frames: Tensor, focus_frames: Tensor, actions: Tensor | None = None
    ) -> ShiftLooked:
        """Return the prediction for a clip.

        Args:
            frames: uint8 (B,T,3,S,S) to glance at.
            focus_frames: uint8 (B,T',3,S,S) to look at.
            actions: (B,2) to look there instead.
        """
        maps, final, regular = self.glance_at(frames)
        if actions is None:
            actions = self.place(maps)
        focus_final, focus_regular = self.look(focus_frames, actions)
        return ShiftLooked(final + focus_final, regular, focus_regular, actions)

    def glance_at(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps (B,T*G,h,h), final and regular logits (B,K) of ``frames`` (B,T,3,S,S)."""
        maps, final, regular = self.glance(self.normalise(frames.flatten(0, 1)))
        return maps.unflatten(0, frames.shape[:2]).flatten(1, 2), final, regular

    def place(self, maps: Tensor) -> Tensor:
        """Return actions (B,2); no gradient reaches the glance."""
        actions: Tensor = self.policy(maps.detach())
        return actions

    def look(self, frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return final and regular logits (B,K) of the square at ``actions`` (B,2)."""
        pixels = frames if frames.is_floating_point() else frames.float()
        squares = crop_at(pixels.flatten(1, 2), actions, crop_size=self.focus_size)
        rows = squares.reshape(-1, 3, self.focus_size, self.focus_size)
        _, final, regular = self.focus(self.normalise(rows))
        return final, regular


def shift_policy(*, in_channels: int, side: int, channels: int, width: int) -> nn.Sequential:
    """Return the policy of the TSM variant: stacked maps (B,T*G,h,h) to actions (B,2)."""
    return nn.Sequential(
        *map_state(in_channels=in_channels, side=side, channels=channels, width=width),
        nn.Linear(width, width // 2),
        nn.BatchNorm1d(width // 2),
        nn.Tanh(),
        nn.Linear(width // 2, 2),
        nn.Sigmoid(),
    )


# --- networks by configuration --------------------------------------------------------------


def make_network(cfg: Config) -> Network | ShiftNetwork:
    """Return the training network of ``cfg``, with fresh weights.

    Args:
        cfg: says which; in ``video`` mode encoders from timm get temporal shifts.
    """
    video = cfg.place == "video"
    glance, map_side = glance_encoder(
        cfg.glance, size=cfg.canvas.width, shift_frames=cfg.num_frames if video else None
    )
    focus = focus_encoder(cfg.focus, shift_frames=cfg.num_focus_frames if video else None)
    kind = ShiftNetwork if video else Network
    return kind(cfg, glance=glance, focus=focus, map_side=map_side)


def _head(width: int, cfg: Config) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(cfg.dropout), nn.Linear(width, cfg.num_classes))


# --- parts ----------------------------------------------------------------------------------


class GlancePolicyPart(nn.Module):
    """One frame and the memory to an action, the glance's vector and the new memory."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.normalise = network.normalise
        self.glance = network.glance
        self.policy = network.policy

    def forward(self, frame: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B,2), (B,G) and (B,M) for uint8 (B,3,S,S) and (B,M)."""
        maps, vector = self.glance(self.normalise(frame))
        action, memory = self.policy.step(maps, memory)
        return action, vector, memory


class FocusPart(nn.Module):
    """A frame, where to look, and all that is known to logits and the new maximum."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, frame: Tensor, action: Tensor, vector: Tensor, best: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (B,K) and (B,F); ``prefix`` int64 (B,) counts the frames seen before."""
        _, focused = self.network.focus(self.network.cut(frame, action))
        return self.network.classifier.step(torch.cat([vector, focused], dim=1), best, prefix)


class NativeFocusPart(nn.Module):
    """The same for a square that was cut before."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, crop: Tensor, vector: Tensor, best: Tensor, prefix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (B,K) and (B,F) for uint8 (B,3,P,P)."""
        _, focused = self.network.focus(self.network.normalise(crop))
        return self.network.classifier.step(torch.cat([vector, focused], dim=1), best, prefix)


class ShiftGlancePart(nn.Module):
    """All frames glanced at to an action and the glance's logits."""

    def __init__(self, network: ShiftNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,2) and (B,K) for uint8 (B,T,3,S,S)."""
        maps, final, _ = self.network.glance_at(frames)
        return self.network.place(maps), final


class ShiftFocusPart(nn.Module):
    """All frames focused on and where to look to the focus's logits."""

    def __init__(self, network: ShiftNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, action: Tensor) -> Tensor:
        """Return (B,K) for uint8 (B,T',3,S,S) and (B,2)."""
        return self.network.look(frames, action)[0]


def build(network: nn.Module, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which share its weights.

    Raises:
        ValueError: the network is not one of ``cfg``.
    """
    if isinstance(network, Network) and cfg.place == "frame":
        native = cfg.crop_from == "native"
        focus = NativeFocusPart(network) if native else FocusPart(network)
        return {"glance_policy": GlancePolicyPart(network), "focus": focus}
    if isinstance(network, ShiftNetwork) and cfg.place == "video":
        return {"glance_policy": ShiftGlancePart(network), "focus": ShiftFocusPart(network)}
    raise ValueError(f"a {type(network).__name__} has no parts for place={cfg.place!r}")
