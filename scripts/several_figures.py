"""Carry the figures of ``results/several`` into ``docs/frames.md``.

python scripts/several_figures.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

PAGE = ROOT / "docs" / "frames.md"


def figures() -> str:
    """Return the section of the page that holds figures, as Markdown."""
    found = measured("several/features")
    holds = "holds on every seed" if found["holds"] else "does not hold"
    lines = [
        f"The claim {holds}: both samplers are 25 points of mAP above uniform and 5 above dense, "
        "cover 85 % of the classes of clips of two, and three classes that ask cover 5 points more "
        "than one.",
        "",
        "| three seeds | mAP (by seed) | likeliest class is shown | frames that show a class | "
        "classes covered, clips of two |",
        "|---|---|---|---|---|",
    ]
    for way, told in found["ways"].items():
        seeds = ", ".join(f"{100 * value:.1f}" for value in told["map"]["by_seed"])
        cells = [f"{100 * told[name]['mean']:.1f}" for name in ("top1", "hits", "covered_of_two")]
        name = f"`{way}`" if ":" in way else f"**{way}**"
        lines.append(
            f"| {name} | {100 * told['map']['mean']:.1f} ({seeds}) | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(PAGE, script="scripts/several_figures.py", figures=figures())
