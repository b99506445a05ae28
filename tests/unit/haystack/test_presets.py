"""The table of tasks: complete, versioned, and refusing what cannot be."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from foveal.haystack import PRESETS, PresetError, find, sample
from foveal.systems import index

BY_NAME = {preset.name: preset for preset in PRESETS}


def test_names_are_versioned_and_unique() -> None:
    assert len(BY_NAME) == len(PRESETS)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-v\d+", name) for name in BY_NAME)


def test_every_row_says_which_line_of_which_sheet_it_serves() -> None:
    for preset in PRESETS:
        assert preset.serves
        for line in preset.serves:
            assert re.match(r"[a-z0-9_]+( \d+(, \d+)*|, [a-z ]+( \d+)?): ", line), line


def test_every_system_that_claims_something_finds_its_task() -> None:
    served = {re.split(r"[ ,]", line)[0] for preset in PRESETS for line in preset.serves}
    papers = {row.name for row in index.ALL if row.kind != "baseline"} - {"tagger"}
    assert papers <= served


def test_find_names_the_nearest() -> None:
    assert find("fine-object-v1") is BY_NAME["fine-object-v1"]
    with pytest.raises(PresetError) as wrong:
        find("fine-objekt-v1")
    assert "fine-object-v1" in wrong.value.hint
    with pytest.raises(PresetError) as strange:
        find("?")
    assert all(name in strange.value.hint for name in BY_NAME)


def test_a_row_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PRESETS[0].frames = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"evidence": (3, 2)},
        {"evidence": (0, 1)},
        {"evidence": (9, 10), "distractors": (1, 1)},
        {"group_frames": 3},
        {"object_px": 33},
        {"unseen": 8},
        {"test_classes": "unseen"},
        {"classes": (("tone", 3),)},
        {"actions": (1, 2)},
        {"unseen": 2, "distractors": (1, 1)},
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="salient-frames-v1"):
        replace(find("salient-frames-v1"), **change)


@pytest.mark.parametrize("cue", ["axis", "mover", "relation"])
def test_cues_with_few_classes_say_so(cue: Any) -> None:
    preset = replace(find("salient-frames-v1"), classes=((cue, 8),), object_px=8)
    with pytest.raises(ValueError, match="not 8"):
        sample(preset, split="train", count=1)
