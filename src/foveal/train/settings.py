"""A recipe for one data set: its number of classes, and what the user wants otherwise.

``NAME=VALUE`` reaches, in this order, how the run is carried out (:class:`Running`), the stages
(:class:`StageSettings`; ``STAGE.NAME`` one of them) and the system's ``Config`` (``canvas.height``
a field of a field). Whatever is none of these is an error that names what is near.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from foveal.bundle import decode_config, encode_config
from foveal.recipe import Recipe, Stage
from foveal.train.running import Running
from foveal.types import FovealError


class SettingError(FovealError):
    """A setting is unknown, of the wrong kind, or does not go with the others."""

    kind = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """What of a stage a user may set; ``None`` leaves it as the recipe has it."""

    batch_size: int | None = None
    steps: int | None = None
    epochs: int | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: Literal["cosine", "constant"] | None = None
    warmup_steps: int | None = None
    clip_norm: float | None = None
    accumulate: int | None = None
    ema_decay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A recipe made for a data set.

    Args:
        recipe: what to do.
        running: how to carry it out.
        notes: what was changed along with what was asked for, one line each.
    """

    recipe: Recipe
    running: Running
    notes: tuple[str, ...]


AS_USUAL = Running()
_OPTIMIZER = ("lr", "momentum", "weight_decay")


def configure(
    make: Callable[..., Recipe],
    *,
    num_classes: int,
    num_samples: int,
    settings: Mapping[str, Any],
    running: Running = AS_USUAL,
    base: Mapping[str, Any] = {},
) -> Configured:
    """Return the recipe that ``make`` makes, for ``num_classes`` and as ``settings`` say.

    A batch larger than the training set is made smaller. A new batch size rescales the learning
    rate unless one is set too: in proportion for SGD, by its square root for Adam.

    Args:
        make: of a system's recipes; takes ``cfg``.
        num_classes: K.
        num_samples: of the training set.
        settings: values by name, as parsed JSON.
        running: how to carry it out, before settings.
        base: fields of the system's ``Config`` that follow from the data.

    Raises:
        SettingError: see the module's docstring.
        ConfigError: a value is of the wrong kind or refused.
    """
    plain = make()
    config: Any = plain.config
    names = {f.name for f in fields(config)}
    run_names = {f.name for f in fields(Running)}
    stage_names = {f.name for f in fields(StageSettings)}
    run_data, config_data = dict(encode_config(running)), dict(encode_config(config))
    config_data.update(base, num_classes=num_classes)
    every_stage: dict[str, Any] = {}
    one_stage: dict[str, Any] = {}
    for key, value in settings.items():
        head, _, rest = key.partition(".")
        if key == "num_classes":
            raise SettingError(
                f"num_classes={value}: the data has {num_classes}", hint="leave it out"
            )
        if key in run_names:
            run_data[key] = value
        elif key in stage_names:
            every_stage[key] = value
        elif rest in stage_names:
            one_stage[key] = value
        elif head in names:
            _put(config_data, key, value)
        else:
            stages = [f"{stage.name}.{name}" for stage in plain.stages for name in stage_names]
            raise _unknown(key, [*run_names, *stage_names, *names, *stages])
    cfg = decode_config(type(config), config_data, where="--set")
    try:
        recipe = make(cfg=cfg)
    except ValueError as error:
        raise SettingError(str(error), hint="set another value") from error
    # Which stages there are may follow from the settings.
    by_stage = {stage.name: dict(every_stage) for stage in recipe.stages}
    for key, value in one_stage.items():
        head, _, rest = key.partition(".")
        if head not in by_stage:
            stages = [f"{stage}.{name}" for stage in by_stage for name in stage_names]
            raise _unknown(key, [*run_names, *stage_names, *names, *stages])
        by_stage[head][rest] = value
    notes: list[str] = []
    stages_now = tuple(
        _changed(stage, by_stage[stage.name], num_samples, notes) for stage in recipe.stages
    )
    return Configured(
        recipe=replace(recipe, stages=stages_now),
        running=decode_config(Running, run_data, where="--set"),
        notes=tuple(notes),
    )


def _put(data: dict[str, Any], key: str, value: object) -> None:
    """Set a field, or a field of a field, in JSON data."""
    *path, last = key.split(".")
    for name in path:
        inner = data.get(name)
        if not isinstance(inner, dict):
            raise _unknown(key, list(data))
        data[name] = dict(inner)
        data = data[name]
    data[last] = value


def _unknown(key: str, known: Sequence[str]) -> SettingError:
    near = difflib.get_close_matches(key, known, n=3)
    plain = sorted({name for name in known if "." not in name})
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(plain)}"
    return SettingError(f"no setting {key!r}", hint=hint)


def _changed(stage: Stage, data: Mapping[str, Any], num_samples: int, notes: list[str]) -> Stage:
    """Return ``stage`` with what is set; what else changes with it is written to ``notes``."""
    asked = decode_config(StageSettings, dict(data), where=f"--set {stage.name}")
    given = {name: value for name, value in asdict(asked).items() if value is not None}
    if "steps" in given and "epochs" in given:
        raise SettingError(f"stage {stage.name!r}: steps and epochs are both set", hint="set one")
    if "steps" in given:
        given["epochs"] = None
    elif "epochs" in given:
        given["steps"] = None
    size = given.get("batch_size", stage.batch_size)
    if size > num_samples:
        notes.append(f"stage {stage.name!r}: batches of {num_samples}, as many as there are clips")
        size = num_samples
    given["batch_size"] = size
    rule = {name: given.pop(name) for name in _OPTIMIZER if name in given}
    if size != stage.batch_size and size > 0 and "lr" not in rule:
        ratio = size / stage.batch_size
        how = "in proportion"
        if stage.optimizer.kind != "sgd":
            ratio, how = ratio**0.5, "by its square root"
        rule["lr"] = stage.optimizer.lr * ratio
        notes.append(
            f"stage {stage.name!r}: batch size {stage.batch_size} -> {size}, so learning rate "
            f"{stage.optimizer.lr:.3g} -> {rule['lr']:.3g} ({how})"
        )
    given["accumulate"] = min(given.get("accumulate", stage.accumulate), max(size, 1))
    try:
        return replace(stage, optimizer=replace(stage.optimizer, **rule), **given)
    except ValueError as error:
        raise SettingError(str(error), hint="set another value") from error
