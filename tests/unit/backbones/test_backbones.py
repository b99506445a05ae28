from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from foveal.backbones import ImageBackbone, conv_stack, create, insert_temporal_shift
from foveal.backbones.image import NUM_FEATURES, ImageBackboneName
from foveal.cost.torch_counter import count_torch_macs
from foveal.layers import TemporalShift

GMACS = {
    "mobilenetv2_100": 0.299,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.5,
}
"""At 224 px, without the classifier, as published."""


def on_meta(name: ImageBackboneName) -> ImageBackbone:
    with torch.device("meta"):
        return create(name)


@pytest.mark.parametrize("name", NUM_FEATURES)
def test_every_backbone_keeps_the_contract(name: ImageBackboneName) -> None:
    backbone = on_meta(name)
    x = torch.zeros(2, 3, 96, 65, device="meta")
    assert backbone.features(x).shape == (2, backbone.num_features, 3, 3)  # sizes rounded up
    assert backbone.stride == 32
    assert backbone(x).shape == backbone.features(x).shape
    macs = count_torch_macs(backbone, torch.zeros(1, 3, 224, 224, device="meta"))
    assert macs / 1e9 == pytest.approx(GMACS[name], rel=0.01)


def test_pictures_may_have_other_channels() -> None:
    with torch.device("meta"):
        backbone = create("resnet18", in_channels=1)
        assert backbone.features(torch.zeros(1, 1, 64, 64)).shape == (1, 512, 2, 2)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no backbone 'resnet5'; there are mobilenetv2_100, res"):
        create("resnet5")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "layer", "num_wrapped"),
    [
        ("mobilenetv2_100", "conv_pw", 10),
        ("resnet18", "conv1", 8),
        ("resnet50", "conv1", 16),
    ],
)
def test_temporal_shifts_go_before_the_first_convolution_of_residual_blocks(
    name: ImageBackboneName, layer: str, num_wrapped: int
) -> None:
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
