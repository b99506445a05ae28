"""Carry the figures of ``results/thetis`` into ``docs/frames.md``.

python scripts/thetis_figures.py
"""

from __future__ import annotations

from typing import Any

from figures import ROOT, keep_up_to_date, measured

PAGE = ROOT / "docs" / "frames.md"
RESULTS = ROOT / "results" / "thetis"


def rows(name: str, told: dict[str, Any]) -> list[str]:
    """Return a row for every way of one system's run."""
    lines = []
    for way, found in told["ways"].items():
        plain = way in ("uniform", "random")
        label = f"`{name}`: {way}" if plain else f"**{way}**"
        cells = " | ".join(f"{100 * value:.1f}" for value in found["accuracy"])
        ahead = [f"{100 * value:+.1f}" for value in found["ahead_of_uniform_by_seed"]]
        mean = f"{100 * found['ahead_of_uniform']:+.1f}"
        lines.append(f"| {label} | {cells} | {mean} ({', '.join(ahead)}) |")
    return lines


def figures() -> str:
    """Return the section of the page that holds figures, as Markdown."""
    names = sorted(path.stem for path in RESULTS.glob("*.json"))
    if not names:
        return "Nothing is measured.\n"
    every = {name: measured(f"thetis/{name}") for name in names}
    counts = every[names[0]]["frames"]
    lines = [
        f"| right in % with k frames | {' | '.join(map(str, counts))} | points ahead of uniform, "
        "k up to 8 (by seed) |",
        "|---" * (len(counts) + 2) + "|",
    ]
    for name in names:
        lines += rows(name, every[name])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(PAGE, script="scripts/thetis_figures.py", figures=figures())
