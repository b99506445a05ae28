"""``foveal haystack``: videos whose evidence is known, for training and for judging."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.cli.guard import OK, USAGE, complain

if TYPE_CHECKING:
    from foveal.haystack.preset import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see ``foveal haystack --help``."""

    preset: str | None
    split: Split
    count: int
    start: int
    seed: int


def run(out: str | None, options: Options) -> int:
    """Write the videos, or list the presets if nothing is named, and return the exit code."""
    if out is None and options.preset is None:
        show()
        return OK
    if out is None or options.preset is None:
        missing = "OUT, where to write" if out is None else "--preset, what to write"
        complain(f"missing: {missing}", hint="foveal haystack alone lists the presets")
        return USAGE
    write(Path(out), options.preset, options)
    return OK


def write(out: Path, name: str, options: Options) -> None:
    """Write the videos of preset ``name`` below ``out``, with a bar."""
    from foveal.cli.progress import tracked
    from foveal.cli.text import clean, count
    from foveal.haystack import find, write_videos

    written = write_videos(
        out,
        find(name),
        split=options.split,
        count=options.count,
        start=options.start,
        seed=options.seed,
    )
    for _ in tracked(written, options.count):
        pass
    place = out / options.split
    print(f"{count(options.count, 'video')} of {name} in {clean(str(place))}")
    print(f"What is where in them: {clean(str(place / 'truth.jsonl'))}")


def show() -> None:
    """Print the presets and which claim needs each."""
    from rich.text import Text

    from foveal.cli.terminal import console_on, table
    from foveal.haystack import PRESETS

    shown = table("preset", "frames", "px", "classes", "serves", right=(1, 2, 3))
    for preset in PRESETS:
        numbers = (preset.frames, preset.size, preset.num_classes)
        serves = "\n".join(preset.serves)
        shown.add_row(Text(preset.name), *(Text(str(n)) for n in numbers), Text(serves))
    console_on(sys.stdout).print(shown)
