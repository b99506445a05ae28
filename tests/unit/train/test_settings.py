"""``--set``: every kind of key, what changes along with it, and what is said of slips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from foveal.dataset import Kind
from foveal.recipe import Optimizer, Recipe
from foveal.systems.baselines import recipe as baselines
from foveal.train import Configured, Running, SettingError, configure
from foveal.train.project import check_asked


def configured(
    settings: Mapping[str, Any],
    *,
    make: Any = baselines.tiny,
    num_samples: int = 1000,
    num_classes: int = 5,
    **options: Any,
) -> Configured:
    return configure(
        make,
        num_classes=num_classes,
        num_samples=num_samples,
        settings=settings,
        running=options.pop("running", Running()),
        **options,
    )


def only(recipe: Recipe) -> Any:
    (stage,) = recipe.stages
    return stage


def two_stages(*, cfg: Any = None) -> Recipe:
    """Return the recipe `tiny` with a second stage, by another rule and in other batches."""
    plain = baselines.tiny(cfg=cfg)
    first = only(plain)
    rule = Optimizer(kind="sgd", lr=0.02)
    second = replace(first, name="second", optimizer=rule, batch_size=40)
    return replace(plain, stages=(first, second))


def test_without_settings_it_is_the_recipe_for_these_classes() -> None:
    found = configured({})
    assert found.recipe.config.num_classes == 5  # type: ignore[attr-defined]
    assert only(found.recipe) == only(baselines.tiny())
    assert found.notes == ()
    assert found.recipe.network().head.out_features == 5


def test_every_kind_of_key() -> None:
    found = configured(
        {
            "device": "cpu",
            "patience": 3,
            "max_bad_share": 0,
            "weight_decay": 0.5,
            "epochs": 7,
            "num_frames": 2,
            "canvas.height": 16,
            "canvas.width": 16,
            "dropout": 0.25,
            "classifier.warmup_steps": 9,
        }
    )
    stage, config = only(found.recipe), found.recipe.config
    assert (found.running.device, found.running.patience) == ("cpu", 3)
    assert found.running.max_bad_share == 0.0
    assert (stage.optimizer.weight_decay, stage.epochs, stage.steps) == (0.5, 7, None)
    assert stage.warmup_steps == 9
    assert (config.num_frames, config.canvas.height, config.dropout) == (2, 16, 0.25)  # type: ignore[attr-defined]
    assert found.recipe.draws[0].num_frames == 2
    assert found.recipe.draws[0].view == config.canvas  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 4), ("steps", 3), ("epochs", 2), ("lr", 0.5), ("momentum", 0.1),
        ("weight_decay", 0.2), ("schedule", "constant"), ("warmup_steps", 2), ("clip_norm", 3.0),
        ("accumulate", 2), ("ema_decay", 0.9),
    ],
)  # fmt: skip
def test_every_setting_of_a_stage_reaches_it(name: str, value: object) -> None:
    stage = only(configured({name: value}).recipe)
    holder = stage.optimizer if name in ("lr", "momentum", "weight_decay") else stage
    assert getattr(holder, name) == value
    assert (stage.steps is None) == (name == "epochs")


def test_one_stage_of_several() -> None:
    plain = two_stages().stages
    names = [stage.name for stage in plain]
    for order in (1, -1):
        settings = dict([("steps", 11), (f"{names[1]}.steps", 22)][::order])
        found = configured(settings, make=two_stages).recipe.stages
        assert [stage.steps for stage in found] == [11, 22]
    lone = configured({f"{names[0]}.lr": 0.5}, make=two_stages).recipe.stages
    assert lone[0].optimizer.lr == 0.5
    assert lone[1] == plain[1]


# --- what changes along -----------------------------------------------------------------------


def test_another_batch_size_is_another_learning_rate_and_is_said() -> None:
    """By the square root for Adam, in proportion for SGD."""
    before = [stage.optimizer for stage in two_stages().stages]
    sizes = [stage.batch_size for stage in two_stages().stages]
    assert [rule.kind for rule in before] == ["adamw", "sgd"]
    found = configured({"batch_size": 10}, make=two_stages)
    rates = [stage.optimizer.lr for stage in found.recipe.stages]
    assert rates[0] == pytest.approx(before[0].lr * (10 / sizes[0]) ** 0.5)
    assert rates[1] == pytest.approx(before[1].lr * 10 / sizes[1])
    assert len(found.notes) == 2
    assert f"batch size {sizes[0]} -> 10, so learning rate 0.003 -> 0.00335" in found.notes[0]
    assert found.notes[0].endswith("(by its square root)")
    assert found.notes[1].endswith("(in proportion)")
    kept = configured({"batch_size": 10, "lr": 0.3}, make=two_stages)
    assert [stage.optimizer.lr for stage in kept.recipe.stages] == [0.3, 0.3]
    assert kept.notes == ()


def test_a_small_set_makes_batches_smaller_and_says_so() -> None:
    found = configured({}, num_samples=2)
    stage = only(found.recipe)
    assert stage.batch_size == 2
    assert stage.optimizer.lr == pytest.approx(3e-3 / 2)
    assert found.notes[0] == "stage 'classifier': batches of 2, as many as there are clips"
    assert "8 -> 2" in found.notes[1]


def test_what_follows_from_the_data_is_set_before_the_user_speaks() -> None:
    found = configured(
        {}, make=baselines.features, base={"canvas": {"name": "mine"}, "feature_width": 33}
    )
    assert found.recipe.config.feature_width == 33  # type: ignore[attr-defined]
    assert found.recipe.network().head.in_features == 33
    assert found.recipe.draws[0].view.name == "mine"  # type: ignore[union-attr]


def test_what_a_recipe_cannot_do_is_one_line() -> None:
    with pytest.raises(SettingError, match=r"96 x 48 px cannot be .*; set another"):
        configured({"canvas.height": 48}, make=baselines.small)


# --- slips ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 1}, "no setting 'learning_rate'; "),
        ({"bach_size": 1}, "no setting 'bach_size'; did you mean batch_size"),
        ({"num_frame": 1}, "did you mean num_frames"),
        ({"patiense": 1}, "did you mean patience"),
        ({"clasifier.lr": 1}, "did you mean classifier.lr"),
        ({"classifier.lrr": 1}, "did you mean classifier.lr"),
        ({"classifier": 1}, "did you mean classifier."),
        ({"classifier.lr": True}, "--set classifier.lr=true: expected a finite number, got True"),
        ({"workers": 2, "canvas.width": "x"}, "--set canvas.width=x: expected"),
        ({"canvas.heigth": 1}, "canvas.heigth=1: unknown key; did you mean 'height'"),
        ({"dropout.x": 1}, "no setting 'dropout.x'"),
        ({"qqq": 1}, r"no setting 'qqq'; the nearest are (\w[\w.]*, ){4}[\w.]+; `python -m pydoc "),
        ({"zzz": "centre"}, "no setting 'zzz'; did you mean when=centre"),
        ({"num_classes": 4}, "--set num_classes=4: .* follows from the data; leave it out"),
        (
            {"several_labels": True},
            "--set several_labels=true: .* follows from the data; leave it out",
        ),
        ({"steps": 1, "epochs": 1}, "stage 'classifier': steps and epochs are both set"),
        ({"batch_size": "many"}, "--set batch_size=many: expected .* got 'many'"),
        ({"batch_size": 1.5}, "expected .* got 1.5"),
        ({"batch_size": 0}, "stage 'classifier': batch_size must be at least 1, got 0"),
        ({"batch_size": -4}, "batch_size must be at least 1, got -4"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"epochs": -2}, "epochs must be at least 1, got -2"),
        ({"lr": "fast"}, "--set lr=fast: expected"),
        ({"lr": -1}, "lr must be positive, got -1"),
        ({"momentum": 2}, "momentum must be"),
        ({"weight_decay": -0.1}, "weight_decay must be"),
        ({"clip_norm": 0}, "clip_norm must be"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"accumulate": 0}, "accumulate must be in 1..8 .*, got 0"),
        ({"ema_decay": 1}, "ema_decay must be in"),
        ({"schedule": "step"}, "--set schedule=step: .*'cosine'"),
        ({"precision": "8"}, "--set precision=8: .*'bf16-mixed'"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"max_bad_share": 2}, r"max_bad_share must be in \[0, 1\]"),
        ({"keep": "first"}, "--set keep=first: .*'best'"),
        ({"num_frames": 0}, "at least one frame"),
        ({"canvas": 3}, "--set canvas=3: "),
    ],
)
def test_a_slip_is_one_line_that_says_what_is_near(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        configured(settings)
    assert "\n" not in str(caught.value)


def test_the_settings_to_blame_are_named_and_what_the_recipe_has() -> None:
    with pytest.raises(SettingError) as caught:
        configured({"num_frames": 4, "canvas.height": 48, "lr": 0.1}, make=baselines.small)
    assert str(caught.value) == (
        "--set canvas.height=48: pictures of 96 x 48 px cannot be cut at random, only square ones "
        "can; set another value; the recipe has canvas.height=96"
    )
    with pytest.raises(SettingError, match=r"^--set canvas.height=48 --set num_frames=0: "):
        configured({"canvas.height": 48, "num_frames": 0}, make=baselines.small)


def test_a_refusal_does_not_repeat_the_whole_configuration() -> None:
    def refusing(*, cfg: Any = None) -> Recipe:
        if cfg is not None and cfg.num_frames == 3:
            raise ValueError(f"three is too few, got {cfg}")
        return baselines.tiny(cfg=cfg)

    with pytest.raises(SettingError) as caught:
        configured({"num_frames": 3}, make=refusing)
    assert str(caught.value) == (
        "--set num_frames=3: three is too few; set another value; the recipe has num_frames=4"
    )


# --- before the data are read -------------------------------------------------------------------


def asked(kinds: Sequence[Kind] = ("video", "features"), **options: Any) -> None:
    usual: dict[str, Any] = {"system": None, "recipe": None, "pretrained": False, "settings": {}}
    check_asked(kinds, **{**usual, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "xyz"}, "has no recipe 'xyz'"),
        ({"system": "baselines", "recipe": "tinz"}, "no recipe 'tinz'; did you mean 'tiny'"),
        ({"settings": {"bach_size": 3}}, "no setting 'bach_size'; did you mean batch_size"),
        ({"settings": {"lr": "fast"}}, "--set lr=fast: expected"),
        ({"settings": {"num_frames": 0}}, "--set num_frames=0: "),
        ({"system": "baselines", "settings": {"focus_size": 3}}, "no setting 'focus_size'"),
        (
            {"system": "baselines", "settings": {"zzz": "running"}},
            "no setting 'zzz'; did you mean answer=running",
        ),
        ({"kinds": ("features",), "settings": {"focus_size": 9}}, "no setting 'focus_size'"),
    ],
)
def test_what_no_choice_can_have_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        asked(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"settings": {"feature_width": 24}},  # only stored features have it
        {"recipe": "features"},
        {"system": "baselines", "recipe": "tiny", "settings": {"lr": 0.1, "num_frames": 3}},
        {"pretrained": True},
    ],
)
def test_what_some_choice_can_have_is_left_to_the_data(options: dict[str, Any]) -> None:
    asked(**options)
