"""Carry the figures of ``results/dreal`` into DREAL's card.

python scripts/dreal_card.py
"""

from __future__ import annotations

from statistics import fmean

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "dreal" / "README.md"
WORDS = {"0": "plain training (lambda 0)", "0.1": "lambda 0.1", "1": "lambda 1"}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    found = measured("dreal/attention")
    lines = [
        "| three seeds | right | attention gain | by module | critic's error, first to last |",
        "|---|---|---|---|---|",
    ]
    for weight, rows in found["by_weight"].items():
        told = found["mean"][weight]
        modules = [fmean(row["gain_by_module"][m] for row in rows) for m in range(3)]
        errors = ", ".join(
            f"{row['critic_error']['first']:.2f} to {row['critic_error']['last']:.2f}"
            for row in rows
        )
        lines.append(
            f"| {WORDS[weight]} | {told['accuracy']:.1%} | {told['gain']:.3f} | "
            f"{', '.join(f'{gain:.3f}' for gain in modules)} | {errors} |"
        )
    known = ", ".join(f"{value:.2f}" for value in found["correlation_of_the_last_module"])
    lines += [
        "",
        f"All cost {found['macs'] / 1e6:.2f} MMACs. The gain at lambda 1 is "
        f"{found['gain_ratio']:.1f} times that of plain training. The critic's value and the last "
        f"module's reward correlate by {known} (lambda 0.1, then 1).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/dreal_card.py", figures=figures())
