"""Our blocks against what the official code says on the same inputs and weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.systems.ean.model import (
    AdaptiveBlock,
    LearntShift,
    MotionCode,
    MotionExcitation,
    SparseTransformer,
    StackedDifferences,
    differences,
    every_second,
)
from foveal.systems.ean.weights import adaptive_name, excite_name, motion_name, transformer_name
from tests.unit.ean import golden

CLOSE = {"rtol": 0, "atol": 1e-9}
ROUNDED = {"rtol": 1e-6, "atol": 1e-6}
"""Of arrays that were stored as float32."""


def near(found: Tensor, want: np.ndarray) -> bool:
    how = ROUNDED if want.dtype == np.float32 else CLOSE
    return found.shape == want.shape and np.allclose(found.detach().numpy(), want, **how)


@pytest.mark.parametrize("case", golden.cases("block.npz", "eab"), ids=lambda c: str(c["x"].shape))
def test_the_adaptive_block_is_the_official_one(case):
    ratio, train = int(case["compress_ratio"]), bool(case["train_mode"])
    block = AdaptiveBlock(case["x"].shape[1], compress=ratio)
    golden.filled(block, case["W"], adaptive_name, train_mode=train)
    out, matrices = block(torch.from_numpy(case["x"]).double())
    assert near(matrices, case["M"])
    assert near(out, case["out"])


@pytest.mark.parametrize(
    "case", golden.cases("objects.npz", "soi"), ids=lambda c: str(c["tokens"].shape)
)
def test_objects_and_transformer_are_the_official_ones(case):
    features, segments = case["x"].shape[1:3]
    width = features // int(case["down_ratio"])
    transformer = SparseTransformer(
        features,
        width=width,
        score_width=width // int(case["obj_down_ratio"]),
        num_objects=4,
        num_cells=segments * 49,
        heads=8,
        layers=2,
    )
    train = bool(case["train_mode"])
    golden.filled(transformer, case["W"], transformer_name, train_mode=train)
    x = torch.from_numpy(case["x"]).double()
    squeezed = transformer.squeeze(x)
    maps = transformer.object_maps(squeezed)
    assert near(maps, case["object_maps"])
    tokens = transformer.tokens(squeezed, maps)
    assert near(tokens, case["tokens"])
    assert near(transformer.layers(tokens), case["tokens_after_transformer"])
    if not case["W"]["Tr_BN.weight"].any():  # as it begins
        assert near(x.mean((2, 3, 4)), case["out"])
    out, again = transformer(x)
    assert near(out, case["out"])
    assert torch.equal(maps, again)


def motion_code(case, *, deep: bool) -> nn.Module:
    groups, channels = int(case["groups"]), int(case["back_channels"])
    module = nn.Module()
    module.motion = MotionCode(
        patch=int(case["patch"]),
        width=case["W"]["stm_st_model2.0.weight"].shape[0],
        groups=groups,
        back_patch=int(case["back_patch"]),
        back_channels=channels,
        deep=deep,
    )
    if deep:
        hidden = case["W"]["stack_diff_motion.0.weight"].shape[0]
        module.stack = StackedDifferences(hidden=hidden, channels=4 * channels, groups=groups)
    return golden.filled(module, case["W"], motion_name, train_mode=bool(case.get("train_mode", 0)))


def changes_of(case) -> Tensor:
    count = int(case["batch"]) * int(case["segments"]) * 5
    size, phase = int(case["frame_size"]), float(case["phase"])
    frames = golden.frames(count=count, size=size, phase=phase)
    return differences(every_second(frames.reshape(-1, 5, 3, size, size)))


def by_clip(rows: Tensor, case) -> Tensor:
    """Return rows (B*S,C,h,w) as the golden file has them, (B,C,S,h,w)."""
    return rows.reshape(int(case["batch"]), -1, *rows.shape[1:]).transpose(1, 2)


@pytest.mark.parametrize("case", golden.cases("motion_code.npz", "lmc_tiny"))
def test_the_motion_code_is_the_official_one(case):
    module = motion_code(case, deep=False)
    assert near(by_clip(module.motion(changes_of(case)), case), case["residual"])


@pytest.mark.parametrize("case", golden.cases("motion_code.npz", "lmc16_tiny"))
def test_the_motion_code_of_sixteen_segments_is_the_official_one(case):
    module = motion_code(case, deep=True)
    changes = changes_of(case)
    assert near(by_clip(module.motion(changes), case), case["residual"])
    assert near(by_clip(module.stack(changes.flatten(1, 2)), case), case["stack_branch"])


FULL = (
    ("project.0.weight", (256, 768, 1, 1, 1)),
    ("first.0.weight", (256, 16, 3, 3, 3)),
    ("first.1.weight", (256,)),
    ("first.1.bias", (256,)),
    ("first.3.weight", (256, 256, 1, 1, 1)),
    ("first.4.weight", (256,)),
    ("first.4.bias", (256,)),
    ("second.0.weight", (256, 16, 3, 3, 3)),
    ("second.1.weight", (256,)),
    ("second.1.bias", (256,)),
    ("back.0.weight", (1024, 256, 1, 1, 1)),
)


def full_size() -> MotionCode:
    """Return the motion code of the paper, filled by the golden rule."""
    code = MotionCode(
        patch=16, width=256, groups=16, back_patch=8, back_channels=16, deep=False
    ).double()
    state = {name: tensor for name, tensor in code.state_dict().items() if "tracked" in name}
    for k, (name, shape) in enumerate(FULL):
        i = np.arange(np.prod(shape))
        s = np.sin(0.37 * i + 0.0007 * i**2 + 0.11 * k).reshape(shape)
        if len(shape) == 5:
            filled = 1.5 / np.sqrt(np.prod(shape[1:])) * s
        else:
            filled = 0.1 * s + (1 if name.endswith("weight") else 0)
        state[name] = torch.from_numpy(filled)
    j = np.arange(256)
    for norm in ("first.1", "first.4", "second.1"):
        state[f"{norm}.running_mean"] = torch.from_numpy(0.05 * np.sin(0.7 * j))
        state[f"{norm}.running_var"] = torch.from_numpy(1 + 0.1 * np.cos(0.3 * j))
    code.load_state_dict(state)
    return code.eval()


def test_the_motion_code_of_the_paper_s_size_is_the_official_one():
    code = full_size()
    case = golden.cases("motion_code.npz", "lmc_full")[0]
    frames = golden.frames(count=40, size=224, phase=float(case["phase"]))
    with torch.no_grad():
        bursts = frames.reshape(8, 5, 3, 224, 224)
        residual = code(differences(every_second(bursts))).transpose(0, 1)
    assert residual.shape == (64, 8, 56, 56)
    assert near(residual[::9, ::2, 1::9, 2::9], case["residual_sub"])
    assert np.allclose(residual.mean((1, 2, 3)), case["residual_mean_per_channel"], atol=1e-9)
    assert float(residual.abs().sum()) == pytest.approx(float(case["residual_abs_sum"]), rel=1e-9)


@pytest.mark.parametrize("case", golden.cases("backbone.npz", "me_shift"))
def test_excitation_and_shift_are_the_official_ones(case):
    x = torch.from_numpy(case["x"]).double()
    segments = int(case["n_segment"])
    excite = MotionExcitation(x.shape[1], num_segments=segments)
    golden.filled(excite, case["W"], excite_name)
    assert near(excite(x), case["me_out"])
    shift = LearntShift(x.shape[1], num_segments=segments).double()
    assert near(shift(x), case["shift_init_out"])
