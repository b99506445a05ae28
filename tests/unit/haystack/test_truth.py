"""Who is told where to look reads the class; elsewhere there is nothing to read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foveal.haystack import MODALITIES, PRESETS, HaystackSet, Preset, find, sample, scene
from foveal.haystack.sets import plan
from foveal.haystack.sound import tone_hz
from foveal.haystack.words import class_names, descriptions
from foveal.types import Array
from tests.unit.haystack import oracle

TRIMMED = [preset for preset in PRESETS if preset.actions is None]
IN_BOXES = [
    preset
    for preset in TRIMMED
    if len(preset.classes) == 1 and preset.classes[0][0] in oracle.FIXED_LOOK
]


def named(presets: list[Preset]) -> Any:
    return pytest.mark.parametrize("preset", presets, ids=lambda preset: preset.name)


def grey(made: HaystackSet) -> Array:
    return made.frames[:, :, 0]


@named(IN_BOXES)
def test_told_where_to_look_one_reads_the_class(preset: Preset) -> None:
    made = sample(preset, split="test", count=60)
    truth = made.truth
    read = [
        oracle.class_in_boxes(preset, *row)
        for row in zip(grey(made), truth.evidence, truth.boxes, strict=True)
    ]
    assert np.mean(read == made.labels) >= 0.98


@pytest.fixture
def other_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every sample the next class, and all else as it was."""
    drawn = scene._labels

    def moved(preset: Preset, *rest: Any) -> Any:
        return (drawn(preset, *rest) + 1) % preset.num_classes

    monkeypatch.setattr(scene, "_labels", moved)


NO_DISTRACTORS = [
    preset for preset in IN_BOXES if preset.classes[0][0] != "mover" and not preset.distractors[1]
]


@named(NO_DISTRACTORS)
def test_elsewhere_not_a_bit_depends_on_the_class(
    preset: Preset, request: pytest.FixtureRequest
) -> None:
    before = sample(preset, split="test", count=12)
    request.getfixturevalue("other_labels")
    after = sample(preset, split="test", count=12)
    assert (before.labels != after.labels).all()
    assert np.array_equal(before.truth.boxes, after.truth.boxes, equal_nan=True)
    changed = (before.frames != after.frames).any(axis=2)
    seen = before.truth.evidence
    assert changed[seen].any(axis=(1, 2)).all()
    assert not changed[~seen].any()
    side = (np.arange(preset.size) + 0.5) / preset.size
    x0, y0, x1, y1 = np.moveaxis(before.truth.boxes[..., None], -2, 0)
    inside = ((side > y0) & (side < y1))[..., :, None] & ((side > x0) & (side < x1))[..., None, :]
    assert not changed[~inside].any()


@named([p for p in TRIMMED if p.distractors[1] and p.num_classes == 10])
def test_distractors_show_other_classes_less_strongly(preset: Preset) -> None:
    made = sample(preset, split="test", count=200)
    truth = made.truth
    distracting = (truth.shown >= 0) & ~truth.evidence
    assert distracting.any(axis=1).all()
    own = np.broadcast_to(made.labels[:, None], truth.shown.shape)
    assert (truth.shown[truth.evidence] == own[truth.evidence]).all()
    assert (truth.shown[distracting] != own[distracting]).all()
    assert np.isnan(truth.boxes[distracting]).all()


# --- space: fine and coarse -------------------------------------------------------------------


def pooled(frames: Array, k: int) -> Array:
    *rest, height, width = frames.shape
    blocks = frames.reshape(*rest, height // k, k, width // k, k).astype(np.float64)
    return blocks.mean(axis=(-3, -1))


FINE = find("fine-object-v1")


def test_the_glance_at_a_fine_object_shows_where() -> None:
    made = sample(FINE, split="test", count=200)
    glance = pooled(grey(made), 4)
    kernel = np.exp(-((np.arange(-4, 5) / 2.0) ** 2) / 2)
    blurred = np.apply_along_axis(np.convolve, -1, glance - 112, kernel, "same")
    blurred = np.apply_along_axis(np.convolve, -2, blurred, kernel, "same")
    highest = blurred.reshape(*blurred.shape[:2], -1).argmax(axis=-1)
    y, x = np.unravel_index(highest, glance.shape[-2:])
    middle = (made.truth.boxes[..., :2] + made.truth.boxes[..., 2:]) / 2 * FINE.size
    off = np.hypot((x + 0.5) * 4 - middle[..., 0], (y + 0.5) * 4 - middle[..., 1])
    assert np.mean(off <= 8) >= 0.9


def read_at_a_glance(preset: Preset, count: int) -> float:
    """Return how often pooled pixels tell the class to who knows the place and the noise."""
    made = sample(preset, split="test", count=count)
    k, px, num = 4, preset.object_px, preset.num_classes
    code = oracle.sprites.gratings(preset, num).reshape(num, -1, px, px)
    coarse = oracle.sprites.patterns(f"{preset.name}/leak", num, size_px=px, cell_px=px // 2)
    looks = np.mean(preset.contrast) * code + preset.leak * coarse[:, None]
    bell = oracle.sprites.spot(preset.size, preset.blob_px)
    side = np.arange(preset.size) + preset.size - px // 2
    right = 0
    for frames, boxes, label in zip(grey(made), made.truth.boxes, made.labels, strict=True):
        likely = np.zeros(num)
        for frame, (left, top) in zip(frames, oracle.corners(boxes, preset.size), strict=True):
            drawn = np.zeros((*looks.shape[:2], preset.size, preset.size))
            drawn[..., top : top + px, left : left + px] = looks
            spot = preset.blob * np.outer(bell[side - top], bell[side - left])
            rows = slice(top // k, -(-(top + px) // k))
            columns = slice(left // k, -(-(left + px) // k))
            rest = pooled(frame - spot, k)[rows, columns]
            mean = pooled(drawn, k)[..., rows, columns]
            rest = rest - rest.mean()
            mean = mean - mean.mean(axis=(-2, -1), keepdims=True)
            fit = -((rest - mean) ** 2).sum(axis=(-2, -1)) / (2 * (preset.noise / k) ** 2)
            likely += np.logaddexp.reduce(fit, axis=1)
        right += int(likely.argmax() == label)
    return right / count


def test_the_glance_at_a_fine_object_hardly_shows_which() -> None:
    assert 0.5 <= read_at_a_glance(FINE, 150) <= 0.75
    assert read_at_a_glance(replace(FINE, leak=0.0), 150) <= 0.3


def test_a_crop_near_a_fine_object_shows_which() -> None:
    made = sample(FINE, split="test", count=60)
    size, px = FINE.size, FINE.object_px
    table = oracle.looks(FINE, "grating", 8)
    shift = np.random.default_rng(0).integers(-5, 6, size=(60, 2, 2))
    right = 0
    for frames, boxes, off, label in zip(
        grey(made), made.truth.boxes, shift, made.labels, strict=True
    ):
        at = np.clip(oracle.corners(boxes, size) + off, 0, size - px) / size
        near = np.concatenate([at, at + px / size], axis=1)
        right += int(oracle.scores(frames, near, table).argmax() == label)
    assert right >= 0.95 * 60


def test_a_small_frame_takes_a_long_period_for_a_short_one() -> None:
    preset = find("resolution-v1")
    made = sample(preset, split="test", count=120)
    small = grey(sample(preset, split="test", count=120))
    small = pooled(small, 2)
    table = oracle.looks(preset, "grating", 8)
    long = made.labels % 2 == 1
    half = preset.object_px // 2
    read = []
    for frames, boxes in zip(small, made.truth.boxes, strict=True):
        # The network for large frames, shown a small one, looks at a window of its own size.
        window = np.clip(oracle.corners(boxes, 32) - half // 2, 0, 32 - preset.object_px) / 32
        read.append(int(oracle.scores(frames, np.concatenate([window, window], 1), table).argmax()))
    assert np.mean(np.array(read)[long] == made.labels[long] - 1) >= 0.6


# --- time and motion ---------------------------------------------------------------------------


@named([p for p in TRIMMED if p.actions is None])
def test_evidence_is_as_rare_as_the_preset_says(preset: Preset) -> None:
    truth = sample(preset, split="train", count=100).truth
    groups = preset.frames // preset.repeat // preset.group_frames
    least, most = preset.evidence or (groups, groups)
    num = truth.evidence.sum(axis=1) / (preset.group_frames * preset.repeat)
    assert set(num) <= set(range(least, most + 1))
    assert {num.min(), num.max()} == {least, most}
    each = truth.evidence.mean(axis=0)
    assert abs(each - each.mean()).max() <= 0.25


def test_repeated_pictures_are_equal_bit_for_bit() -> None:
    made = sample(find("repeats-v1"), split="train", count=5)
    blocks = made.frames.reshape(5, 8, 4, -1)
    assert (blocks == blocks[:, :, :1]).all()
    assert (blocks[:, 1:, 0] != blocks[:, :-1, 0]).any(axis=-1).all()


def test_the_heading_is_in_the_shift_between_frames() -> None:
    preset = find("motion-direction-v1")
    made = sample(preset, split="test", count=80)
    read = []
    for frames in grey(made):
        y, x = oracle.shift_between(frames[0], frames[4])
        read.append(round(np.arctan2(-y, x) / (2 * np.pi) * 8) % 8)
    assert np.mean(np.array(read) == made.labels) >= 0.95


@pytest.mark.parametrize("name", ["motion-direction-v1", "trimmed-actions-v1", "moving-shape-v1"])
@pytest.mark.parametrize("frame", [0, -1])
def test_a_single_frame_says_nothing_about_motion(name: str, frame: int) -> None:
    preset = find(name)
    drawn = plan(preset, split="test", count=6000, start=0, seed=0)[1]
    # Where things stand is all that the class could change in one frame.
    for layer in drawn.layers:
        at = np.stack([layer.top[:, frame], layer.left[:, frame]], axis=1)
        for label in range(preset.num_classes):
            of_class = at[drawn.labels == label]
            spread = at.std(axis=0) / np.sqrt(len(of_class))
            assert (abs(of_class.mean(axis=0) - at.mean(axis=0)) <= 4.5 * spread).all()
            assert (abs(of_class.std(axis=0) / at.std(axis=0) - 1) <= 0.08).all()


def test_the_axis_is_the_one_along_which_boxes_move() -> None:
    made = sample(find("trimmed-actions-v1"), split="test", count=60)
    moves = np.ptp(made.truth.boxes[..., :2], axis=1) > 0
    read = np.select([moves[:, 0] & ~moves[:, 1], ~moves[:, 0] & moves[:, 1]], [0, 1], default=2)
    assert (read == made.labels).all()


def test_the_mover_is_the_only_thing_that_moves() -> None:
    made = sample(find("moving-shape-v1"), split="test", count=40)
    change = made.frames[:, :, 0].astype(np.float64).std(axis=1)
    side = (np.arange(32) + 0.5) / 32
    boxes = made.truth.boxes
    low, high = boxes[..., :2].min(axis=1), boxes[..., 2:].max(axis=1)
    for spread, (x0, y0), (x1, y1) in zip(change, low, high, strict=True):
        inside = np.outer((side > y0) & (side < y1), (side > x0) & (side < x1))
        assert spread[inside].mean() > 1.4 * spread[~inside].mean()
        assert spread[~inside].max() < 30


def test_relations_are_how_the_two_ends_of_the_box_move() -> None:
    made = sample(find("relation-v1"), split="test", count=200)
    sides = made.truth.boxes[..., 2:] - made.truth.boxes[..., :2]
    length = np.hypot(sides[..., 0], sides[..., 1])
    first, middle, last = length[:, 0], length[:, 10], length[:, -1]
    change = 0.06
    read = np.select(
        [(first - last > change), (last - first > change), (first - middle > change)],
        [0, 1, 2],
        default=3,
    )
    assert np.mean(read == made.labels) >= 0.95


def test_actions_are_where_the_segments_say() -> None:
    preset = find("untrimmed-actions-v1")
    made = sample(preset, split="train", count=60)
    lengths: list[float] = []
    numbers = set()
    for i in range(60):
        segments = made.truth.segments(i)
        numbers.add(len(segments))
        lengths += np.subtract(segments.end_seconds, segments.start_seconds).tolist()
        assert segments.labels[0] == made.labels[i]
        frames = np.zeros(preset.frames, bool)
        for start, end in zip(segments.start_seconds, segments.end_seconds, strict=True):
            frames[round(start * 6) : round(end * 6)] = True
        assert (frames == made.truth.evidence[i]).all()
        assert (frames == ~np.isnan(made.truth.boxes[i]).any(axis=1)).all()
    assert numbers == {1, 2, 3}
    assert 0.499 <= min(lengths) < 1.5 < 6 < max(lengths) <= 8.001


# --- senses, classes, words ------------------------------------------------------------------


def test_each_class_is_told_by_its_own_sense_alone() -> None:
    preset = find("modalities-v1")
    made = sample(preset, split="test", count=80)
    assert made.sound is not None
    assert made.sound.shape == (80, 16000)
    assert abs(made.sound).max() <= 1
    per_frame = made.sound.reshape(80, 8, 2000)
    for i, label in enumerate(made.labels):
        evidence = made.truth.evidence[i]
        loud = per_frame[i].std(axis=1) > 0.1
        seen = ~np.isnan(made.truth.boxes[i]).any(axis=1)
        if MODALITIES[made.truth.modality[i]] == "sound":
            assert (loud == evidence).all()
            assert not seen.any()
            heard = [oracle.pitch(x, 8000) for x in per_frame[i][evidence]]
            assert np.allclose(heard, tone_hz(label), atol=5)
        else:
            assert not loud.any()
            assert (seen == evidence).all()
    assert set(made.truth.modality[made.labels < 4]) == {MODALITIES.index("sound")}
    assert set(made.truth.modality[made.labels >= 7]) == {MODALITIES.index("motion")}


def test_training_is_long_tailed_and_lacks_what_is_unseen() -> None:
    preset = find("long-tail-v1")
    counts = np.bincount(labels_of(preset, "train", 5000), minlength=28)
    assert (counts[20:] == 0).all()
    assert 50 <= counts[0] / counts[19] <= 200
    assert (np.diff(counts[:20:4]) < 0).all()
    tests = np.bincount(labels_of(preset, "test", 5000), minlength=28)
    assert tests.min() >= 100


def test_few_shot_tests_hold_only_novel_classes() -> None:
    preset = find("few-shot-v1")
    assert labels_of(preset, "train", 2000).max() == 39
    assert labels_of(preset, "calibration", 2000).max() == 39
    novel = labels_of(preset, "test", 2000)
    assert (novel.min(), novel.max()) == (40, 59)


def labels_of(preset: Preset, split: Any, count: int) -> Array:
    return plan(preset, split=split, count=count, start=0, seed=0)[1].labels


@named(list(PRESETS))
def test_classes_have_names_that_differ_and_something_said_of_them(preset: Preset) -> None:
    made = sample(preset, split="test", count=1)
    assert len(set(made.class_names)) == preset.num_classes
    assert len(made.class_descriptions) == preset.num_classes
    assert {len(about) for about in made.class_descriptions} == {preset.sentences or 1}


def test_relevant_sentences_name_the_class_and_the_others_do_not() -> None:
    preset = find("long-tail-v1")
    for name, about in zip(class_names(preset), descriptions(preset), strict=True):
        assert sum(sentence.relevant for sentence in about) == 16
        assert all(sentence.relevant == sentence.text.endswith(name) for sentence in about)
