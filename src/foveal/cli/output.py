"""Where a command writes: never over what it reads, and whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def output_path(name: str, *, suffixes: tuple[str, ...], inputs: Iterable[str] = ()) -> Path:
    """Return the path to write to, before work is spent on what goes there.

    Args:
        name: as typed.
        suffixes: in lower case; an existing file with another one is not replaced.
        inputs: what the command reads; none of it is replaced, whatever its suffix.

    Raises:
        InputError: a file would be lost that the user does not expect to lose.
    """
    path = Path(name)
    if not path.is_file():
        return path
    if any(_same(name, read) for read in inputs):
        why = "this is one of the inputs, nothing is written over it"
    elif path.suffix.lower() not in suffixes:
        why = f"this file is there and does not end in {' or '.join(suffixes)}, so it is kept"
    else:
        return path
    from foveal.api import InputError

    raise InputError(f"{name}: {why}", hint=f"name a file that ends in {suffixes[0]} to write to")


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # a URL, or gone: no file that could be lost
        return False


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` by way of a file beside it; what was there stays until then.

    Raises:
        OSError: it cannot be written; its ``filename`` is ``path``.
    """
    from tempfile import NamedTemporaryFile

    place = path.resolve()  # a link stays one
    try:
        if place.exists() and not place.is_file():  # a pipe or a device cannot be replaced
            place.write_text(text, encoding="utf-8", newline="\n")
            return
        with NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=place.parent, prefix=".foveal-", delete=False
        ) as file:
            beside = Path(file.name)
            try:
                file.write(text)
                file.close()
                beside.chmod(_mode(place))
                beside.replace(place)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
    except OSError as error:
        error.filename = str(path)
        raise


def _mode(place: Path) -> int:
    """Return the rights of the file that is replaced, or those of any new one."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
