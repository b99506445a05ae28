"""What the sampler is told is set from the command line."""

from __future__ import annotations

from typing import Any

import pytest

from foveal.systems.nsnet import recipe
from foveal.train import SettingError, configure


@pytest.mark.parametrize("name", ["paper", "small", "tiny", "features"])
def test_guidance_reaches_the_loss_of_the_sampler(name: str) -> None:
    settings = {"recipe.guidance": 1, "recipe.hard": True, "beta": 0.7}
    found = configure(recipe.RECIPES[name], num_classes=4, num_samples=100, settings=settings)
    loss: Any = next(stage.loss for stage in found.recipe.stages if stage.name == "sampler")
    assert loss.keywords["told"] == recipe.Supervision(guidance=1.0, hard=True)
    assert found.recipe.config.beta == 0.7  # type: ignore[attr-defined]


def test_a_weight_below_nothing_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match=r"^--set recipe.guidance=-1: weights are not negative;"):
        configure(recipe.small, num_classes=4, num_samples=100, settings={"recipe.guidance": -1})
