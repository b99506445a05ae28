"""Carry the figures of ``results/tagger`` into the tagger's card.

python scripts/tagger_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "tagger" / "README.md"


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    policy, threshold, speed = (
        measured(f"tagger/{name}") for name in ("policy", "threshold", "speed")
    )
    test = policy["test"]
    kept = [f for f in threshold["true_tags_kept_by_file"].values() if f["half"] != "tune"]
    lines = [
        "| held-out files, second look at them | tagger | uniform at equal MACs | dense |",
        "|---|---|---|---|",
        f"| agreement with dense on its sure frames | {test['agreement']:.1%} | "
        f"{test['uniform_at_equal_macs']:.1%} | 100% |",
        f"| GMACs a file | {test['gmacs']:.2f} | {test['gmacs']:.2f} | "
        f"{16 * policy['macs_per_look'] / 1e9:.2f} |",
        f"| network looks of 16 | {test['looks_of_16']:.1f} | {test['looks_of_16']:.1f} | 16 |",
        "",
        "By group (agreement, looks of 16, files with a sure frame): "
        + "; ".join(
            f"{group} {g['agreement']:.1%}, {g['looks']:.1f}, {g['files']}"
            for group, g in sorted(test["by_group"].items())
        )
        + ".",
        "",
        f"Threshold {threshold['threshold']:.2f}. On held-out clips of people acting, "
        f"{threshold['false_segments_test']:.1%} of the segments still carry a tag; "
        f"{threshold['true_tags_kept_test']:.1%} of right and sure tags are kept (mean of "
        f"{len(kept)} files, the demo clip among them; few real clips at hand show such things).",
        "",
        f"Speed (decoded clips, batch 16): {speed['macs_saved']:.1%} of MACs saved, "
        f"{speed['time_saved']:.1%} of time saved.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/tagger_card.py", figures=figures())
