"""What ``foveal import`` is asked for: a system, a configuration, class names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from foveal.bundle import decode_config, encode_config
from foveal.systems.index import PAPERS, System
from foveal.types import FovealError


class ImportRefusedError(FovealError):
    """What was asked for is not there, or contradicts itself."""

    kind = "import"


def importable() -> tuple[System, ...]:
    """Return the systems that know official weights: those with a ``weights.py``."""
    return tuple(
        row
        for row in PAPERS
        if find_spec(row.module) is not None and find_spec(f"{row.module}.weights") is not None
    )


def find_row(name: str) -> System:
    """Return the system called ``name``.

    Raises:
        ImportRefusedError: there is none, or no official weights can be mapped to it.
    """
    rows = {row.name: row for row in importable()}
    if name in rows:
        return rows[name]
    known = f"there are {', '.join(rows)}" if rows else "no system has any yet"
    near = get_close_matches(name, rows, n=1)
    if near:
        known = f"did you mean {near[0]!r}?"
    if name in (row.name for row in PAPERS):
        raise ImportRefusedError(f"no official weights are known for {name!r}", hint=known)
    raise ImportRefusedError(f"no system {name!r}", hint=known)


def read_class_names(path: str) -> tuple[str, ...]:
    """Return the names in a file, one a line; empty lines at its end do not count.

    Raises:
        ImportRefusedError: a name is empty or stands there twice, or the file is no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportRefusedError(f"{path}: not UTF-8 text", hint="save it as UTF-8") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    for number, name in enumerate(names, 1):
        if not name or name in names[: number - 1]:
            what = f"{name!r} stands there twice" if name else "no name"
            raise ImportRefusedError(
                f"{path}:{number}: {what}", hint="give one name a line, each once"
            )
    if not names:
        raise ImportRefusedError(f"{path}: no class names inside", hint="give one name a line")
    return names


def numbered_names(num_classes: int) -> tuple[str, ...]:
    """Return names for classes that have none: ``class 0``, ``class 1`` and so on."""
    return tuple(f"class {i}" for i in range(num_classes))


def presets(protocol: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return the configurations of a system by name: functions that return its ``Config``."""
    return {
        name: function
        for name, function in inspect.getmembers(protocol, inspect.isfunction)
        if function.__module__ == protocol.__name__
        and not name.startswith("_")
        and inspect.signature(function).return_annotation in ("Config", protocol.Config)
    }


def make_config(
    protocol: ModuleType,
    *,
    preset: str | None,
    settings: Mapping[str, Any],
    num_classes: int | None,
) -> Any:
    """Return the configuration of a system.

    Args:
        protocol: its module.
        preset: function that returns it.
        settings: fields to set otherwise.
        num_classes: as class names were given; ``None`` leaves it to preset and settings.

    Raises:
        ImportRefusedError: there is no such preset or field, or numbers of classes contradict.
    """
    known = presets(protocol)
    if preset not in known:
        listed = f"--config takes {', '.join(known)}"
        if preset is None:
            raise ImportRefusedError(
                "which configuration the weights are of is not said", hint=listed
            )
        near = get_close_matches(preset, known, n=1)
        raise ImportRefusedError(
            f"no configuration {preset!r}", hint=f"did you mean {near[0]!r}?" if near else listed
        )
    wanted = settings.get("num_classes", num_classes)
    if num_classes is not None and wanted != num_classes:
        raise ImportRefusedError(
            f"{num_classes} class names for num_classes={wanted}", hint="leave num_classes out"
        )
    asked = inspect.signature(known[preset]).parameters.get("num_classes")
    given = {} if asked is None or wanted is None else {"num_classes": wanted}
    if asked is not None and asked.default is inspect.Parameter.empty and not given:
        raise ImportRefusedError(
            f"{preset!r} does not say how many classes", hint="add --set num_classes=N"
        )
    counted = {} if wanted is None else {"num_classes": wanted}
    fields = {**encode_config(known[preset](**given)), **settings, **counted}
    return decode_config(protocol.Config, fields)
