"""What is said of settings that OCSampler cannot take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from foveal.systems.ocsampler import recipe
from foveal.train import Configured, SettingError, configure
from foveal.train.project import check_asked


def configured(settings: Mapping[str, Any]) -> Configured:
    return configure(recipe.small, num_classes=4, num_samples=100, settings=settings)


def test_what_the_others_do_not_go_with_is_named_with_its_range() -> None:
    """`num_frames` was not asked for: it is not to blame, nor is what goes with everything."""
    with pytest.raises(SettingError) as caught:
        configured({"num_candidates": 3, "skim_size": 24, "lr": 0.1})
    assert str(caught.value) == (
        "--set num_candidates=3: num_candidates 3 must be at least 10, the most of frame_counts "
        "(1, 2, 3, 4, 5, 6, 7, 8, 9, 10); set another value; the recipe has num_candidates=10"
    )
    fits = {"num_candidates": 3, "frame_counts": [1, 2, 3], "num_frames": 2}
    assert configured(fits).recipe.draws[0].num_frames == 3
    with pytest.raises(SettingError, match="--set num_frames=11: num_frames 11 must be one of"):
        configured({"num_frames": 11})
    with pytest.raises(SettingError, match=r"^--set num_candidates=3 --set num_frames=11: "):
        configured({"num_candidates": 3, "num_frames": 11})


def test_before_the_data_are_read_its_settings_are_known_to_be_of_a_choice() -> None:
    asked: dict[str, Any] = {"system": None, "recipe": None, "pretrained": False}
    check_asked(("video",), settings={"skim_size": 24}, **asked)
    with pytest.raises(SettingError, match="num_candidates 3 must be at least 10"):
        check_asked(("video",), settings={"num_candidates": 3}, **asked)


def test_how_much_is_enough_is_set_where_the_video_decides() -> None:
    found = configured({"budget": "video", "recipe.enough": 0.8})
    stage = found.recipe.stages[-1]
    assert stage.name == "budget"
    loss: Any = stage.loss
    assert loss.keywords == {"enough": 0.8}
    assert found.recipe.arguments == {"enough": 0.8}
    with pytest.raises(SettingError, match=r"enough 0\.8 has no effect unless budget is 'video'"):
        configured({"recipe.enough": 0.8})
    with pytest.raises(SettingError, match=r"--set recipe.enough=2: enough must lie in \(0, 1\]"):
        configured({"budget": "video", "recipe.enough": 2})
