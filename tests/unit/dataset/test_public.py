"""The lists of public data sets, in miniature and in their own format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.dataset import DataError, Dataset, Sample, open_sample, read_dataset
from foveal.dataset.public import VideoIndex, split_in
from tests.helpers_video import make_clip

Put = Callable[..., Path]


def sizes(data: Dataset) -> dict[str, int]:
    return {split: len(part) for split, part in data.samples.items()}


def everything(data: Dataset) -> list[Sample]:
    return [sample for part in data.samples.values() for sample in part]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def video_id(number: int) -> str:
    return f"-{number:09d}_"


# --- Kinetics -------------------------------------------------------------------------------


def kinetics(root: Path, *, missing: int = 0) -> Path:
    """12 training videos and 4 for validation of 2 classes, 2 without label; returns train.csv."""
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    classes = ["air drumming", "abseiling"]

    def lines(name: str, numbers: range) -> list[str]:
        return [f'"{classes[n % 2]}",{video_id(n)},{n},{n + 10},{name},0' for n in numbers]

    write(root / "validate.csv", "\n".join([header, *lines("validate", range(20, 24))]))
    test = [f"{video_id(n)},{n},{n + 10},test" for n in (30, 31)]
    write(root / "test.csv", "\n".join(["youtube_id,time_start,time_end,split", *test]))
    for n in [*range(missing, 12), *range(20, 24), 30, 31]:
        folder = root / "clips" / classes[n % 2].replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{video_id(n)}_{n:06d}_{n + 10:06d}.mp4").write_bytes(b"x" * (n + 1))
    return write(root / "train.csv", "\n".join([header, *lines("train", range(12))]))


def test_kinetics_with_decay_and_without_test_labels(tmp_path: Path) -> None:
    data = read_dataset(kinetics(tmp_path, missing=3))
    assert data.class_names == ("abseiling", "air drumming")
    assert sizes(data)["test"] == 4
    assert sum(sizes(data).values()) == 13
    assert data.notes[0] == "read as Kinetics (train.csv, validate.csv, test.csv)"
    assert "13 of 16 listed files are here; the others are left out" in data.notes
    assert "2 listed videos have no label and are left out" in data.notes
    assert "the given validation stands for it" in data.how_split
    assert all(sample.start_seconds is None for sample in everything(data))
    assert everything(data)[0].group is not None
    assert read_dataset(tmp_path).samples == data.samples


def test_a_video_that_kinetics_has_in_two_splits_is_said(tmp_path: Path) -> None:
    path = kinetics(tmp_path)
    again = write(tmp_path / "clips" / f"{video_id(0)}_000090_000099.mp4", "y")
    with open(tmp_path / "validate.csv", "a") as file:
        file.write(f"\nair drumming,{video_id(0)},90,99,validate,0")
    data = read_dataset(path)
    assert again.name in {Path(s.path).name for s in data.samples["test"]}
    assert any("1 of 16 groups stand in more than one of the given" in n for n in data.notes)


def test_kinetics_with_too_many_files_missing_is_refused(tmp_path: Path) -> None:
    path = kinetics(tmp_path, missing=11)
    with pytest.raises(DataError, match=r"train.csv: 11 of 16 listed files are not below"):
        read_dataset(path)


def test_a_whole_video_of_kinetics_is_windowed_and_a_cut_one_is_not(tmp_path: Path) -> None:
    rows = ["label,youtube_id,time_start,time_end,split"]
    for n in range(6):
        rows.append(f"{'ab'[n % 2]},{video_id(n)},1,2,train")
        length = 75 if n < 4 else 25
        make_clip(tmp_path / f"{video_id(n)}.mp4", num_frames=length, width=64, height=48)
    data = read_dataset(write(tmp_path / "kinetics.csv", "\n".join(rows)))
    spans = {Path(s.path).stem: (s.start_seconds, s.end_seconds) for s in everything(data)}
    assert [spans[video_id(n)] for n in range(6)] == [(1.0, 2.0)] * 4 + [(None, None)] * 2
    source = open_sample(everything(data)[0], kind=data.kind)
    assert source.info.duration_seconds == pytest.approx(1.0)
    source.close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,id,x,2,train", "kinetics.csv row 2: time_start and time_end are no seconds"),
        ("a,id,5,2,train", "kinetics.csv row 2: no youtube_id, or a stretch that does not end"),
        (",id,5,7,train", "no sample in it"),
    ],
)
def test_broken_rows_of_kinetics_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "kinetics.csv", f"label,youtube_id,time_start,time_end,split\n{line}")
    with pytest.raises(DataError, match=message):
        read_dataset(path)


# --- ActivityNet, THUMOS14 ------------------------------------------------------------------


def activitynet(root: Path) -> Path:
    database: dict[str, object] = {}
    for n in range(8):
        segments = [
            {"label": "falling", "segment": [1.0, 2.5]},
            {"label": "walk", "segment": [2.5, 4]},
        ]
        subset = "training" if n < 6 else "validation"
        database[f"id{n}"] = {"subset": subset, "duration": 9.5, "annotations": segments}
    odd = database["id0"]["annotations"]  # type: ignore[index]
    odd += [{"label": "walk", "segment": [3, 3]}, {"label": "walk", "segment": [12, 14]}]
    odd += [{"label": "walk", "segment": [1.0, 2.5]}, {"label": "walk", "segment": [2.5, 4]}]
    database["hidden"] = {"subset": "testing", "annotations": []}
    return write(root / "activity_net.json", {"version": "1.3", "database": database})


def test_activitynet(put: Put) -> None:
    root = put("v_id0.mp4", *(f"deep/id{n}.mkv" for n in range(1, 7)))
    data = read_dataset(activitynet(root))
    assert data.class_names == ("falling", "walk")
    assert sizes(data) == {"train": 10, "validation": 2, "test": 2}
    assert "7 of 8 listed files are here; the others are left out" in data.notes
    assert "1 listed videos have no label and are left out" in data.notes
    assert any(note.startswith("2 stretches that end before they begin") for note in data.notes)
    assert "2 repeated rows were left out, 1 of them with a second label" in data.notes
    first = next(s for s in everything(data) if "id0 segment 1" in s.where)
    assert (first.start_seconds, first.end_seconds) == (1.0, 2.5)
    assert first.path.endswith("v_id0.mp4")
    files = {split: {s.path for s in part} for split, part in data.samples.items()}
    assert sum(map(len, files.values())) == 7


def test_whole_videos_of_activitynet_have_the_labels_of_all_their_stretches(put: Put) -> None:
    root = put("v_id0.mp4", *(f"deep/id{n}.mkv" for n in range(1, 7)))
    path = activitynet(root)
    data = json.loads(path.read_text())
    data["database"]["id3"]["annotations"] = [{"label": "walk", "segment": [0, 9]}] * 2
    write(path, data)
    data = read_dataset(path, format="activitynet-videos")
    assert data.several
    assert sizes(data) == {"train": 5, "validation": 1, "test": 1}
    found = {Path(one.path).stem: one for one in everything(data)}
    assert data.names_of(found["v_id0"]) == data.names_of(found["id5"]) == ("falling", "walk")
    assert data.names_of(found["id3"]) == ("walk",)
    assert found["id3"].where == "activity_net.json id3"
    assert {(one.start_seconds, one.end_seconds) for one in found.values()} == {(None, None)}
    assert "read as ActivityNet's JSON of whole videos" in data.notes


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"subset": "train", "annotations": [{"label": "a"}]}, "x.json one segment 1: no label"),
        ({"subset": "tests", "annotations": []}, r"x.json one: no subset that is known \(tests\)"),
        ([], "x.json one: not an entry with annotations"),
    ],
)
def test_broken_entries_of_activitynet_are_named(
    tmp_path: Path, entry: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(write(tmp_path / "x.json", {"database": {"one": entry}}))


def test_thumos14_trains_on_its_validation(put: Put) -> None:
    names = [f"video_validation_{n:07d}" for n in range(6)]
    tests = [f"video_test_{n:07d}" for n in range(2)]
    root = put(*(f"videos/{name}.mp4" for name in (*names, *tests)))
    for label, start in (("Diving", 1.0), ("CliffDiving", 1.0), ("Ambiguous", 9.0)):
        for use, videos in (("val", names), ("test", tests)):
            lines = "\n".join(f"{v}  {start + i} {start + i + 2.5}" for i, v in enumerate(videos))
            write(root / "annotation" / f"{label}_{use}.txt", lines + "\n")
    write(root / "annotation" / "GolfSwing_val.txt", "\n".join(f"{v} 20.5 21" for v in names))
    data = read_dataset(root)
    assert data.class_names == ("CliffDiving", "Diving", "GolfSwing")
    assert {s.label for s in everything(data)} == {0, 2}  # Diving has the same stretches
    assert sizes(data) == {"train": 10, "validation": 2, "test": 2}
    assert "8 stretches marked ambiguous were passed over" in data.notes
    assert "nothing is marked for training, so the validation videos are" in data.notes


# --- Something-Something, Diving48 ------------------------------------------------------------


def test_something_something(put: Put) -> None:
    root = put(*(f"videos/{n}.webm" for n in range(14)))
    templates = ["Putting [something] on [something]", "[Something] falling like a feather"]
    labels = root / "labels"

    def entries(numbers: range) -> list[dict[str, object]]:
        return [
            {"id": str(n), "label": "x", "template": templates[n % 2], "placeholders": ["y"]}
            for n in numbers
        ]

    stem = "something-something-v2"
    train = write(labels / f"{stem}-train.json", entries(range(10)))
    write(labels / f"{stem}-validation.json", entries(range(10, 14)))
    write(labels / f"{stem}-test.json", [{"id": "99"}])
    names = {"Something falling like a feather": "0", "Putting something on something": "1"}
    write(labels / f"{stem}-labels.json", names)
    data = read_dataset(train, videos=root / "videos")
    assert data.class_names == tuple(names)
    assert {s.label for s in everything(data) if s.path.endswith("/4.webm")} == {1}
    assert sizes(data)["test"] == 4
    assert "1 listed videos have no label and are left out" in data.notes
    assert read_dataset(root).samples == data.samples
    write(train, [*entries(range(9)), {"id": "9", "template": "Puting [something] on [something]"}])
    with pytest.raises(DataError, match=r"entry 10: no class .* \(did you mean 'Putting some"):
        read_dataset(train, videos=root / "videos")


def test_diving48(put: Put) -> None:
    root = put(*(f"rgb/{video_id(n // 2)}_{n % 2:05d}.mp4" for n in range(12)))

    def entries(numbers: range) -> list[dict[str, object]]:
        return [
            {
                "vid_name": f"{video_id(n // 2)}_{n % 2:05d}",
                "label": n // 2 % 2,
                "start_frame": 0,
                "end_frame": 48,
            }
            for n in numbers
        ]

    train = write(root / "Diving48_V2_train.json", entries(range(8)))
    write(root / "Diving48_V2_test.json", entries(range(8, 12)))
    vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]]
    write(root / "Diving48_vocab.json", vocabulary)
    data = read_dataset(root)
    assert data.class_names == ("Back 15som 05Twis FREE", "Back 15som 15Twis FREE")
    assert sizes(data) == {"train": 6, "validation": 2, "test": 4}
    assert "validation was taken from train by group (the video each clip" in data.how_split
    write(train, [*entries(range(7)), {"vid_name": f"{video_id(3)}_00001", "label": 2}])
    with pytest.raises(DataError, match=r"entry 8: label 2 is out of range \(0 to 1\)"):
        read_dataset(train)


def test_a_later_start_frame_of_diving48_becomes_seconds(tmp_path: Path) -> None:
    entries = []
    for n in range(6):
        make_clip(tmp_path / f"{n}.mp4", num_frames=40, width=64, height=48)
        entries.append({"vid_name": str(n), "label": n % 2, "start_frame": 10, "end_frame": 30})
    data = read_dataset(write(tmp_path / "clips.json", entries))
    spans = {(s.start_seconds, s.end_seconds) for s in everything(data)}
    assert spans == {(0.4, 1.2)}


# --- UCF101, HMDB51 ---------------------------------------------------------------------------


def ucf(put: Put) -> Path:
    classes = ("ApplyEyeMakeup", "YoYo")
    root = put(
        *(
            f"{name}/v_{name}_g{g:02d}_c{c:02d}.avi"
            for name in classes
            for g in range(1, 7)
            for c in (1, 2)
        )
    )
    write(root / "ucfTrainTestlist" / "classInd.txt", "1 ApplyEyeMakeup\r\n2 YoYo\r\n")
    for fold, held in (("01", (1, 2)), ("02", (3, 4))):
        train, test = [], []
        for number, name in enumerate(classes, start=1):
            for g in range(1, 7):
                for c in (1, 2):
                    line = f"{name}/v_{name}_g{g:02d}_c{c:02d}.avi"
                    (test.append(line) if g in held else train.append(f"{line} {number}"))
        write(root / "ucfTrainTestlist" / f"trainlist{fold}.txt", "\n".join(train))
        write(root / "ucfTrainTestlist" / f"testlist{fold}.txt", "\n".join(test))
    return root


def test_ucf101(put: Put) -> None:
    root = ucf(put)
    data = read_dataset(root)
    assert data.class_names == ("ApplyEyeMakeup", "YoYo")
    assert sizes(data)["test"] == 8
    assert {s.group.split("_")[1] for s in data.samples["test"] if s.group} == {"01", "02"}
    groups = [{s.group for s in part} for part in data.samples.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 12
    second = read_dataset(root / "ucfTrainTestlist" / "trainlist02.txt", videos=root)
    assert {s.group.split("_")[1] for s in second.samples["test"] if s.group} == {"03", "04"}


def test_broken_lists_of_ucf101_are_named(put: Put) -> None:
    root = ucf(put)
    lists = root / "ucfTrainTestlist"
    write(lists / "testlist01.txt", "YoYi/v_YoYo_g01_c01.avi\nYoYo/v_YoYo_g01_c01.avi 7\n")
    with pytest.raises(DataError) as caught:
        read_dataset(root)
    assert caught.value.problems == (
        "testlist01.txt row 1: no class 'YoYi' (did you mean 'YoYo'?)",
        "testlist01.txt row 2: 'YoYo' is number 2, not 7",
    )
    write(lists / "classInd.txt", "0 ApplyEyeMakeup\n1 YoYo\n")
    with pytest.raises(DataError, match=r"classInd.txt row 1: not '1 <class>'"):
        read_dataset(root)


def test_hmdb51(put: Put) -> None:
    movies = ["Crash", "The_Fugitive", "Troy", "Oceans12", "Jumper", "Fellowship_4"]
    uses = [1, 1, 1, 1, 2, 0]

    def file(movie: str, action: str, number: int) -> str:
        return f"{movie}_{action}_f_cm_np1_fr_med_{number}.avi"

    clips = [(m, a, n) for m in movies for a in ("brush_hair", "wave") for n in (0, 1)]
    root = put(*(f"{a}/{file(m, a, n)}" for m, a, n in clips))
    for action in ("brush_hair", "wave"):
        for fold in (1, 2):
            order = uses if fold == 1 else uses[::-1]
            lines = [
                f"{file(m, action, n)} {use} "
                for m, use in zip(movies, order, strict=True)
                for n in (0, 1)
            ]
            write(root / "splits" / f"{action}_test_split{fold}.txt", "\n".join(lines))
    data = read_dataset(root)
    assert data.class_names == ("brush_hair", "wave")
    assert sizes(data) == {"train": 12, "validation": 4, "test": 4}
    assert {s.group for s in data.samples["test"]} == {"Jumper"}
    assert len({s.group for s in data.samples["validation"]}) == 1
    assert "4 files belong to neither side of this split" in data.notes
    other = read_dataset(root / "splits" / "wave_test_split2.txt", videos=root)
    assert {s.group for s in other.samples["test"]} == {"The_Fugitive"}
    write(root / "splits" / "wave_test_split1.txt", "a.avi 3\n")
    with pytest.raises(DataError, match=r"wave_test_split1.txt row 1: not '<file> <0, 1 or 2>'"):
        read_dataset(root)


# --- what they share --------------------------------------------------------------------------


def test_an_index_finds_nothing_outside_its_folder(put: Put) -> None:
    root = put("videos/a b/x.mp4", "videos/c/x.mp4", "secret.mp4", "videos/.h.mp4")
    index = VideoIndex(root / "videos")
    assert index.find("x") == root / "videos" / "a b" / "x.mp4"
    assert index.find("x", near=("C",)) == root / "videos" / "c" / "x.mp4"
    assert index.find("x", near=("a_b",)) == root / "videos" / "a b" / "x.mp4"
    for name in ("../secret", "secret", str(root / "secret"), ".h", "", "\0"):
        assert index.find(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("kinetics_train.csv", "train"),
        ("Diving48_V2_test.json", "test"),
        ("something-something-v2-validation.json", "validation"),
        ("latest_annotations.json", None),
        ("values.csv", None),
    ],
)
def test_the_split_in_a_name(name: str, split: str | None) -> None:
    assert split_in(name) == split


def test_a_wrong_format_is_refused_in_one_line(put: Put) -> None:
    root = put("a/1.mp4", "b/1.mp4")
    listed = write(root / "list.json", [{"id": "1"}])
    formats = Counter[str]()
    for format in ("ucf101", "hmdb51", "activitynet", "kinetics", "features", "diving48", "csv"):
        with pytest.raises(DataError) as caught:
            read_dataset(listed, format=format)  # type: ignore[arg-type]
        assert "\n" not in caught.value.message
        formats[format] += 1
    assert formats.total() == 7


def test_stray_files_beside_class_folders_do_not_matter(put: Put) -> None:
    root = put(*(f"{c}/{c}{i}.mp4" for c in "ab" for i in range(3)))
    write(root / "notes.csv", "day,weather\n1,rain\n")
    write(root / "broken.json", "{")
    write(root / "settings.json", {"a": 1})
    assert read_dataset(root).notes[0] == "read as class folders of videos"
