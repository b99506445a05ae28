"""What the baselines train: one network for single frames.

Source: Wang et al., "Temporal Segment Networks", ECCV 2016, arXiv 1608.00859. Letters: B clips, T
frames, C channels, H height, W width, D width of stored features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from foveal.backbones import (
    ImageBackbone,
    conv_stack,
    create,
    small_mobilenet,
    small_resnet,
)
from foveal.layers import class_probs, mean_answer
from foveal.systems.baselines.protocol import Config


class Network(nn.Module):
    """Frames, each on its own, to the logits of the clip."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        if cfg.network == "linear":
            self.encoder: nn.Module = nn.Identity()
            width = cfg.feature_width
        else:
            backbone = _backbone(cfg)
            width = backbone.num_features
            # What tells a class is small in a picture of few pixels; the mean would drown it.
            few = cfg.network in ("small", "tiny")
            pool = nn.Sequential(
                nn.AdaptiveMaxPool2d(1) if few else nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
            self.encoder = nn.Sequential()
            self.encoder.add_module("normalise", backbone.pixel_norm())
            self.encoder.add_module("backbone", backbone)
            self.encoder.add_module("pool", pool)
        self.several = cfg.several_labels
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(width, cfg.num_classes)

    def frame_logits(self, frames: Tensor) -> Tensor:
        """Return logits (B,T,K) of uint8 frames (B,T,3,H,W) or features (B,T,D)."""
        rows = frames.flatten(0, 1)
        logits: Tensor = self.head(self.dropout(self.encoder(rows)))
        return logits.reshape(*frames.shape[:2], -1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,K) whose probabilities are the mean of those of the frames."""
        return mean_answer(self.frame_logits(frames), several=self.several)


class FramePart(nn.Module):
    """The part that is exported: frames (B,3,H,W) or features (B,D) to probabilities (B,K)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.head = network.head
        self.several = network.several

    def forward(self, frames: Tensor) -> Tensor:
        """Return probabilities."""
        logits: Tensor = self.head(self.encoder(frames))
        return class_probs(logits, several=self.several)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> Mapping[str, nn.Module]:
    """Return the one part by its name; it shares the network's weights."""
    return {cfg.part: FramePart(network)}


def _backbone(cfg: Config) -> ImageBackbone:
    match cfg.network:
        case "small":
            return conv_stack((3, 16, 32, 64, 96), strides=(2, 2, 2, 1))
        case "tiny":
            return conv_stack((3, 8, 16), strides=(2, 2))
        case "small_resnet":
            return small_resnet()
        case "small_mobilenet":
            return small_mobilenet()
        case "resnet50" | "tf_efficientnet_lite0":
            return create(cfg.network)
        case "linear":
            raise AssertionError("features need no backbone")
