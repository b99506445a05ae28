"""Broken videos in a training set: a line and a row each, others in their place, and a limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from foveal.dataset import Sample
from foveal.recipe import Batch
from foveal.train import ClipData, FrameCache, Running, TrainError, TrainResult, fit
from foveal.types import Array
from tests.helpers_bundle import COLOURS, write_clip
from tests.helpers_video import make_clip, make_sound
from tests.unit.train import plain

START_FIRST = {"movflags": "faststart"}


def missing(path: Path) -> None:
    """Is there when the set is read, and gone when it is wanted."""
    make_clip(path, num_frames=5)


def empty(path: Path) -> None:
    path.touch()


def index_cut_off(path: Path) -> None:
    whole = Path(make_clip(path)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def pictures_cut_off(path: Path) -> None:
    whole = Path(make_clip(path, container_options=START_FIRST)).read_bytes()
    path.write_bytes(whole[: whole.index(b"mdat") + 8])


def text(path: Path) -> None:
    path.write_text("not a video at all\n" * 100)


def sound_only(path: Path) -> None:
    make_sound(path.with_suffix(".wav"), np.zeros(8000, np.float32))
    path.with_suffix(".wav").rename(path)


def without_frames(path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    data = Path(make_clip(path, container_options=fragments)).read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])


def garbled(path: Path) -> None:
    data = Path(make_clip(path)).read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + bytes(b ^ 0x5A for b in data[start:end]) + data[end:])


def unknown_codec(path: Path) -> None:
    data = Path(make_clip(path)).read_bytes()
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing.mp4": (missing, "missing"),
    "empty.mp4": (empty, "empty"),
    "half.mp4": (index_cut_off, "truncated"),
    "head.mp4": (pictures_cut_off, "truncated"),
    "text.mp4": (text, "not_video"),
    "sound.mp4": (sound_only, "audio_only"),
    "init.mp4": (without_frames, "no_frames"),
    "garbled.mp4": (garbled, "undecodable"),
    "codec.mp4": (unknown_codec, "undecodable"),
}
"""How a file is broken, and the kind of trouble that is."""

NUM_GOOD = 12
ALL = len(BROKEN) + NUM_GOOD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    colours = list(COLOURS.values())
    for i in range(NUM_GOOD):
        write_clip(made / f"good-{i:02}.mp4", [colours[i % 3]], frames_each=4)
    for name, (make, _) in BROKEN.items():
        make(made / name)
    (made / "missing.mp4").unlink()
    return made


class Watched(ClipData):
    """Keeps the labels that were trained on."""

    def batch(self, indices: Array, seeds: Array) -> Batch:
        made = super().batch(indices, seeds)
        self.seen = [*getattr(self, "seen", []), *made["label"].tolist()]
        return made


def clips(folder: Path, *, cache: FrameCache | None = None) -> Watched:
    """Return good clips, whose labels are below three, and broken ones."""
    good = [
        Sample(path=str(folder / f"good-{i:02}.mp4"), label=i % 3, where="")
        for i in range(NUM_GOOD)
    ]
    broken = [Sample(path=str(folder / name), label=99, where="") for name in BROKEN]
    return Watched([*good, *broken], kind="video", draws=plain.recipe().draws, cache=cache)


def train(
    out: Path, data: ClipData, tell: Callable[[str], None], *, steps: int = 12, **running: object
) -> TrainResult:
    return fit(
        plain.recipe(batch_size=8, steps=steps),
        data,
        out=out,
        seed=2,
        running=replace(Running(device="cpu", max_bad_share=0.5), **running),  # type: ignore[arg-type]
        tell=tell,
    )


def rows(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "bad.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kept", ["cached", "live"])
def test_training_goes_on_and_says_each_once(folder: Path, tmp_path: Path, kept: str) -> None:
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40) if kept == "cached" else None
    told: list[str] = []
    data = clips(folder, cache=cache)
    result = train(tmp_path / "run", data, told.append)
    assert len(result.history) == 12
    assert len(data.seen) == 96
    assert set(data.seen) == {0, 1, 2}
    wanted = {str(folder / name): kind for name, (_, kind) in BROKEN.items()}
    found = rows(tmp_path / "run")
    assert {row["path"]: row["kind"] for row in found} == wanted
    assert len(found) == len(told) == len(BROKEN)
    for line, row in zip(told, found, strict=True):
        assert line == f"{row['message']}; {row['hint']}; another clip takes its place"
        assert Path(row["path"]).name in line
        assert "\n" not in line


def test_with_a_worker_it_is_the_same_run(folder: Path, tmp_path: Path) -> None:
    told: list[list[str]] = [[], []]
    runs = [
        train(tmp_path / str(workers), clips(folder), told[workers].append, workers=workers)
        for workers in (0, 1)
    ]
    assert runs[0].history == runs[1].history
    assert told[0] == told[1]
    assert rows(tmp_path / "0") == rows(tmp_path / "1")


def test_over_the_limit_it_stops_with_the_reason(folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(TrainError) as caught:
        train(tmp_path, clips(folder), told.append, max_bad_share=0.2)
    num = len(rows(tmp_path))
    assert num == len(told)
    assert 0.2 * ALL < num < len(BROKEN)  # not before, and not long after
    reason = f"{num} of {ALL} clips cannot be read ({num / ALL:.0%}, the limit is 20%)"
    assert reason in str(caught.value)
    assert str(tmp_path / "bad.jsonl") in str(caught.value)
    assert "max_bad_share" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_resumed_run_remembers_what_it_said(folder: Path, tmp_path: Path) -> None:
    told: list[str] = []
    run = partial(
        fit, data=clips(folder), out=tmp_path, seed=2,
        running=Running(device="cpu", max_bad_share=0.5), tell=told.append, resume=True,
    )  # fmt: skip
    recipe = plain.recipe(batch_size=8, steps=12)
    (stage,) = recipe.stages
    run(recipe)
    num = len(told)
    assert num == len(BROKEN)
    with (tmp_path / "bad.jsonl").open("a") as file:
        file.write('{"path": "half a li')  # killed as it wrote
    (tmp_path / "checkpoint.json").unlink()
    run(replace(recipe, stages=(stage,)))
    assert len(told) == num
    assert len(rows(tmp_path)) == num


def test_a_broken_clip_to_judge_with_is_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    names = ["good-00.mp4", "good-01.mp4", "empty.mp4"]
    samples = [Sample(path=str(folder / n), label=i, where="") for i, n in enumerate(names)]
    validation = ClipData(
        samples, kind="video", planned=partial(plain.centres, 2), views={"frames": plain.CANVAS}
    )
    told: list[str] = []
    good = ClipData(samples[:2], kind="video", draws=plain.recipe().draws)
    running = Running(device="cpu", max_bad_share=0.5, validations=2)
    result = fit(
        plain.recipe(batch_size=2, steps=2),
        good,
        out=tmp_path,
        seed=2,
        validation=validation,
        running=running,
        tell=told.append,
    )
    assert len(told) == 1
    assert [row["kind"] for row in rows(tmp_path)] == ["empty"]
    assert all(p.validation and p.validation["accuracy"] in (0, 0.5, 1) for p in result.history)
