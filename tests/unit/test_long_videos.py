"""Long videos: one action at a known place, distractors around it, keyframes at fixed places."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers_video import make_clip

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TOLD = [
    {"train": ["ann"], "calibration": ["eve"], "test": ["bob", "cid"]},
    {"train": ["bob", "cid"], "calibration": ["eve"], "test": ["ann"]},
]
PEOPLE = ("ann", "bob", "cid", "eve")
NUM_FRAMES = {"run": 16, "wave1": 40}


@pytest.fixture(scope="module")
def long():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import long_videos

        yield long_videos
        sys.modules.pop("long_videos")
        sys.modules.pop("untrim_weizmann")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of two actions of four people, five tricks and four other clips."""
    folder = tmp_path_factory.mktemp("data")
    for name, num_frames in NUM_FRAMES.items():
        (folder / "weizmann" / name).mkdir(parents=True)
        for person in PEOPLE:
            path = folder / "weizmann" / name / f"{person}_{name}.avi"
            make_clip(path, codec="mpeg4", num_frames=num_frames, width=80, height=64)
    for sub, count in (("skateboard/Ollie", 5), ("clips", 4)):
        (folder / sub).mkdir(parents=True)
        for number in range(count):
            make_clip(folder / sub / f"{sub[0]}{number}.mp4", num_frames=30, width=64, height=80)
    return folder


@pytest.fixture(scope="module")
def kind(long):
    return long.Kind(seconds=12, height=64, width=80, every=2, who="everybody", variants=2)


@pytest.fixture(scope="module")
def made(long, data, kind, tmp_path_factory):
    return long.make(data, tmp_path_factory.mktemp("made"), "k", told=TOLD, kind=kind)


def lines_of(truth):
    with truth.open(newline="") as file:
        return list(csv.DictReader(file))


def frames_of(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_every_clip_gives_every_variant_of_the_same_length(made, kind):
    lines = lines_of(made)
    assert [line["path"] for line in lines] == sorted(
        f"{name}/{person}_{variant}.mp4"
        for name in NUM_FRAMES
        for person in PEOPLE
        for variant in range(kind.variants)
    )
    for line in lines[:3]:
        frames = frames_of(made.parent / line["path"])
        assert len(frames) == kind.num_frames == 150
        assert (frames[0].width, frames[0].height) == (80, 64)


def test_the_action_fills_its_share_inside_the_video(long, made, kind):
    for line in lines_of(made):
        share = (float(line["end"]) - float(line["start"])) / kind.seconds
        assert long.SHARE[0] - 0.01 <= share <= long.SHARE[1] + 0.01
        assert 0 <= float(line["start"]) < float(line["end"]) <= kind.seconds


def test_the_file_shows_the_clip_where_the_truth_says_again_and_again(long, data, made, kind):
    line = next(one for one in lines_of(made) if one["label"] == "run")
    shown = [f.to_ndarray(format="rgb24") for f in frames_of(made.parent / line["path"])]
    clip = data / "weizmann" / "run" / f"{line['subject']}_run.avi"
    wanted = [f.to_ndarray(format="rgb24") for f in frames_of(clip)][:: kind.every]
    first, last = (round(float(line[edge]) * float(kind.fps)) for edge in ("start", "end"))
    assert last - first > len(wanted)  # it comes again
    for place in range(first, last):
        nearest = wanted[(place - first) % len(wanted)]
        assert np.abs(shown[place].astype(int) - nearest).mean() < 12


def test_keyframes_come_at_fixed_distances_and_nowhere_else(long, made, kind):
    for line in lines_of(made)[::4]:
        keys = [i for i, f in enumerate(frames_of(made.parent / line["path"])) if f.key_frame]
        step = int(long.KEYFRAME_SECONDS * kind.fps)
        assert keys == list(range(0, kind.num_frames, step))


def test_only_those_who_test_together_share_distractors(long, data, made):
    sources = {person: set() for person in PEOPLE}
    for line in lines_of(made):
        sources[line["subject"]] |= set(line["sources"].split())
    for one in PEOPLE:
        for other in PEOPLE:
            if one != other and {one, other} != {"bob", "cid"}:
                assert not sources[one] & sources[other]
    files = long.distractors_of(data, long.together(TOLD))
    assert files["bob"] == files["cid"]
    assert sources["bob"] <= {path.name for path in files["bob"]}


def test_every_distractor_is_shown_before_any_comes_again(long, kind):
    lengths = {f"d{i}": 8 for i in range(5)}
    pieces, place = long.compose(kind, ("t", 7), lengths, np.random.default_rng(0))
    assert sum(len(index) for _, index in pieces) == kind.num_frames
    names = [name for i, (name, _) in enumerate(pieces) if i != place]
    assert pieces[place][0] == "t"
    assert "t" not in names
    for first in range(0, len(names) - 4, 5):
        assert len(set(names[first : first + 5])) == 5


def test_the_same_data_gives_the_same_bytes_and_what_is_there_stays(long, data, made, tmp_path):
    told = long.Kind(seconds=12, height=64, width=80, every=2, who="one", variants=1)
    truth = long.make(data, tmp_path, "k", told=TOLD, kind=told)
    (line,) = lines_of(truth)
    file = tmp_path / "k" / line["path"]
    assert file.read_bytes() == (made.parent / line["path"]).read_bytes()
    file.write_bytes(b"mine")
    long.make(data, tmp_path, "k", told=TOLD, kind=told)
    assert file.read_bytes() == b"mine"


def test_people_of_a_kind_are_those_of_the_splits(long):
    assert long.people_of("test", TOLD) == ["ann", "bob", "cid"]
    assert long.people_of("calibration", TOLD) == ["eve"]
    assert long.people_of("everybody", TOLD) == list(PEOPLE)
    assert long.people_of("one", TOLD) == ["bob"]


def test_missing_material_is_named(long, data, kind, tmp_path):
    with pytest.raises(long.MaterialError, match="--data"):
        long.make(tmp_path, tmp_path / "out", "k", told=TOLD, kind=kind)
    stranger = [{"train": ["zoe"], "calibration": ["eve"], "test": ["bob"]}]
    with pytest.raises(long.MaterialError, match="zoe"):
        long.make(data, tmp_path / "out", "k", told=stranger, kind=kind)
    many = [{"train": list("pqrstu"), "calibration": ["eve"], "test": ["bob"]}]
    with pytest.raises(long.MaterialError, match="none left for"):
        long.distractors_of(data, long.together(many))
