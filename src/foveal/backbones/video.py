"""Video networks from torchvision, in one form.

Letters: B clips, T frames, C channels, D features, H height, W width; t, h, w of the map.

What leaves a network is its last map, before pooling. The published classifiers of the
convolutional networks and of Video Swin read the mean of that map. Those of MViT read a token of
their own instead, which is left out here: the map is that of the other tokens, laid out in space
and time again.

Example:
    >>> import torch
    >>> from foveal.backbones import create_video
    >>> with torch.device("meta"):  # shapes without memory
    ...     backbone = create_video("swin3d_t", num_frames=16)
    ...     backbone.features(torch.zeros(2, 16, 3, 224, 224)).shape
    torch.Size([2, 768, 8, 7, 7])
    >>> backbone.num_features, backbone.time_stride, backbone.stride
    (768, 2, 32)
    >>> backbone.mean
    (0.485, 0.456, 0.406)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.video.mvit import MViT
from torchvision.models.video.resnet import VideoResNet
from torchvision.models.video.s3d import S3D
from torchvision.models.video.swin_transformer import SwinTransformer3d

from foveal.backbones.form import Channels, Published, VideoBackbone
from foveal.layers.pixels import IMAGENET_MEAN, IMAGENET_STD

VideoBackboneName: TypeAlias = Literal[
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "mvit_v2_s",
    "swin3d_t",
    "swin3d_s",
    "swin3d_b",
]
"""Names as in torchvision."""

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
"""RGB in [0, 1], as torchvision's convolutional video networks expect it."""
KINETICS_STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoNetwork:
    """What is known of a video network before it is built.

    Args:
        features: D.
        num_frames: of the clips that its published accuracy was measured on.
        clip_px: both sides of their frames.
        time_stride: frames that a step of the map covers.
        stride: px that a cell of the map covers.
        published: its Kinetics-400 weights.
        mean: of RGB in [0, 1] that these expect.
        std: the same.
        fixed: whether it takes clips of just these frames and sides.
        min_frames: fewer leave no step of the map.
    """

    features: int
    num_frames: int
    clip_px: int
    time_stride: int
    stride: int
    published: Published
    mean: Channels
    std: Channels
    fixed: bool = False
    min_frames: int = 1


_TORCH = "https://download.pytorch.org/models/"


def _resnet(file: str, *, time_stride: int) -> VideoNetwork:
    return VideoNetwork(
        features=512,
        num_frames=16,
        clip_px=112,
        time_stride=time_stride,
        stride=16,
        published=Published(classifier=("fc.",), url=_TORCH + file),
        mean=KINETICS_MEAN,
        std=KINETICS_STD,
    )


def _mvit(file: str) -> VideoNetwork:
    return VideoNetwork(
        features=768,
        num_frames=16,
        clip_px=224,
        time_stride=2,
        stride=32,
        published=Published(classifier=("head.",), url=_TORCH + file),
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        fixed=True,
    )


def _swin(file: str, *, features: int) -> VideoNetwork:
    return VideoNetwork(
        features=features,
        num_frames=32,
        clip_px=224,
        time_stride=2,
        stride=32,
        published=Published(classifier=("head.",), url=_TORCH + file),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


VIDEO_NETWORKS: Mapping[VideoBackboneName, VideoNetwork] = {
    "r3d_18": _resnet("r3d_18-b3b3357e.pth", time_stride=8),
    "mc3_18": _resnet("mc3_18-a90a0ba3.pth", time_stride=1),
    "r2plus1d_18": _resnet("r2plus1d_18-91a641e6.pth", time_stride=8),
    "s3d": VideoNetwork(
        features=1024,
        num_frames=128,
        clip_px=224,
        time_stride=8,
        stride=32,
        published=Published(classifier=("classifier.",), url=_TORCH + "s3d-d76dad2f.pth"),
        mean=KINETICS_MEAN,
        std=KINETICS_STD,
        min_frames=5,
    ),
    "mvit_v1_b": _mvit("mvit_v1_b-dbeb1030.pth"),
    "mvit_v2_s": _mvit("mvit_v2_s-ae3be167.pth"),
    "swin3d_t": _swin("swin3d_t-7615ae03.pth", features=768),
    "swin3d_s": _swin("swin3d_s-da41c237.pth", features=768),
    "swin3d_b": _swin("swin3d_b_1k-24f7c7c6.pth", features=1024),
}
"""Every video network; the files are those of torchvision's ``KINETICS400_V1``."""


def create_video(name: VideoBackboneName, *, num_frames: int) -> VideoBackbone:
    """Return a network of RGB clips without its classifier, with fresh weights.

    Weights come in a second step: :func:`foveal.backbones.load_pretrained`.

    Args:
        name: see :data:`VideoBackboneName`.
        num_frames: T of every clip it will see; S3D needs 5. MViT takes 16 frames of 224 px alone,
            the others any size.

    Raises:
        ValueError: the name is none of them, or the number of frames does not fit.
    """
    if name not in VIDEO_NETWORKS:
        raise ValueError(f"no video backbone {name!r}; there are {', '.join(VIDEO_NETWORKS)}")
    row = VIDEO_NETWORKS[name]
    if num_frames < row.min_frames:
        raise ValueError(f"{name} needs at least {row.min_frames} frames, got {num_frames}")
    if row.fixed and num_frames != row.num_frames:
        raise ValueError(f"{name} takes clips of {row.num_frames} frames, got {num_frames}")
    return VideoBackbone(
        _maps(name),
        num_features=row.features,
        num_frames=num_frames,
        time_stride=row.time_stride,
        stride=row.stride,
        name=name,
        mean=row.mean,
        std=row.std,
        image_size=row.clip_px if row.fixed else None,
    )


def _maps(name: VideoBackboneName) -> nn.Module:
    """Return torchvision's network up to its last map; tensors keep their names."""
    net = get_model(name, weights=None)
    match net:
        case VideoResNet():
            layers = ("stem", "layer1", "layer2", "layer3", "layer4")
            return nn.Sequential(OrderedDict((layer, getattr(net, layer)) for layer in layers))
        case S3D():
            return nn.Sequential(OrderedDict(features=net.features))
        case MViT():
            return MViTMaps(net)
        case SwinTransformer3d():
            return SwinMaps(net)
        case _:
            raise AssertionError(f"{name} is a {type(net).__name__}")


class SwinMaps(nn.Module):
    """Video Swin without its head: (B,C,T,H,W) to (B,D,T/2,H/32,W/32), sizes rounded up."""

    def __init__(self, net: SwinTransformer3d) -> None:
        super().__init__()
        self.patch_embed = net.patch_embed
        self.features = net.features
        self.norm = net.norm

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the map."""
        tokens = self.patch_embed(volumes)
        maps: Tensor = self.norm(self.features(tokens))
        return maps.permute(0, 4, 1, 2, 3)


class MViTMaps(nn.Module):
    """MViT without its head: (B,C,T,H,W) to (B,D,T/2,H/32,W/32) of all tokens but the class's."""

    def __init__(self, net: MViT) -> None:
        super().__init__()
        self.conv_proj = net.conv_proj
        self.pos_encoding = net.pos_encoding
        self.blocks = net.blocks
        self.norm = net.norm

    def forward(self, volumes: Tensor) -> Tensor:
        """Return the map."""
        tokens = self.pos_encoding(self.conv_proj(volumes).flatten(2).transpose(1, 2))
        size = (self.pos_encoding.temporal_size, *self.pos_encoding.spatial_size)
        for block in self.blocks:
            tokens, size = block(tokens, size)
        normed: Tensor = self.norm(tokens)
        return normed[:, 1:].transpose(1, 2).reshape(normed.shape[0], -1, *size)
