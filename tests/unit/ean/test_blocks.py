"""What each block of EAN promises, line by line of its specification."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from foveal.layers import temporal_shift
from foveal.systems.ean import protocol
from foveal.systems.ean.model import (
    AdaptiveBlock,
    LearntShift,
    MotionCode,
    MotionExcitation,
    Network,
    SparseTransformer,
    depth_to_space,
    differences,
    space_to_depth,
)
from foveal.systems.ean.protocol import Config


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def stirred(module: nn.Module) -> nn.Module:
    """Return ``module`` in evaluation, its norms as if they had learnt something."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


# --- adaptive block -----------------------------------------------------------------------------


def block(channels: int = 32) -> AdaptiveBlock:
    made = stirred(AdaptiveBlock(channels, compress=2))
    assert isinstance(made, AdaptiveBlock)
    return made


def test_mixing_in_a_batch_equals_a_loop_over_clips():
    made = block()
    z = torch.randn(3, 16, 4, 6, 5)
    matrices = torch.randn(3, 16, 16)
    together = made.scales(z, matrices)
    for i in range(3):
        timed = made.activation(made.norm(made._thirds(z[i : i + 1], made.temporal)))[0]
        mixed = torch.stack(
            [(matrices[i, o, :, None, None, None] * timed).sum(0) for o in range(16)]
        )
        alone = made._thirds(mixed[None], made.spatial)
        assert torch.allclose(together[i], alone[0], atol=1e-5)


def test_the_identity_leaves_static_branches_in_time_then_in_space():
    made = block()
    z = torch.randn(2, 16, 4, 6, 5)
    found = made.scales(z, torch.eye(16).expand(2, -1, -1))
    parts = torch.split(z, [5, 5, 6], dim=1)
    timed = [parts[0], made.temporal[0](parts[1]), made.temporal[1](parts[2])]
    timed = torch.relu(made.norm(torch.cat(timed, 1)))
    same, near, far = torch.split(timed, [5, 5, 6], dim=1)
    want = torch.cat([same, made.spatial[0](near), made.spatial[1](far)], 1)
    assert torch.allclose(found, want, atol=1e-6)


def kernel_in(convs: nn.ModuleList, scale: int, after: int, before: int, size: int) -> Tensor:
    """Return the taps of one scale from channel to channel, on a line or square of ``size``."""
    if scale == 0:
        middle = torch.zeros(size)
        middle[size // 2] = float(after == before)
        return middle
    return convs[scale - 1].weight[after, before].flatten()


@pytest.mark.parametrize("space", [0, 1, 2])
@pytest.mark.parametrize("time", [0, 1, 2])
def test_a_block_of_the_matrix_is_one_scale_in_time_then_one_in_space(time, space):
    made = block()
    made.norm = nn.Identity()
    made.activation = nn.Identity()
    first = (0, 5, 10)
    i, o = first[time], first[space]
    matrix = torch.zeros(1, 16, 16)
    matrix[0, o + 1, i + 2] = 1.0
    z = torch.zeros(1, 16, 9, 9, 9)
    z[0, i + 2 if time == 0 else i, 4, 4, 4] = 1.0
    out = made.scales(z, matrix)[0]
    after = o + 1 if space == 0 else o + 3
    held = out[after]
    reach_time, reach_space = (0, 1, 2)[time], (0, 1, 2)[space]
    used = held.nonzero() - 4
    for axis, reach in ((0, reach_time), (1, reach_space), (2, reach_space)):
        assert used[:, axis].abs().max() == reach
    assert len(used) == (1, 3, 3)[time] * (1, 9, 9)[space]
    # A correlation seen from its impulse: taps in the opposite order.
    taps = kernel_in(made.temporal, time, 2, 2 if time == 0 else 0, 3).flip(0)
    if space == 0:
        square = torch.zeros(3, 3)
        square[1, 1] = 1.0
    else:
        square = made.spatial[space - 1].weight[3, 1, 0].flip(0, 1)
    want = taps[:, None, None] * square
    step_time, step_space = max(1, reach_time), max(1, reach_space)
    t = torch.arange(-1, 2) * step_time + 4
    s = torch.arange(-1, 2) * step_space + 4
    assert torch.allclose(held[t][:, s][:, :, s], want, atol=1e-6)


def lively(cfg: Config) -> Network:
    network = stirred(Network(cfg))
    assert isinstance(network, Network)
    for made in network.adaptive:
        nn.init.normal_(made.expand.weight, std=0.2)
        nn.init.normal_(made.matrix.weight, std=0.5)
    return network


def clips(count: int, cfg: Config, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, cfg.num_segments * cfg.burst, 3, cfg.canvas.height, cfg.canvas.width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_kernels_follow_the_clip_and_nothing_else():
    cfg = protocol.tiny()
    network = lively(cfg)
    frames = clips(3, cfg) // torch.tensor([1, 2, 4])[:, None, None, None, None]
    with torch.no_grad():
        said, again, alone = network(frames), network(frames), network(frames[1:2])
        other = network(frames.flip(0))
    for number, matrices in enumerate(said.mixing):
        assert not torch.allclose(matrices[0], matrices[1], atol=1e-4)
        assert torch.equal(matrices, again.mixing[number])
        assert torch.allclose(matrices[1:2], alone.mixing[number], atol=1e-5)
    assert torch.allclose(said.logits[1:2], alone.logits, atol=1e-5)
    assert torch.allclose(said.logits, other.logits.flip(0), atol=1e-5)


@pytest.mark.parametrize("cfg", [protocol.tiny(), protocol.small()], ids=["64 px", "96 px"])
def test_a_fresh_network_is_nearly_its_backbone(cfg):
    network = Network(cfg).eval()
    seen = {}
    network.transformer.register_forward_hook(lambda m, x, y: seen.update(x=x[0], y=y[0]))
    ratios = []
    for made in network.adaptive:
        made.register_forward_hook(
            lambda m, x, y: ratios.append(float((y[0] - x[0]).norm() / x[0].norm()))
        )
    with torch.no_grad():
        network(clips(2, cfg))
    assert torch.equal(seen["y"], seen["x"].mean((2, 3, 4)))
    assert len(ratios) == 2
    assert max(ratios) < 0.05
    assert min(ratios) > 0


# --- objects ------------------------------------------------------------------------------------


def transformer() -> SparseTransformer:
    return SparseTransformer(
        16, width=8, score_width=4, num_objects=3, num_cells=2 * 49, heads=2, layers=1
    ).eval()


def test_object_maps_are_shares_of_every_segment():
    maps = transformer().object_maps(torch.randn(2, 8, 2, 7, 7))
    assert maps.shape == (2, 3, 2, 7, 7)
    assert maps.min() >= 0
    assert torch.allclose(maps.sum((-2, -1)), torch.ones(2, 3, 2), atol=1e-5)


def test_even_maps_give_the_mean_of_features_and_places():
    made = transformer()
    squeezed = torch.randn(2, 8, 2, 7, 7)
    even = torch.full((2, 3, 2, 7, 7), 1 / 49)
    tokens = made.tokens(squeezed, even)
    placed = squeezed + made.position.reshape(8, 2, 7, 7)
    want = placed.mean((-2, -1)).transpose(1, 2)  # (B,N,D)
    assert torch.allclose(tokens, want.repeat(1, 3, 1), atol=1e-5)


def test_tokens_are_ordered_by_object_then_by_segment():
    made = transformer()
    maps = torch.zeros(1, 3, 2, 7, 7)
    for m in range(3):
        for n in range(2):
            maps[0, m, n, m, n] = 1.0
    squeezed = torch.randn(1, 8, 2, 7, 7)
    placed = squeezed + made.position.reshape(8, 2, 7, 7)
    want = [placed[0, :, n, m, n] for m in range(3) for n in range(2)]
    assert torch.allclose(made.tokens(squeezed, maps)[0], torch.stack(want), atol=1e-6)


def test_the_heaviest_cell_follows_a_bright_one():
    made = transformer()
    for layer in made.scorer:
        if isinstance(layer, nn.Conv3d):
            nn.init.uniform_(layer.weight, 0.1, 1.0)
            nn.init.zeros_(layer.bias)
    found = []
    for y, x in ((6, 6), (8, 7)):
        squeezed = torch.zeros(1, 8, 2, 15, 15)
        squeezed[..., y, x] = 0.1
        flat = made.object_maps(squeezed).flatten(3)
        found.append(torch.stack([flat.argmax(-1) // 15, flat.argmax(-1) % 15], -1))
    assert ((found[0] - 6).abs() <= 3).all()  # within its reach
    assert ((found[1] - found[0]) == torch.tensor([2, 1])).all()


# --- motion -------------------------------------------------------------------------------------


def code(*, deep: bool = False) -> MotionCode:
    return MotionCode(patch=8, width=32, groups=4, back_patch=8, back_channels=4, deep=deep).eval()


@pytest.mark.parametrize("deep", [False, True])
def test_what_stands_still_has_no_motion_code(deep):
    still = torch.rand(2, 1, 3, 32, 32).expand(-1, 5, -1, -1, -1)
    residual = code(deep=deep)(differences(still))
    assert residual.shape == (2, 16, 32, 32)
    assert not residual.any()


def test_space_to_depth_and_back_is_where_it_was():
    x = torch.rand(2, 3, 4, 16, 24)
    deep = space_to_depth(x, 8)
    assert deep.shape == (2, 192, 4, 2, 3)
    assert torch.equal(depth_to_space(deep, 8), x)
    assert torch.equal(deep[0, (2 * 8 + 5) * 3 + 1, 3], x[0, 1, 3, 2::8, 5::8])


def test_a_code_knows_its_own_burst_alone():
    network = lively(protocol.tiny())
    frames = clips(1, protocol.tiny())
    other = frames.clone()
    other[:, 5:10] = clips(1, protocol.tiny(), seed=1)[:, 5:10]
    with torch.no_grad():
        a, b = (network.begin(f.unflatten(1, (4, 5)).flatten(0, 1)) for f in (frames, other))
    assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]])
    assert not torch.allclose(a[1], b[1])


def test_gates_are_open_by_at_most_a_half_and_the_last_is_shut():
    excite = MotionExcitation(32, num_segments=4).eval()
    for conv in (excite.squeeze, excite.transform, excite.expand):
        nn.init.normal_(conv.weight, std=2.0)
    x = torch.randn(8, 32, 5, 6)
    out = excite(x)
    gates = excite.gate(x)
    assert gates.abs().max() <= 0.5
    assert gates.abs().max() > 0.1
    assert torch.equal(out[[3, 7]], x[[3, 7]])  # nothing follows them
    assert ((out / x) > 0.5 - 1e-6).all()
    assert ((out / x) < 1.5 + 1e-6).all()
    nn.init.constant_(excite.expand_norm.bias, 1.0)
    want = x[3] * (0.5 + torch.tensor(1.0).sigmoid())
    assert torch.allclose(excite(x)[3], want, atol=1e-6)  # up to the bias


@pytest.mark.parametrize("channels", [16, 24, 4])
def test_a_fresh_shift_is_the_one_by_copying(channels):
    x = torch.randn(6, channels, 5, 4)
    shifted = LearntShift(channels, num_segments=3)(x)
    assert torch.allclose(shifted, temporal_shift(x, num_frames=3, fold_div=8), atol=1e-6)


def test_plain_pixels_are_an_option():
    cfg = protocol.tiny()
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 2, 2)
    normed = Network(cfg).normalise(pixels)
    plain = Network(replace(cfg, normalise=False)).normalise(pixels)
    assert plain.unique().tolist() == [0.0, 1.0]
    assert normed.min() < 0
