"""Carry the figures of ``results/long`` into ``docs/long_videos.md``.

python scripts/long_figures.py
"""

from __future__ import annotations

import json
from typing import Any

from figures import ROOT, keep_up_to_date

PAGE = ROOT / "docs" / "long_videos.md"


def results() -> dict[str, dict[str, Any]]:
    """Return the result of every system, by name."""
    found = sorted((ROOT / "results" / "long").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found}


def table(name: str, result: dict[str, Any]) -> list[str]:
    """Return what is told of one system, beside the baselines timed in turns with it."""
    measured, hardware = result["measured"], result["hardware"]
    lines = [
        f"**`{name}`** ({'holds' if result['claim']['holds'] else 'does not hold'}: "
        f"{result['claim']['text']})",
        "",
        "| 5-minute files | right (mean; by split) | frames decoded | used | MMACs | seconds | "
        "dense takes |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, told in measured["ways"].items():
        splits = ", ".join(f"{value:.0%}" for value in told["accuracy"]["by_split"])
        lines.append(
            f"| {way} | {told['accuracy']['mean']:.1%} ({splits}) | "
            f"{told['frames_decoded']['mean']:,.0f} | {told['frames_used']['mean']:,.0f} | "
            f"{told['mmacs']['mean']:,.0f} | {told['wall_seconds']['mean']:.2f} | "
            f"{told['speedup']['mean']:.1f}x |"
        )
    ours, memory = measured["ways"][name], measured["memory"]
    ratios = ", ".join(f"{value:.1f}x" for value in ours["speedup"]["by_split"])
    return [
        *lines,
        "",
        f"By split: {ratios}; by processor time {ours['processor_speedup']['mean']:.1f}x. Of the "
        f"frames it looked at last, {ours['in_action']['mean']:.0%} show the action. Peak memory: "
        f"{memory['peak_mb_5_minutes']:.0f} MB on five minutes, "
        f"{memory['peak_mb_10_minutes']:.0f} MB on ten. Trained in "
        f"{sum(measured['training_minutes'][name]):.0f} minutes (baselines "
        f"{sum(measured['training_minutes']['baselines']):.0f}), three splits. "
        f"{hardware['threads']} thread, {hardware['cores']} cores, load "
        f"{measured['load_average']:.1f}.",
        "",
    ]


def figures() -> str:
    """Return the section that holds figures, as Markdown."""
    lines: list[str] = []
    for name, result in results().items():
        lines += table(name, result)
    return "\n".join(lines)


if __name__ == "__main__":
    keep_up_to_date(PAGE, script="scripts/long_figures.py", figures=figures())
