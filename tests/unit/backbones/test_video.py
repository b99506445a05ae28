from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model, get_model_weights

from foveal.backbones import VideoBackbone, VideoBackboneName, create_video
from foveal.backbones.video import VIDEO_NETWORKS
from foveal.cost.torch_counter import count_torch_macs

FIRST = ("r3d_18", "mc3_18", "s3d", "mvit_v2_s", "swin3d_t")
NETWORKS = [pytest.param(n, marks=() if n in FIRST else pytest.mark.slow) for n in VIDEO_NETWORKS]
"""Some of every family in the default run, all of them in the slow one."""


def on_meta(name: VideoBackboneName, *, num_frames: int = 16) -> VideoBackbone:
    with torch.device("meta"):
        return create_video(name, num_frames=num_frames)


def test_the_table_lists_every_name() -> None:
    assert tuple(VIDEO_NETWORKS) == get_args(VideoBackboneName)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_video_backbone_keeps_the_contract(name: VideoBackboneName) -> None:
    row = VIDEO_NETWORKS[name]
    theirs = get_model_weights(name).KINETICS400_V1
    backbone = on_meta(name)
    shapes: list[torch.Size] = []
    backbone.register_forward_hook(lambda _, __, maps: shapes.append(maps.shape))
    clip = torch.zeros(1, 16, 3, row.clip_px, row.clip_px, device="meta")
    assert count_torch_macs(backbone, clip) / 1e9 == pytest.approx(theirs.meta["_ops"], rel=1e-3)
    side = row.clip_px // backbone.stride
    assert shapes == [(1, backbone.num_features, 16 // backbone.time_stride, side, side)]
    with torch.device("meta"):
        whole = get_model(name, weights=None).state_dict()
    ours = {key: tensor.shape for key, tensor in backbone.net.state_dict().items()}
    head = row.published.classifier
    assert ours == {k: v.shape for k, v in whole.items() if not k.startswith(head)}
    assert any(k.startswith(head) for k in whole)


@pytest.mark.parametrize("name", VIDEO_NETWORKS)
def test_the_table_agrees_with_torchvision(name: VideoBackboneName) -> None:
    row = VIDEO_NETWORKS[name]
    theirs = get_model_weights(name).KINETICS400_V1
    transforms = theirs.transforms()
    assert row.published.url == theirs.url
    assert (row.mean, row.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert transforms.crop_size[0] == row.clip_px
    assert f"`clip_len={row.num_frames}`" in theirs.meta["_docs"]


@pytest.mark.parametrize(
    ("name", "sizes"), [("r3d_18", (2, 5, 5)), ("s3d", (1, 2, 2)), ("swin3d_t", (5, 3, 3))]
)
def test_sizes_are_rounded(name: VideoBackboneName, sizes: tuple[int, int, int]) -> None:
    maps = on_meta(name, num_frames=9)(torch.zeros(2, 9, 3, 80, 72, device="meta"))
    assert maps.shape[2:] == sizes


@pytest.mark.parametrize("num_frames", [5, 6])
def test_s3d_runs_on_few_frames(num_frames: int) -> None:
    clip = torch.zeros(1, num_frames, 3, 64, 64, device="meta")
    assert on_meta("s3d", num_frames=num_frames)(clip).shape == (1, 1024, 1, 2, 2)


@pytest.mark.parametrize("name", ["mc3_18", "swin3d_t"])
def test_the_mean_of_the_map_is_what_the_published_classifier_reads(
    name: VideoBackboneName,
) -> None:
    torch.manual_seed(0)
    whole = get_model(name, weights=None).eval()
    backbone = create_video(name, num_frames=2).eval()
    backbone.net.load_state_dict(whole.state_dict(), strict=False)
    clip = torch.randn(1, 2, 3, 32, 32)
    head = whole.head if name == "swin3d_t" else whole.fc
    with torch.no_grad():
        logits = head(backbone(clip).mean(dim=(2, 3, 4)))
        torch.testing.assert_close(logits, whole(clip.transpose(1, 2)), rtol=1e-4, atol=1e-5)


def test_the_tokens_of_mvit_are_laid_out_in_order() -> None:
    with torch.device("meta"):
        backbone = create_video("mvit_v2_s", num_frames=16)
    maps = backbone.net
    kept: list[Tensor] = []
    tokens = torch.arange(1 + 8 * 7 * 7.0)[None, :, None].expand(1, -1, 768)
    # The last layer gives numbered tokens: the class's is 0, the others count in reading order.
    maps.norm.register_forward_hook(lambda *_: kept.append(tokens) or tokens)
    made = backbone(torch.zeros(1, 16, 3, 224, 224, device="meta"))
    assert len(kept) == 1
    assert torch.equal(made[0, 0].flatten(), torch.arange(1, 1 + 8 * 7 * 7.0))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no video backbone 'r3d'; there are r3d_18, mc3_18"):
        create_video("r3d", num_frames=8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="s3d needs at least 5 frames, got 4"):
        create_video("s3d", num_frames=4)
    with pytest.raises(ValueError, match="mvit_v2_s takes clips of 16 frames, got 8"):
        create_video("mvit_v2_s", num_frames=8)
    backbone = on_meta("r3d_18", num_frames=8)
    with pytest.raises(ValueError, match=r"of 8 frames, got \(1, 3, 8, 32, 32\)"):
        backbone(torch.zeros(1, 3, 8, 32, 32, device="meta"))
    with pytest.raises(ValueError, match="built for 224x224 px, got 112x112"):
        on_meta("mvit_v1_b")(torch.zeros(1, 16, 3, 112, 112, device="meta"))
