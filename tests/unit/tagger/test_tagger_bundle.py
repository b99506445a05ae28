"""The bundle in the wheel: small, as measured, and right about the clip we drew ourselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveal.api import NOTHING, Model, embedded_bundle, load
from foveal.demo import DemoObject, make_demo_clip
from foveal.systems.tagger import protocol

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "results" / "tagger"


@pytest.fixture(scope="module")
def tagger() -> Model:
    return load(threads=1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[DemoObject, ...]]:
    path = tmp_path_factory.mktemp("tagger") / "demo.mp4"
    return path, make_demo_clip(path)


def test_bundle_is_small_whole_and_free() -> None:
    bundle = load(threads=1).bundle
    bundle.verify()
    assert len(embedded_bundle().read_bytes()) <= 12_000_000
    assert bundle.manifest.licence == "Apache-2.0"
    assert {"weights", "weights_sha256", "built_by"} <= bundle.manifest.provenance.keys()
    assert len(set(bundle.manifest.class_names)) == 1000
    assert bundle.macs(protocol.PART, {}) == pytest.approx(385e6, rel=0.01)


def test_bundle_ships_what_was_measured(tagger: Model) -> None:
    policy = json.loads((RESULTS / "policy.json").read_text())["measured"]
    threshold = json.loads((RESULTS / "threshold.json").read_text())["measured"]
    assert policy["setting"] == policy["shipped_setting"]
    assert policy["setting"] == {
        "max_difference": tagger.config.max_difference,
        "max_stretch": tagger.config.max_stretch,
    }
    assert threshold["threshold"] == tagger.bundle.manifest.threshold
    assert policy["test"]["gain"] > 0
    speed = json.loads((RESULTS / "speed.json").read_text())["measured"]
    assert 0.3 <= speed["macs_on_of_off"] <= 0.6
    assert speed["time_saved_of_macs_saved"] >= 0.8
    assert policy["macs_per_look"] == tagger.bundle.macs(protocol.PART, {})


def test_demo_objects_are_named_when_they_are_shown(
    tagger: Model, demo: tuple[Path, tuple[DemoObject, ...]]
) -> None:
    path, objects = demo
    prediction = tagger.recognize(path)
    assert prediction.cost.frames_used == 16
    assert prediction.cost.total_macs < 16 * tagger.bundle.macs(protocol.PART, {})
    known = [p for p in prediction.predictions if p.known]
    assert [p.label for p in known] == [thing.label for thing in objects]
    for found, thing in zip(known, objects, strict=True):
        assert found.prob >= 0.5
        overlap = min(found.end_seconds, thing.end_seconds) - max(
            found.start_seconds, thing.start_seconds
        )
        union = max(found.end_seconds, thing.end_seconds) - min(
            found.start_seconds, thing.start_seconds
        )
        assert overlap / union > 0.5
    assert {p.label for p in prediction.predictions if not p.known} == {NOTHING}


def test_demo_is_glanced_by_keyframes_alone(
    tagger: Model, demo: tuple[Path, tuple[DemoObject, ...]]
) -> None:
    prediction = tagger.recognize(demo[0])
    assert prediction.cost.frames_decoded == 16
    assert prediction.clip.num_frames == 1500
