"""Carry the figures of ``results/confidence_distillation`` into the system's card.

python scripts/confidence_distillation_card.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "confidence_distillation" / "README.md"
ROWS = {
    "dense-teacher": "teacher on all 12 clips",
    "dense-student": "student on all 12",
    "chosen-3": "**teacher on 3 by confidence**",
    "max-3": "on 3 by the student's largest probability",
    "oracle-3": "on 3 by an oracle",
    "random-3": "on 3 at random",
    "uniform-3": "on 3 at equal distances",
    "random-equal-3": "on 6 at random",
    "uniform-equal-3": "on 6 at equal distances",
    "chosen-5": "**on 5 by confidence**",
    "max-5": "on 5 by the student's largest probability",
    "oracle-5": "on 5 by an oracle",
    "random-5": "on 5 at random",
    "random-equal-5": "on 8 at random",
    "chosen-4": "on 4 by confidence",
    "cascade": "the same, unless the student is sure",
}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    told = measured("confidence_distillation/clips")
    ways = told["informative"]["ways"]
    dense = ways["dense-teacher"]["kmacs"]["mean"]
    lines = ["| three seeds | right | by seed | kMACs | of dense |", "|---|---|---|---|---|"]
    for name, words in ROWS.items():
        way = ways[name]
        cost = way["kmacs"]["mean"]
        lines.append(
            f"| {words} | {way['accuracy']['mean']:.1%} | {by_seed(way['accuracy'])} | "
            f"{cost:,.0f} | {cost / dense:.0%} |"
        )
    cascade = ways["cascade"]
    known = told["informative"]["confidence"]
    lines += [
        "",
        f"In the cascade the student answers {cascade['answered_alone']['mean']:.0%} of the videos "
        f"alone. One clip costs the student {told['macs']['student']:,} MACs, the teacher "
        f"{told['macs']['teacher']:,}.",
        "",
        knowledge("Over all clips", known),
        "",
        *others(told),
        "",
        *on_real_clips(),
    ]
    return "\n".join(lines) + "\n"


def others(told: Mapping[str, Any]) -> list[str]:
    """Return what was measured beside the claim."""
    control, misled = (told[name]["ways"] for name in ("control", "shift"))
    gains = [
        f"{100 * (a - b):+.1f}"
        for a, b in zip(
            control["chosen-3"]["accuracy"]["by_seed"],
            control["random-3"]["accuracy"]["by_seed"],
            strict=True,
        )
    ]
    return [
        f"Where every clip is informative, 3 chosen clips gain {', '.join(gains)} points over 3 "
        f"random ones, which are right on {control['random-3']['accuracy']['mean']:.1%}.",
        "",
        "Where some clips show another class, as none did in training: dense teacher "
        f"{misled['dense-teacher']['accuracy']['mean']:.1%}, 3 clips by confidence "
        f"{misled['chosen-3']['accuracy']['mean']:.1%} "
        f"({by_seed(misled['chosen-3']['accuracy'])}), by the student's largest probability "
        f"{misled['max-3']['accuracy']['mean']:.1%} ({by_seed(misled['max-3']['accuracy'])}), at "
        f"random {misled['random-3']['accuracy']['mean']:.1%}, by an oracle "
        f"{misled['oracle-3']['accuracy']['mean']:.1%}. "
        + knowledge("There", told["shift"]["confidence"]),
    ]


def on_real_clips() -> list[str]:
    """Return the table of the Weizmann actions."""
    ways = measured("confidence_distillation/weizmann")["ways"]
    lines = [
        "| Weizmann: 10 actions, three splits by person | right | by split | MMACs |",
        "|---|---|---|---|",
    ]
    for name, way in ways.items():
        splits = ", ".join(f"{value:.0%}" for value in way["accuracy"]["by_split"])
        lines.append(
            f"| {name} | {way['accuracy']['mean']:.1%} | {splits} | {way['mmacs']['mean']:.1f} |"
        )
    return lines


def knowledge(where: str, known: Mapping[str, Any]) -> str:
    """Return how well the confidence foretells the teacher, in words."""
    mean = {name: figure["mean"] for name, figure in known.items()}
    return (
        f"{where} the confidence correlates with the teacher's probability of the true class by "
        f"{mean['correlation']:.2f} (the student's largest probability by "
        f"{mean['correlation_of_largest']:.2f}) and tells clips that the teacher gets right with "
        f"an area under the curve of {mean['area']:.2f} ({mean['area_of_largest']:.2f})."
    )


def by_seed(figure: Mapping[str, Any]) -> str:
    """Return the figure of each seed."""
    return ", ".join(f"{value:.1%}" for value in figure["by_seed"])


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/confidence_distillation_card.py", figures=figures())
