"""NSNet's sampler with its two modules, and the recogniser it keeps frames for.

Source: arXiv 2207.10388. Letters: B videos, T candidates, K frames kept, D width of a frame's
features, d width between frames, C classes (the background is one more, the last).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from foveal.backbones import frame_recogniser, preview_encoder
from foveal.layers import (
    FrameClassifier,
    TemporalEncoder,
    class_probs,
    mean_answer,
    most_salient,
    scaled_rows,
    taken,
)
from foveal.systems.nsnet.protocol import RECOGNISER, SAMPLER, Config
from foveal.types import Features


class Scored(NamedTuple):
    """What the sampler says of the candidates of B videos.

    Args:
        frame_logits: (B,T,C+1), of every frame by itself.
        attention: (B,T) in (0, 1).
        salient: logits (B,C+1) of the frames that are attended to.
        rest: logits (B,C+1) of those that are not.
    """

    frame_logits: Tensor
    attention: Tensor
    salient: Tensor
    rest: Tensor


class Output(NamedTuple):
    """What the network says of B videos.

    Args:
        saliency: (B,T) in [0, 1].
        chosen: int64 (B,K), ascending.
        logits: (B,C), whose probabilities are the mean of those of the chosen frames.
    """

    saliency: Tensor
    chosen: Tensor
    logits: Tensor


class Sampler(nn.Module):
    """Frame Scrutinize Module and Video Glimpse Module on what they share."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.encoder, width = _preview(cfg)
        self.context = TemporalEncoder(
            width,
            num_frames=cfg.num_candidates,
            width=cfg.width,
            heads=cfg.heads,
            ffn=cfg.ffn,
            layers=cfg.layers,
            dropout=cfg.dropout,
            position=cfg.position,
        )
        self.scrutinise = WithBackground(cfg.width, cfg.num_classes)
        self.attend = nn.Sequential()
        if cfg.attention_layers == 2:
            self.attend.extend([nn.Linear(cfg.width, cfg.width), nn.ReLU()])
        self.attend.append(nn.Linear(cfg.width, 1))
        self.glimpse = WithBackground(cfg.width, cfg.num_classes)

    def forward(self, candidates: Tensor) -> Scored:
        """Return what is said of candidates (B,T,3,H,W), or of features (B,T,D)."""
        vectors = self.encoder(candidates.flatten(0, 1))
        frames = self.context(vectors.unflatten(0, candidates.shape[:2]))
        attention = self.attend(frames)[..., 0].sigmoid()
        return Scored(
            frame_logits=self.scrutinise(frames),
            attention=attention,
            salient=self.glimpse(weighted_mean(frames, attention)),
            rest=self.glimpse(weighted_mean(frames, 1 - attention)),
        )


class WithBackground(nn.Module):
    """Vectors (...,d) to logits (...,C+1), the last being the background's."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(width, num_classes)
        self.background = nn.Linear(width, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits (...,C+1)."""
        return torch.cat([self.classes(vectors), self.background(vectors)], dim=-1)


def weighted_mean(frames: Tensor, weights: Tensor) -> Tensor:
    """Return the mean (B,d) of ``frames`` (B,T,d); finite where all ``weights`` (B,T) are 0."""
    total = (weights[..., None] * frames).sum(dim=1)
    return total / (weights.sum(dim=1, keepdim=True) + 1e-6)


class Network(nn.Module):
    """Sampler and recogniser.

    Args:
        cfg: sizes and networks.
        recogniser: another one, whose weights are trained already.
    """

    def __init__(self, cfg: Config, *, recogniser: FrameClassifier | None = None) -> None:
        super().__init__()
        self.cfg = cfg
        self.sampler = Sampler(cfg)
        self.recogniser = _recogniser(cfg) if recogniser is None else recogniser
        self.fold_recognisers = nn.ModuleList(_recogniser(cfg) for _ in range(cfg.num_folds))
        # For ``label_source="prototype"``: a vector for each class of each who labels, fold by
        # fold, and how much was seen of it.
        labels = self.labelling[0]
        rows = len(self.labelling) * cfg.num_classes
        self.register_buffer("prototypes", torch.zeros(rows, labels.head.in_features))
        self.register_buffer("prototype_weights", torch.zeros(rows))
        self.prototypes: Tensor
        self.prototype_weights: Tensor

    @property
    def labelling(self) -> tuple[FrameClassifier, ...]:
        """Who labels frames: of fold i the i-th, or all of them the recogniser itself."""
        folds = tuple(cast(FrameClassifier, one) for one in self.fold_recognisers)
        return folds or (self.recogniser,)

    def forward(self, frames: Tensor, preview: Tensor | None = None) -> Output:
        """Return what the protocol answers, but for ``mass`` and ``min_gap``.

        Args:
            frames: uint8 (B,T,3,H,W), or stored features (B,T,D).
            preview: stored features (B,T,D) that the sampler sees instead.
        """
        saliency = self.saliency(self.sampler(frames if preview is None else preview))
        chosen = most_salient(saliency, num_frames=self.cfg.num_frames)
        frame_logits = self.recogniser.clip_logits(taken(frames, chosen))
        logits = mean_answer(frame_logits, several=self.cfg.several_labels)
        return Output(saliency=saliency, chosen=chosen, logits=logits)

    def saliency(self, scored: Scored) -> Tensor:
        """Return (B,T), as :func:`foveal.systems.nsnet.protocol.fused` has it."""
        probs = class_probs(scored.frame_logits, several=self.cfg.several_labels)
        by_frame = 1 - probs[..., -1].double()
        if self.cfg.frame_saliency == "class":
            believed = scored.salient[:, :-1].argmax(dim=1)
            index = believed[:, None, None].expand(-1, probs.shape[1], 1)
            by_frame = probs.gather(2, index)[..., 0]
        by_frame, by_video = scaled_rows(by_frame), scaled_rows(scored.attention)
        if self.cfg.fusion == "product":
            return by_frame * by_video
        return self.cfg.beta * by_frame + (1 - self.cfg.beta) * by_video


class SamplerPart(nn.Module):
    """Candidates to what the protocol joins: frame probabilities, attention, video logits."""

    def __init__(self, sampler: Sampler, *, several: bool) -> None:
        super().__init__()
        self.sampler = sampler
        self.several = several

    def forward(self, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B,T,C+1), (B,T) and (B,C+1)."""
        scored: Scored = self.sampler(candidates)
        frame_probs = class_probs(scored.frame_logits, several=self.several)
        return frame_probs, scored.attention, scored.salient


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which they share their weights with."""
    sampler = SamplerPart(network.sampler, several=cfg.several_labels)
    return {SAMPLER: sampler, RECOGNISER: network.recogniser}


def _preview(cfg: Config) -> tuple[nn.Module, int]:
    """Return what makes a vector of a candidate, and its width."""
    if isinstance(cfg.canvas, Features):
        return nn.Identity(), cfg.preview_width or cfg.feature_width
    blocks = (cfg.canvas.height // cfg.preview_size, cfg.canvas.width // cfg.preview_size)
    name = "mobilenetv2" if cfg.networks == "paper" else cfg.networks
    return preview_encoder(name, size=cfg.preview_size, blocks=blocks)


def _recogniser(cfg: Config) -> FrameClassifier:
    return frame_recogniser(
        "resnet50" if cfg.networks == "paper" else cfg.networks,
        num_classes=cfg.num_classes,
        feature_width=cfg.feature_width,
        dropout=cfg.dropout,
        several=cfg.several_labels,
    )
