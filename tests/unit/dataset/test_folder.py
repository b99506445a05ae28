"""Class folders, with and without splits, of videos or of frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.dataset import DataError, Dataset, open_sample, read_dataset
from tests.helpers_video import make_clip

Put = Callable[..., Path]


def names(data: Dataset) -> dict[str, list[str]]:
    return {split: [s.where for s in part] for split, part in data.samples.items()}


def numbered(label: str, count: int) -> list[str]:
    return [f"{label}/{label}{i}.mp4" for i in range(count)]


def test_a_folder_is_a_class_at_any_depth(put: Put) -> None:
    root = put(*numbered("jump", 5), *numbered("run", 4), "run/deeper/still/run9.mp4")
    data = read_dataset(root)
    assert data.class_names == ("jump", "run")
    assert data.kind == "video"
    assert len(data) == 10
    assert any("run/deeper/still/run9.mp4" in part for part in names(data).values())
    assert "no groups found" in data.how_split
    assert all(data.samples[split] for split in ("train", "validation", "test"))
    assert data.notes == ("read as class folders of videos",)


def test_what_is_no_video_is_passed_over_and_counted(put: Put) -> None:
    root = put(*numbered("a", 3), *numbered("b", 3), "loose.mp4", "a/.hidden.mp4", ".git/x.mp4")
    (root / "a" / "readme.txt").write_text("x")
    (root / "b" / "thumb.jpg").write_text("x")
    data = read_dataset(root)
    assert len(data) == 6
    assert any("1 .txt" in note and "1 .jpg" in note for note in data.notes)
    assert any("1 video lies outside" in note for note in data.notes)


def test_split_folders_are_kept(put: Put) -> None:
    root = put("train/a/1.mp4", "train/b/2.mp4", "VAL/a/3.mp4", "test/b/4.mp4")
    data = read_dataset(root)
    assert names(data) == {
        "train": ["train/a/1.mp4", "train/b/2.mp4"],
        "validation": ["VAL/a/3.mp4"],
        "test": ["test/b/4.mp4"],
    }
    assert data.how_split.startswith("as given (train 2, validation 1, test 1)")
    assert "1 class is not in validation: b" in data.notes
    assert "1 class is not in test: a" in data.notes


def test_a_missing_validation_is_taken_from_train(put: Put) -> None:
    train = [f"train/{c}/{c}_{i}.mp4" for c in "ab" for i in range(6)]
    root = put(*train, "test/a/x.mp4", "test/b/y.mp4")
    data = read_dataset(root)
    assert names(data)["test"] == ["test/a/x.mp4", "test/b/y.mp4"]
    assert len(data.samples["validation"]) == 2
    assert {s.label for s in data.samples["train"]} == {0, 1}
    assert "validation was taken from train" in data.how_split


def test_a_given_validation_stands_for_a_missing_test(put: Put) -> None:
    train = [f"train/{c}/{c}_{i}.mp4" for c in "ab" for i in range(6)]
    data = read_dataset(put(*train, "val/a/x.mp4", "val/b/y.mp4"))
    assert names(data)["test"] == ["val/a/x.mp4", "val/b/y.mp4"]
    assert "the given validation stands for it" in data.how_split


def test_subjects_are_read_off_the_names(put: Put) -> None:
    people = [f"p{i:02d}" for i in range(9)]
    root = put(*(f"{c}/{p}_{c}.mp4" for c in ("bend", "jump") for p in people))
    data = read_dataset(root)
    groups = {split: {s.group for s in part} for split, part in data.samples.items()}
    assert {split: len(found) for split, found in groups.items()} == {
        "train": 6,
        "validation": 1,
        "test": 2,
    }
    assert not groups["train"] & groups["test"]
    assert "before the first _" in data.how_split
    assert "none shared" in data.how_split


def test_reading_twice_gives_the_same(put: Put) -> None:
    root = put(*numbered("a", 9), *numbered("b", 9))
    assert read_dataset(root) == read_dataset(root)
    assert names(read_dataset(root)) != names(read_dataset(root, seed=1))


def test_frame_folders_are_clips(tmp_path: Path) -> None:
    for label in "ab":
        for clip in ("c0", "c1", "c2"):
            folder = tmp_path / label / f"{label}{clip}"
            folder.mkdir(parents=True)
            for i in range(3):
                make_clip(
                    folder / f"{i}.png",
                    codec="png",
                    num_frames=1,
                    pix_fmt="rgb24",
                    container="image2",
                    container_options={"update": "1"},
                )
    data = read_dataset(tmp_path, frame_rate=10)
    assert data.kind == "frames"
    assert len(data) == 6
    source = open_sample(data.samples["train"][0], kind=data.kind)
    assert source.info.num_frames == 3
    assert source.info.duration_seconds == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no folder of a class in it"),
        (["a.mp4"], "no folder of a class in it"),
        (["a/1.mp4", "a/2.mp4"], "only one class"),
        (["a/1.mp4", "b/1.mp4"], "2 files are too few"),
        (["train/a/1.mp4", "test/b/2.mp4"], "test/b/2.mp4: class 'b' is in test but not in train"),
        (["test/a/1.mp4", "test/b/2.mp4"], "no row is for training"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(put: Put, files: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(put(*files))
    assert "\n" not in str(caught.value)


def test_an_empty_class_is_named(put: Put) -> None:
    root = put(*numbered("a", 3))
    (root / "b").mkdir()
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert caught.value.problems == ("b: no video in this class folder",)


def test_empty_files_are_broken_videos_and_no_mistake_of_the_folder(put: Put) -> None:
    """Training meets them and lives with them; two of them are no copies of each other."""
    root = put(*numbered("a", 3), *numbered("b", 3))
    for label in ("a", "b"):
        (root / label / "zero.mp4").touch()
    data = read_dataset(root)
    assert len(data) == 8
    assert not any("copies" in note for note in data.notes)


def test_a_link_to_the_same_file_in_two_classes_is_found(put: Put) -> None:
    root = put(*numbered("a", 3), *numbered("b", 3))
    (root / "b" / "again.mp4").symlink_to(root / "a" / "a0.mp4")
    with pytest.raises(DataError, match="same file under two labels: 'b' here and 'a' in a/a0"):
        read_dataset(root)


def test_hostile_names_stay_on_one_line(put: Put) -> None:
    root = put("a\n\x1b[31m/1.mp4", "b/1.mp4")
    with pytest.raises(DataError) as caught:
        read_dataset(root / "nothing\nhere")
    assert "\n" not in caught.value.message
    (root / "c\x07").mkdir()
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert caught.value.message == "c\\x07: no video in this class folder"


def test_a_name_that_is_not_utf8_is_refused(put: Put) -> None:
    root = put("a/1.mp4", "b/1.mp4")
    (Path(str(root)) / "b" / b"\xff.mp4".decode(errors="surrogateescape")).write_bytes(b"x")
    with pytest.raises(DataError, match="the name is not UTF-8"):
        read_dataset(root)


def test_copies_stay_together_and_are_no_leak(put: Put) -> None:
    root = put(*numbered("a", 6), *numbered("b", 6))
    for i in range(5):
        (root / "a" / f"copy{i}.mp4").write_bytes((root / "a" / "a0.mp4").read_bytes())
    data = read_dataset(root)
    (side,) = [found for found in names(data).values() if any("copy" in where for where in found)]
    assert {"a/a0.mp4", *(f"a/copy{i}.mp4" for i in range(5))} <= set(side)
    assert any("5 files are copies of others" in note for note in data.notes)
    (root / "b" / "copy.mp4").write_bytes((root / "a" / "a1.mp4").read_bytes())
    with pytest.raises(DataError, match=r"b/copy.mp4: a copy of a/a1.mp4 under another label"):
        read_dataset(root)


def test_a_copy_in_another_split_is_a_leak(put: Put) -> None:
    root = put("train/a/1.mp4", "train/b/2.mp4", "val/a/3.mp4", "test/b/4.mp4")
    (root / "test" / "a").mkdir()
    (root / "test" / "a" / "5.mp4").write_bytes((root / "train" / "a" / "1.mp4").read_bytes())
    with pytest.raises(DataError, match=r"in train, but a copy of test/a/5.mp4 in test"):
        read_dataset(root)


def test_groups_in_names_that_given_splits_part_are_said(put: Put) -> None:
    files = [f"{s}/{c}/p{i}_{c}.mp4" for s in ("train", "val", "test") for c in "ab" for i in "123"]
    data = read_dataset(put(*files))
    assert any("3 of 3 groups stand in more than one of the given" in n for n in data.notes)


# --- a list beside the folders ------------------------------------------------------------------


def test_a_list_beside_class_folders_is_said_to_be_what_is_read(put: Put) -> None:
    root = put(*numbered("jump", 6), *numbered("run", 6))
    rows = [f"jump/jump{i}.mp4,{'up' if i % 2 else 'down'},0,0.1" for i in range(6)]
    (root / "marks.csv").write_text("\n".join(["path,label,start,end", *rows]))
    data = read_dataset(root)
    assert data.class_names == ("down", "up")
    assert data.notes[0] == (
        "marks.csv says which clips there are and what they show, 6 of its 6 clips cut by start "
        "and end; the folders beside it (jump, run) are not taken as classes (6 of their 12 clips "
        "are in the list), which --format folder would do"
    )
    folders = read_dataset(root, format="folder")
    assert folders.class_names == ("jump", "run")
    assert not any("marks.csv" in note for note in folders.notes)


def test_a_list_alone_or_named_has_no_such_note(put: Put) -> None:
    root = put(*(f"{i}.mp4" for i in range(6)))
    rows = [f"{i}.mp4,{'up' if i % 2 else 'down'}" for i in range(6)]
    (root / "marks.csv").write_text("\n".join(["path,label", *rows]))
    assert not any("beside" in note for note in read_dataset(root).notes)
    put(*numbered("jump", 6))
    assert any("beside" in note for note in read_dataset(root).notes)
    assert not any("beside" in note for note in read_dataset(root / "marks.csv").notes)


def test_mistakes_in_such_a_list_say_how_the_folders_are_taken(put: Put) -> None:
    root = put(*numbered("jump", 6), *numbered("run", 6))
    (root / "marks.csv").write_text("path,label\ngone.mp4,jump\n")
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert "no file gone.mp4" in caught.value.message
    assert "take the folders beside it as classes with --format folder" in caught.value.hint
    (root / "marks.csv").write_text("path,label\njump/jump1.mp4,jump\n")
    with pytest.raises(DataError, match="only one class") as caught:
        read_dataset(root)
    assert "--format folder" in caught.value.hint
    assert len(read_dataset(root, format="folder")) == 12


def test_frame_folders_beside_a_list_count_too(tmp_path: Path) -> None:
    from foveal.dataset.beside import folders_beside

    picture = tmp_path / "jump" / "clip1" / "0001.jpg"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"x")
    assert folders_beside(tmp_path / "marks.csv", tmp_path) == {"jump": 1}
    assert folders_beside(tmp_path, tmp_path) == {}
