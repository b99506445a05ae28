"""ResKD's two networks: a student on small pictures, a teacher on the same pictures in full.

Source: arXiv 2209.12797. Reads beside ``protocol.py``; losses and stages are in ``recipe.py``.
Letters: B clips, T frames, C channels, H height, W width, K classes. A *clip* is normalised
float (B,T,3,H,W); a *map* is what a backbone ends with, (B,C,T,H,W).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.video.swin_transformer import SwinTransformer3d

from foveal.backbones import (
    ImageBackbone,
    conv_stack,
    create,
    create_video,
    insert_temporal_shift,
)
from foveal.backbones.video import SwinMaps
from foveal.layers import PixelNorm, TemporalShift
from foveal.systems.reskd.protocol import PART, Backbone, Config

STRIDES = (2, 2, 2, 1)
"""Of the four convolutions of the small networks."""


class Distilled(NamedTuple):
    """What a training step compares: the student's answer and the maps of both.

    ``upsampled`` is the student's map at the teacher's size; the teacher's carries no gradient.
    """

    logits: Tensor
    student_map: Tensor
    upsampled: Tensor
    teacher_map: Tensor


class Network(nn.Module):
    """Student and teacher while training; after it, only the student is called.

    ``forward`` is the student alone. It takes the pictures of either canvas: large ones are made
    small first, as in training, and small ones are taken as they are.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.normalise = PixelNorm()
        self.student = Classifier(cfg, cfg.student)
        self.teacher = Classifier(cfg, cfg.teacher)
        if cfg.distil == "features" and self.student.channels != self.teacher.channels:
            raise ValueError(
                f"feature maps of {cfg.student} ({self.student.channels} channels) and "
                f"{cfg.teacher} ({self.teacher.channels}) cannot be compared"
            )

    def forward(self, frames: Tensor) -> Tensor:
        """Return the student's logits (B,K) for uint8 frames (B,T,3,H,W)."""
        logits: Tensor = self.student(self._small(self.normalise(frames)))
        return logits

    def teach(self, frames: Tensor) -> Tensor:
        """Return the teacher's logits (B,K) for uint8 frames at full size; its own training."""
        logits: Tensor = self.teacher(self.normalise(frames))
        return logits

    def distil(self, frames: Tensor) -> Distilled:
        """Return what both networks make of uint8 frames (B,T,3,H,W) at full size.

        The teacher is run without gradients but in the mode it is in: the paper leaves it in
        training mode, where normalisation uses the batch and its running statistics go on moving.
        """
        return self.compare(self.normalise(frames))

    def compare(self, clip: Tensor) -> Distilled:
        """Return the same for a clip that is normalised already."""
        with torch.no_grad():
            teacher_map = self.teacher.backbone(clip)
        student_map = self.student.backbone(self._small(clip))
        upsampled = resize(student_map, (teacher_map.shape[3], teacher_map.shape[4]))
        return Distilled(self.student.classify(student_map), student_map, upsampled, teacher_map)

    def _small(self, clip: Tensor) -> Tensor:
        by_channel = clip.transpose(1, 2)
        return resize(by_channel, (self.cfg.canvas.height, self.cfg.canvas.width)).transpose(1, 2)


class Student(nn.Module):
    """The part that is exported: uint8 frames (B,T,3,H,W) of the small canvas to logits (B,K)."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.normalise = PixelNorm()
        self.student = student

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,K)."""
        logits: Tensor = self.student(self.normalise(frames))
        return logits


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the part by name; it shares the network's weights and knows no teacher."""
    return {PART: Student(network.student)}


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (B,C,T,H,W) at ``size``, every frame on its own, without smoothing first.

    For half the size this is the mean of blocks of 2x2.

    >>> resize(torch.arange(4.0).reshape(1, 1, 1, 2, 2), (1, 1)).flatten().tolist()
    [1.5]
    """
    if maps.shape[3:] == size:
        return maps
    flat = functional.interpolate(
        maps.flatten(1, 2), size=size, mode="bilinear", align_corners=False
    )
    return flat.reshape(*maps.shape[:3], *size)


class Classifier(nn.Module):
    """A backbone, the mean of its map, one linear layer."""

    def __init__(self, cfg: Config, name: Backbone) -> None:
        super().__init__()
        self.backbone, self.channels = make_backbone(cfg, name)
        self.dropout = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(self.channels, cfg.num_classes)
        over_time = name in ("conv4_3d", "swin_toy", "slowonly50", "swin_s", "swin_b")
        nn.init.normal_(self.head.weight, std=0.01 if over_time else 0.001)
        nn.init.zeros_(self.head.bias)

    def forward(self, clip: Tensor) -> Tensor:
        """Return logits (B,K)."""
        return self.classify(self.backbone(clip))

    def classify(self, maps: Tensor) -> Tensor:
        """Return logits (B,K) of the mean over frames and places of ``maps`` (B,C,T,H,W)."""
        logits: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3, 4))))
        return logits

    def class_map(self, maps: Tensor) -> Tensor:
        """Return logits (B,T,H,W,K) of every place of ``maps`` by itself."""
        logits: Tensor = self.head(maps.permute(0, 2, 3, 4, 1))
        return logits


def make_backbone(cfg: Config, name: Backbone) -> tuple[nn.Module, int]:
    """Return the network called ``name``, clip to map, and the channels of its map."""
    match name:
        case "conv4":
            return _per_frame(_conv4(cfg))
        case "conv4_shift":
            net = _conv4(cfg)
            for stage in list(net.net.children())[1:]:
                assert isinstance(stage, nn.Sequential)
                stage[0] = TemporalShift(stage[0], num_frames=cfg.num_frames)
            return _per_frame(net)
        case "conv4_3d":
            return OverTime(_conv4_3d(cfg)), 4 * cfg.width
        case "resnet18" | "resnet50" | "resnet152":
            return _per_frame(create(name))
        case "resnet50_shift":
            net = create("resnet50")
            insert_temporal_shift(net, num_frames=cfg.num_frames)
            return _per_frame(net)
        case "slowonly50":
            net = create("resnet50")
            _inflate(net)
            return OverTime(net), net.num_features
        case "swin_toy":
            toy = SwinTransformer3d(
                patch_size=[2, 4, 4],
                embed_dim=cfg.width,
                depths=[1, 1],
                num_heads=[2, 2],
                window_size=[2, 4, 4],
            )
            return OverTime(SwinMaps(toy)), toy.num_features
        case "swin_s" | "swin_b":
            kind: Literal["swin3d_s", "swin3d_b"] = "swin3d_s" if name == "swin_s" else "swin3d_b"
            swin = create_video(kind, num_frames=cfg.num_frames)
            return swin, swin.num_features


class PerFrame(nn.Module):
    """Runs a network of pictures on every frame of a clip."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clip: Tensor) -> Tensor:
        """Return the map (B,C,T,H,W) of a clip (B,T,3,H,W)."""
        maps: Tensor = self.net(clip.flatten(0, 1))
        return maps.reshape(-1, clip.shape[1], *maps.shape[1:]).transpose(1, 2)


class OverTime(nn.Module):
    """Runs a network of volumes (B,3,T,H,W) on a clip."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clip: Tensor) -> Tensor:
        """Return the map (B,C,T,H,W) of a clip (B,T,3,H,W)."""
        maps: Tensor = self.net(clip.transpose(1, 2))
        return maps


def _per_frame(net: ImageBackbone) -> tuple[nn.Module, int]:
    return PerFrame(net), net.num_features


def _conv4(cfg: Config) -> ImageBackbone:
    """Four stages of convolution, normalisation and ReLU; 1/8 of the size at their end."""
    w = cfg.width
    return conv_stack((3, w, 2 * w, 4 * w, 4 * w), strides=STRIDES)


def _conv4_3d(cfg: Config) -> nn.Sequential:
    """The same with kernels over three frames."""
    channels = (3, cfg.width, 2 * cfg.width, 4 * cfg.width, 4 * cfg.width)
    layers: list[nn.Module] = []
    for before, after, stride in zip(channels[:-1], channels[1:], STRIDES, strict=True):
        layers += [
            nn.Conv3d(before, after, 3, stride=(1, stride, stride), padding=1, bias=False),
            nn.BatchNorm3d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _inflate(backbone: ImageBackbone) -> None:
    """Make a ResNet one of volumes: SlowOnly, which looks over time in its last two stages.

    Source: Feichtenhofer et al., "SlowFast Networks", ICCV 2019, arXiv 1812.03982.
    """
    stages = [backbone.net.get_submodule(f"layer{i}") for i in (3, 4)]
    over_time = {id(block.get_submodule("conv1")) for s in stages for block in s.children()}
    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            match child:
                case nn.Conv2d():
                    frames = 3 if id(child) in over_time else 1
                    setattr(module, name, _volume_conv(child, frames=frames))
                case nn.BatchNorm2d():
                    setattr(module, name, nn.BatchNorm3d(child.num_features))
                case nn.MaxPool2d():
                    setattr(module, name, nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))


def _volume_conv(conv: nn.Conv2d, *, frames: int) -> nn.Conv3d:
    """Return ``conv`` spread over ``frames`` frames: on a still clip it gives what it gave."""
    (height, width), (down, across) = conv.kernel_size, conv.stride
    volume = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        (frames, height, width),
        stride=(1, down, across),
        padding=(frames // 2, height // 2, width // 2),
        bias=False,
        device=conv.weight.device,
    )
    with torch.no_grad():
        volume.weight.copy_(conv.weight[:, :, None].expand_as(volume.weight) / frames)
    return volume
