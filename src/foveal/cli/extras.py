"""Commands that need more than the light install say so in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from foveal.types import FovealError

TRAIN_EXTRA = (
    "lightning_fabric",
    "onnx",
    "onnxscript",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
"""Packages that training, mapping and exporting need beyond the light install."""


class MissingExtraError(FovealError):
    """A package of an extra is not installed."""

    kind = "missing_extra"


def require_train_extra(what: str) -> None:
    """Ask for the packages of the extra ``train`` without loading them, which takes seconds.

    Args:
        what: for which they are needed, as a sentence begins: ``training``.

    Raises:
        MissingExtraError: one is missing.
    """
    for package in TRAIN_EXTRA:
        try:
            found = find_spec(package)
        except (ModuleNotFoundError, ValueError):  # the latter: one without a specification
            found = None
        if found is None:
            raise _missing(what, package)


@contextmanager
def train_extra(what: str) -> Iterator[None]:
    """Turn a missing package of the extra ``train`` into one line.

    Args:
        what: for which it is needed, as a sentence begins: ``training``.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAIN_EXTRA:
            raise
        raise _missing(what, package) from error


@contextmanager
def plot_extra(what: str) -> Iterator[None]:
    """Turn missing matplotlib into one line.

    Args:
        what: for which it is needed, as a sentence begins.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise MissingExtraError(
            f"{what} needs matplotlib, which the light install lacks",
            hint="pip install 'foveal[plot]', or name a file that ends in .svg",
        ) from error


def _missing(what: str, package: str) -> MissingExtraError:
    return MissingExtraError(
        f"{what} needs {package}, which the light install lacks",
        hint="pip install 'foveal[train]'",
    )
