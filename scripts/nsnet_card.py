"""Carry the figures of ``results/nsnet`` into NSNet's card.

python scripts/nsnet_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "nsnet" / "README.md"
WAYS = {
    "nsnet": "both modules",
    "frame module": "the frame module alone",
    "video module": "the video module alone",
    "no-background": "the same network without background",
    "class-only attention": "its attention alone",
    "uniform-3": "3 at equal distances",
    "random-3": "3 at random",
    "centre-3": "3 in the middle",
    "dense": "all 16",
    "oracle-3": "3 that show the class, if there are (oracle)",
}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    found = measured("nsnet/distractors")
    clear, preset = found["variant"], found["preset"]
    lines = [
        "| 3 of 16 frames, 2 to 4 show the class, 1 to 3 another; three seeds | right | of the "
        "frames kept show the class | right on the preset as it is |",
        "|---|---|---|---|",
    ]
    for name, words in WAYS.items():
        right, hits = clear[name]["accuracy"], clear[name]["hits"]["mean"]
        other = preset[name]["accuracy"]["mean"]
        lines.append(f"| {words} | {right['mean']:.1%} | {hits:.0%} | {other:.1%} |")
    seeds = ", ".join(f"{value:.1%}" for value in clear["nsnet"]["accuracy"]["by_seed"])
    areas = [", ".join(f"{a:.2f}" for a in found[f"{k}_auroc"]) for k in ("variant", "preset")]
    share = found["share_of_dense_macs_with_the_papers_networks"]
    lines += [
        "",
        f"By seed: {seeds}. AUROC of the background's probability: {areas[0]} ({areas[1]} on the "
        f"preset as it is). With the paper's networks 3 of 16 frames cost {share:.0%} of all 16. "
        "`scripts/claim_nsnet.py` says why the claim is made on a clearer variant of "
        "`distractor-frames-v1`: there the preview's noise bounds what any sampler can tell.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/nsnet_card.py", figures=figures())
