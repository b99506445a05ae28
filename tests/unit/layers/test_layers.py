from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.cost import torch_counter
from foveal.export import count_part, export_parts
from foveal.layers import PixelNorm, TemporalShift, crop_at, temporal_shift
from foveal.types import PartSpec, TensorSpec

SIDE, CROP_SIZE = 11, 4


def images(num: int = 3) -> Tensor:
    return torch.randn(num, 2, SIDE, SIDE, dtype=torch.float64)


# --- crop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_whole_pixel_corner_gives_the_slice(dtype: torch.dtype) -> None:
    """Anywhere, both borders included."""
    image = torch.randn(1, 3, SIDE, SIDE + 8, dtype=dtype)
    way = torch.tensor([SIDE - CROP_SIZE, SIDE + 8 - CROP_SIZE])
    for y in (0, 1, 5, 7):
        for x in (0, 2, 7, 15):
            position = torch.tensor([[y, x]], dtype=dtype) / way
            crop = crop_at(image, position, crop_size=CROP_SIZE)
            error = (crop - image[..., y : y + CROP_SIZE, x : x + CROP_SIZE]).abs().max()
            assert error <= (1e-12 if dtype == torch.float64 else 5e-6)
            if y in (0, 7) and x in (0, 15):
                assert error == 0


def test_a_constant_picture_stays_constant() -> None:
    position = torch.rand(64, 2, dtype=torch.float64, requires_grad=True)
    position_and_ends = torch.cat([position, torch.tensor([[0.0, 1.0], [1.0, 0.0]])])
    crop = crop_at(torch.full((66, 3, SIDE, SIDE), 0.7).double(), position_and_ends, crop_size=5)
    assert (crop - crop[0, 0, 0, 0]).abs().max() <= 1e-12
    (crop**2).sum().backward()
    assert position.grad is not None
    assert position.grad.abs().max() < 1e-10


def test_the_gradient_passes_gradcheck() -> None:
    position = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda i, p: crop_at(i, p, crop_size=CROP_SIZE), (images().requires_grad_(), position)
    )


def test_positions_are_y_then_x() -> None:
    """For a ramp of slope s in x, the mean moves by s pixels of way with x, and not with y."""
    ramp = 3.0 * torch.arange(SIDE, dtype=torch.float64).expand(1, 1, SIDE, SIDE)
    for value in (0.0, 0.37, 1.0):  # at the borders, too
        position = torch.tensor([[value, value]], dtype=torch.float64, requires_grad=True)
        crop_at(ramp, position, crop_size=CROP_SIZE).mean().backward()
        assert position.grad is not None
        np.testing.assert_allclose(position.grad.numpy(), [[0, 3 * (SIDE - CROP_SIZE)]], atol=1e-12)


def test_the_whole_picture_does_not_depend_on_the_position() -> None:
    image, position = images(), torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    crop = crop_at(image, position, crop_size=SIDE)
    assert torch.equal(crop, image)
    (crop**2).sum().backward()
    assert position.grad is not None
    assert not position.grad.any()


@pytest.mark.parametrize(
    ("image", "positions", "crop_size", "message"),
    [
        ((1, 3, 8, 6), (1, 2), 7, "a crop of 7 px does not fit an image of 8x6"),
        ((1, 3, 8, 6), (1, 2), 0, "a crop of 0 px"),
        ((3, 8, 6), (1, 2), 4, r"expected images \(B,C,H,W\)"),
        ((1, 3, 8, 6), (1, 3), 4, r"positions \(B,2\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    image: tuple[int, ...], positions: tuple[int, ...], crop_size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        crop_at(torch.zeros(image), torch.zeros(positions), crop_size=crop_size)


class CropPart(nn.Module):
    """A crop between pixels and a convolution, as in a system."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = PixelNorm()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, frames: Tensor, position: Tensor) -> Tensor:
        crop: Tensor = self.conv(crop_at(self.norm(frames), position.sigmoid(), crop_size=8))
        return crop


@pytest.mark.export
def test_the_crop_is_a_static_graph_that_costs_no_multiplications() -> None:
    spec = PartSpec(
        name="crop",
        inputs=(TensorSpec("frames", (3, 20, 16), "uint8"), TensorSpec("position", (2,))),
        outputs=(TensorSpec("map", (2, 6, 6)),),
    )
    part = CropPart()
    (exported,) = export_parts({"crop": part}, [spec])  # checks parity, with one row and three
    assert exported.parity <= 1e-5
    macs = 2 * 6 * 6 * 27
    assert count_part(exported.part.model, spec) == {(): macs}
    inputs = (torch.zeros(1, 3, 20, 16, dtype=torch.uint8), torch.zeros(1, 2))
    assert torch_counter.count_torch_macs(part, *inputs) == macs


# --- temporal shift ---------------------------------------------------------------------------


def test_one_frame_is_moved_to_both_sides() -> None:
    x = torch.zeros(5, 8, 2, 2)
    x[2] = 1
    shifted = temporal_shift(x, num_frames=5, fold_div=4)
    assert shifted[:, :, 0, 0].sum(1).tolist() == [0, 2, 4, 2, 0]
    assert shifted[1, :2].all()  # the first fold, pulled from the future
    assert shifted[3, 2:4].all()


def test_the_shift_conserves_what_does_not_leave_the_clip() -> None:
    x = torch.rand(8, 8, 1, 1)
    shifted = temporal_shift(x, num_frames=4)
    lost = x[[0, 4], :1].sum() + x[[3, 7], 1:2].sum()
    torch.testing.assert_close(shifted.sum(), x.sum() - lost)


def test_clips_do_not_see_each_other() -> None:
    a, b, other = (torch.randn(4, 8, 2, 2) for _ in range(3))
    first = temporal_shift(torch.cat([a, b]), num_frames=4)[:4]
    assert torch.equal(first, temporal_shift(torch.cat([a, other]), num_frames=4)[:4])


def test_rows_that_are_no_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="7 rows are no whole number of clips of 4 frames"):
        temporal_shift(torch.zeros(7, 8), num_frames=4)
    with pytest.raises(ValueError, match="fold_div must be at least 2, got 1"):
        temporal_shift(torch.zeros(8, 8), num_frames=4, fold_div=1)


class ShiftPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = TemporalShift(nn.Conv2d(8, 4, 1, bias=False), num_frames=3, fold_div=4)

    def forward(self, clip: Tensor) -> Tensor:
        frames: Tensor = self.conv(clip.flatten(0, 1))
        return frames.reshape(-1, 3, 4, 2, 2)


@pytest.mark.export
def test_the_shift_is_a_static_graph_that_costs_no_multiplications() -> None:
    spec = PartSpec(
        name="shift",
        inputs=(TensorSpec("clip", (3, 8, 2, 2)),),
        outputs=(TensorSpec("map", (3, 4, 2, 2)),),
    )
    (exported,) = export_parts({"shift": ShiftPart()}, [spec])
    assert count_part(exported.part.model, spec) == {(): 3 * 4 * 4 * 8}


# --- pixels -----------------------------------------------------------------------------------


def test_pixels_are_normalised_a_channel_at_a_time() -> None:
    frames = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    norm = PixelNorm()
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    std = np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(norm(frames), (frames.numpy() / 255 - mean) / std, atol=2e-6)
    assert torch.equal(norm(frames.float()), norm(frames))
    assert norm.double()(frames.double()).dtype == torch.float64
    assert not norm.state_dict()


def test_pixel_statistics_must_fit() -> None:
    with pytest.raises(ValueError, match="as many means as positive stds"):
        PixelNorm(mean=(0.5,), std=(0.5, 0.5))
    with pytest.raises(ValueError, match="as many means as positive stds"):
        PixelNorm(mean=(0.5,), std=(0.0,))
