"""Carry the figures of ``results/tsqnet`` into TSQNet's card.

python scripts/tsqnet_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "tsqnet" / "README.md"
WAYS = {
    "visual": "asked by the likeliest class, visual branch",
    "textual": "textual branch",
    "both": "both, weighed by how sure they are",
    "both, equal": "both, in equal parts",
    "both, told": "both, two layers that tell each other",
    "uniform-3": "3 at equal distances",
    "random-3": "3 at random",
    "centre-3": "3 in the middle",
    "dense": "all 16",
    "oracle-3": "3 that show the class, if there are (oracle)",
}
QUERIES = {
    "true class": "visual branch, asked by the label",
    "wrong class": "asked by another class",
    "any class": "the mean of all rows: attention of no class",
    "largest over classes": "the largest of all rows",
}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    found = measured("tsqnet/queries")
    lines = [
        "| 3 of 16 frames, 2 to 4 show the class, 1 to 3 another one as clearly; three seeds "
        "| right | of the frames kept show the class |",
        "|---|---|---|",
    ]
    for part, names in (("ways", WAYS), ("queries", QUERIES)):
        for name, words in names.items():
            row = found[part][name]
            right, hits = row["accuracy"]["mean"], row["hits"]["mean"]
            lines.append(f"| {words} | {right:.1%} | {hits:.0%} |")
    seeds = ", ".join(f"{v:.1%}" for v in found["ways"]["visual"]["accuracy"]["by_seed"])
    share = found["share_of_dense_macs_with_the_papers_networks"]
    lines += [
        "",
        f"Visual branch by seed: {seeds}. With the paper's networks 3 of 16 frames cost "
        f"{share['visual']:.0%} of all 16 by the visual branch, {share['both']:.0%} by both. One "
        "query layer, but for the fifth row; `scripts/claim_tsqnet.py` says why, and how the task "
        "differs from `distractor-frames-v1`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/tsqnet_card.py", figures=figures())
