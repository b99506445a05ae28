"""The untrimmed Weizmann videos: one stretch of action among others, keyframes at fixed places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from scripts import untrim_weizmann
from scripts.untrim_weizmann import (
    KEYFRAME_INTERVAL,
    MOST_TARGET,
    SHARE,
    WHOLE,
    MaterialError,
    clips_of,
    read,
    tricks_of,
    untrim,
)
from tests.helpers_video import make_clip

SUBJECTS = ("ann", "bob")
NUM_FRAMES = {"run": 16, "wave1": 70}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two actions of two subjects, and three tricks of one kind."""
    folder = tmp_path_factory.mktemp("data")
    for name, num_frames in NUM_FRAMES.items():
        (folder / "weizmann" / name).mkdir(parents=True)
        for subject in SUBJECTS:
            path = folder / "weizmann" / name / f"{subject}_{name}.avi"
            make_clip(path, codec="mpeg4", num_frames=num_frames, width=180, height=144)
    (folder / "skateboard" / "Ollie").mkdir(parents=True)
    for number in (2, 10, 1):
        make_clip(folder / "skateboard" / "Ollie" / f"Ollie{number}.mp4", num_frames=30)
    return folder


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("made")
    untrim(data, out, variants=2)
    return out


def lines_of(out: Path):
    return [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]


def test_every_clip_gives_every_variant(made):
    lines = lines_of(made)
    files = [line["file"] for line in lines]
    assert sorted(files) == sorted(
        f"{name}/{subject}_{variant}.mp4"
        for name in NUM_FRAMES
        for subject in SUBJECTS
        for variant in range(2)
    )
    assert {(line["class"], line["label"]) for line in lines} == {("run", 0), ("wave1", 1)}
    assert all((made / file).stat().st_size > 0 for file in files)


def test_the_action_fills_a_fifth_to_three_tenths(made):
    for line in lines_of(made):
        total = line["num_frames"] / line["fps"]
        action = line["end_seconds"] - line["start_seconds"]
        assert round(action * line["fps"]) == min(NUM_FRAMES[line["class"]], MOST_TARGET)
        assert SHARE[0] - 0.01 <= action / total <= SHARE[1] + 0.01


def test_stretches_follow_each_other_from_beginning_to_end(made):
    for line in lines_of(made):
        stretches = line["stretches"]
        edges = [0.0, *(stretch["end_seconds"] for stretch in stretches)]
        assert [stretch["start_seconds"] for stretch in stretches] == edges[:-1]
        assert edges[-1] == line["num_frames"] / line["fps"]
        (action,) = (stretch for stretch in stretches if stretch["kind"] == "action")
        assert (action["start_seconds"], action["end_seconds"]) == (
            line["start_seconds"],
            line["end_seconds"],
        )


def test_the_file_shows_the_clip_where_the_truth_says(data, made):
    line = next(one for one in lines_of(made) if one["class"] == "run" and one["variant"] == 1)
    shown = read(made / line["file"], WHOLE, most=1000).astype(float)
    clip = read(data / "weizmann" / "run" / f"{line['subject']}_run.avi", WHOLE, most=16)
    first = round(line["start_seconds"] * line["fps"])
    assert len(shown) == line["num_frames"]
    assert np.abs(shown[first : first + 16] - clip).mean() < 6
    elsewhere = np.r_[0:first, first + 16 : len(shown)]
    nearest = [np.abs(shown[i] - clip).mean(axis=(1, 2, 3)).min() for i in elsewhere]
    assert min(nearest) > 12


def test_a_keyframe_every_twelve_frames_and_no_other(made):
    for line in lines_of(made):
        with av.open(str(made / line["file"])) as container:
            keys = [i for i, f in enumerate(container.decode(video=0)) if f.key_frame]
        assert keys == list(range(0, line["num_frames"], KEYFRAME_INTERVAL))


def test_subjects_share_no_source(made):
    sources = {subject: set() for subject in SUBJECTS}
    for line in lines_of(made):
        sources[line["subject"]] |= {stretch["source"] for stretch in line["stretches"]}
    assert not sources["ann"] & sources["bob"]


def test_tricks_are_dealt_in_the_order_of_their_numbers(data):
    dealt = tricks_of(data, SUBJECTS)
    names = {subject: [path.name for path in files] for subject, files in dealt.items()}
    assert names == {"ann": ["Ollie1.mp4"], "bob": ["Ollie2.mp4", "Ollie10.mp4"]}


def test_the_same_data_gives_the_same_bytes(data, made, tmp_path):
    untrim(data, tmp_path / "again", variants=1)
    for line in lines_of(tmp_path / "again"):
        assert (tmp_path / "again" / line["file"]).read_bytes() == (
            made / line["file"]
        ).read_bytes()


def test_a_folder_in_use_is_left_alone(data, made):
    with pytest.raises(MaterialError, match="not empty"):
        untrim(data, made, variants=1)


def test_missing_material_is_named(tmp_path, data):
    with pytest.raises(MaterialError, match="--data"):
        clips_of(tmp_path)
    with pytest.raises(MaterialError, match="none left for"):
        tricks_of(data, ["a", "b", "c", "d"])
    still = {"wave1": data / "weizmann" / "wave1" / "ann_wave1.avi"}
    with pytest.raises(MaterialError, match="no clip of run"):
        untrim_weizmann.other_of(still, [])
