"""Foveal recognises what happens in a video while looking at as little of it as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foveal.api import Model, load, recognize
    from foveal.records import Prediction

__all__ = ["Model", "Prediction", "__version__", "load", "recognize"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import foveal` and `foveal --help` answer at once.
    if name == "__version__":
        from importlib.metadata import version

        return version("foveal")
    if name == "Prediction":
        from foveal.records import Prediction

        return Prediction
    if name in ("Model", "load", "recognize"):
        from foveal import api

        return getattr(api, name)
    raise AttributeError(f"module 'foveal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
