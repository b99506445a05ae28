"""``--set recipe.NAME``: which arguments of a recipe may be set, and what is said of slips."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import pytest

from foveal.bundle import decode_config
from foveal.recipe import Recipe
from foveal.systems.baselines import recipe as baselines
from foveal.tasks.trainable import trainable
from foveal.train import Configured, SettingError, configure
from foveal.train.arguments import arguments_of, filled


@dataclass(frozen=True, kw_only=True)
class Told:
    weight: float = 0.5
    kind: Literal["hard", "soft"] = "soft"
    twice: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight is not negative, got {self}")


@dataclass(frozen=True, kw_only=True)
class Hidden:
    call: Callable[[], int]


PLAIN, HIDDEN = Told(), Hidden(call=int)


def made_with(
    *,
    cfg: Any = None,
    told: Told = PLAIN,
    hidden: Hidden = HIDDEN,
    reward: Callable[[float], float] = abs,
    twice: float | None = None,
    sizes: tuple[int, ...] = (1, 2),
) -> Recipe:
    """A recipe whose loss keeps what it was given."""
    plain = baselines.tiny(cfg=cfg)
    loss: Any = partial(plain.stages[0].loss, told=told, twice=twice, sizes=sizes)
    return replace(plain, stages=(replace(plain.stages[0], loss=loss),))


def configured(settings: Mapping[str, Any], make: Any = made_with) -> Configured:
    return configure(make, num_classes=5, num_samples=100, settings=settings)


def given(found: Configured) -> dict[str, Any]:
    loss: Any = found.recipe.stages[0].loss
    return dict(loss.keywords)


def test_arguments_and_fields_are_set_by_name() -> None:
    """What two of them are called is neither's, and what is no JSON cannot be set."""
    known = arguments_of(made_with)
    assert {name: one.value for name, one in known.items()} == {
        "weight": 0.5, "kind": "soft", "sizes": [1, 2]
    }  # fmt: skip
    settings = {"recipe.weight": 2, "recipe.kind": "hard", "recipe.sizes": [3], "num_frames": 3}
    found = configured(settings)
    assert given(found) == {"told": Told(weight=2.0, kind="hard"), "twice": None, "sizes": (3,)}
    assert found.recipe.config.num_frames == 3  # type: ignore[attr-defined]
    assert found.recipe.arguments == {"weight": 2, "kind": "hard", "sizes": [3]}
    assert configured({}).recipe.arguments == {}
    assert given(configured({}))["told"] == PLAIN


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe.wieght": 1}, "no setting 'recipe.wieght'; did you mean recipe.weight"),
        ({"recipe.twice": 1}, "no setting 'recipe.twice'"),
        ({"qqq": 1}, "no setting 'qqq'; the nearest are "),
        ({"recipe.reward": 1}, "no setting 'recipe.reward'"),
        ({"recipe.weight": "x"}, "^--set recipe.weight=x: expected a finite number"),
        ({"recipe.kind": "mild"}, "^--set recipe.kind=mild: expected one of 'hard', 'soft'"),
        ({"recipe.sizes": [1, "x"]}, r"^--set recipe.sizes=\[1, \"x\"\]: .*expected an integer"),
        (
            {"recipe.weight": -1, "recipe.kind": "hard"},
            "^--set recipe.weight=-1: weight is not negative; set another value; the recipe has "
            "recipe.weight=0.5$",
        ),
    ],
)
def test_a_slip_names_the_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        configured(settings)


def every_recipe() -> list[Any]:
    found = []
    for row in trainable():
        recipes = importlib.import_module(f"{row.module}.recipe").RECIPES
        found += [pytest.param(make, id=f"{row.name}-{name}") for name, make in recipes.items()]
    return found


@pytest.mark.parametrize("make", every_recipe())
def test_every_recipe_takes_what_it_says_it_takes(make: Callable[..., Recipe]) -> None:
    """Its own values, as JSON, leave it as it is; no option is hidden behind a default of None."""
    known = arguments_of(make)
    again = filled(known, {name: one.value for name, one in known.items()})
    for name, value in again.items():
        default = inspect.signature(make).parameters[name].default
        assert value == default
    assert make(**again).name == make().name
    options = {one.parameter for one in known.values() if one.field is not None}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in ("options", "told"):
            assert name in options
            assert decode_config(type(parameter.default), {}) is not None


def test_a_run_goes_on_with_the_arguments_it_was_begun_with() -> None:
    from foveal.train.loop import _identity
    from tests.unit.train import toy

    plain = toy.recipe()
    told = _identity(plain, seed=0, data=toy.data())
    other = _identity(replace(plain, arguments={"weight": 2}), seed=0, data=toy.data())
    assert "arguments" not in told
    assert other == {**told, "arguments": {"weight": 2}}
