"""What of a recipe itself may be set: ``recipe.NAME=VALUE`` reaches the arguments of its function.

NAME is an argument, or a field of one that is a dataclass: ``recipe.guidance`` is the field
``guidance`` of NSNet's ``told``. Arguments that no JSON value stands for (functions, tables of
words) cannot be set so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from foveal.bundle import ConfigError, decode_config, encode_config
from foveal.recipe import Recipe

PREFIX = "recipe."
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One name that may be set.

    Args:
        parameter: of the recipe's function.
        kind: of its value, as annotated; of a field: the dataclass it is a field of.
        default: of the parameter.
        field: of that dataclass; None: the parameter itself.
    """

    parameter: str
    kind: Any
    default: Any
    field: str | None = None

    @property
    def value(self) -> Any:
        """What the recipe has, as JSON data."""
        return encode_config(
            self.default if self.field is None else getattr(self.default, self.field)
        )


def arguments_of(make: Callable[..., Recipe]) -> dict[str, Argument]:
    """Return what may be set of ``make``, by name; where a name stands for two, it is neither's."""
    found: dict[str, list[Argument]] = {}
    kinds = get_type_hints(make)
    for name, parameter in inspect.signature(make).parameters.items():
        default = parameter.default
        if name == "cfg" or default is inspect.Parameter.empty:
            continue
        if is_dataclass(default) and not isinstance(default, type):
            if not _has_json(default):
                continue
            for field in fields(default):
                one = Argument(
                    parameter=name, kind=type(default), default=default, field=field.name
                )
                found.setdefault(field.name, []).append(one)
        elif _is_plain(kinds[name]):
            found.setdefault(name, []).append(
                Argument(parameter=name, kind=kinds[name], default=default)
            )
    return {name: given[0] for name, given in found.items() if len(given) == 1}


def _has_json(value: object) -> bool:
    try:
        encode_config(value)
    except ConfigError:
        return False
    return True


def _is_plain(kind: Any) -> bool:
    """Return whether JSON data stands for values of ``kind``."""
    origin = get_origin(kind)
    if origin is Literal:
        return True
    if origin in (Union, UnionType, tuple):
        return all(each is Ellipsis or _is_plain(each) for each in get_args(kind))
    return kind in _PLAIN


def filled(known: Mapping[str, Argument], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments to call a recipe's function with, from JSON values by name.

    Args:
        known: of the function.
        given: some of them.

    Raises:
        ConfigError: a value is of the wrong kind, or a dataclass refuses its fields; the message
            begins with ``--set.recipe.NAME`` or ``--set``.
    """
    values: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        one = known[name]
        if one.field is None:
            box: Any = make_dataclass("Box", [(name, one.kind)])
            values[name] = getattr(decode_config(box, {name: value}, where="--set.recipe"), name)
            continue
        data = changed.setdefault(one.parameter, dict(encode_config(one.default)))
        data[one.field] = value
    for parameter, data in changed.items():
        kind = next(one.kind for one in known.values() if one.parameter == parameter)
        try:
            values[parameter] = decode_config(kind, data, where="--set.recipe")
        except ConfigError as error:
            refused = error.message.removeprefix("--set.recipe: ")
            if refused == error.message:
                raise
            raise ConfigError(f"--set: {refused}", hint=error.hint) from error
    return values
