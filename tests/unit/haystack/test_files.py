"""Videos on disk: as many as asked, readable by the sources, with the evidence still in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from foveal.cli.app import main
from foveal.haystack import FolderInUseError, Preset, find, sample, write_videos
from foveal.haystack.files import enlargement
from foveal.haystack.sound import tone_hz
from foveal.types import Array, Canvas, Look, Plan, Sound
from foveal.video import open_source
from tests.unit.haystack import oracle


def read_back(path: Path, preset: Preset) -> Array:
    """Return uint8 (T,3,H,W): the frames of the file as a protocol would see them."""
    source = open_source(str(path))
    times = tuple((i + 0.5) / preset.fps for i in range(preset.frames))
    source.plan(Plan(times=times))
    view = Canvas(height=preset.size, width=preset.size, kernel="area")
    frames, seconds = source.look(Look(times=times, view=view))
    source.close()
    assert np.allclose(seconds, np.arange(preset.frames) / preset.fps, atol=1e-3)
    return frames


@pytest.mark.parametrize(
    "name",
    ["salient-frames-v1", "fine-object-v1", "resolution-v1", "distractor-frames-v1", "textures-v1"],
)
def test_the_codec_leaves_the_evidence_readable(name: str, tmp_path: Path) -> None:
    preset = find(name)
    records = list(write_videos(tmp_path, preset, split="test", count=25, start=3, seed=1))
    made = sample(preset, split="test", count=25, start=3, seed=1)
    right = 0
    for i, record in enumerate(records):
        frames = read_back(tmp_path / "test" / record["file"], preset)
        assert frames.shape == made.frames[i].shape
        off = abs(frames.astype(np.int64) - made.frames[i])
        assert off.mean() <= 4
        evidence = np.zeros(preset.frames, bool)
        evidence[record["evidence_frames"]] = True
        boxes = np.array([box or [np.nan] * 4 for box in record["boxes"]])
        grey = frames.mean(axis=1)
        right += int(oracle.class_in_boxes(preset, grey, evidence, boxes) == record["label"])
    assert right >= 24


def test_a_tone_is_heard_when_the_truth_says(tmp_path: Path) -> None:
    preset = find("modalities-v1")
    records = list(write_videos(tmp_path, preset, split="test", count=8))
    tones = [record for record in records if record["modality"] == "sound"]
    assert tones
    for record in tones:
        source = open_source(str(tmp_path / "test" / record["file"]))
        assert source.info.has_sound
        times = tuple(i / preset.fps for i in range(preset.frames))
        source.plan(Plan(times=times))
        heard, _ = source.look(Look(times=times, view=Sound(rate=8000, seconds=0.25)))
        source.close()
        loud = heard[:, 400:-400].std(axis=1) > 0.1
        assert np.flatnonzero(loud).tolist() == record["evidence_frames"]
        for row in heard[loud]:
            assert abs(oracle.pitch(row[400:-400], 8000) - tone_hz(record["label"])) <= 10


def test_the_folder_tells_the_whole_truth(tmp_path: Path) -> None:
    preset = find("salient-frames-v1")
    records = list(write_videos(tmp_path, preset, split="train", count=70))
    lines = (tmp_path / "train" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == records
    made = sample(preset, split="train", count=70)
    assert [record["label"] for record in records] == made.labels.tolist()
    files = sorted((tmp_path / "train").glob("*/*.mp4"))
    assert sorted(record["file"] for record in records) == sorted(
        path.relative_to(tmp_path / "train").as_posix() for path in files
    )
    for i, record in enumerate(records):
        assert record["evidence_frames"] == np.flatnonzero(made.truth.evidence[i]).tolist()
        assert record["file"].split("/")[0] == record["class"].replace(" ", "-")
    task = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    assert task["preset"]["name"] == preset.name
    assert tuple(task["class_names"]) == made.class_names


def test_the_same_files_each_time(tmp_path: Path) -> None:
    preset = find("modalities-v1")
    for name in ("a", "b"):
        for _ in write_videos(tmp_path / name, preset, split="train", count=3):
            pass
    for first in sorted((tmp_path / "a").rglob("*.*")):
        second = tmp_path / "b" / first.relative_to(tmp_path / "a")
        assert first.read_bytes() == second.read_bytes()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    preset = find("salient-frames-v1")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FolderInUseError, match="train"):
        next(write_videos(tmp_path, preset, split="train", count=1))
    assert list(tmp_path.rglob("*.*")) == [tmp_path / "train" / "mine.txt"]
    assert len(list(write_videos(tmp_path, preset, split="test", count=1))) == 1


@pytest.mark.parametrize("size", range(1, 300, 7))
def test_enlarged_sides_are_even_and_large_enough(size: int) -> None:
    factor = enlargement(size)
    assert factor % 2 == 0
    assert factor * size >= 128
    assert (factor - 2) * size < 128


# --- the command -------------------------------------------------------------------------------


def test_the_command_writes_the_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "clips")
    given = ["haystack", out, "--preset", "fine-image-v1", "--split", "test", "--count", "4"]
    assert main(given) == 0
    assert "4 videos of fine-image-v1" in capsys.readouterr().out
    assert len(list((tmp_path / "clips" / "test").glob("*/*.mp4"))) == 4
    assert main(given) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_command_alone_lists_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["haystack"]) == 0
    out = capsys.readouterr().out
    assert "salient-frames-v1" in out
    assert "ocsampler 9" in out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["OUT"], "--preset"),
        (["--preset", "fine-image-v1"], "OUT"),
        (["OUT", "--preset", "fine-imag-v1"], "did you mean fine-image-v1?"),
    ],
)
def test_the_command_says_what_is_missing(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(tmp_path / "x") if part == "OUT" else part for part in given]
    assert main(["haystack", *named]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
