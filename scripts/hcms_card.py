"""Carry the figures of ``results/hcms`` into HCMS's card.

python scripts/hcms_card.py
"""

from __future__ import annotations

from typing import Any

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "hcms" / "README.md"
MADE = (
    ("always on", "always on"),
    ("hcms", "HCMS"),
    ("random", "random gates, HCMS's weights"),
    ("random, trained so", "random gates, trained so"),
    ("sound alone", "sound alone"),
    ("appearance alone", "appearance alone"),
    ("motion alone", "motion alone"),
)
REAL = (
    ("sound", "sound alone"),
    ("appearance", "appearance alone"),
    ("pictures", "appearance and motion"),
    ("always on", "all, always on"),
    ("hcms", "HCMS"),
)


def by_seed(rows: list[dict[str, Any]], name: str) -> str:
    """Return the accuracy of each seed or split."""
    return ", ".join(f"{row[name]['accuracy']:.1%}" for row in rows)


def on_haystack() -> list[str]:
    """Return the table of the claim, and what stands below it."""
    found = measured("hcms/modalities")
    rows, mean = found["by_seed"], found["mean"]
    full = mean["always on"]["mmacs"]
    lines = [
        "| Haystack `modalities-v1`, three seeds | right | by seed | MMACs | of always on |",
        "|---|---|---|---|---|",
    ]
    for name, words in MADE:
        told = mean[name]
        lines.append(
            f"| {words} | {told['accuracy']:.1%} | {by_seed(rows, name)} | {told['mmacs']:.1f} | "
            f"{told['mmacs'] / full:.0%} |"
        )
    lines += ["", "| clips told by | right | steps that look | that watch motion | MMACs |"]
    lines.append("|---|---|---|---|---|")
    for sense in ("sound", "picture", "motion"):
        told = [row["hcms"]["told_by"][sense] for row in rows]
        right, cost = (sum(t[k] for t in told) / len(told) for k in ("accuracy", "mmacs"))
        looked, moved = (sum(t["usage"][k] for t in told) / len(told) for k in (0, 1))
        lines.append(f"| {sense} | {right:.1%} | {looked:.0%} | {moved:.1%} | {cost:.1f} |")
    enough = ", ".join(f"{row['hcms']['sound_was_enough']:.0%}" for row in rows)
    often = [row["hcms"]["steps_open_p50_p95"] for row in rows]
    looked, moved = (
        ", ".join(f"{median:g} and {most:g}" for median, most in (one[k] for one in often))
        for k in (0, 1)
    )
    lines += [
        "",
        f"No gate opened in {enough} of the clips, by seed. Steps that look, median and 95th "
        f"percentile: {looked}; that watch motion: {moved}.",
    ]
    same = [row["by_protocol"] for row in rows]
    below = [row["always on"]["accuracy"] - row["hcms"]["accuracy"] for row in rows]
    shares = [row["hcms"]["mmacs"] / row["always on"]["mmacs"] for row in rows]
    lines += [
        "",
        "By seed, HCMS is "
        + ", ".join(
            f"{100 * gap:.2f} points below always-on at {share:.1%} of its cost"
            for gap, share in zip(below, shares, strict=True)
        )
        + ".",
    ]
    lines += [
        "",
        "Theta, mean right at MMACs: "
        + "; ".join(
            f"{points[0]['theta']:g}: {sum(p['accuracy'] for p in points) / len(points):.1%} at "
            f"{sum(p['mmacs'] for p in points) / len(points):.1f}"
            for points in zip(*(row["by_theta"] for row in rows), strict=True)
        )
        + ".",
        "",
        f"Run by the executor, {sum(s['same_gates'] for s in same)} of "
        f"{sum(s['clips'] for s in same)} clips open the same gates as in the network, and "
        f"{sum(s['same_bill'] for s in same)} have the bill that follows from them.",
    ]
    return lines


def by_cascade() -> str:
    """Return what a cascade by confidence comes to at every threshold."""
    points = "; ".join(
        f"{point['threshold']:g}: {point['accuracy']:.1%} at {point['mmacs']:.1f}"
        for point in measured("hcms/cascade")["mean"]
    )
    return (
        "A cascade that asks sound, then appearance of the whole clip, then motion, while it is "
        f"less sure than a threshold, mean right at MMACs: {points}."
    )


def on_skateboards() -> list[str]:
    """Return the table of the real clips."""
    found = measured("hcms/skateboard")
    rows, mean = found["by_split"], found["mean"]
    lines = [
        "| skateboard tricks, three splits | right | by split | MMACs | frames decoded | ms |",
        "|---|---|---|---|---|---|",
    ]
    for name, words in REAL:
        told = mean[name]
        lines.append(
            f"| {words} | {told['accuracy']:.1%} | {by_seed(rows, name)} | {told['mmacs']:.0f} | "
            f"{told['frames_decoded']:.1f} | {told['ms']:.0f} |"
        )
    usage = "; ".join(f"{a:.0%} and {m:.0%}" for a, m in (row["usage"] for row in rows))
    lines += [
        "",
        f"Random gates at HCMS's use: {mean['random']['accuracy']:.1%}. HCMS looked at a frame and "
        f"at motion in {usage} of the steps.",
    ]
    return lines


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    return "\n".join([*on_haystack(), "", by_cascade(), "", *on_skateboards()]) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/hcms_card.py", figures=figures())
