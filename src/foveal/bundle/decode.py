"""JSON data to frozen dataclasses and back, strictly: unknown keys and wrong types are errors.

Understands what configurations are made of: bool, int, float, str, None, ``Literal``, unions,
tuples, string-keyed mappings, nested dataclasses and ``Any`` (left as it is). Hand-written
because importing a validation library costs more than the rest of a cold start; see
docs/decisions.md.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Callable, Mapping
from reprlib import repr as _short
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from foveal.bundle.errors import ConfigError

T = TypeVar("T")


def decode_config(cls: type[T], data: object, *, where: str = "config") -> T:
    """Return ``data`` (parsed JSON) as an instance of the dataclass ``cls``.

    Args:
        cls: a dataclass; nested dataclasses, tuples and mappings are decoded too.
        data: what ``json.loads`` gives; lists stand for tuples, integers may stand for floats.
        where: what the data is called in error messages.

    Raises:
        ConfigError: a key is unknown or missing, a value has the wrong type, or the dataclass
            itself refuses its values. The message names the key.

    Example:
        >>> from foveal.types import Canvas
        >>> decode_config(Canvas, {"height": 8, "width": 8}).kernel
        'bilinear'
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"decode_config needs a dataclass, got {cls!r}")
    return cast(T, _decode_dataclass(cls, data, where))


def encode_config(value: object, *, where: str = "config") -> Any:
    """Return ``value`` as JSON data: dataclasses become objects, tuples become lists.

    Raises:
        ConfigError: something in it has no JSON form (arrays, functions, nan).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: encode_config(getattr(value, f.name), where=f"{where}.{f.name}")
            for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _error(where, "every key must be a string")
        return {key: encode_config(v, where=f"{where}.{key}") for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode_config(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    raise _error(where, f"{_short(value)} ({type(value).__name__}) cannot be stored as JSON")


def _error(where: str, problem: str) -> ConfigError:
    return ConfigError(f"{where}: {problem}", hint="correct this value and try again")


def _decode_dataclass(cls: type[Any], data: object, where: str) -> object:
    if not isinstance(data, Mapping):
        raise _error(
            where, f"expected an object with the fields of {cls.__name__}, got {_short(data)}"
        )
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise _error(f"{where}.{key}", f"unknown key; {advice}")
    hints = get_type_hints(cls)
    values: dict[str, object] = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _decode(hints[name], data[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise _error(f"{where}.{name}", "this key is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise _error(where, str(error)) from error


def _decode(kind: Any, data: object, where: str) -> object:
    if kind is Any:
        return data
    origin = get_origin(kind)
    if origin is Literal:
        return _decode_literal(kind, data, where)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), data, where)
    if origin is tuple:
        return _decode_tuple(get_args(kind), data, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(get_args(kind), data, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(cast(type[Any], kind), data, where)
    if kind not in _SCALARS:
        raise TypeError(f"{where}: fields of type {kind!r} are not supported in a configuration")
    wanted, accepts = _SCALARS[kind]
    if not accepts(data):
        raise _error(where, f"expected {wanted}, got {_short(data)}")
    return float(cast(float, data)) if kind is float else data


def _is_int(data: object) -> bool:
    return isinstance(data, int) and not isinstance(data, bool)


def _is_float(data: object) -> bool:
    return _is_int(data) or (isinstance(data, float) and math.isfinite(data))


_SCALARS: dict[Any, tuple[str, Callable[[object], bool]]] = {
    bool: ("true or false", lambda data: isinstance(data, bool)),
    int: ("an integer", _is_int),
    float: ("a finite number", _is_float),
    str: ("a string", lambda data: isinstance(data, str)),
    type(None): ("null", lambda data: data is None),
}


def _decode_literal(kind: Any, data: object, where: str) -> object:
    choices = get_args(kind)
    # True == 1 in Python, so the type is compared too.
    if not any(type(data) is type(choice) and data == choice for choice in choices):
        raise _error(where, f"expected one of {', '.join(map(repr, choices))}, got {_short(data)}")
    return data


def _decode_union(kinds: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and type(None) in kinds:
        return None
    alternatives = [kind for kind in kinds if kind is not type(None)]
    if len(alternatives) == 1:
        return _decode(alternatives[0], data, where)
    problems: list[str] = []
    for kind in alternatives:
        try:
            return _decode(kind, data, where)
        except ConfigError as error:
            problems.append(error.message.removeprefix(f"{where}: "))
    raise _error(where, " or ".join(problems))


def _decode_tuple(kinds: tuple[Any, ...], data: object, where: str) -> tuple[object, ...]:
    if not isinstance(data, (list, tuple)):
        raise _error(where, f"expected a list, got {_short(data)}")
    if kinds[-1:] == (Ellipsis,):
        kinds = kinds[:1] * len(data)
    elif len(kinds) != len(data):
        raise _error(where, f"expected {len(kinds)} values, got {len(data)}")
    return tuple(
        _decode(kind, value, f"{where}[{i}]")
        for i, (kind, value) in enumerate(zip(kinds, data, strict=True))
    )


def _decode_mapping(kinds: tuple[Any, ...], data: object, where: str) -> dict[str, object]:
    key_kind, value_kind = kinds
    if key_kind is not str:
        raise TypeError(f"{where}: mappings in a configuration need string keys")
    if not isinstance(data, Mapping):
        raise _error(where, f"expected an object, got {_short(data)}")
    if not all(isinstance(key, str) for key in data):
        raise _error(where, "every key must be a string")
    return {key: _decode(value_kind, value, f"{where}.{key}") for key, value in data.items()}
