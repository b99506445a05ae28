from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.layers import MultiScaleCrop, ResizedCrop, random_box


def test_random_boxes_are_inside_and_of_the_area_and_shape_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = np.array([random_box(100, 160, generator) for _ in range(2000)])
    top, left, tall, wide = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + tall <= 100).all()
    assert (left + wide <= 160).all()
    assert 0.07 < (tall * wide).min() / 16000 < 0.10
    assert 0.70 < (wide / tall).min() < 0.80
    assert 1.25 < (wide / tall).max() < 1.40
    assert random_box(1, 400, generator) == (0, 199, 1, 1)


@pytest.mark.parametrize("augment", [ResizedCrop(size=24), MultiScaleCrop(size=24)])
def test_all_frames_of_a_sample_are_cut_alike(augment) -> None:
    generator = torch.Generator().manual_seed(0)
    still = torch.arange(60, dtype=torch.uint8).expand(5, 3, 50, 60)
    sample = {"frames": still, "focus_frames": still[:2], "label": torch.tensor(3)}
    for _ in range(20):
        out = augment(sample, generator)
        assert out["frames"].shape == (5, 3, 24, 24)
        assert out["frames"].dtype == torch.uint8
        assert all(torch.equal(out["frames"][0], f) for f in out["frames"])
        assert torch.equal(out["frames"][:2], out["focus_frames"])
        assert out["label"] == 3


@pytest.mark.parametrize("augment", [ResizedCrop(size=24), MultiScaleCrop(size=24)])
def test_half_of_the_samples_are_mirrored_and_none_where_it_is_off(augment) -> None:
    ramp = torch.arange(60, dtype=torch.uint8).expand(1, 3, 50, 60)

    def mirrored(made) -> int:
        generator = torch.Generator().manual_seed(1)
        rows = [made({"frames": ramp}, generator)["frames"][0, 0, 0] for _ in range(400)]
        return sum(bool(row[0] > row[-1]) for row in rows)

    assert 160 < mirrored(augment) < 240
    assert mirrored(type(augment)(size=24, flip=False)) == 0


def test_multi_scale_crops_are_at_the_papers_places() -> None:
    """Thirteen corners, edges and middles; height and width at most one scale apart."""
    rows = torch.arange(100, dtype=torch.uint8)[:, None].expand(100, 100)
    columns = torch.arange(100, dtype=torch.uint8)[None].expand(100, 100)
    picture = torch.stack([rows, columns, rows])[None]
    generator = torch.Generator().manual_seed(0)
    crop = MultiScaleCrop(size=66, scales=(1.0, 0.66), flip=False)
    corners = set()
    for _ in range(600):
        out = crop({"frames": picture}, generator)["frames"][0]
        if torch.equal(out[0].diff(dim=0).unique(), torch.ones(1, dtype=torch.uint8)):
            corners.add((int(out[0, 0, 0]), int(out[1, 0, 0])))
    exact = {(y, x) for y, x in corners if y in (0, 8, 17, 25, 34)}
    assert {(0, 0), (34, 34), (17, 17), (8, 8), (25, 8)} <= exact


def test_pictures_of_two_sizes_cannot_be_cut_alike() -> None:
    frames = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="pictures of one size"):
        ResizedCrop(size=4)({"a": frames, "b": frames[..., :4]}, torch.Generator())
