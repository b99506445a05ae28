"""Splits: no group shared, every sample once, deterministic, every class in train."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.dataset.samples import Split
from foveal.dataset.splits import TooFewError, split_groups

SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}

one_or_more = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True).map(tuple)
samples = st.lists(st.tuples(st.integers(0, 14), one_or_more), min_size=1, max_size=80)

Pair = tuple[int, tuple[int, ...]]
"""A group and the classes of one sample."""


def keys(pairs: Sequence[Pair]) -> list[str]:
    return [f"g{group}" for group, _ in pairs]


def alone(labels: Sequence[int]) -> list[tuple[int, ...]]:
    """One label a sample."""
    return [(label,) for label in labels]


def can_be_split(pairs: Sequence[Pair]) -> bool:
    """Whether two groups can be taken out so that the others still hold every class."""
    classes = defaultdict(set)
    for group, labels in pairs:
        classes[group].update(labels)
    names = sorted(classes)
    every = set().union(*classes.values())
    return any(
        every == set().union(*(classes[g] for g in names if g not in (a, b)))
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    )


@settings(max_examples=150)
@given(samples, st.integers(0, 5))
def test_splits_keep_their_promises_or_say_that_they_cannot(pairs: list[Pair], seed: int) -> None:
    labels = [own for _, own in pairs]
    try:
        splits = split_groups(keys(pairs), labels, shares=SHARES, seed=seed)
    except TooFewError:
        assert not can_be_split(pairs)
        return
    assert len(splits) == len(pairs)
    assert set(splits) == set(SHARES)
    held = defaultdict(set)
    for key, split in zip(keys(pairs), splits, strict=True):
        held[key].add(split)
    assert all(len(found) == 1 for found in held.values())
    pieces = zip(labels, splits, strict=True)
    trained = {label for own, split in pieces if split == "train" for label in own}
    assert trained == {label for own in labels for label in own}
    assert splits == split_groups(keys(pairs), labels, shares=SHARES, seed=seed)


@settings(max_examples=50)
@given(samples, st.randoms())
def test_the_order_of_the_samples_does_not_matter(pairs, random) -> None:
    labels = [label for _, label in pairs]
    try:
        splits = split_groups(keys(pairs), labels, shares=SHARES, seed=1)
    except TooFewError:
        return
    of = dict(zip(keys(pairs), splits, strict=True))
    random.shuffle(pairs)
    again = split_groups(keys(pairs), [label for _, label in pairs], shares=SHARES, seed=1)
    assert again == [of[key] for key in keys(pairs)]


@settings(max_examples=50)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=6), st.integers(0, 3))
def test_single_files_are_split_evenly_within_every_class(sizes: list[int], seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    groups = [f"file {i}" for i in range(len(labels))]
    splits = split_groups(groups, alone(labels), shares=SHARES, seed=seed)
    counts = Counter(zip(labels, splits, strict=True))
    for label, size in enumerate(sizes):
        for split in ("validation", "test"):
            assert abs(counts[label, split] - max(0.15 * size, 1)) <= 1


def test_other_seeds_give_other_splits() -> None:
    groups = [f"g{i % 12}" for i in range(120)]
    labels = [i // 12 for i in range(120)]
    drawn = {tuple(split_groups(groups, alone(labels), shares=SHARES, seed=s)) for s in range(6)}
    assert len(drawn) > 3


def test_two_splits_can_be_asked_for() -> None:
    groups = [f"g{i}" for i in range(10)]
    splits = split_groups(
        groups,
        alone([i % 2 for i in range(10)]),
        shares={"train": 0.7, "validation": 0.15},
        seed=0,
    )
    assert Counter(splits) == {"train": 8, "validation": 2}


def test_a_group_without_which_train_would_lack_a_class_stays_there() -> None:
    groups = ["only", *(f"g{i}" for i in range(9))]
    for seed in range(5):
        splits = split_groups(groups, alone([1] + [0] * 9), shares=SHARES, seed=seed)
        assert splits[0] == "train"


def test_a_hard_case_is_still_found() -> None:
    # Only the group with both classes can stand alone in train.
    splits = split_groups(["a", "b", "c", "c"], alone([0, 1, 0, 1]), shares=SHARES, seed=0)
    assert splits[2:] == ["train", "train"]
    assert set(splits[:2]) == {"validation", "test"}


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(TooFewError, match="2 groups for 3 splits"):
        split_groups(["a", "b", "b"], alone([0, 0, 1]), shares=SHARES, seed=0)


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"train": 0.5, "test": 0.0}])
def test_shares_out_of_range_are_refused(shares: dict[Split, float]) -> None:
    with pytest.raises(ValueError, match="shares must be positive"):
        split_groups(["a", "b"], alone([0, 1]), shares=shares, seed=0)
