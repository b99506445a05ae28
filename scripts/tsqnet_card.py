"""Carry the figures of ``results/tsqnet`` into TSQNet's card.

python scripts/tsqnet_card.py
"""

from __future__ import annotations

import json
import statistics

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
REAL = {
    "visual": "visual branch",
    "textual": "textual branch",
    "both": "both, weighed by how sure they are",
    "textual, arbitrary words": "textual branch, names that mean nothing",
    "uniform-4": "4 at equal distances",
    "random-4": "4 at random",
    "centre-4": "4 in the middle",
    "dense": "all 16",
    "oracle-4": "4 of the action, if there are (oracle)",
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
        "",
        *real_clips(),
    ]
    return "\n".join(lines) + "\n"


def real_clips() -> list[str]:
    """Return the lines of the trial on real clips."""
    found = measured("tsqnet/weizmann")
    result = json.loads((ROOT / "results/tsqnet/weizmann.json").read_text(encoding="utf-8"))
    lines = [
        "**Untrimmed Weizmann actions, three splits by person; real objects and real names**",
        "",
        "| 4 of 16 frames, the action being 20 to 30 % of a video | right (by split) "
        "| of the frames kept show the action |",
        "|---|---|---|",
    ]
    for name, words in REAL.items():
        right, hits = (found["ways"][name][figure] for figure in ("accuracy", "hits"))
        by_split = ", ".join(f"{value:.0%}" for value in right["by_seed"])
        lines.append(f"| {words} | {right['mean']:.1%} ({by_split}) | {hits['mean']:.0%} |")
    objects = found["objects"]
    sure = statistics.fmean(one["confident"] for one in objects)
    often = ", ".join(dict.fromkeys(n for one in objects for n in list(one["likeliest"])[:3]))
    right = {name: row["accuracy"]["mean"] for name, row in found["ways"].items()}
    each = min(right["visual"], right["textual"]) > right["uniform-4"]
    holds = "it holds" if result["claim"]["holds"] else "it does not hold"
    holds += f" (each branch beats them: {'yes' if each else 'no'}; both are "
    holds += f"{100 * (max(right['visual'], right['textual']) - right['both']):.1f} points below)"
    gmacs = {name: f"{value / 1000:.2f}" for name, value in found["mmacs_of_lite"].items()}
    lines += [
        "",
        "Claimed was that each branch alone beats equal distances and that both are at most 2 "
        f"points below the better: {holds}. Preview and recogniser see EfficientNet-Lite0's stored "
        "vectors, "
        f"the textual branch its objects; {sure:.0%} of the candidates have one as likely as "
        f"`least_object`, most often {often}. On pictures the recipe `lite` costs "
        f"{gmacs['textual']} GMACs a clip with the textual branch, {gmacs['visual']} with the "
        f"visual one, and all 16 frames by its small recogniser {gmacs['dense']}: there, naming "
        "objects costs more than looking at everything. Rules: `scripts/weizmann_tsqnet.py`.",
    ]
    return lines


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/tsqnet_card.py", figures=figures())
