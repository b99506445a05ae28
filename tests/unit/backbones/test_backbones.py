from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from foveal.backbones import (
    ImageBackbone,
    ImageBackboneName,
    conv_stack,
    create,
    insert_temporal_shift,
    small_mobilenet,
    small_resnet,
)
from foveal.backbones.image import IMAGE_NETWORKS, LITE_MEAN, LITE_STD
from foveal.cost.torch_counter import count_torch_macs
from foveal.layers import TemporalShift

GMACS = {
    "mobilenetv2_100": (224, 0.299),
    "mobilenetv3_small_100": (224, 0.055),
    "mobilenetv3_large_100": (224, 0.214),
    "tf_efficientnet_lite0": (224, 0.384),
    "tf_efficientnet_lite1": (240, 0.599),
    "tf_efficientnet_lite2": (260, 0.858),
    "efficientnet_b0": (224, 0.386),
    "efficientnet_b1": (240, 0.687),
    "efficientnet_b2": (288, 1.088),
    "efficientnet_b3": (300, 1.827),
    "resnet18": (224, 1.81),
    "resnet34": (224, 3.66),
    "resnet50": (224, 4.09),
    "resnet101": (224, 7.80),
    "resnet152": (224, 11.5),
    "regnety_002": (224, 0.2),
    "regnety_004": (224, 0.4),
    "regnety_008": (224, 0.8),
    "regnety_016": (224, 1.6),
    "regnety_032": (224, 3.2),
    "densenet121": (224, 2.834),
    "swin_tiny_patch4_window7_224": (224, 4.491),
}
"""px, and GMACs without the classifier: published by authors or torchvision, the Lites' by us."""

FIRST = (
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "tf_efficientnet_lite0",
    "resnet18",
    "resnet50",
    "regnety_002",
    "densenet121",
    "swin_tiny_patch4_window7_224",
)
NETWORKS = [pytest.param(n, marks=() if n in FIRST else pytest.mark.slow) for n in IMAGE_NETWORKS]
"""Some of every family in the default run, all of them in the slow one."""

SHIFTS = {
    "mobilenetv2_100": ("conv_pw", 10),
    "mobilenetv3_small_100": ("conv_pw", 6),
    "mobilenetv3_large_100": ("conv_pw", 9),
    "tf_efficientnet_lite0": ("conv_pw", 9),
    "efficientnet_b0": ("conv_pw", 9),
    "resnet18": ("conv1", 8),
    "resnet50": ("conv1", 16),
    "regnety_002": ("conv1", 13),
}
"""The layer that is wrapped, and how many: of every residual family."""


def on_meta(name: ImageBackboneName) -> ImageBackbone:
    with torch.device("meta"):
        return create(name)


def test_the_table_lists_every_name() -> None:
    assert tuple(IMAGE_NETWORKS) == get_args(ImageBackboneName)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_backbone_keeps_the_contract(name: ImageBackboneName) -> None:
    backbone = on_meta(name)
    shapes: list[torch.Size] = []
    backbone.register_forward_hook(lambda _, __, maps: shapes.append(maps.shape))
    size, gmacs = GMACS[name]
    macs = count_torch_macs(backbone, torch.zeros(1, 3, size, size, device="meta"))
    assert macs / 1e9 == pytest.approx(gmacs, rel=0.01)
    side = -(-size // 32)
    assert shapes == [(1, backbone.num_features, side, side)]
    assert (backbone.stride, backbone.name) == (32, name)
    row = IMAGE_NETWORKS[name]
    with torch.device("meta"):
        whole = timm.create_model(name).state_dict()
    ours = {key: tensor.shape for key, tensor in backbone.net.state_dict().items()}
    head = row.published.classifier
    assert ours == {k: v.shape for k, v in whole.items() if not k.startswith(head)}
    assert any(k.startswith(head) for k in whole)


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_the_table_agrees_with_timm(name: ImageBackboneName) -> None:
    row = IMAGE_NETWORKS[name]
    assert row.published.hub is not None
    theirs = get_pretrained_cfg(row.published.hub.removeprefix("timm/"))
    assert theirs is not None
    assert theirs.hf_hub_id == row.published.hub
    assert row.published.url in (None, theirs.url)
    lite = "lite" in name  # timm rounds what the authors say
    assert row.mean == (LITE_MEAN if lite else theirs.mean)
    assert row.std == (LITE_STD if lite else theirs.std)
    assert row.image_size == (theirs.input_size[1] if theirs.fixed_input_size else None)


@pytest.mark.parametrize(
    ("name", "width"), [("mobilenetv3_small_100", 3), ("resnet18", 3), ("densenet121", 2)]
)
def test_sizes_are_rounded(name: ImageBackboneName, width: int) -> None:
    x = torch.zeros(2, 3, 96, 65, device="meta")
    assert on_meta(name).features(x).shape[2:] == (3, width)


def test_the_map_is_what_the_published_classifier_reads() -> None:
    torch.manual_seed(0)
    for name in ("mobilenetv3_small_100", "regnety_002"):
        whole = timm.create_model(name).eval()
        backbone = create(name).eval()
        backbone.net.load_state_dict(whole.state_dict(), strict=False)
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(backbone(x), whole.forward_features(x))
            # Pooled by the whole network's own head, the map gives its logits.
            torch.testing.assert_close(whole.forward_head(backbone(x)), whole(x))


def test_swin_is_built_for_one_size() -> None:
    with torch.device("meta"):
        backbone = create("swin_tiny_patch4_window7_224", image_size=96)
        assert backbone(torch.zeros(1, 3, 96, 96)).shape == (1, 768, 3, 3)
        with pytest.raises(ValueError, match="built for 96x96 px, got 96x128"):
            backbone(torch.zeros(1, 3, 96, 128))
    with pytest.raises(ValueError, match="multiple of 32, got 100"):
        create("swin_tiny_patch4_window7_224", image_size=100)
    with pytest.raises(ValueError, match="resnet18 takes pictures of any size"):
        create("resnet18", image_size=96)


def test_normalisation_belongs_to_the_backbone() -> None:
    grey = torch.full((1, 3, 1, 1), 191, dtype=torch.uint8)
    norm = on_meta("tf_efficientnet_lite0").pixel_norm()
    torch.testing.assert_close(norm(grey), torch.full((1, 3, 1, 1), (191 - 127) / 128))
    assert not norm.state_dict()


def test_pictures_may_have_other_channels() -> None:
    with torch.device("meta"):
        backbone = create("resnet18", in_channels=1)
        assert backbone.features(torch.zeros(1, 1, 64, 64)).shape == (1, 512, 2, 2)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no backbone 'resnet5'; there are mobilenetv2_100, mob"):
        create("resnet5")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SHIFTS)
def test_temporal_shifts_go_before_the_first_convolution_of_residual_blocks(
    name: ImageBackboneName,
) -> None:
    layer, num_wrapped = SHIFTS[name]
    backbone = on_meta(name)
    before = set(backbone.state_dict())
    assert insert_temporal_shift(backbone, num_frames=4, fold_div=8) == num_wrapped
    wrapped = [k for k, m in backbone.named_modules() if isinstance(m, TemporalShift)]
    assert len(wrapped) == num_wrapped
    assert {k.rpartition(".")[2] for k in wrapped} == {layer}
    after = {k.replace(f"{layer}.conv.", f"{layer}.") for k in backbone.state_dict()}
    assert after == before
    assert backbone.features(torch.zeros(8, 3, 64, 64, device="meta")).shape[0] == 8


def test_shifted_frames_see_their_neighbours_and_no_other_clip() -> None:
    torch.manual_seed(0)
    backbone = create("mobilenetv2_100").eval()
    insert_temporal_shift(backbone, num_frames=3)
    clips = torch.randn(6, 3, 32, 32)
    changed = clips.clone()
    changed[0] += 1
    with torch.no_grad():
        before, after = backbone(clips), backbone(changed)
    moved = [(not torch.equal(a, b)) for a, b in zip(before, after, strict=True)]
    assert moved == [True, True, True, False, False, False]


def test_shifts_are_inserted_once_and_only_in_residual_blocks() -> None:
    backbone = on_meta("resnet18")
    insert_temporal_shift(backbone, num_frames=4)
    with pytest.raises(ValueError, match="has temporal shifts already"):
        insert_temporal_shift(backbone, num_frames=4)
    with pytest.raises(ValueError, match="no residual block"):
        insert_temporal_shift(conv_stack((3, 4), strides=(1,)), num_frames=4)


@pytest.mark.parametrize("name", ["densenet121", "swin_tiny_patch4_window7_224"])
def test_what_has_no_residual_block_is_not_shifted(name: ImageBackboneName) -> None:
    with pytest.raises(ValueError, match=f"{name} has no residual block"):
        insert_temporal_shift(on_meta(name), num_frames=4)


def test_shifts_cover_every_residual_family() -> None:
    families = {row.family for row in IMAGE_NETWORKS.values()}
    shifted = {IMAGE_NETWORKS[name].family for name in SHIFTS}
    assert families - shifted == {"densenet", "swin"}


@pytest.mark.parametrize(
    ("make", "stride", "parameters", "macs", "shifts"),
    [
        (small_resnet, 8, 77_392, (12.5e6, 28.1e6, 50.0e6), 3),
        (small_mobilenet, 16, 191_872, (9.28e6, 20.9e6, 37.1e6), 3),
    ],
)
def test_small_networks_cost_what_they_say(
    make: Callable[..., ImageBackbone],
    stride: int,
    parameters: int,
    macs: tuple[float, ...],
    shifts: int,
) -> None:
    backbone = make()
    assert backbone.stride == stride
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    for size, expected in zip((64, 96, 128), macs, strict=True):
        counted = count_torch_macs(backbone, torch.zeros(1, 3, size, size))
        assert counted == pytest.approx(expected, rel=0.005)
    narrow = make(width=4, in_channels=1)
    assert narrow(torch.zeros(2, 1, 33, 64)).shape[1:] == (
        narrow.num_features,
        -(-33 // stride),
        64 // stride,
    )
    assert insert_temporal_shift(narrow, num_frames=2) == shifts
    narrow(torch.randn(4, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in narrow.parameters())


def test_a_small_stack_keeps_the_contract() -> None:
    stack = conv_stack((1, 4, 8, 8), strides=(2, 1, 2))
    assert (stack.num_features, stack.stride) == (8, 4)
    assert stack.features(torch.zeros(2, 1, 9, 8)).shape == (2, 8, 3, 2)
    kinds = [type(m) for m in stack.net.modules() if not list(m.children())]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3


@pytest.mark.parametrize(("channels", "strides"), [((3,), ()), ((3, 4), (1, 1))])
def test_a_stack_without_a_stride_for_each_layer_is_refused(
    channels: Sequence[int], strides: Sequence[int]
) -> None:
    with pytest.raises(ValueError, match="need a stride for each layer"):
        conv_stack(channels, strides=strides)
