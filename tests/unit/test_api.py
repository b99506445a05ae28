"""The Python face: answers in words, thresholds, comparisons, and clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import foveal
from foveal.api import InputError, Model, SampleError, agreement, label_at, load
from foveal.bundle import BundleInvalidError
from foveal.records import Failure, Prediction
from foveal.types import Answer
from foveal.video import ArraySource
from tests.helpers_bundle import COLOURS, GREY, MACS_PER_FRAME, write_clip, write_colour_bundle

RED, GREEN, BLUE = COLOURS.values()


@pytest.fixture
def model(tmp_path) -> Model:
    return Model(write_colour_bundle(tmp_path / "colour.foveal"), threads=1)


@pytest.fixture
def clip(tmp_path) -> str:
    return str(write_clip(tmp_path / "clip.mp4", [RED, GREEN, GREY, BLUE]))


def test_every_stretch_has_its_name_and_the_rest_is_nothing_it_knows(model, clip):
    prediction = model.recognize(clip)
    assert [p.label for p in prediction.predictions] == [
        "red",
        "green",
        "nothing it knows",
        "blue",
    ]
    grey = prediction.predictions[2]
    assert not grey.known
    assert grey.guess in COLOURS
    assert grey.prob < 0.6
    assert prediction.cost.macs == {"colour": 4 * MACS_PER_FRAME}
    assert prediction.model == "baselines"


def test_a_path_a_source_and_a_loaded_model_give_the_same(model, clip, tmp_path):
    one = foveal.recognize(clip, model=tmp_path / "colour.foveal")
    two = foveal.recognize(clip, model=model)
    assert one.predictions == two.predictions
    frames = np.zeros((8, 3, 16, 16), np.uint8)
    frames[:, 0] = 200
    memory = model.recognize(ArraySource(frames, fps=4, name="red frames"))
    assert {p.label for p in memory.predictions} == {"red"}
    assert memory.path == "red frames"


def test_top_k_labels_a_stretch(model, clip):
    first, second, *_ = model.recognize(clip, top_k=2).predictions
    assert (first.start_seconds, first.end_seconds) == (second.start_seconds, second.end_seconds)
    assert first.prob >= second.prob
    with pytest.raises(InputError, match="top_k must be at least 1"):
        model.recognize(clip, top_k=0)


def test_probabilities_are_labels_of_the_whole_clip(model, clip):
    info = model.recognize(clip).clip
    labels = model.labels(Answer(probs=np.array([0.1, 0.2, 0.7])), info, top_k=2)
    assert [(x.label, x.known) for x in labels] == [("blue", True), ("nothing it knows", False)]
    assert labels[0].end_seconds == info.duration_seconds


def test_a_failing_file_raises_its_record_and_the_others_go_on(model, clip, tmp_path):
    missing = str(tmp_path / "missing.mp4")
    with pytest.raises(SampleError) as raised:
        model.recognize(missing)
    assert raised.value.kind == raised.value.failure.kind == "missing"
    done = {p.path: p for p in model.recognize_many([missing, clip])}
    assert isinstance(done[missing], Failure)
    assert isinstance(done[clip], Prediction)


def test_what_is_no_source_is_refused_in_words(model):
    with pytest.raises(InputError, match="cannot look at a ndarray; give a path"):
        model.recognize(np.zeros((8, 3, 16, 16), np.uint8))


def test_a_bundle_of_an_unknown_system_is_refused(model):
    manifest = replace(model.bundle.manifest, system="telepathy")
    with pytest.raises(BundleInvalidError, match="made for the system 'telepathy'"):
        Model(replace(model.bundle, manifest=manifest))


def test_without_a_part_that_names_frames_a_comparison_says_why_and_what_else(model, clip):
    model.reference = None
    with pytest.raises(InputError) as caught:
        model.compare(clip)
    assert "runs a part that classifies frames one by one, and baselines has none" in str(caught)
    assert f"`foveal calibrate {model.bundle.path} DATA` measures" in caught.value.hint


def test_compare_bills_both_and_agrees_frame_by_frame(model, clip):
    found = model.compare(clip, sure=0.6)
    assert found.dense.cost.total_macs == 16 * MACS_PER_FRAME
    assert found.macs_saved == 0.75
    assert found.agreement == 1.0
    wrong = replace(
        found.prediction,
        predictions=tuple(replace(p, label="red") for p in found.prediction.predictions),
    )
    assert agreement(wrong, found.dense, sure=0.6) == pytest.approx(1 / 3)
    assert agreement(found.prediction, found.dense, sure=1.1) is None


def test_a_border_belongs_to_the_stretch_that_begins_there(model, clip):
    prediction = model.recognize(clip)
    first, second, *_ = prediction.predictions
    assert label_at(prediction, first.start_seconds) == "red"
    assert label_at(prediction, second.start_seconds) == "green"
    assert label_at(prediction, 1e9) == "blue"


def test_the_embedded_tagger_loads_and_the_package_lists_its_verbs():
    model = load(threads=1)
    assert model.name == "tagger"
    assert len(model.class_names) == 1000
    assert {"load", "recognize", "Prediction", "Model"} <= set(dir(foveal))
