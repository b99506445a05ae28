"""Embeddings: the truth of the pixels, the evidence in the vectors and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.haystack import PRESETS, class_vectors, features, find, sample

EMBEDDED = [preset.name for preset in PRESETS if preset.views]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embeddings_have_the_truth_of_the_pixels(name: str) -> None:
    preset = find(name)
    made = features(preset, split="test", count=6, start=2, seed=4)
    pixels = sample(preset, split="test", count=6, start=2, seed=4)
    assert np.array_equal(made.labels, pixels.labels)
    assert np.array_equal(made.truth.shown, pixels.truth.shown)
    assert np.array_equal(made.truth.boxes, pixels.truth.boxes, equal_nan=True)
    for view in preset.views:
        assert made.views[view.name].shape == (6, preset.frames, view.size)
        assert made.views[view.name].dtype == np.float32
    alone = features(preset, split="test", count=1, start=5, seed=4)
    for view in preset.views:
        assert np.array_equal(alone.views[view.name][0], made.views[view.name][3])


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_evidence_is_in_the_frames_that_show_it_alone(name: str) -> None:
    preset = find(name)
    made = features(preset, split="test", count=400)
    truth = made.truth
    scores = sum(
        made.views[view.name].astype(np.float64) @ class_vectors(preset, view).T / view.noise**2
        for view in preset.views
    )
    told = (scores * truth.evidence[..., None]).sum(axis=1).argmax(axis=1)
    assert np.mean(told == made.labels) >= 0.95
    empty = truth.shown < 0
    some = empty.any(axis=1)
    if some.any():
        blind = (scores * empty[..., None]).sum(axis=1).argmax(axis=1)
        chance = 1 / preset.num_classes
        assert np.mean(blind[some] == made.labels[some]) <= chance + 4 * np.sqrt(
            chance / some.sum()
        )


def test_each_sense_embeds_its_own_classes() -> None:
    preset = find("modalities-v1")
    carried = {
        view.name: np.linalg.norm(class_vectors(preset, view), axis=1).round(3).tolist()
        for view in preset.views
    }
    assert carried == {
        "sound": [1.0] * 4 + [0.0] * 6,
        "appearance": [0.0] * 4 + [1.0] * 3 + [0.0] * 3,
        "motion": [0.0] * 7 + [1.0] * 3,
    }


def test_a_detector_names_the_objects_of_the_class_shown() -> None:
    preset = find("distractor-frames-v1")
    made = features(preset, split="test", count=200)
    assert made.objects is not None
    assert made.objects.shape == (200, 16, 20)
    assert np.allclose(made.objects.sum(axis=-1), 1, atol=1e-5)
    frames, shown = made.objects[made.truth.evidence], made.truth.shown[made.truth.evidence]
    assert np.mean(frames.argmax(axis=1) // 2 == shown) >= 0.9
    nothing = made.objects[made.truth.shown < 0]
    assert np.median(nothing.max(axis=1)) < 0.35
    assert made.object_words.shape == (20, 16)
    likeness = made.class_words @ made.object_words.T
    assert (likeness.argsort(axis=1)[:, -2:] // 2 == np.arange(10)[:, None]).mean() >= 0.9


def test_a_task_without_embeddings_says_so() -> None:
    with pytest.raises(ValueError, match="fine-object-v1"):
        features(find("fine-object-v1"), split="test", count=1)
