"""Carry the figures of ``results`` into the README.

python scripts/readme_figures.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured


def figures() -> str:
    """Return the README's table of figures, as Markdown."""
    cold = measured("benchmarks/recognize")
    memory = measured("benchmarks/memory")
    ratios = measured("benchmarks/decode")["ratios"]
    policy = measured("tagger/policy")["test"]
    speed = measured("tagger/speed")
    long, short = cold["long"], cold["short"]

    def versus(clip: dict[str, dict[str, float]]) -> str:
        ours, plain = clip["foveal_every_look"], clip["plain"]
        return (
            f"{ours['median_seconds']:.2f} s and {ours['peak_mb']:.0f} MB against "
            f"{plain['median_seconds']:.1f} s and {plain['peak_mb']:.0f} MB: "
            f"{ours['times_faster_than_plain']:.1f}x"
        )

    rows = [
        ("5-minute 720p file, cold process, 16 frames on both sides", versus(long)),
        ("10-second clip, cold process, 16 frames on both sides", versus(short)),
        (
            "16 keyframes of the 5-minute file against 16 exact frames",
            f"{ratios['keyframes_speedup_over_faster_rival']:.0f}x the faster of decord and "
            "torchcodec",
        ),
        (
            "16 exact frames of it",
            f"{ratios['exact_time_over_faster_rival']:.2f} of the faster one's time",
        ),
        (
            "peak memory, 10 minutes and an hour of 720p",
            f"{memory['peak_mb_10_minutes']:.0f} MB and {memory['peak_mb_60_minutes']:.0f} MB",
        ),
        (
            "tagger against 16 frames in full, held-out files (five groups, second look)",
            f"agrees on {policy['agreement']:.0%} of sure frames at {policy['macs_of_dense']:.0%} "
            f"of the MACs; uniform frames at equal MACs {policy['uniform_at_equal_macs']:.0%}",
        ),
        (
            "time saved beside MACs saved, decoded clips, batch 16",
            f"{speed['time_saved']:.0%} beside {speed['macs_saved']:.0%}",
        ),
    ]
    table = ["| what | measured on 2 cores |", "|---|---|"]
    table += [f"| {what} | {value} |" for what, value in rows]
    note = (
        "The other side of the first two rows is a plain script with decord, PyTorch and timm, the "
        "same network and weights; here all 16 frames go through the network on both sides. On the "
        "long file ours are keyframes, theirs exact frames at equal distances."
    )
    return "\n".join([*table, "", note]) + "\n"


if __name__ == "__main__":
    keep_up_to_date(ROOT / "README.md", script="scripts/readme_figures.py", figures=figures())
