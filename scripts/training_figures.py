"""Carry the figures of ``results/train`` and of the loader into ``docs/training.md``.

python scripts/training_figures.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

PAGE = ROOT / "docs" / "training.md"
RESULTS = ROOT / "results" / "train"
SETS = {
    "weizmann": "Weizmann: 10 actions, 9 people, three splits by person",
    "skateboard": "skateboard: 2 tricks, 189 clips, three splits by blocks of numbers",
}


def table(name: str, title: str) -> list[str]:
    """Return a table of the systems trained on one set."""
    lines = [
        f"**{title}**",
        "",
        "| system, recipe | right on the test clips (mean; by split) | GMACs a clip | minutes | "
        "waiting for data |",
        "|---|---|---|---|---|",
    ]
    for system in sorted(path.stem for path in (RESULTS / name).glob("*.json")):
        told = measured(f"train/{name}/{system}")
        splits = ", ".join(f"{value:.0%}" for value in told["accuracy"]["by_split"])
        lines.append(
            f"| `{system}`, `{told['recipe']}` | {told['accuracy']['mean']:.1%} ({splits}) | "
            f"{told['gmacs_per_clip']['mean']:.3f} | {told['minutes']['mean']:.1f} | "
            f"{max(told['data_wait']['by_split']):.0%} at most |"
        )
    return [*lines, ""]


def figures() -> str:
    """Return the section that holds figures, as Markdown."""
    lines: list[str] = []
    for name, title in SETS.items():
        lines += table(name, title)
    loading = measured("benchmarks/loading")
    rows = [
        f"{name}: {loading[name]['decoding_over_faster_torchcodec']:.2f}x decoding at every draw, "
        f"{loading[name]['kept_over_faster_torchcodec']:.1f}x with frames kept"
        for name in SETS
    ]
    broken, memory = measured("train/broken_files"), measured("train/memory")
    lines += [
        "Images a second beside torchcodec in a plain `DataLoader`, one worker each "
        f"({'; '.join(rows)}).",
        "",
        f"Nine broken files among 900, of nine kinds, three seeds: "
        f"{broken['mean_accuracy']['broken']:.1%} right instead of "
        f"{broken['mean_accuracy']['whole']:.1%}. Memory from the 3,000th to the 11,200th clip: "
        f"{memory['mib_after_3000_clips']:.0f} to {memory['mib_at_the_end']:.0f} MiB "
        f"({memory['growth']:+.1%}).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(PAGE, script="scripts/training_figures.py", figures=figures())
