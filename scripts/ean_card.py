"""Carry the figures of ``results/ean`` into EAN's card.

python scripts/ean_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "ean" / "README.md"
ROWS = {
    "full": "all of it",
    "plain": "the backbone and the mean of its map",
    "no_adaptive": "without adaptive blocks",
    "no_motion": "without the motion code",
    "no_transformer": "without objects and transformer",
}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    found = measured("ean/relation")
    networks = found["networks"]
    lines = [
        "| relations of two small objects, 64 px | right, by seed | mean | approach, separate, "
        "pass, keep | MMACs |",
        "|---|---|---|---|---|",
    ]
    for name, words in ROWS.items():
        row = networks[name]
        seeds = ", ".join(f"{value:.1%}" for value in row["accuracy"]["by_seed"])
        classes = ", ".join(f"{value:.0%}" for value in row["accuracy_by_class"])
        lines.append(
            f"| {words} | {seeds} | {row['accuracy']['mean']:.1%} | {classes} | "
            f"{row['macs'] / 1e6:.1f} |"
        )
    gains = ", ".join(f"{100 * gain:+.1f}" for gain in found["gain_over_plain_by_seed"])
    worth = ", ".join(
        f"{name} {100 * one['mean']:+.1f} ± {100 * one['deviation']:.1f}"
        for name, one in found["worth_of_parts"].items()
    )
    objects = networks["full"]["objects"]
    inside, best, cells = (
        objects[key]["mean"] for key in ("weight_inside", "heaviest_cell_inside", "cells_inside")
    )
    lines += [
        "",
        f"Gain over the plain backbone: {gains} points at {found['cost_of_plain']:.2f} times its "
        f"multiply-accumulates. Worth of each part, in points: {worth}.",
        "",
        f"The object maps have {inside:.1%} of their weight, and {best:.1%} of their heaviest "
        f"cells, inside the box around the two things, which covers {cells:.1%} of the picture.",
        "",
        _official_line(measured("ean/official")),
    ]
    return "\n".join(lines) + "\n"


def _official_line(found: dict[str, dict[str, float]]) -> str:
    eight, sixteen = found["EAN_8f"], found["EAN_16f"]
    far = max(one["largest_difference_over_spread"] for one in found.values())
    return (
        "Whole networks on the official weights, 8 and 16 segments: logits within "
        f"{far:.0e} of their spread, {eight['gmacs']:.2f} and {sixteen['gmacs']:.2f} GMACs "
        f"(official: {eight['official_gmacs']:.2f} and {sixteen['official_gmacs']:.2f})."
    )


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/ean_card.py", figures=figures())
