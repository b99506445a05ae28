"""Splits by group: none shared, classes balanced, every class in train.

Letters: G groups, K classes, S splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from foveal.dataset.check import Labels
from foveal.dataset.samples import Split

_PASSES = 4
"""Rounds of moving single groups after the first placing."""

_EPSILON = 1e-9


class TooFewError(ValueError):
    """There are not enough groups for the splits asked for."""


def split_groups(
    groups: Sequence[str], labels: Sequence[Labels], *, shares: Mapping[Split, float], seed: int
) -> list[Split]:
    """Return the split of every sample.

    The largest groups are placed first, each where it brings the counts of its classes nearest
    to their shares; then single groups move while that helps. A class with as many groups as
    there are splits is aimed to stand in each of them.

    Args:
        groups: one key a sample; equal keys are never parted.
        labels: the classes of each sample.
        shares: of all samples, positive, by split; ``train`` among them.
        seed: the order of equally large groups is drawn from it, and nothing else.

    Raises:
        TooFewError: fewer groups than splits, or train would lack a class.
        ValueError: a share is not positive, or there is none for train.
    """
    if "train" not in shares or not all(share > 0 for share in shares.values()):
        raise ValueError(f"shares must be positive and name train, got {dict(shares)}")
    counts: dict[str, Counter[int]] = {}
    for group, own in zip(groups, labels, strict=True):
        counts.setdefault(group, Counter()).update(own)
    for group, size in Counter(groups).items():
        counts[group][_ALL] = size
    if len(counts) < len(shares):
        raise TooFewError(f"{len(counts)} groups for {len(shares)} splits")
    names = sorted(counts)
    drawn = np.random.default_rng(seed).permutation(len(names))
    order = sorted((names[i] for i in drawn), key=lambda name: -counts[name][_ALL])
    placing = _Placing({name: counts[name] for name in order}, shares)
    placing.place_greedily()
    placing.cover_train()
    placing.improve()
    if not placing.fill():
        if not placing.place_most_in_train():
            raise TooFewError("every class must be in train, which leaves too few")
        placing.improve()
    return [placing.split_of[group] for group in groups]


class _Placing:
    """Groups in splits, and how far the counts of every class are from their targets.

    The cost is the sum over splits and classes of (count - target)^2 / class size; all samples
    together count as one more class, so that the splits' sizes are right where classes are small.

    Args:
        counts: of every group by class and, under :data:`_ALL`, of its samples; in the order of
            placing.
        shares: of the splits.
    """

    def __init__(self, counts: Mapping[str, Counter[int]], shares: Mapping[Split, float]) -> None:
        self.counts = counts
        # Ties go to train, then to test: there a sample more tells more.
        order: tuple[Split, ...] = ("train", "test", "validation")
        self.splits = tuple(split for split in order if split in shares)
        self.sizes: Counter[int] = Counter()
        spread: Counter[int] = Counter()
        for found in self.counts.values():
            self.sizes.update(found)
            spread.update(found.keys())
        self.targets: dict[Split, dict[int, float]] = {split: {} for split in shares}
        whole = sum(shares.values())
        for label in self.sizes.keys() - {_ALL}:
            size, rest = self.sizes[label], float(self.sizes[label])
            least = 1.0 if spread[label] >= len(shares) else 0.0
            for split in self.splits[1:]:
                self.targets[split][label] = max(size * shares[split] / whole, least)
                rest -= self.targets[split][label]
            self.targets["train"][label] = rest
        share = self.sizes[_ALL] / (self.sizes.total() - self.sizes[_ALL])  # samples of a label
        for targets in self.targets.values():
            targets[_ALL] = sum(targets.values()) * share
        self.split_of: dict[str, Split] = {}
        self._clear()

    def _clear(self) -> None:
        self.split_of = {}
        self.have: dict[Split, Counter[int]] = {split: Counter() for split in self.splits}
        self.groups: Counter[Split] = Counter()

    def place_greedily(self) -> None:
        """Put every group where it costs least."""
        for group in self.counts:
            self._put(group, min(self.splits, key=lambda split: self._gain(group, split)))

    def cover_train(self) -> None:
        """Move to train what it lacks of a class, at the least cost."""
        for label in sorted(self.sizes.keys() - {_ALL}):
            if not self.have["train"][label]:
                holders = [g for g, found in self.counts.items() if label in found]
                self._move(min(holders, key=lambda g: self._move_cost(g, "train")), "train")

    def place_most_in_train(self) -> bool:
        """Start again: all in train but one group for each other split; return whether it went.

        Used where the ordinary way leaves a split empty. The smallest groups are tried first, and
        if any choice leaves every class in train, one is found.
        """
        holders = Counter(label for found in self.counts.values() for label in found)
        others = [split for split in self.splits if split != "train"]
        spare = [g for g, found in self.counts.items() if all(holders[k] > 1 for k in found)]
        for chosen in combinations(reversed(spare), len(others)):
            taken = Counter(label for group in chosen for label in self.counts[group])
            if all(holders[label] > count for label, count in taken.items()):
                self._clear()
                placed = dict(zip(chosen, others, strict=True))
                for group in self.counts:
                    self._put(group, placed.get(group, "train"))
                return True
        return False

    def fill(self) -> bool:
        """Give every empty split a group; return whether that could be done."""
        for split in self.splits:
            if self.groups[split]:
                continue
            free = [group for group in self.counts if self._may_leave(group)]
            if not free:
                return False
            self._move(min(free, key=lambda g: self._move_cost(g, split)), split)
        return True

    def improve(self) -> None:
        """Move single groups while it lowers the cost."""
        for _ in range(_PASSES):
            moved = False
            for group in self.counts:
                if not self._may_leave(group):
                    continue
                freed = self._gain(group, self.split_of[group], leaves=True)
                others = [s for s in self.splits if s != self.split_of[group]]
                costs = [freed + self._gain(group, split) for split in others]
                if min(costs) < -_EPSILON:
                    self._move(group, others[costs.index(min(costs))])
                    moved = True
            if not moved:
                return

    def _may_leave(self, group: str) -> bool:
        """Return whether a group can leave its split: not the last one, nor the last of a class."""
        split = self.split_of[group]
        if self.groups[split] < 2:
            return False
        held = self.have["train"]
        return split != "train" or all(held[k] > n for k, n in self.counts[group].items())

    def _gain(self, group: str, split: Split, *, leaves: bool = False) -> float:
        """Return what putting (or taking away) a group adds to the cost of one split."""
        have, targets = self.have[split], self.targets[split]
        total = 0.0
        for label, count in self.counts[group].items():
            off = have[label] - targets[label]
            step = -count if leaves else count
            total += step * (2 * off + step) / self.sizes[label]
        return total

    def _move_cost(self, group: str, split: Split) -> float:
        now = self.split_of[group]
        if now == split:
            return 0.0
        return self._gain(group, split) + self._gain(group, now, leaves=True)

    def _put(self, group: str, split: Split) -> None:
        self.split_of[group] = split
        self.have[split].update(self.counts[group])
        self.groups[split] += 1

    def _move(self, group: str, split: Split) -> None:
        now = self.split_of[group]
        self.have[now].subtract(self.counts[group])
        self.groups[now] -= 1
        self._put(group, split)


_ALL = -1
"""Stands for all classes together among a group's counts."""
