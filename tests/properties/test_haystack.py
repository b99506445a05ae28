"""A sample is itself whatever is made with it, and splits and seeds share no draw."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.haystack import PRESETS, sample
from foveal.haystack.draws import Draws

presets = st.sampled_from([preset for preset in PRESETS if preset.size <= 64])
splits = st.sampled_from(["train", "calibration", "test"])


@settings(max_examples=25)
@given(presets, splits, st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 2**40))
def test_a_sample_does_not_depend_on_what_is_made_with_it(preset, split, start, index, seed):
    together = sample(preset, split=split, count=6, start=start, seed=seed)
    alone = sample(preset, split=split, count=1, start=start + index, seed=seed)
    assert np.array_equal(together.frames[index], alone.frames[0])
    assert together.labels[index] == alone.labels[0]
    assert np.array_equal(together.truth.evidence[index], alone.truth.evidence[0])
    assert np.array_equal(together.truth.boxes[index], alone.truth.boxes[0], equal_nan=True)
    assert together.truth.segments(index) == alone.truth.segments(0)
    if together.sound is not None and alone.sound is not None:
        assert np.array_equal(together.sound[index], alone.sound[0])


@settings(max_examples=25)
@given(presets, splits, st.integers(0, 1000), st.integers(0, 1000))
def test_everything_is_in_range(preset, split, start, seed):
    made = sample(preset, split=split, count=3, start=start, seed=seed)
    assert made.frames.shape == (3, preset.frames, 3, preset.size, preset.size)
    assert made.frames.dtype == np.uint8
    assert (made.frames == made.frames[:, :, :1]).all()
    assert ((made.labels >= 0) & (made.labels < preset.num_classes)).all()
    assert made.truth.evidence.any(axis=1).all()
    boxes = made.truth.boxes
    seen = ~np.isnan(boxes).any(axis=-1)
    assert not seen[~made.truth.evidence].any()
    x0, y0, x1, y1 = np.moveaxis(boxes[seen], -1, 0)
    assert ((x0 >= 0) & (x0 < x1) & (x1 <= 1) & (y0 >= 0) & (y0 < y1) & (y1 <= 1)).all()


@settings(max_examples=20)
@given(
    presets, st.lists(st.tuples(splits, st.integers(0, 50)), min_size=2, max_size=2, unique=True)
)
def test_splits_and_seeds_share_no_sample(preset, two):
    (split, seed), (other_split, other_seed) = two
    first = sample(preset, split=split, count=4, seed=seed)
    second = sample(preset, split=other_split, count=4, seed=other_seed)
    pairs = first.frames[:, None, 0] == second.frames[None, :, 0]
    assert pairs.mean(axis=(2, 3, 4)).max() < 0.2


@given(st.integers(0, 2**32), st.text(max_size=8), st.integers(1, 50))
def test_draws_are_uniform_ranked_and_apart_by_name(seed, name, count):
    draws = Draws.of("task", seed, count=3)
    values = draws.uniform(name, count)
    assert ((values >= 0) & (values < 1)).all()
    assert (np.sort(draws.order(name, count), axis=1) == np.arange(count)).all()
    whole = draws.integers(name, -2, 5, count)
    assert ((whole >= -2) & (whole <= 5)).all()
    assert not np.array_equal(draws.uniform(name + "x", 16), draws.uniform(name, 16))
    assert np.array_equal(draws.part(1, 2).uniform(name, count)[0], values[1])


def test_many_draws_have_the_moments_of_what_they_claim_to_be():
    draws = Draws.of("moments", count=200)
    for values, std in (
        (draws.uniform("a", 5000), 12**-0.5),
        (draws.normal("b", 5000), 1.0),
        (draws.grain("c", 5000), 1.0),
    ):
        centred = values - values.mean(dtype=np.float64)
        assert abs(centred.std(dtype=np.float64) / std - 1) < 0.005
        neighbours = (centred[:, 1:] * centred[:, :-1]).mean(dtype=np.float64) / std**2
        across = (centred[1:] * centred[:-1]).mean(dtype=np.float64) / std**2
        assert max(abs(neighbours), abs(across)) < 0.006
    assert abs(draws.grain("c", 5000).mean(dtype=np.float64)) < 0.005
