"""What tells samples and sets apart: not where they lie, and not the order of a list."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foveal.dataset import Dataset, Sample, fingerprint, named_samples, read_dataset

Put = Callable[..., Path]


def listed(root: Path, *rows: str) -> Dataset:
    (root / "labels.csv").write_text("\n".join(("path,label,start,end", *rows)) + "\n")
    return read_dataset(root / "labels.csv", purpose="evaluate")


ROWS = ("run/1.mp4,run,,", "run/2.mp4,run,1.5,3", "run/2.mp4,run,,1.25", "jump/1.mp4,jump,2,")


def test_names_are_below_the_common_folder_and_tell_stretches_apart(put: Put) -> None:
    root = put("run/1.mp4", "run/2.mp4", "jump/1.mp4")
    named = named_samples(listed(root, *ROWS))["test"]
    assert [name for name, _ in named] == [
        "jump/1.mp4@2-",
        "run/1.mp4",
        "run/2.mp4@0-1.25",
        "run/2.mp4@1.5-3",
    ]
    assert [sample.start_seconds for _, sample in named] == [2, None, None, 1.5]


def test_a_set_is_the_same_elsewhere_and_in_another_order(put: Put, tmp_path: Path) -> None:
    root = put("run/1.mp4", "run/2.mp4", "jump/1.mp4")
    before = fingerprint(listed(root, *ROWS))
    assert fingerprint(listed(root, *reversed(ROWS))) == before
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert fingerprint(listed(moved, *ROWS)) == before
    wanted = read_dataset(
        root / "labels.csv", purpose="evaluate", class_names=("run", "fly", "jump")
    )
    assert fingerprint(wanted) == before


@pytest.mark.parametrize("place", range(4))
def test_a_sample_more_or_less_or_under_another_label_is_another_set(put: Put, place: int) -> None:
    root = put("run/1.mp4", "run/2.mp4", "jump/1.mp4", "jump/2.mp4")
    full = (*ROWS, "jump/2.mp4,jump,,")
    before = fingerprint(listed(root, *full))
    fewer = [row for i, row in enumerate(full) if i != place]
    other = full[place].replace("run,", "walk,").replace("jump,", "walk,")
    assert fingerprint(listed(root, *fewer)) != before
    assert fingerprint(listed(root, *fewer, other)) != before


def test_a_split_is_part_of_it() -> None:
    one = Sample(path="/d/a.mp4", label=0, where="a")
    two = replace(one, path="/d/b.mp4", label=1)
    sets = [
        Dataset(
            name="d",
            kind="video",
            class_names=("x", "y"),
            samples={"train": (one, *more), "validation": (), "test": rest},
            how_split="",
        )
        for more, rest in (((), (two,)), ((two,), ()))
    ]
    assert fingerprint(sets[0]) != fingerprint(sets[1])


def test_rows_of_features_are_told_apart() -> None:
    rows = tuple(Sample(path="/d/f.npz", label=0, where=f"f row {i}", row=i) for i in (2, 0))
    data = Dataset(
        name="f",
        kind="features",
        class_names=("x",),
        samples={"train": (), "validation": (), "test": rows},
        how_split="",
    )
    assert [name for name, _ in named_samples(data)["test"]] == ["f.npz#0", "f.npz#2"]
    twice = replace(data, samples={**data.samples, "train": rows[:1]})
    with pytest.raises(ValueError, match=r"f\.npz#2 stands in f twice"):
        named_samples(twice)
