"""Which systems can be trained here, and what to say of a name that is none of them."""

from __future__ import annotations

from difflib import get_close_matches

from foveal.systems import index
from foveal.systems.index import System
from foveal.types import FovealError


class NoSystemError(FovealError):
    """There is no system of that name that could be trained."""

    kind = "system"


def trainable() -> tuple[System, ...]:
    """Return the systems that can be trained here."""
    kinds = ("classifier", "training method", "baseline")
    return tuple(row for row in index.ALL if row.status == "working" and row.kind in kinds)


def is_trainable(name: str) -> bool:
    """Return whether the system called ``name`` can be trained here."""
    return any(row.name == name for row in trainable())


def find_trainable(name: str, *, several: bool = False) -> System:
    """Return the row called ``name``, which can be trained.

    Args:
        name: of a system.
        several: whether on clips that may show several classes.

    Raises:
        NoSystemError: there is none, or it cannot be trained, or not on such clips.
    """
    rows = {row.name: row for row in trainable()}
    if several and name in rows and not rows[name].several_labels:
        able = ", ".join(row.name for row in trainable() if row.several_labels)
        raise NoSystemError(
            f"{name} learns one class a clip, and here clips have several",
            hint=f"these learn several: {able}; or name one class a clip in a column label",
        )
    if name in rows:
        return rows[name]
    near = get_close_matches(name, rows, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(rows)}"
    planned = name in (row.name for row in index.ALL)
    raise NoSystemError(
        f"{name} cannot be trained here yet" if planned else f"no system {name!r}", hint=hint
    )
