"""Carry the figures of ``results/budgets`` into ``docs/budgets.md``.

python scripts/budgets_figures.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from figures import ROOT, keep_up_to_date, measured

PAGE = ROOT / "docs" / "budgets.md"
SETS = {
    "weizmann": "Weizmann, three splits by person, 10 clips to calibrate on, 20 to judge by",
    "salient-frames-v1": "Haystack `salient-frames-v1`, three seeds, 300 clips and 200",
    "fine-object-8-v1": "Haystack `fine-object-8-v1`, three seeds, 300 clips and 200",
}
SHARES = ("25%", "50%", "100%")


def cell(found: Mapping[str, Any] | None) -> str:
    """Return accuracy, cost and time at one share of the dense cost."""
    if found is None:
        return "nothing so cheap"
    return f"{found['accuracy']:.1%} ({found['kmacs'] / 1e3:.3g}; {found['p95_ms']:.0f})"


def table(name: str, title: str) -> list[str]:
    """Return what every system does at equal budgets on one set, and the budgets it broke."""
    found = measured(f"budgets/{name}")
    lines = [
        f"**{title}** (curves [by MACs](../results/budgets/{name}.svg), "
        f"[by milliseconds](../results/budgets/{name}_ms.svg))",
        "",
        "| system | right at 25 % of dense (MMACs; p95 ms) | at 50 % | at 100 % "
        "| MAC budgets broken | ms budgets broken |",
        "|---|---|---|---|---|---|",
    ]
    for system, told in found.items():
        shares = " | ".join(cell(told["at_share_of_dense"][share]) for share in SHARES)
        broken = told.get("broken")
        counts = "| |" if broken is None else f"| {broken['gmacs']} | {broken['ms']} |"
        label = "uniform frames, as many as fit" if system == "uniform" else f"`{system}`"
        lines.append(f"| {label} | {shares} {counts}")
    loads = [run["load_average"] for told in found.values() for run in told.get("budgets", ())]
    told = f"Load of the machine (two cores) meanwhile: {min(loads):.1f} to {max(loads):.1f}."
    return [*lines, "", told, ""]


def figures() -> str:
    """Return the section of the page that holds figures, as Markdown."""
    lines = [line for name, title in SETS.items() for line in table(name, title)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    keep_up_to_date(PAGE, script="scripts/budgets_figures.py", figures=figures())
