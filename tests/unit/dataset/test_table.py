"""The user's own list: what it may hold, and that every slip is named with its row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.dataset import DataError, Dataset, open_sample, read_dataset
from foveal.haystack import find, write_videos
from foveal.types import Canvas, Look, Plan
from tests.helpers_video import make_clip, read_number

Put = Callable[..., Path]
FILES = [f"{i}.mp4" for i in range(6)]


def table(root: Path, *rows: str, header: str = "path,label", name: str = "labels.csv") -> Path:
    path = root / name
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def plain(count: int = 6) -> list[str]:
    return [f"{i}.mp4,{'run' if i % 2 else 'jump'}" for i in range(count)]


def by_where(data: Dataset) -> dict[str, object]:
    return {s.where: s for part in data.samples.values() for s in part}


def test_a_csv_with_names(put: Put) -> None:
    data = read_dataset(table(put(*FILES), *plain()))
    assert data.name == "labels.csv"
    assert data.class_names == ("jump", "run")
    first = by_where(data)["labels.csv row 2"]
    assert (first.path, first.label) == (str(Path(data_root(data)) / "0.mp4"), 0)


def data_root(data: Dataset) -> str:
    return str(Path(data.samples["train"][0].path).parent)


def test_json_lines_hold_the_same(put: Put) -> None:
    root = put(*FILES)
    rows = [
        {"path": f"{i}.mp4", "label": i % 2, "start": 0, "end": 0.1, "group": f"g{i}"}
        for i in range(6)
    ]
    path = root / "labels.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    data = read_dataset(path)
    assert data.class_names == ("0", "1")
    sample = by_where(data)["labels.jsonl row 3"]
    assert (sample.start_seconds, sample.end_seconds, sample.group) == (0.0, 0.1, "g2")
    assert "as the list gives them" in data.how_split


def test_semicolons_quotes_and_a_byte_order_mark_are_read(put: Put) -> None:
    root = put("a;b.mp4", *FILES)
    path = root / "list.csv"
    rows = ["\ufeffPath;Label", '"a;b.mp4";run', *(r.replace(",", ";") for r in plain())]
    path.write_text("\r\n".join(rows), encoding="utf-8")
    data = read_dataset(path)
    assert len(data) == 7
    assert by_where(data)["list.csv row 2"].path.endswith("a;b.mp4")


def test_numbers_get_their_names_from_classes_txt(put: Put) -> None:
    root = put(*FILES)
    (root / "classes.txt").write_text("zebra\nape\n")
    data = read_dataset(table(root, *(f"{i}.mp4,{i % 2}" for i in range(6))))
    assert data.class_names == ("zebra", "ape")
    assert by_where(data)["labels.csv row 3"].label == 1


def test_lists_of_validation_and_test_beside_that_of_train_are_read(put: Put) -> None:
    root = put(*FILES)
    table(root, *plain()[4:5], name="list_val.csv")
    table(root, *plain()[5:], name="list_test.csv")
    data = read_dataset(table(root, *plain()[:4], name="list_train.csv"))
    assert {s: [x.where for x in part] for s, part in data.samples.items() if s != "train"} == {
        "validation": ["list_val.csv row 2"],
        "test": ["list_test.csv row 2"],
    }
    assert len(data.samples["train"]) == 4


def test_a_list_of_frame_folders(put: Put) -> None:
    root = put(*FILES)
    for i in range(6):
        (root / f"clip{i}").mkdir()
        (root / f"clip{i}" / "1.jpg").touch()
    data = read_dataset(table(root, *(f"clip{i},{'ab'[i % 2]}" for i in range(6))))
    assert data.kind == "frames"
    assert "25 frames a second are taken" in data.notes


def test_given_splits_and_videos_elsewhere(put: Put, tmp_path: Path) -> None:
    root = put(*(f"videos/{name}" for name in FILES))
    splits = ["train", "training", "VAL", "calibration", "test", "testing"]
    rows = [f"{i}.mp4,{'ab'[i % 2]},{s}" for i, s in enumerate(splits)]
    path = table(root, *rows, header="path,label,split")
    data = read_dataset(path, videos=root / "videos")
    assert {s: len(part) for s, part in data.samples.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }


def test_stretches_of_one_file_are_never_parted(put: Put) -> None:
    rows = [f"{f}.mp4,{'ab'[k % 2]},{k},{k + 1}" for f in range(6) for k in range(4)]
    data = read_dataset(table(put(*FILES), *rows, header="path,label,start,end"))
    files = {s: {x.path for x in part} for s, part in data.samples.items()}
    assert sum(map(len, files.values())) == 6
    assert "what is of one file" in data.how_split


def test_a_sample_opens_as_its_stretch(tmp_path: Path) -> None:
    for i in range(6):
        make_clip(tmp_path / f"{i}.mp4", num_frames=50)
    rows = [f"{i}.mp4,{'ab'[i % 2]},0.4,1.2" for i in range(6)]
    data = read_dataset(table(tmp_path, *rows, header="path,label,start,end"))
    source = open_sample(data.samples["test"][0], kind=data.kind)
    assert source.info.duration_seconds == pytest.approx(0.8)
    source.plan(Plan(times=(0.0, 0.4, 5.0)))
    looked, seconds = source.look(Look(times=(0.0, 0.4, 5.0), view=Canvas(height=48, width=80)))
    assert [read_number(row) for row in looked] == [10, 20, 29]
    assert np.allclose(seconds, (0.0, 0.4, 0.76))
    source.close()


MISTAKES = [
    ("gone.mp4,run", "labels.csv row 8: no file gone.mp4"),
    ("0.mp4,", "labels.csv row 8: no label"),
    (",run", "labels.csv row 8: no path"),
    ("0.mp4,jump", "labels.csv row 8: the same file and stretch as labels.csv row 2"),
    ("0.mp4,run", "labels.csv row 8: the same file under two labels: 'run' here and 'jump' in"),
    ("./0.mp4,run", "labels.csv row 8: the same file under two labels"),
    ("6.mp4,Run", "differ only in case or space"),
    ("6.mp4,run,7", "labels.csv row 8: 3 fields, but the header names 2"),
    ('6.mp4,"run', "labels.csv row 8: cannot be read"),
    ("http://x.org/a.mp4,run", "is a URL; download it first"),
    ("6\0.mp4,run", "labels.csv row 8"),
    ("bare,run", "labels.csv row 8: the folder bare holds no picture"),
    ("pipe.mp4,run", "labels.csv row 8: pipe.mp4 is not an ordinary file"),
    ("folder,run", "labels.csv row 8: .*folder is a folder of frames, other rows are videos"),
]


@pytest.mark.parametrize(("row", "message"), MISTAKES)
def test_a_mistake_is_named_with_its_row(put: Put, row: str, message: str) -> None:
    root = put(*FILES, "6.mp4")
    (root / "folder").mkdir()
    (root / "folder" / "1.png").touch()
    (root / "bare").mkdir()
    os.mkfifo(root / "pipe.mp4")
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(table(root, *plain(), row))
    assert "\n" not in str(caught.value)


STRETCHES = [
    ("6.mp4,run,2,1,", "row 8: start 2 is not before end 1"),
    ("6.mp4,run,1,1,", "row 8: start 1 is not before end 1"),
    ("6.mp4,run,-1,1,", "row 8: start '-1' is no time in seconds"),
    ("6.mp4,run,nan,1,", "row 8: start 'nan' is no time in seconds"),
    ("6.mp4,run,,x,", "row 8: end 'x' is no time in seconds"),
    ("6.mp4,run,,,vla", r"row 8: no split 'vla' \(did you mean 'val'\?\)"),
    ("6.mp4,run,,,", "row 8: no split, but other rows have one"),
    ("0.mp4,jump,1,2,test", r"row 8: the file is in test and in train \(labels.csv row 2\)"),
    ("6.mp4,new,,,test", "row 8: class 'new' is in test but not in train"),
]


@pytest.mark.parametrize(("row", "message"), STRETCHES)
def test_a_mistake_of_time_or_split_is_named(put: Put, row: str, message: str) -> None:
    rows = [f"{line},,,train" for line in plain()]
    path = table(put(*FILES, "6.mp4"), *rows, row, header="path,label,start,end,split")
    with pytest.raises(DataError, match=message):
        read_dataset(path)


def test_a_given_group_in_two_splits_is_a_leak(put: Put) -> None:
    rows = [f"{i}.mp4,{'ab'[i % 2]},g{i % 2},{'test' if i > 3 else 'train'}" for i in range(6)]
    with pytest.raises(DataError, match=r"row 6: group .*g0' is in test and in train"):
        read_dataset(table(put(*FILES), *rows, header="path,label,group,split"))


def test_labels_are_held_to_classes_txt(put: Put) -> None:
    root = put(*FILES)
    (root / "classes.txt").write_text("jump\nrun\n")
    rows = plain(5)
    with pytest.raises(DataError, match=r"row 7: no class 'jmup' \(did you mean 'jump'\?\)"):
        read_dataset(table(root, *rows, "5.mp4,jmup"))
    numbers = [f"{i}.mp4,{i % 2}" for i in range(5)]
    with pytest.raises(DataError, match=r"row 7: label 2 is out of range \(0 to 1\)"):
        read_dataset(table(root, *numbers, "5.mp4,2"))
    (root / "classes.txt").write_text("jump\nrun\nfly\n")
    with pytest.raises(DataError, match="this class has no sample: fly"):
        read_dataset(table(root, *plain()))
    (root / "classes.txt").write_text("jump\nrun\njump\n")
    with pytest.raises(DataError, match=r"classes.txt row 3: 'jump' again"):
        read_dataset(table(root, *plain()))


def test_numbers_without_names_count_from_0(put: Put) -> None:
    root = put(*FILES)
    with pytest.raises(DataError, match="this class has no sample: 0"):
        read_dataset(table(root, *(f"{i}.mp4,{1 + i % 2}" for i in range(6))))
    with pytest.raises(DataError, match="row 2: label 1000000 is out of range"):
        read_dataset(table(root, "0.mp4,1000000", "1.mp4,1"))
    with pytest.raises(DataError, match="row 4: label 'run' is a name, others are numbers"):
        read_dataset(write_mixed(root))


def write_mixed(root: Path) -> Path:
    path = root / "mixed.jsonl"
    labels = [0, 1, 0, "run"]
    path.write_text(
        "\n".join(json.dumps({"path": f"{i}.mp4", "label": k}) for i, k in enumerate(labels))
    )
    return path


def test_ten_problems_are_spelt_out_and_the_others_counted(put: Put) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(table(put(*FILES), *(f"gone{i}.mp4,run" for i in range(25))))
    assert caught.value.message.count("no file") == 10
    assert caught.value.message.endswith("; and 15 more")
    assert len(caught.value.problems) == 25


def test_what_is_no_list_is_refused(put: Put) -> None:
    root = put(*FILES)
    with pytest.raises(DataError, match=r"labels.csv row 1: no column path and no column label"):
        read_dataset(table(root, *plain(), header="0.mp4,jump"))
    with pytest.raises(DataError, match="no row in it"):
        read_dataset(table(root))
    (root / "bytes.csv").write_bytes(b"path,label\n0.mp4,caf\xe9\n")
    with pytest.raises(DataError, match=r"bytes.csv row 2: not UTF-8"):
        read_dataset(root / "bytes.csv")
    (root / "empty.csv").touch()
    with pytest.raises(DataError, match=r"empty.csv"):
        read_dataset(root / "empty.csv")
    (root / "list.jsonl").write_text('{"path": "0.mp4", "label": "a"}\n[1]\n{bad\n')
    with pytest.raises(DataError, match=r"row 2: not a JSON object; list.jsonl row 3: not a JSON"):
        read_dataset(root / "list.jsonl")
    with pytest.raises(DataError, match="not a list of videos that is known"):
        read_dataset(root / "0.mp4")


def test_unknown_columns_and_lonely_classes_are_said(put: Put) -> None:
    root = put(*FILES, "6.mp4")
    rows = [f"{line},x" for line in (*plain(), "6.mp4,jmup")]
    data = read_dataset(table(root, *rows, header="path,label,remark"))
    assert any("passed over: remark" in note for note in data.notes)
    assert any("only one sample of: jmup (did you mean 'jump'?)" in note for note in data.notes)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (1.0, 0.0, 0.1)])
def test_options_out_of_range_are_refused(put: Put, shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shares must be three positive numbers"):
        read_dataset(put("a/1.mp4"), shares=shares)


def test_the_name_of_a_class_is_taken_where_its_number_stands_too(tmp_path: Path) -> None:
    for _ in write_videos(tmp_path / "hay", find("salient-frames-v1"), split="train", count=9):
        pass
    data = read_dataset(tmp_path / "hay" / "train")
    assert data.name == "train"
    assert not any(name.isdigit() for name in data.class_names)
    for samples in data.samples.values():
        for one in samples:
            folder = Path(one.path).parent.name
            assert data.class_names[one.label].replace(" ", "-") == folder
