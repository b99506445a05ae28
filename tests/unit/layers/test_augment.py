from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.layers import Chain, Jitter, MultiScaleCrop, ResizedCrop, gentle, random_box
from foveal.types import Canvas


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


# --- light, and several changes ---------------------------------------------------------------


def test_another_light_is_the_formula_by_hand() -> None:
    """Contrast about the mean of the sample, then brightness and a shift of each colour."""
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 256, (3, 3, 6, 8), dtype=np.uint8)
    sample = {"frames": torch.from_numpy(pictures), "label": torch.tensor(2)}
    changed = Jitter(contrast=0.5, brightness=30.0, colour=12.0)
    for seed in range(20):
        out = changed(sample, torch.Generator().manual_seed(seed))
        draws = torch.rand(5, generator=torch.Generator().manual_seed(seed)).double().numpy()
        draws = 2 * draws - 1
        factor, mean = 1 + 0.5 * draws[0], pictures.mean()
        shift = 30.0 * draws[1] + 12.0 * draws[2:]
        wanted = mean + factor * (pictures - mean) + shift[:, None, None]
        apart = np.abs(out["frames"].numpy() - wanted.clip(0, 255))
        assert apart.max() <= 0.5 + 1e-3
        assert out["frames"].dtype == torch.uint8
        assert out["label"] == 2
    assert torch.equal(sample["frames"], torch.from_numpy(pictures))


def test_all_frames_of_a_sample_are_lit_alike_and_samples_are_not() -> None:
    still = torch.arange(60, dtype=torch.uint8).expand(5, 3, 50, 60) + 90
    generator = torch.Generator().manual_seed(0)
    lights = set()
    for _ in range(50):
        out = Jitter()({"frames": still, "more": still[:2]}, generator)
        assert all(torch.equal(out["frames"][0], f) for f in out["frames"])
        assert torch.equal(out["frames"][:2], out["more"])
        lights.add(round(float(out["frames"].float().mean()), 2))
        reds, blues = out["frames"][0, 0], out["frames"][0, 2]
        assert (reds.float() - blues.float()).abs().max() <= 21
    assert len(lights) > 45
    assert 20 < np.ptp(list(lights)) < 70
    none = Jitter(contrast=0.0, brightness=0.0, colour=0.0)({"frames": still}, generator)
    assert torch.equal(none["frames"], still)


def test_a_chain_is_one_change_after_the_other_from_one_generator() -> None:
    sample = {"frames": torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)}
    changes = (ResizedCrop(size=24), Jitter(), MultiScaleCrop(size=16))
    generator = torch.Generator().manual_seed(4)
    wanted = sample
    for change in changes:
        wanted = change(wanted, generator)
    out = Chain(changes)(sample, torch.Generator().manual_seed(4))
    assert torch.equal(out["frames"], wanted["frames"])
    assert out["frames"].shape == (2, 3, 16, 16)
    turned = Chain(changes[1::-1])(sample, torch.Generator().manual_seed(4))
    assert not torch.equal(turned["frames"], Chain(changes[:2])(
        sample, torch.Generator().manual_seed(4))["frames"])  # fmt: skip


def test_gentle_cuts_most_of_a_picture_a_sixth_larger() -> None:
    canvas = Canvas(height=96, width=96, short_side=108, kernel="area")
    large, change = gentle(canvas)
    assert large == Canvas(height=112, width=112, short_side=126, kernel="area")
    assert gentle(Canvas(height=96, width=96))[0].short_side is None
    crop, light = change.changes
    assert isinstance(crop, ResizedCrop)
    assert isinstance(light, Jitter)
    generator = torch.Generator().manual_seed(0)
    boxes = np.array(
        [random_box(112, 112, generator, area=crop.area, aspect=crop.aspect) for _ in range(500)]
    )
    shares = boxes[:, 2] * boxes[:, 3] / 112**2
    assert 0.53 < shares.min() < 0.6
    assert shares.max() > 0.9
    assert np.abs(np.log(boxes[:, 3] / boxes[:, 2])).max() < np.log(1.15) + 0.02
    frames = torch.zeros(2, 3, 112, 112, dtype=torch.uint8)
    assert change({"frames": frames}, generator)["frames"].shape == (2, 3, 96, 96)
    with pytest.raises(ValueError, match=r"96 x 80 px .* square"):
        gentle(Canvas(height=80, width=96))
