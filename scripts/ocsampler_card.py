"""Carry the figures of ``results/ocsampler`` into OCSampler's card.

python scripts/ocsampler_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "ocsampler" / "README.md"
ROWS = ("ocsampler-3", "uniform-3", "random-3", "centre-3", "uniform-4", "dense-10")


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    claim, second, control, bundle = (
        measured(f"ocsampler/{name}")
        for name in ("salient_frames", "salient_frames_reward_2", "control", "bundle")
    )
    lines = [
        "| 10 frames, 2 of them say the class; three seeds | right | evidence seen | kMACs |",
        "|---|---|---|---|",
    ]
    for name in ROWS:
        way = claim["ways"][name]
        lines.append(
            f"| {name} | {way['accuracy']['mean']:.1%} | {way['salient_recall']['mean']:.1%} | "
            f"{way['kmacs']['mean']:,.0f} |"
        )
    ours = claim["ways"]["ocsampler-3"]
    other = second["ways"]["ocsampler-3"]
    same = control["ways"]
    gains = [
        a - b
        for a, b in zip(
            same["ocsampler-3"]["accuracy"]["by_seed"],
            same["uniform-3"]["accuracy"]["by_seed"],
            strict=True,
        )
    ]
    lines += [
        "",
        f"By seed: {_each(ours['accuracy'])} right, {_each(ours['salient_recall'])} of the "
        "evidence seen, with",
        "the released default, reward 1. With reward 2, seed 0 alone: "
        f"{_each(other['accuracy'])} and {_each(other['salient_recall'])}.",
        "",
        "Where every frame says the class, choosing gains "
        + ", ".join(f"{100 * gain:+.2f}" for gain in gains)
        + " points over uniform-3, which is right on "
        f"{same['uniform-3']['accuracy']['mean']:.1%} there.",
        "",
        f"`tiny.foveal`, seed 0: {bundle['bytes'] / 1e3:.0f} kB. Without PyTorch it chose other",
        f"frames on {bundle['other_frames_chosen']} and answered otherwise on "
        f"{bundle['other_answer']} of {bundle['clips']:,} clips.",
        "",
        *real_clips(),
        "",
        *by_video(),
    ]
    return "\n".join(lines) + "\n"


def by_video() -> list[str]:
    """Return what it brings that a video decides how many frames are kept."""
    told = measured("ocsampler/budget")
    lines = [
        '| the video decides (`budget="video"`), 1 to 5 of 10 frames say the class; three seeds | '
        "right | kMACs | as many of every video | uniform frames |",
        "|---|---|---|---|---|",
    ]
    for row in told["over_seeds"]:
        lines.append(
            f"| at the cost of {row['frames']} frames | {row['accuracy']:.1%} | "
            f"{row['kmacs']:,.0f} of {row['budget_kmacs']:,.0f} | {row['fixed']:.1%} | "
            f"{row['uniform']:.1%} |"
        )
    kept = "Every budget was kept" if told["budgets_held"] else "Not every budget was kept"
    return [
        *lines,
        "",
        f"{kept}: no video above the cap, the mean on calibration clips within it, on test clips "
        "at most 5 % above (`scripts/ocsampler_budget.py`).",
    ]


def real_clips() -> list[str]:
    """Return the figures on untrimmed Weizmann actions."""
    told = measured("ocsampler/weizmann")
    lines = [
        "| 10 frames of untrimmed real clips (Weizmann); three splits | right | in the action | "
        "MMACs |",
        "|---|---|---|---|",
    ]
    for name, way in told["ways"].items():
        right, seen = way["accuracy"], way["looks_in_action"]
        lines.append(
            f"| {name} | {right['mean']:.1%} ± {100 * right['deviation']:.1f} | {seen['mean']:.1%} "
            f"| {way['mmacs']['mean']:.1f} |"
        )
    ours, dearer = (told["ways"][name]["accuracy"] for name in ("ocsampler-3", "uniform-4"))
    files = told["from_files"]
    return [
        *lines,
        "",
        f"By split: {_splits(ours)}, uniform-4 {_splits(dearer)}; chance is "
        f"{told['chance']:.0%}. From the MP4 files",
        f"{sum(one['other_answer'] for one in files)} of {sum(one['videos'] for one in files)} "
        "answers differ.",
    ]


def _splits(figure: dict[str, list[float]]) -> str:
    return ", ".join(f"{value:.1%}" for value in figure["by_split"])


def _each(figure: dict[str, list[float]]) -> str:
    return ", ".join(f"{value:.1%}" for value in figure["by_seed"])


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/ocsampler_card.py", figures=figures())
