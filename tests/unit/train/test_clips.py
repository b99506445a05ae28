"""Clips as batches: what is drawn goes by the seed alone, what is judged by the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from foveal.dataset import Sample
from foveal.layers import gentle
from foveal.recipe import Batch, Draw, Heard
from foveal.sampling.choose import segment_bursts, segment_centres
from foveal.train import ClipData, FrameCache, TrainError
from foveal.train.batches import batches
from foveal.train.clips import drawn_times, times_of
from foveal.types import Canvas, ClipInfo, Features, Sound
from tests.helpers_video import make_clip, numbered_picture, read_number
from tests.unit.train import plain

WHOLE = Canvas(height=24, width=40)
LARGE, CHANGE = gentle(Canvas(height=24, width=24))
DRAWS = (Draw(num_frames=3, view=LARGE), Draw(name="more", num_frames=2, view=LARGE))
SEEDS = np.array([11, 2**61, 7, 5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of many kinds; one that opens and cannot be decoded, and one that is empty."""
    made = tmp_path_factory.mktemp("clips")
    make_clip(made / "0.mp4", num_frames=30)
    make_clip(made / "1.mp4", num_frames=24, options={"bf": "3"}, rotation=90)
    make_clip(made / "2.avi", num_frames=20)
    make_clip(made / "3.mkv", num_frames=40, gop=40)
    garbled = Path(make_clip(made / "4.mp4", num_frames=30))
    data = bytearray(garbled.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(b ^ 0x5A for b in data[start:end])
    garbled.write_bytes(data)
    (made / "5.mp4").touch()
    return made


def samples(folder: Path, *names: str) -> tuple[Sample, ...]:
    return tuple(
        Sample(path=str(folder / name), label=i, where=name) for i, name in enumerate(names)
    )


GOOD = ("0.mp4", "1.mp4", "2.avi", "3.mkv")


def good(folder: Path, cache: FrameCache | None = None) -> ClipData:
    some = samples(folder, *GOOD)
    stretch = replace(some[3], start_seconds=0.3, end_seconds=1.1)
    return ClipData((*some[:3], stretch), kind="video", draws=DRAWS, augment=CHANGE, cache=cache)


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- what is drawn ----------------------------------------------------------------------------


def test_a_batch_has_what_the_draws_say(folder: Path) -> None:
    batch = good(folder).batch(np.arange(4), SEEDS)
    assert {name: tuple(t.shape) for name, t in batch.items()} == {
        "frames": (4, 3, 3, 24, 24),
        "more": (4, 2, 3, 24, 24),
        "label": (4,),
        "number": (4,),
    }
    assert batch["frames"].dtype == torch.uint8
    assert batch["label"].tolist() == [0, 1, 2, 3]
    assert batch["number"].tolist() == [0, 1, 2, 3]


def test_a_sample_depends_on_its_seed_alone(folder: Path, tmp_path: Path) -> None:
    """Not on its mates, on what was drawn before, or on whether frames are kept."""
    data = good(folder)
    together = data.batch(np.arange(4), SEEDS)
    assert same(data.batch(np.arange(4), SEEDS), together)
    order = np.array([2, 0, 3, 1])
    turned = good(folder).batch(order, SEEDS[order])
    assert same({k: t[np.argsort(order)] for k, t in turned.items()}, together)
    for i in range(4):
        alone = good(folder).batch(np.array([i]), SEEDS[i : i + 1])
        assert same(alone, {k: t[i : i + 1] for k, t in together.items()})
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40)
    for _ in range(2):  # stored, then read
        assert same(good(folder, cache).batch(np.arange(4), SEEDS), together)
    assert len(list(cache.folder.iterdir())) == 2 * 3  # the AVI does not say where its frames are
    other = data.batch(np.arange(4), SEEDS + 1)
    assert not any(
        torch.equal(a, b) for a, b in zip(other["frames"], together["frames"], strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_make_the_same_batches(folder: Path, tmp_path: Path, workers: int) -> None:
    """Also where clips are broken: which other clip takes their place is drawn as well."""
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40)

    def data(kept: FrameCache | None) -> ClipData:
        names = ("0.mp4", "4.mp4", "1.mp4", "5.mp4", "3.mkv")
        return ClipData(samples(folder, *names), kind="video", draws=DRAWS, cache=kept)

    stage = plain.recipe(batch_size=4, steps=6).stages[0]
    wanted = [m.batch for m in batches(data(None), stage, seed=1, index=0, steps=range(6))]
    made = batches(data(cache), stage, seed=1, index=0, steps=range(2, 6), workers=workers)
    for found, want in zip(made, wanted[2:], strict=True):
        assert same(found.batch, want)


def test_a_broken_clip_is_replaced_alike_whether_it_was_known_or_not(folder: Path) -> None:
    """Else a resumed run, or one with workers, would train on other clips."""
    for broken in ("4.mp4", "5.mp4"):
        data = ClipData(samples(folder, *GOOD, broken), kind="video", draws=DRAWS)
        indices = np.full(6, 4)
        seeds = np.arange(6)
        first = data.batch(indices, seeds)
        assert [t.path for t in data.troubles()] == [str(folder / broken)]
        assert same(data.batch(indices, seeds), first)
        assert data.troubles() == []
        assert len(set(first["label"].tolist())) > 1
        assert 4 not in first["label"]
        places = np.random.default_rng(0).permutation(6)
        turned = ClipData(samples(folder, *GOOD, broken), kind="video", draws=DRAWS)
        assert same(turned.batch(indices, seeds[places]), {k: t[places] for k, t in first.items()})


def test_where_nothing_can_be_read_the_run_gives_up(folder: Path) -> None:
    data = ClipData(samples(folder, "5.mp4", "4.mp4"), kind="video", draws=DRAWS)
    with pytest.raises(TrainError, match=r"20 clips in a row cannot be read, .*\.mp4 the last"):
        data.batch(np.array([0]), np.array([0]))


def test_one_frame_is_drawn_from_each_part() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([drawn_times(8.0, 4, generator) for _ in range(400)])
    parts = (drawn // 2).astype(int)
    assert (parts == np.arange(4)).all()
    assert drawn.min() < 0.05
    assert drawn.max() > 7.95
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(0, abs=0.2)


def test_a_burst_is_drawn_from_each_part_and_lies_within_the_clip() -> None:
    info = ClipInfo(name="clip", duration_seconds=4.0, num_frames=40, fps=10.0)
    draw = Draw(num_frames=12, burst=3, view=LARGE)
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([times_of(draw, info, generator) for _ in range(400)])
    frames = np.rint(drawn * 10 - 0.5).astype(int).reshape(-1, 4, 3)
    assert (np.diff(frames, axis=2) == 1).all()
    starts = frames[..., 0]
    low, high = starts.min(0), starts.max(0)  # 38 places to begin at, in four parts
    assert low.tolist() == [0, 9, 19, 28]
    assert high.tolist() == [9, 18, 28, 37]
    assert frames.max() == 39
    assert len(np.unique(starts[:, 1])) >= 9
    with pytest.raises(ValueError, match="no whole bursts of 5"):
        Draw(num_frames=12, burst=5, view=LARGE)


# --- what is judged ---------------------------------------------------------------------------


def middles(clip: ClipInfo) -> tuple[float, ...]:
    return segment_centres(clip.duration_seconds, 3)


def test_judged_pictures_are_those_at_the_planned_times(folder: Path, tmp_path: Path) -> None:
    views = {"frames": WHOLE, "large": Canvas(height=48, width=80)}
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40)
    for kept in (None, cache, cache):
        data = ClipData(
            samples(folder, "0.mp4", "5.mp4", "3.mkv"),
            kind="video",
            planned=middles,
            views=views,
            cache=kept,
        )
        batch = data.batch(np.arange(3), np.zeros(3, np.int64))
        assert batch["label"].tolist() == [0, 2]  # what cannot be read is left out
        assert len(data.troubles()) == 1
        numbers = [[read_number(p.numpy()) for p in clip] for clip in batch["large"]]
        assert numbers == [[5, 15, 25], [6, 20, 33]]
        assert batch["frames"].shape == (2, 3, 3, 24, 40)
        none = data.batch(np.array([1]), np.zeros(1, np.int64))
        assert list(none) == ["label"]
        assert len(none["label"]) == 0


def test_folders_of_frames_are_clips_too(tmp_path: Path) -> None:
    for i in range(20):
        picture = av.VideoFrame.from_ndarray(numbered_picture(i), format="rgb24")
        (tmp_path / "a").mkdir(exist_ok=True)
        picture.save(str(tmp_path / "a" / f"{i:03}.png"))
    sample = Sample(path=str(tmp_path / "a"), label=2, where="a", frame_rate=10.0)
    canvas = Canvas(height=48, width=80)
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40)
    data = ClipData(
        (sample, replace(sample, start_seconds=1.0)),
        kind="frames",
        planned=middles,
        views={"frames": canvas},
        cache=cache,
    )
    batch = data.batch(np.arange(2), np.zeros(2, np.int64))
    numbers = [[read_number(p.numpy()) for p in clip] for clip in batch["frames"]]
    assert numbers == [[3, 10, 16], [11, 15, 18]]
    assert not cache.folder.exists()  # the pictures are on disk already
    learnt = ClipData((sample,), kind="frames", draws=(Draw(num_frames=4, view=canvas),))
    (clip,) = learnt.batch(np.array([0]), np.array([3]))["frames"]
    drawn = [read_number(p.numpy()) for p in clip]
    assert [n // 5 for n in drawn] == [0, 1, 2, 3]


def test_stored_features_are_clips_too(tmp_path: Path) -> None:
    """Rows of one array, a vector a second; a draw brings those on show at its times."""
    path = tmp_path / "seen.npz"
    features = np.arange(3 * 8 * 2, dtype=np.float32).reshape(3, 8, 2)
    np.savez(path, features=features, label=np.arange(3), class_names=np.array(["a", "b", "c"]))
    some = [
        Sample(path=str(path), label=i, where=f"row {i}", row=i, frame_rate=1.0) for i in range(3)
    ]
    view = Features(name="features")
    data = ClipData(some, kind="features", planned=middles, views={"frames": view})
    batch = data.batch(np.array([2, 0]), np.zeros(2, np.int64))
    assert batch["label"].tolist() == [2, 0]
    assert batch["frames"].dtype == torch.float32
    # Second 4 is as far from the middle of vector 3 as from that of vector 4: the lower one.
    assert np.array_equal(batch["frames"].numpy(), features[[2, 0]][:, [1, 3, 6]])
    learnt = ClipData(some, kind="features", draws=(Draw(num_frames=4, view=view),))
    first = learnt.batch(np.arange(3), SEEDS[:3])["frames"].numpy()
    assert np.array_equal(learnt.batch(np.array([1]), SEEDS[1:2])["frames"][0].numpy(), first[1])
    moments = first[:, :, 0] // 2 % 8
    assert (moments // 2 == np.arange(4)).all()


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"draws": DRAWS, "planned": middles, "views": {"frames": WHOLE}},
        {"planned": middles},
        {"draws": DRAWS, "views": {"frames": WHOLE}},
    ],
)
def test_clips_are_drawn_or_judged(folder: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="give draws to train on, or planned times and views"):
        ClipData(samples(folder, "0.mp4"), kind="video", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no sample"):
        ClipData((), kind="video", draws=DRAWS)


def test_sets_are_told_apart_by_paths_stretches_and_labels(folder: Path) -> None:
    some = samples(folder, *GOOD)
    others = (
        some[::-1],
        (replace(some[0], label=1), *some[1:]),
        (replace(some[0], end_seconds=1.0), *some[1:]),
        (replace(some[0], path="x"), *some[1:]),
        some[1:],
    )
    make: Callable[..., ClipData] = partial(ClipData, kind="video", draws=DRAWS)
    prints = {make(each).fingerprint() for each in (some, *others)}
    assert len(prints) == 6
    assert make(some).fingerprint() == make(some).fingerprint()


# --- what is heard ----------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False], ids=["cached", "live"])
def test_sound_is_heard_at_the_times_of_pictures(tmp_path: Path, kept: bool) -> None:
    """While training at the times that were drawn, while judging at those that are planned."""
    tone = np.sin(2 * np.pi * 500 * np.arange(2 * 16000) / 16000).astype(np.float32)
    loud = 0.9 * tone * (np.arange(len(tone)) >= 16000)  # in the second half
    make_clip(tmp_path / "heard.mp4", num_frames=50, sound=loud)
    make_clip(tmp_path / "mute.mp4", num_frames=50)
    cache = FrameCache(tmp_path / "cache", limit_bytes=1 << 40) if kept else None
    view = Sound(rate=8000, seconds=0.1, lead_seconds=0.05)
    known = {
        "kind": "video",
        "heard": {"sound": Heard(view=view, first=1, every=2)},
        "cache": cache,
    }
    both = samples(tmp_path, "heard.mp4", "mute.mp4")
    drawn = ClipData(both, draws=(Draw(num_frames=8, burst=2, view=WHOLE),), **known)
    planned = ClipData(
        both,
        planned=lambda clip: segment_bursts(clip, num_segments=4, length=2),
        views={"frames": WHOLE},
        **known,
    )
    for data in (drawn, planned):
        batch = data.batch(np.arange(2), SEEDS[:2])
        assert batch["sound"].shape == (2, 4, 800)
        assert batch["sound"].dtype == torch.float32
        assert not batch["sound"][1].any()
        loudness = batch["sound"][0].square().mean(dim=1).sqrt()
        seen = [read_number(picture.numpy()) for picture in batch["frames"][0, 1::2]]
        for level, number in zip(loudness.tolist(), seen, strict=True):
            if abs((number + 0.5) / 25 - 1) > 0.06:
                assert level == pytest.approx(0.64 if number >= 25 else 0.0, abs=0.06)
        assert {number >= 25 for number in seen} == {True, False}


def test_what_is_heard_is_checked() -> None:
    with pytest.raises(ValueError, match="first must be"):
        Heard(view=Sound(rate=8000, seconds=0.1), first=2, every=2)


def test_several_labels_are_ones_in_a_row_of_zeros(folder: Path) -> None:
    some = tuple(replace(one, also=(3,)) for one in samples(folder, "0.mp4", "2.avi", "5.mp4"))
    data = ClipData(some, kind="video", draws=DRAWS, several=4)
    label = data.batch(np.array([1, 0]), SEEDS[:2])["label"]
    assert label.dtype == torch.float32
    assert label.tolist() == [[0, 1, 0, 1], [1, 0, 0, 1]]
    one = ClipData(some, kind="video", draws=DRAWS)
    assert one.batch(np.array([1, 0]), SEEDS[:2])["label"].tolist() == [1, 0]
    assert one.fingerprint() != data.fingerprint()
    judging = ClipData(
        some, kind="video", planned=lambda clip: (0.0,), views={"frames": WHOLE}, several=4
    )
    assert judging.batch(np.array([2]), SEEDS[:1])["label"].shape == (0, 4)
