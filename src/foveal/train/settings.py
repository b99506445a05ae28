"""A recipe for one data set: its number of classes, and what the user wants otherwise.

``NAME=VALUE`` reaches, in this order, how the run is carried out (:class:`Running`), the stages
(:class:`StageSettings`; ``STAGE.NAME`` one of them), the system's ``Config`` (``canvas.height``
a field of a field) and the arguments of the recipe (``recipe.NAME``,
:mod:`foveal.train.arguments`). Whatever is none of these is an error that names what is near.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from foveal.bundle import ConfigError, decode_config, encode_config
from foveal.recipe import Recipe, Stage
from foveal.train.arguments import PREFIX, arguments_of, filled
from foveal.train.running import Running
from foveal.types import FovealError

NEAREST = 5
"""Settings named where none is near enough to be meant."""


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
FROM_DATA: Mapping[str, str] = {
    "num_classes": "how many classes there are",
    "several_labels": "whether clips may show several",
}
"""What of a configuration no user sets, and what it says."""
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
        SettingError: see the module's docstring; or a value is of the wrong kind or refused.
    """
    try:
        return _configured(make, num_classes, num_samples, settings, running, base)
    except ConfigError as error:
        raise _of_a_wrong_kind(error, settings) from error


def _configured(
    make: Callable[..., Recipe],
    num_classes: int,
    num_samples: int,
    settings: Mapping[str, Any],
    running: Running,
    base: Mapping[str, Any],
) -> Configured:
    plain = make()
    config: Any = plain.config
    known = known_names(make, plain)
    run_data, config_data = dict(encode_config(running)), dict(encode_config(config))
    config_data.update(base, num_classes=num_classes)
    every_stage: dict[str, Any] = {}
    one_stage: dict[str, Any] = {}
    shape: dict[str, Any] = {}
    for key, value in settings.items():
        head, _, rest = key.partition(".")
        if key in FROM_DATA:
            raise SettingError(
                f"--set {key}={_typed(value)}: {FROM_DATA[key]} follows from the data",
                hint="leave it out",
            )
        if key in known.running:
            run_data[key] = value
        elif key in known.stage:
            every_stage[key] = value
        elif rest in known.stage:
            one_stage[key] = value
        elif head in known.config or key in known.recipe:
            shape[key] = value
        else:
            raise unknown_setting(key, known.all(), value=value, kinds=(type(config),))

    arguments = arguments_of(make)
    usual = {**config_data, "recipe": {name: one.value for name, one in arguments.items()}}

    def made(shape: Mapping[str, Any]) -> Recipe:
        data = copy.deepcopy(config_data)
        for key in shape.keys() - known.recipe:
            _put(data, key, shape[key])
        mine = {key.removeprefix(PREFIX): shape[key] for key in shape if key in known.recipe}
        cfg = decode_config(type(config), data, where="--set")
        return replace(make(cfg=cfg, **filled(arguments, mine)), arguments=mine)

    recipe = _made_or_blamed(made, shape, usual)
    # Which stages there are may follow from the settings.
    by_stage = {stage.name: dict(every_stage) for stage in recipe.stages}
    for key, value in one_stage.items():
        head, _, rest = key.partition(".")
        if head not in by_stage:
            raise unknown_setting(key, known_names(make, recipe).all())
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What can be set of one recipe, by what it reaches; ``stages`` are the names of its stages."""

    running: tuple[str, ...]
    stage: tuple[str, ...]
    config: tuple[str, ...]
    recipe: tuple[str, ...]
    stages: tuple[str, ...]

    def __contains__(self, key: str) -> bool:
        """Return whether a setting has a name that may be known here.

        Which stages there are may follow from the settings, so that theirs go by what follows.
        """
        head, _, rest = key.partition(".")
        whole = (*self.running, *self.stage, *self.recipe)
        return key in whole or rest in self.stage or head in self.config

    def all(self) -> list[str]:
        """Return all names, those of single stages too."""
        single = [f"{stage}.{name}" for stage in self.stages for name in self.stage]
        return [*self.running, *self.stage, *self.config, *self.recipe, *single]


def known_names(make: Callable[..., Recipe], recipe: Recipe) -> Names:
    """Return what can be set of ``recipe``, which ``make`` made."""
    config: Any = recipe.config
    kinds = (Running, StageSettings, type(config))
    running, stage, own = (tuple(f.name for f in fields(kind)) for kind in kinds)
    stages = tuple(stage.name for stage in recipe.stages)
    arguments = tuple(f"{PREFIX}{name}" for name in arguments_of(make))
    return Names(running=running, stage=stage, config=own, recipe=arguments, stages=stages)


def _made_or_blamed(
    made: Callable[[Mapping[str, Any]], Recipe], shape: Mapping[str, Any], usual: Mapping[str, Any]
) -> Recipe:
    """Return what ``made`` makes of the settings in ``shape``.

    Raises:
        SettingError: it refuses them; the message names the settings without which it would not.
        ConfigError: a value is of the wrong kind.
    """
    try:
        return made(shape)
    except (ConfigError, ValueError) as error:
        whole = error.message if isinstance(error, ConfigError) else str(error)
        if whole.startswith("--set."):
            raise  # of the wrong kind: the setting is known
        # What was set is named; the whole configuration is not told again.
        said = re.split(r", got [A-Z]\w*\(", whole.removeprefix("--set: "))[0]
        blamed = [key for key in shape if _works(made, shape, without=key)] or list(shape)
        if not blamed:
            raise SettingError(said, hint="set another value") from error
        before = [f"{key}={_typed(_get(usual, key))}" for key in blamed]
        raise SettingError(
            f"{_options(shape, blamed)}: {said}",
            hint=f"set another value; the recipe has {', '.join(before)}",
        ) from error


def _of_a_wrong_kind(error: ConfigError, settings: Mapping[str, Any]) -> SettingError:
    """Return ``error``, of decoding ``--set.NAME``, with the setting as the user wrote it."""
    where, _, said = error.message.removeprefix("--set").removeprefix(".").partition(": ")
    said = said.replace("--set.", "")
    inside = [key for key in settings if where == key or where.startswith((f"{key}.", f"{key}["))]
    parent = [key for key in settings if key.startswith(f"{where}.")]
    named = max(inside, key=len, default=None)
    if named is not None:
        rest = where.removeprefix(named).lstrip(".")
        said = f"{rest}: {said}" if rest else said.replace(f"{named}: ", "")
        return SettingError(f"{_options(settings, [named])}: {said}", hint=error.hint)
    # A union of kinds names the whole; what was set is a part of it.
    given = _options(settings, parent or list(settings))
    said = said.replace(f"{parent[0]}: ", "") if parent else said
    return SettingError(f"{given}: {said}" if given else said, hint=error.hint)


def _options(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(f"--set {name}={_typed(settings[name])}" for name in names)


def _typed(value: object) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _works(
    made: Callable[[Mapping[str, Any]], Recipe], shape: Mapping[str, Any], *, without: str
) -> bool:
    try:
        made({key: value for key, value in shape.items() if key != without})
    except (ConfigError, ValueError):
        return False
    return True


def _get(data: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        data = data[name]
    return data


def _put(data: dict[str, Any], key: str, value: object) -> None:
    """Set a field, or a field of a field, in JSON data."""
    *path, last = key.split(".")
    for name in path:
        inner = data.get(name)
        if not isinstance(inner, dict):
            raise unknown_setting(key, list(data))
        data[name] = dict(inner)
        data = data[name]
    data[last] = value


def unknown_setting(
    key: str, known: Sequence[str], *, value: object = None, kinds: Sequence[type] = ()
) -> SettingError:
    """Return the error of a setting that is not among ``known``, with what is near.

    Args:
        key: its name, as the user wrote it.
        known: names of settings.
        value: what it was set to.
        kinds: configurations, of whose fields some may take the words that ``value`` is one of.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(key, names, n=3)
    takes = [] if near else [name for name in takers(value, kinds) if name in names]
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif takes:
        hint = f"did you mean {' or '.join(f'{name}={value}' for name in takes[:3])}?"
    else:
        nearest = difflib.get_close_matches(key, names, n=NEAREST, cutoff=0.0)
        hint = f"the nearest are {', '.join(nearest)}; {_all_of(kinds)} has the rest"
    return SettingError(f"no setting {key!r}", hint=hint)


def takers(value: object, kinds: Sequence[type]) -> list[str]:
    """Return the fields of ``kinds`` that take a few words, ``value`` being one of them."""
    found = []
    for kind in kinds:
        for name, hint in get_type_hints(kind).items():
            choices = [word for part in (hint, *get_args(hint)) for word in get_args(part)]
            if isinstance(value, str) and value in choices and name not in found:
                found.append(name)
    return found


def _all_of(kinds: Sequence[type]) -> str:
    """Return how to read what can be set of a configuration, or of any."""
    if len(set(kinds)) != 1:
        return "docs/training.md"
    return f"`python -m pydoc {kinds[0].__module__}.{kinds[0].__qualname__}`"


def _changed(stage: Stage, data: Mapping[str, Any], num_samples: int, notes: list[str]) -> Stage:
    """Return ``stage`` with what is set; what else changes with it is written to ``notes``."""
    asked = decode_config(StageSettings, dict(data), where="--set")
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
