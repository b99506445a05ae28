"""The crop agrees with the official AdaFocusV2 (scripts/cut_goldens_layers.py says which)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.layers import crop_at
from tests.helpers_golden import sym

GOLDEN = Path(__file__).parents[2] / "golden" / "layers" / "crop.npz"
CASES = ("frame.0", "whole.0", "video.0", "outside.0", "real.0", "real.1")


def load(case: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        found = {
            key.removeprefix(f"{case}."): file[key]
            for key in file.files
            if key.startswith(f"{case}.")
        }
    assert found, f"no golden case {case}"
    if case.startswith("real"):  # pictures of the paper's size follow a rule
        size, crop_size = found["size"].astype(int)
        found["frames"] = sym((3, 3, size, size), int(found["frame_k"][0])).astype(np.float32)
        found["cot"] = sym((3, 3, crop_size, crop_size), int(found["cot_k"][0])).astype(np.float32)
    return found


def close(ours: np.ndarray, golden: np.ndarray, *, relative: float) -> None:
    np.testing.assert_allclose(ours, golden, rtol=0, atol=relative * max(1e-3, abs(golden).max()))


@pytest.mark.parametrize("case", CASES)
def test_pixels_and_gradients(case: str) -> None:
    golden = load(case)
    images = torch.tensor(golden["frames"], dtype=torch.float64, requires_grad=True)
    positions = torch.tensor(golden["action"], dtype=torch.float64, requires_grad=True)
    crop = crop_at(images, positions, crop_size=int(golden["size"][1]))
    (crop * torch.from_numpy(golden["cot"])).sum().backward()
    pixels = crop.detach().numpy()
    if case.startswith("real"):
        close(pixels[..., ::8, ::8], golden["patch_sub8_f64"], relative=1e-12)
        close(pixels[..., -1, :], golden["patch_last_f64"], relative=1e-12)
        close(pixels.sum((2, 3)), golden["patch_sum_f64"], relative=1e-10)
    else:
        close(pixels, golden["patch_f64"], relative=1e-12)
    assert positions.grad is not None
    # Where a corner is on a whole pixel the derivative jumps, and the official one is rounding.
    smooth = golden.get("kink", np.zeros_like(golden["action"])) == 0
    close(positions.grad.numpy()[smooth], golden["dact_f64"][smooth], relative=1e-10)
    if "dframes_f32" in golden:
        assert images.grad is not None
        close(images.grad.numpy(), golden["dframes_f32"], relative=1e-6)
