"""Carry the figures of ``results/reskd`` into ResKD's card.

python scripts/reskd_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "reskd" / "README.md"
ROWS = (
    ("teacher_full", "the teacher at 64 px: the upper bound"),
    ("teacher_one_frame", "the teacher at 64 px, one frame of four"),
    ("teacher_small", "the teacher, shown 32 px"),
    ("student_alone", "the student at 32 px, without a teacher"),
    ("distilled_1", "taught, w = 1"),
    ("distilled_10", "taught, w = 10"),
    ("distilled_100", "taught, w = 100"),
)


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    found = measured("reskd/distillation")
    table, light = found["accuracy"], found["light"]
    lines = [
        "| right on 2,000 clips | seed 0 | 1 | 2 | mean | MMACs |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in ROWS:
        row = table[name]
        mark = "**" if name == f"distilled_{found['weight']:g}" else ""
        seeds = " | ".join(f"{value:.1%}" for value in row["test"])
        lines.append(
            f"| {mark}{label}{mark} | {seeds} | {row['test_mean']:.1%} | {row['macs'] / 1e6:.2f} |"
        )
    gains = found["gain_by_seed"]
    lines += [
        "",
        f"The weight was chosen on other clips. Gain over the student alone: "
        f"{', '.join(f'{100 * gain:+.1f}' for gain in gains)} points, at "
        f"{found['cost_of_teacher_full']:.1%} of the teacher's multiply-accumulates. Decoding and "
        "rendering are not among them.",
        "",
        f"The exported student ({light['bundle_bytes'] / 1000:.0f} kB) names another class than "
        f"its module on {light['other_best_class']} of {light['clips']:,} clips; no probability "
        f"differs by more than {light['largest_difference_of_a_probability']:.1g}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/reskd_card.py", figures=figures())
