"""Stored features: read, split by group, opened as sources, refused when they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.dataset import DataError, open_sample, read_dataset
from foveal.types import Features, Look, Plan

N, T, D = 24, 4, 3


def arrays(**more: Any) -> dict[str, Any]:
    features = np.arange(N * T * D, dtype=np.float16).reshape(N, T, D)
    found = {
        "features": features,
        "label": np.arange(N) % 2,
        "class_names": np.array(["ace", "lob"]),
        "player": np.arange(N) // 4,
    }
    found.update(more)
    return {name: array for name, array in found.items() if array is not None}


def stored(folder: Path, **more: Any) -> Path:
    path = folder / "strokes.npz"
    np.savez(path, **arrays(**more))
    return path


def test_features_are_split_by_player_and_opened(tmp_path: Path) -> None:
    data = read_dataset(stored(tmp_path), frame_rate=2)
    assert data.kind == "features"
    assert data.class_names == ("ace", "lob")
    assert {split: {s.group for s in part} for split, part in data.samples.items()}.keys()
    groups = [{s.group for s in part} for part in data.samples.values()]
    assert [len(found) for found in groups] == [4, 1, 1]
    assert "clips of one player belong together" in data.notes
    assert any("2 vectors a second are taken" in note for note in data.notes)
    sample = data.samples["train"][1]
    source = open_sample(sample, kind=data.kind)
    assert source.info.duration_seconds == 2.0
    source.plan(Plan(times=(0.25, 1.9)))
    rows, seconds = source.look(Look(times=(0.25, 1.9), view=Features(name="features")))
    assert sample.row is not None
    np.testing.assert_array_equal(rows, arrays()["features"][sample.row][[0, 3]])
    assert rows.dtype == np.float32
    assert seconds == (0.25, 1.75)
    assert source.info.name == sample.where == f"strokes.npz clip {sample.row}"


@pytest.mark.parametrize(
    ("seconds", "duration", "times", "length"),
    [
        (np.array([0.0, 1, 2, 3]), None, (0.0, 3.0), 4.0),
        (np.tile([1.0, 2, 4, 7], (N, 1)), None, (1.0, 7.0), 9.0),
        (None, np.full(N, 8.0), (1.0, 7.0), 8.0),
        (np.array([0, 2, 4, 6]), np.full(N, 7.0), (0.0, 6.0), 7.0),
    ],
)
def test_times_are_taken_from_the_file(
    tmp_path: Path, seconds: Any, duration: Any, times: tuple[float, float], length: float
) -> None:
    path = stored(tmp_path, seconds=seconds, duration_seconds=duration)
    source = open_sample(read_dataset(path).samples["test"][0], kind="features")
    assert source.info.duration_seconds == length
    source.plan(Plan(times=(0.0, 100.0)))
    _, shown = source.look(Look(times=(0.0, 100.0), view=Features(name="features")))
    assert shown == times


def test_given_splits_and_labels_as_text(tmp_path: Path) -> None:
    split = np.array(["train", "val", "test"])[np.arange(N) // 8]
    labels = np.array(["ace", "lob"])[np.arange(N) % 2]
    path = stored(tmp_path, split=split, label=None, labels=labels, player=None, class_names=None)
    data = read_dataset(path)
    assert {s: len(part) for s, part in data.samples.items()} == dict.fromkeys(data.samples, 8)
    assert data.class_names == ("ace", "lob")


def bad_features() -> np.ndarray:
    features = arrays()["features"].copy()
    features[5, 0, 0] = np.nan
    return features


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"features": None}, "no array 'features'"),
    ({"features": np.zeros((N, T))}, r"features are float64 \(24, 4\), not float \(N,T,D\)"),
    ({"features": bad_features()}, "strokes.npz clip 5: a feature is not finite"),
    ({"label": None}, "no array 'label' or 'labels'"),
    ({"label": np.arange(3)}, r"'label' has shape \(3,\), not \(24,\)"),
    ({"label": np.zeros(N)}, "labels are float64"),
    ({"label": np.arange(N) % 3}, r"strokes.npz clip 2: label 2 is out of range \(0 to 1\)"),
    ({"label": np.zeros(N, int)}, "this class has no sample: lob"),
    ({"label": np.full(N, None)}, "cannot be read as .npz"),
    ({"player": np.arange(3)}, r"'player' has shape \(3,\)"),
    ({"class_names": np.array(["a", "a"])}, "name a class twice"),
    ({"seconds": np.array([0.0, 2, 1, 3])}, "'seconds' do not ascend"),
    ({"seconds": np.arange(5.0)}, r"'seconds' has shape \(5,\)"),
    ({"duration_seconds": np.zeros(N)}, "must be 24 positive numbers"),
    ({"split": np.full(N, "trian")}, r"clip 0: no split 'trian' \(did you mean 'train'\?\)"),
]


@pytest.mark.parametrize(("more", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(stored(tmp_path, **more))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"\x93NUMPY\x01\x00"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x.npz: cannot be read as .npz"):
        read_dataset(path)


def test_a_damaged_array_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "strokes.npz"
    np.savez_compressed(path, **arrays())
    data = bytearray(path.read_bytes())
    data[60:120] = b"x" * 60
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"strokes.npz: cannot be read as .npz"):
        read_dataset(path)


def test_a_file_that_changes_or_goes_is_noticed(tmp_path: Path) -> None:
    path = stored(tmp_path)
    sample = read_dataset(path).samples["train"][-1]
    open_sample(sample, kind="features").close()
    np.savez(path, **{name: array[:1] for name, array in arrays().items()})
    with pytest.raises(DataError, match=rf"strokes.npz: no clip {sample.row}, it has 1"):
        open_sample(sample, kind="features")
    path.unlink()
    with pytest.raises(DataError, match=r"strokes.npz: cannot be read"):
        open_sample(sample, kind="features")
