"""``NAME=VALUE`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from foveal.types import FovealError


class SettingTextError(FovealError):
    """A setting is not of the form ``NAME=VALUE``."""

    kind = "setting"


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` pairs; values are JSON where they can be, text otherwise.

    Raises:
        SettingTextError: one has no ``=``, or a name stands there twice.

    >>> parse_settings(["lr=0.1", "keep=last"])
    {'lr': 0.1, 'keep': 'last'}
    """
    settings: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingTextError(f"--set {pair}: no value", hint="write --set NAME=VALUE")
        if name in settings:
            raise SettingTextError(f"--set {name} is given twice", hint="give it once")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings
