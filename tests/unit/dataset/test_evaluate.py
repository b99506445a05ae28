"""Reading for a model that exists: its classes, and no splits drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.dataset import DataError, read_dataset

Put = Callable[..., Path]


def test_without_splits_all_is_test(put: Put) -> None:
    data = read_dataset(put("run/1.mp4", "jump/2.mp4"), purpose="evaluate")
    assert {split: len(part) for split, part in data.samples.items()} == {
        "train": 0,
        "validation": 0,
        "test": 2,
    }
    assert data.how_split == "no splits are given, so all is test"


@pytest.mark.parametrize(
    ("folders", "sizes", "how"),
    [
        (("train", "val", "test"), (1, 1, 1), "as given"),
        (("test",), (0, 0, 1), "as given"),
        (("train", "val"), (1, 0, 1), "the given validation stands for it"),
        (("train",), (0, 0, 1), "the given train stands for it"),
    ],
)
def test_given_splits_stay(
    put: Put, folders: tuple[str, ...], sizes: tuple[int, ...], how: str
) -> None:
    root = put(*(f"{split}/{c}/{split}{c}.mp4" for split in folders for c in "ab"))
    data = read_dataset(root, purpose="evaluate")
    assert tuple(len(part) for part in data.samples.values()) == tuple(2 * n for n in sizes)
    assert how in data.how_split


def test_the_classes_of_a_model_keep_their_order_and_may_lack_samples(put: Put) -> None:
    root = put("run/1.mp4", "jump/2.mp4")
    data = read_dataset(root, purpose="evaluate", class_names=("run", "fly", "jump"))
    assert data.class_names == ("run", "fly", "jump")
    assert {Path(s.path).stem: s.label for s in data.samples["test"]} == {"1": 0, "2": 2}
    assert "1 class is not in test: fly" in data.notes
    with pytest.raises(DataError, match=r"run/1.mp4: no class 'run' \(did you mean 'runs'\?\)"):
        read_dataset(root, purpose="evaluate", class_names=("runs", "jump"))


def test_numbers_mean_the_names_the_list_gives_them(put: Put) -> None:
    root = put("0.mp4", "1.mp4")
    listed = root / "labels.csv"
    listed.write_text("path,label\n0.mp4,0\n1.mp4,1\n")
    wanted = ("run", "jump")
    data = read_dataset(listed, purpose="evaluate", class_names=wanted)
    assert [s.label for s in data.samples["test"]] == [0, 1]
    (root / "classes.txt").write_text("jump\nrun\n")
    data = read_dataset(listed, purpose="evaluate", class_names=wanted)
    assert [s.label for s in data.samples["test"]] == [1, 0]
