"""EAN's equations once more in plain NumPy, written from the paper's description."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from foveal.layers import SelfAttention
from foveal.systems.ean.model import (
    AdaptiveBlock,
    LearntShift,
    MotionCode,
    MotionExcitation,
    SparseTransformer,
    differences,
    every_second,
)

RNG = np.random.default_rng(0)


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """Fill every tensor of ``module`` at random; return them, in double precision."""
    module.double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            drawn = RNG.normal(size=tuple(tensor.shape)) * 0.3
            tensor.copy_(torch.from_numpy(np.abs(drawn) + 0.5 if "var" in name else drawn))
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def norm(x: np.ndarray, w: dict[str, np.ndarray], name: str, axis: int = 0) -> np.ndarray:
    """Normalise along ``axis`` of one sample by the statistics kept."""
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, var, scale, shift = (
        w[f"{name}.{kind}"].reshape(shape)
        for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def conv(
    x: np.ndarray,
    kernel: np.ndarray,
    *,
    pad: tuple[int, ...],
    step: int = 1,
    holes: tuple[int, ...] = (1, 1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Correlate one sample (C,T,H,W) with (O,I,kt,kh,kw), tap by tap."""
    padded = np.pad(x, [(0, 0), *((p, p) for p in pad)])
    outs, ins, *taps = kernel.shape
    sizes = [
        (n - h * (k - 1) - 1) // step + 1
        for n, h, k in zip(padded.shape[1:], holes, taps, strict=True)
    ]
    out = np.zeros((outs, *sizes))
    for o in range(outs):
        group = padded[o // (outs // groups) * ins :][:ins]
        for index in np.ndindex(*taps):
            at = [i * h for i, h in zip(index, holes, strict=True)]
            cut = tuple(
                slice(a, a + step * (s - 1) + 1, step) for a, s in zip(at, sizes, strict=True)
            )
            out[o] += np.tensordot(kernel[(o, slice(None), *index)], group[(slice(None), *cut)], 1)
    return out


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


NO = (0, 0, 0)
ONE = (1, 1, 1)


def test_adaptive_block():
    block = AdaptiveBlock(16, compress=2)
    w = weights(block)
    x = RNG.normal(size=(16, 3, 4, 5))
    z = conv(x, w["compress.weight"], pad=NO, groups=4)
    # The matrix, from seven convolutions and a mean.
    d = relu(norm(conv(z, w["descriptor.0.weight"], pad=NO), w, "descriptor.1"))
    for layer in range(3, 21, 3):
        step = 2 if layer in (9, 18) else 1
        d = conv(d, w[f"descriptor.{layer}.weight"], pad=(step,) * 3, step=step)
        d = d + w[f"descriptor.{layer}.bias"][:, None, None, None]
        d = relu(norm(d, w, f"descriptor.{layer + 1}"))
    matrix = (w["matrix.weight"] @ d.mean((1, 2, 3)) + w["matrix.bias"]).reshape(8, 8)
    # Scales 1, 3 and 5 in time, mixed, then in space.
    a, b, c = z[:2], z[2:4], z[4:]
    b = conv(b, w["temporal.0.weight"], pad=(1, 0, 0))
    c = conv(c, w["temporal.1.weight"], pad=(2, 0, 0), holes=(2, 1, 1))
    t = relu(norm(np.concatenate([a, b, c]), w, "norm"))
    t = np.einsum("oi,ithw->othw", matrix, t)
    a, b, c = t[:2], t[2:4], t[4:]
    b = conv(b, w["spatial.0.weight"], pad=(0, 1, 1))
    c = conv(c, w["spatial.1.weight"], pad=(0, 2, 2), holes=(1, 2, 2))
    pooled = np.full_like(z, -np.inf)
    for index in np.ndindex(*z.shape[1:]):
        near = tuple(slice(max(0, i - 1), i + 2) for i in index)
        pooled[(slice(None), *index)] = z[(slice(None), *near)].max((1, 2, 3))
    y = np.concatenate([a, b, c]) + conv(pooled, w["pool_project.weight"], pad=NO)
    want = x + conv(y, w["expand.weight"], pad=NO, groups=4)
    out, found = block(torch.from_numpy(x)[None])
    assert np.allclose(found[0].detach(), matrix, atol=1e-10)
    assert np.allclose(out[0].detach(), want, atol=1e-10)


def test_motion_code():
    code = MotionCode(patch=4, width=8, groups=2, back_patch=2, back_channels=3, deep=False)
    w = weights(code)
    burst = RNG.uniform(size=(5, 3, 16, 24))
    half = burst[:, :, ::2, ::2]
    patches = np.zeros((4 * 4 * 3, 4, 2, 3))
    for t, r, s, colour, i, j in np.ndindex(4, 4, 4, 3, 2, 3):
        change = half[t + 1] - half[t]
        patches[(r * 4 + s) * 3 + colour, t, i, j] = change[colour, 4 * i + r, 4 * j + s]
    p = conv(patches, w["project.0.weight"], pad=NO)
    q = relu(norm(conv(p, w["first.0.weight"], pad=ONE, groups=2), w, "first.1"))
    p = p + norm(conv(q, w["first.3.weight"], pad=NO), w, "first.4")
    p = p + norm(conv(p, w["second.0.weight"], pad=ONE, groups=2), w, "second.1")
    deep = conv(p, w["back.0.weight"], pad=NO)
    want = np.zeros((12, 4, 6))
    for r, s, c, t, i, j in np.ndindex(2, 2, 3, 4, 2, 3):
        want[c * 4 + t, 2 * i + r, 2 * j + s] = deep[(r * 2 + s) * 3 + c, t, i, j]
    found = code(differences(every_second(torch.from_numpy(burst)[None])))
    assert np.allclose(found[0].detach(), want, atol=1e-10)


def test_object_tokens_and_attention():
    made = SparseTransformer(
        6, width=4, score_width=3, num_objects=2, num_cells=3 * 20, heads=2, layers=1
    )
    w = weights(made)
    x = RNG.normal(size=(6, 3, 4, 5))
    f = conv(x, w["squeeze.weight"], pad=NO)
    s = f
    for layer, pad in ((0, NO), (3, ONE), (6, (0, 1, 1)), (9, (0, 1, 1))):
        s = conv(s, w[f"scorer.{layer}.weight"], pad=pad)
        s = s + w[f"scorer.{layer}.bias"][:, None, None, None]
        s = s if layer == 9 else norm(relu(s), w, f"scorer.{layer + 2}")
    maps = softmax(s.reshape(2, 3, 20))
    placed = (f.reshape(4, 60) + w["position"]).reshape(4, 3, 20)
    tokens = np.einsum("mts,dts->mtd", maps, placed).reshape(6, 4)
    # One layer: attention with two heads, then three linear maps, each beside a skip.
    a = norm(tokens, w, "layers.0.attend.0.norm", axis=1)
    q, k, v = np.split(a @ w["layers.0.attend.1.qkv.weight"].T, 3, axis=1)
    told = []
    for head in (slice(0, 2), slice(2, 4)):
        told.append(softmax(q[:, head] @ k[:, head].T / np.sqrt(2)) @ v[:, head])
    out = np.concatenate(told, 1) @ w["layers.0.attend.1.out.weight"].T
    related = tokens + out + w["layers.0.attend.1.out.bias"]
    h = norm(related, w, "layers.0.think.0.norm", axis=1)
    for linear, after in ((1, 2), (4, 5), (7, None)):
        h = h @ w[f"layers.0.think.{linear}.weight"].T + w[f"layers.0.think.{linear}.bias"]
        h = h if after is None else relu(norm(h, w, f"layers.0.think.{after}.norm", axis=1))
    told_mean = (related + h).mean(0)
    want = x.mean((1, 2, 3)) + norm(w["expand.weight"] @ told_mean, w, "norm")
    found, found_maps = made(torch.from_numpy(x)[None])
    assert np.allclose(found_maps[0].detach().reshape(2, 3, 20), maps, atol=1e-10)
    assert np.allclose(found[0].detach(), want, atol=1e-10)


def test_attention_scales_by_the_width_of_a_head():
    made = SelfAttention(8, heads=2, bias=False).double()
    tokens = torch.randn(1, 5, 8, dtype=torch.float64)
    q, k, v = made.qkv(tokens)[0].detach().numpy().reshape(5, 3, 2, 4).transpose(1, 2, 0, 3)
    weights = softmax(np.einsum("hid,hjd->hij", q, k) / np.sqrt(4))
    mixed = np.einsum("hij,hjd->ihd", weights, v).reshape(5, 8)
    want = mixed @ made.out.weight.detach().numpy().T + made.out.bias.detach().numpy()
    assert np.allclose(made(tokens)[0].detach(), want, atol=1e-12)


def test_excitation_and_shift():
    excite = MotionExcitation(32, num_segments=3)
    w = weights(excite)
    x = RNG.normal(size=(3, 32, 4, 5))
    b = np.einsum("ci,tihw->tchw", w["squeeze.weight"][:, :, 0, 0], x)
    b = norm(b, w, "squeeze_norm", axis=1)
    gates = []
    for t in range(3):
        change = np.zeros_like(b[0])
        if t < 2:
            ahead = [
                conv(
                    b[t + 1, c][None, None], w["transform.weight"][c][None, :, None], pad=(0, 1, 1)
                )
                for c in range(2)
            ]
            change = np.concatenate(ahead)[:, 0] - b[t]
        wide = w["expand.weight"][:, :, 0, 0] @ change.mean((1, 2))
        gates.append(1 / (1 + np.exp(-norm(wide, w, "expand_norm"))) - 0.5)
    want = x * (1 + np.array(gates)[:, :, None, None])
    assert np.allclose(excite(torch.from_numpy(x)).detach(), want, atol=1e-10)
    shift = LearntShift(32, num_segments=3)
    kernel = weights(shift)["conv.weight"][:, 0, :, 0]
    ends = np.pad(x, ((1, 1), (0, 0), (0, 0), (0, 0)))
    want = sum(kernel[:, k, None, None] * ends[k : k + 3] for k in range(3))
    assert np.allclose(shift(torch.from_numpy(x)).detach(), want, atol=1e-10)
