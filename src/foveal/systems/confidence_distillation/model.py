"""The student, the teacher, and how their answers are joined while training.

Source: arXiv 2109.02137, as ``protocol.py``; of the networks, Hara, Kataoka and Satoh, "Can
Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018, arXiv 1711.09577
(ResNeXt) and Kopuklu et al., "Resource Efficient 3D Convolutional Neural Networks", ICCVW 2019,
arXiv 1904.02422 (ShuffleNetV2 over time). Letters: B videos, N clips, L frames of a clip, l of them
for the student, M = B * N clips of all videos, T frames of a network's input, D features, K
classes, H height, W width.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import VideoBackbone
from foveal.systems.confidence_distillation.protocol import (
    STUDENT,
    TEACHER,
    TIE_BREAK,
    Config,
    Pool,
)

Sizes: TypeAlias = int | tuple[int, int, int]

MEAN = (0.4345, 0.4051, 0.3775)
"""Of RGB in [0, 1] over Kinetics."""
STD = (0.2768, 0.2713, 0.2737)

CARDINALITY = 32
RESNEXT_DEPTHS = (3, 4, 23, 3)
RESNEXT_WIDTHS = (128, 256, 512, 1024)
SHUFFLE_DEPTHS = (4, 8, 4)
SHUFFLE_WIDTHS = (24, 116, 232, 464, 1024)

HIDDEN = 128
"""Features between the two layers of the confidence head."""

LEAST = 1e-30
"""Probabilities are kept above this before their logarithm is taken."""

HALF, DOWN = (1, 2, 2), (2, 2, 2)
TEACHER_LAYERS = {
    "small": ((3, 16, 32, 64, 96), (HALF, HALF, DOWN, HALF)),
    "tiny": ((3, 8, 16, 32), (HALF, DOWN, HALF)),
}
STUDENT_LAYERS = {
    "small": ((3, 8, 16, 32), (HALF, HALF, HALF)),
    "tiny": ((3, 8, 16), (HALF, HALF)),
}
"""Channels and strides where the networks are a few convolutions; those of the student see each
frame alone."""


class Output(NamedTuple):
    """What the network says of B videos.

    Args:
        logits: (B,A,K), logarithms of the probabilities of each answer: the student's vote, and
            what both say; one of them in the modes ``student`` and ``uniform``.
        confidence: (B,N) in (0, 1).
        called: bool (B,N), the clips that the teacher is asked for.
    """

    logits: Tensor
    confidence: Tensor
    called: Tensor


class Network(nn.Module):
    """Student, teacher, and the teachers of each part of the data, which teach the student."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.teacher = Teacher(cfg)
        self.fold_teachers = nn.ModuleList(Teacher(cfg) for _ in range(cfg.num_folds))
        self.student = Student(cfg)

    def forward(self, frames: Tensor, student_frames: Tensor | None = None) -> Output:
        """Return what the system says of all planned frames uint8 (B,N*L,3,H,W).

        Args:
            frames: on the teacher's canvas.
            student_frames: the same on the student's; by default made from ``frames``.
        """
        cfg = self.cfg
        large, small = self.clips(frames), self.student_clips(frames, student_frames)
        taught: Tensor = self.teacher(large.flatten(0, 1)).softmax(dim=1)
        taught = taught.reshape(*large.shape[:2], -1)
        logits, confidence = self.student(small.flatten(0, 1))
        probs = logits.softmax(dim=1).reshape(taught.shape)
        trust = confidence.reshape(taught.shape[:2])
        called = self.choose(trust, probs)
        if cfg.mode == "uniform":
            return Output(_logs(_mean(taught, called.float()))[:, None], trust, called)
        vote = _mean(probs, trust)
        if cfg.mode == "student":
            return Output(_logs(vote)[:, None], trust, called)
        weights = trust if cfg.weighting == "confidence" else torch.ones_like(trust)
        joint = (1 - cfg.rho) * _mean(taught, weights * called) + cfg.rho * vote
        return Output(_logs(torch.stack([vote, joint], dim=1)), trust, called)

    def choose(self, trust: Tensor, probs: Tensor) -> Tensor:
        """Return the clips for the teacher, bool (B,N); ties go to the lower index.

        Args:
            trust: confidence (B,N).
            probs: of the student, (B,N,K).
        """
        cfg, num_clips = self.cfg, trust.shape[1]
        none = torch.zeros_like(trust, dtype=torch.bool)
        if cfg.mode == "student":
            return none
        if cfg.mode == "uniform":
            places = torch.arange(cfg.num_chosen, device=trust.device) * 2 + 1
            return none.index_fill(1, places * num_clips // (2 * cfg.num_chosen), value=True)
        order = trust.double() + TIE_BREAK * probs.amax(dim=2).double()
        ranked = torch.sort(order, dim=1, descending=True, stable=True).indices
        if cfg.mode == "threshold":
            above = trust > cfg.theta
            best = none.scatter(1, ranked[:, :1], value=True)
            return torch.where(above.any(dim=1, keepdim=True), above, best)
        return none.scatter(1, ranked[:, : cfg.num_chosen], value=True)

    def clips(self, frames: Tensor) -> Tensor:
        """Return frames (B,N*L,3,H,W) as clips (B,N,L,3,H,W)."""
        shape = (self.cfg.num_clips, self.cfg.clip_frames, *frames.shape[2:])
        return frames.reshape(-1, *shape)

    def student_clips(self, frames: Tensor, student_frames: Tensor | None = None) -> Tensor:
        """Return what the student sees of each clip, (B,N,l,3,h,w).

        Args:
            frames: (B,N*L,3,H,W) on the teacher's canvas, averaged down where the student's is
                smaller. A file's own small picture may differ by a grey level from that.
            student_frames: (B,N*L,3,h,w), where those small pictures are at hand.
        """
        seen = self.clips(frames if student_frames is None else student_frames)
        seen = seen[:, :, :: self.cfg.student_step]
        size = (self.cfg.student_view.height, self.cfg.student_view.width)
        if seen.shape[-2:] == size:
            return seen
        small = functional.adaptive_avg_pool2d(seen.flatten(0, 2).float(), size)
        return small.reshape(*seen.shape[:-2], *size)


class Teacher(nn.Module):
    """A clip classifier: uint8 (M,L,3,H,W) to logits (M,K)."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        if cfg.networks == "paper":
            self.backbone = resnext101_3d(num_frames=cfg.clip_frames)
        else:
            channels, strides = TEACHER_LAYERS[cfg.networks]
            self.backbone = conv3d_stack(channels, strides=strides, num_frames=cfg.clip_frames)
        self.norm = self.backbone.pixel_norm()
        self.pool = cfg.pool
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(self.backbone.num_features, cfg.num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (M,K)."""
        logits: Tensor = self.head(self.dropout(self.features(clips)))
        return logits

    def features(self, clips: Tensor) -> Tensor:
        """Return features (M,D)."""
        return pooled(self.backbone, self.norm(clips), pool=self.pool)

    def dropped(self, clips: Tensor, *, passes: int) -> Tensor:
        """Return the logits (passes,M,K) of as many draws of dropout, whatever the mode."""
        features = self.features(clips)
        draws = [
            self.head(functional.dropout(features, self.dropout.p, training=True))
            for _ in range(passes)
        ]
        return torch.stack(draws)


class Student(nn.Module):
    """A clip classifier that also says how far the teacher is to be trusted."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        if cfg.networks == "paper":
            self.backbone = shufflenet_v2_3d(num_frames=cfg.student_frames)
        else:
            channels, strides = STUDENT_LAYERS[cfg.networks]
            self.backbone = conv3d_stack(
                channels, strides=strides, num_frames=cfg.student_frames, reach=1
            )
        self.norm = self.backbone.pixel_norm()
        self.pool = cfg.pool
        features = self.backbone.num_features
        self.head = nn.Linear(features, cfg.num_classes)
        # One layer on features and probabilities, as the sum of one on each.
        self.trust_features = nn.Linear(features, HIDDEN)
        self.trust_probs = nn.Linear(cfg.num_classes, HIDDEN, bias=False)
        self.trust = nn.Linear(HIDDEN, 1)

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (M,K) and confidence (M,1) of clips uint8 (M,l,3,h,w)."""
        logits, trust = self.scores(clips)
        return logits, trust.sigmoid()

    def scores(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (M,K) and the confidence before its sigmoid, (M,1).

        The confidence reads the probabilities and sends no gradient back through them.
        """
        features = pooled(self.backbone, self.norm(clips), pool=self.pool)
        logits: Tensor = self.head(features)
        probs = logits.softmax(dim=1).detach()
        hidden = functional.relu(self.trust_features(features) + self.trust_probs(probs))
        return logits, self.trust(hidden)


def pooled(backbone: VideoBackbone, clips: Tensor, *, pool: Pool) -> Tensor:
    """Return features (M,D) of normalised clips (M,L,3,H,W): over time the mean of the map.

    Args:
        backbone: gives the map.
        clips: of one length.
        pool: over the places of a moment, the mean or the largest.
    """
    maps = backbone.features(clips)
    if pool == "max":
        return maps.amax(dim=(3, 4)).mean(dim=2)
    return maps.mean(dim=(2, 3, 4))


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which they share their weights with."""
    return {STUDENT: network.student, TEACHER: network.teacher}


def _mean(probs: Tensor, weights: Tensor) -> Tensor:
    """Return the mean (B,K) of ``probs`` (B,N,K) by ``weights`` (B,N), which are not negative."""
    shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(LEAST)
    return (shares[..., None] * probs).sum(dim=1)


def _logs(probs: Tensor) -> Tensor:
    return probs.clamp_min(LEAST).log()


# --- networks over space and time --------------------------------------------------------------


def conv_norm(
    before: int, after: int, size: Sizes = 3, *, stride: Sizes = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution over space and time and its normalisation; sizes round up."""
    across = (size, size, size) if isinstance(size, int) else size
    padding = (across[0] // 2, across[1] // 2, across[2] // 2)
    conv = nn.Conv3d(before, after, across, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(after))


def conv3d_stack(
    channels: Sequence[int],
    *,
    strides: Sequence[tuple[int, int, int]],
    num_frames: int,
    reach: int = 3,
) -> VideoBackbone:
    """Return layers of 3x3 convolution over some frames, batch normalisation and ReLU.

    Args:
        channels: of the frames, then of every layer.
        strides: in time, height and width, of every layer.
        num_frames: T.
        reach: frames that a convolution sees at once, odd.

    >>> net = conv3d_stack((3, 8, 16), strides=((1, 2, 2), (2, 2, 2)), num_frames=4)
    >>> net.features(torch.zeros(2, 4, 3, 16, 16)).shape
    torch.Size([2, 16, 2, 4, 4])
    """
    layers = [
        nn.Sequential(conv_norm(before, after, (reach, 3, 3), stride=stride), nn.ReLU(inplace=True))
        for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
    ]
    return VideoBackbone(
        nn.Sequential(*layers),
        num_features=channels[-1],
        num_frames=num_frames,
        time_stride=math.prod(stride[0] for stride in strides),
        stride=math.prod(stride[1] for stride in strides),
        mean=MEAN,
        std=STD,
    )


# --- 3D ResNeXt --------------------------------------------------------------------------------


class ResNextBlock(nn.Module):
    """1x1x1, grouped 3x3x3 and 1x1x1 convolutions beside a skip.

    Args:
        before: channels in.
        width: of the grouped convolution; twice as many come out.
        stride: in time, height and width alike.
    """

    def __init__(self, before: int, width: int, *, stride: int) -> None:
        super().__init__()
        after = 2 * width
        self.reduce = conv_norm(before, width, 1)
        self.grouped = conv_norm(width, width, 3, stride=stride, groups=CARDINALITY)
        self.expand = conv_norm(width, after, 1)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.skip = conv_norm(before, after, 1, stride=stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (M,2*width,T/stride,H/stride,W/stride)."""
        hidden = self.relu(self.grouped(self.relu(self.reduce(x))))
        result: Tensor = self.relu(self.expand(hidden) + self.skip(x))
        return result


def resnext101_3d(*, num_frames: int) -> VideoBackbone:
    """Return 3D ResNeXt-101 without its classifier: 2048 features, 9.6 GMACs for 16 x 112 px.

    >>> with torch.device("meta"):  # shapes without memory
    ...     resnext101_3d(num_frames=16).features(torch.zeros(1, 16, 3, 112, 112)).shape
    torch.Size([1, 2048, 1, 4, 4])
    """
    stem = nn.Sequential(
        conv_norm(3, 64, 7, stride=(1, 2, 2)),
        nn.ReLU(inplace=True),
        nn.MaxPool3d(3, stride=2, padding=1),
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    before = 64
    for i, (depth, width) in enumerate(zip(RESNEXT_DEPTHS, RESNEXT_WIDTHS, strict=True)):
        blocks = []
        for j in range(depth):
            blocks.append(ResNextBlock(before, width, stride=2 if i and not j else 1))
            before = 2 * width
        layers[f"layer{i + 1}"] = nn.Sequential(*blocks)
    return VideoBackbone(
        nn.Sequential(layers),
        num_features=before,
        num_frames=num_frames,
        time_stride=16,
        stride=32,
        mean=MEAN,
        std=STD,
    )


# --- 3D ShuffleNetV2 ---------------------------------------------------------------------------


class ShuffleUnit(nn.Module):
    """Half the channels pass, half are convolved, and then they are mixed.

    With stride 2 both halves are convolved, each from all channels.
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        half = after // 2
        self.splits = stride == 1
        inside = half if self.splits else before
        self.passed: nn.Module = nn.Identity()
        if not self.splits:
            self.passed = nn.Sequential(
                conv_norm(before, before, 3, stride=stride, groups=before),
                conv_norm(before, half, 1),
                nn.ReLU(inplace=True),
            )
        self.convolved = nn.Sequential(
            conv_norm(inside, half, 1),
            nn.ReLU(inplace=True),
            conv_norm(half, half, 3, stride=stride, groups=half),
            conv_norm(half, half, 1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (M,after,T/stride,H/stride,W/stride)."""
        first, second = x.chunk(2, dim=1) if self.splits else (x, x)
        both = torch.stack([self.passed(first), self.convolved(second)], dim=2)
        return both.flatten(1, 2)  # neighbours come from different halves


def shufflenet_v2_3d(*, num_frames: int) -> VideoBackbone:
    """Return 3D ShuffleNetV2 of single width: 1024 features.

    >>> with torch.device("meta"):
    ...     shufflenet_v2_3d(num_frames=8).features(torch.zeros(1, 8, 3, 56, 56)).shape
    torch.Size([1, 1024, 1, 2, 2])
    """
    first, *widths, last = SHUFFLE_WIDTHS
    layers: list[nn.Module] = [
        conv_norm(3, first, 3, stride=(1, 2, 2)),
        nn.ReLU(inplace=True),
        nn.MaxPool3d(3, stride=2, padding=1),
    ]
    before = first
    for depth, width in zip(SHUFFLE_DEPTHS, widths, strict=True):
        for i in range(depth):
            layers.append(ShuffleUnit(before, width, stride=1 if i else 2))
            before = width
    layers += [conv_norm(before, last, 1), nn.ReLU(inplace=True)]
    return VideoBackbone(
        nn.Sequential(*layers),
        num_features=last,
        num_frames=num_frames,
        time_stride=16,
        stride=32,
        mean=MEAN,
        std=STD,
    )
