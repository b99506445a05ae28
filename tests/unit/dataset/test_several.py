"""Clips with several labels: from CSV, JSON lines and stored features, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.dataset import DataError, Dataset, fingerprint, read_dataset

Put = Callable[..., Path]
FILES = [f"{i}.mp4" for i in range(12)]
KINDS = ("run", "jump", "run|jump", "wave|run")


def table(root: Path, *rows: str, header: str = "path,labels") -> Path:
    path = root / "labels.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def rows(kinds: tuple[str, ...] = KINDS) -> list[str]:
    return [f"{name},{kinds[i % len(kinds)]}" for i, name in enumerate(FILES)]


def names_by_file(data: Dataset) -> dict[str, set[str]]:
    every = [one for part in data.samples.values() for one in part]
    return {Path(one.path).name: set(data.names_of(one)) for one in every}


def test_labels_are_parted_by_bars(put: Put) -> None:
    data = read_dataset(table(put(*FILES), *rows()))
    assert data.several
    assert data.class_names == ("jump", "run", "wave")
    assert names_by_file(data)["2.mp4"] == {"run", "jump"}
    assert names_by_file(data)["1.mp4"] == {"jump"}
    assert "clips have up to 2 labels, 1.50 in the mean" in data.notes
    trained = {name for one in data.samples["train"] for name in data.names_of(one)}
    assert trained == {"jump", "run", "wave"}


def test_json_lines_hold_the_same_set(put: Put) -> None:
    root = put(*FILES)
    csv = read_dataset(table(root, *rows()))
    told = [
        {"path": name, "labels": KINDS[i % len(KINDS)].split("|")} for i, name in enumerate(FILES)
    ]
    path = root / "labels.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in told))
    data = read_dataset(path)
    assert data.several
    assert names_by_file(data) == names_by_file(csv)
    assert fingerprint(data) == fingerprint(csv)


def test_the_order_of_labels_is_none_of_the_fingerprint(put: Put) -> None:
    root = put(*FILES)
    one = fingerprint(read_dataset(table(root, *rows())))
    turned = tuple("|".join(reversed(kind.split("|"))) for kind in KINDS)
    assert fingerprint(read_dataset(table(root, *rows(turned)))) == one
    others = ("run", "jump", "run|wave", "wave|run")
    assert fingerprint(read_dataset(table(root, *rows(others)))) != one


def test_numbers_are_classes_too(put: Put) -> None:
    root = put(*FILES)
    (root / "classes.txt").write_text("jump\nrun\nwave\n")
    data = read_dataset(table(root, *rows(("1", "0", "1|0", "2|1"))))
    assert names_by_file(data)["3.mp4"] == {"wave", "run"}


def test_one_label_a_clip_stays_one(put: Put) -> None:
    data = read_dataset(table(put(*FILES), *rows(("run", "jump")), header="path,label"))
    assert not data.several
    assert all(one.labels == (one.label,) for part in data.samples.values() for one in part)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0.mp4,run|run", r"row 2: label 'run' twice"),
        ("0.mp4,run||jump", r"row 2: one of the labels is empty"),
        ("0.mp4,", r"row 2: no label"),
    ],
)
def test_a_slip_is_named_with_its_row(put: Put, row: str, message: str) -> None:
    path = table(put(*FILES), row, *rows()[1:])
    with pytest.raises(DataError, match=message):
        read_dataset(path)


def test_a_file_twice_is_pointed_to_the_column(put: Put) -> None:
    path = table(put(*FILES), *rows(), "0.mp4,run|jump")
    with pytest.raises(DataError, match=r"under two labels: 'run \| jump' here and 'run'") as told:
        read_dataset(path)
    assert "several classes has them in labels" in told.value.hint


def test_both_columns_are_refused(put: Put) -> None:
    path = table(put(*FILES), *(f"{row},run" for row in rows()), header="path,labels,label")
    with pytest.raises(DataError, match="both a column label and a column labels"):
        read_dataset(path)


def features(folder: Path, labels: object, names: object = ("ace", "lob", "slice")) -> Path:
    path = folder / "strokes.npz"
    vectors = np.zeros((12, 4, 3), np.float32)
    np.savez(path, features=vectors, labels=labels, class_names=np.array(names))
    return path


def test_stored_features_hold_truth_values(tmp_path: Path) -> None:
    labels = np.zeros((12, 3), bool)
    labels[np.arange(12), np.arange(12) % 3] = labels[::2, 2] = True
    data = read_dataset(features(tmp_path, labels))
    assert data.several
    found = {one.row: one.labels for part in data.samples.values() for one in part}
    assert {row: set(own) for row, own in found.items()} == {
        i: set(np.flatnonzero(labels[i]).tolist()) for i in range(12)
    }


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(12, 3, dtype=int), "clip 3: no label"),
        (np.full((12, 3), 2), "hold more than 0 and 1"),
        (np.ones((12, 4), bool), "3 class_names for labels of 4 classes"),
        (np.ones((11, 3), bool), r"'label' has shape \(11,\), not \(12,\)"),
    ],
)
def test_truth_values_that_do_not_fit_are_refused(
    tmp_path: Path, labels: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(features(tmp_path, labels))


@pytest.mark.parametrize(
    ("header", "kind", "said"),
    [
        ("path,labels", "run;jump", "labels are parted by '|'"),
        ("path,labels", "run, jump", "labels are parted by '|'"),
        ("path,label", "run|jump", "a column labels holds several"),
    ],
)
def test_what_looks_like_several_and_is_one_is_said(
    put: Put, header: str, kind: str, said: str
) -> None:
    quoted = [f'{name},"{(kind, "jump")[i % 2]}"' for i, name in enumerate(FILES)]
    data = read_dataset(table(put(*FILES), *quoted, header=header))
    (note,) = [note for note in data.notes if "is one class" in note]
    assert said in note
    assert kind in note
    plain = read_dataset(table(put(*FILES), *rows()))
    assert not any("is one class" in note for note in plain.notes)


def test_one_number_written_in_two_ways_is_one_label_twice(put: Put) -> None:
    path = table(put(*FILES), "0.mp4,0|00", *rows(("1", "0", "1|0"))[1:])
    with pytest.raises(DataError, match="row 2: label '0' twice"):
        read_dataset(path)


def test_lists_of_one_set_call_the_column_alike(put: Put) -> None:
    root = put(*FILES)
    table(root, *rows()).rename(root / "train.csv")
    table(root, *rows(("run", "jump")), header="path,label").rename(root / "val.csv")
    with pytest.raises(DataError, match="label in one and labels in another"):
        read_dataset(root / "train.csv")
