"""Carry the figures of ``results/gfnet`` into GFNet's card.

python scripts/gfnet_card.py
"""

from __future__ import annotations

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "gfnet" / "README.md"
WAYS = {
    "policy": "where the policy says",
    "untaught policy": "where the policy said before it was taught",
    "random": "at random",
    "centre": "in the centre",
    "object": "on the object (oracle)",
}


def table(kind: str, title: str) -> list[str]:
    """Return the accuracies after every step, by who places the squares."""
    found = measured(f"gfnet/{kind}")
    costs = [f"{macs / 1e6:.2f}" for macs in found["macs_by_step"]]
    lines = [
        f"| {title} | glance | one square | two squares |",
        "|---|---|---|---|",
        f"| MMACs | {' | '.join(costs)} |",
    ]
    for name, words in WAYS.items():
        shares = found["mean_accuracy_by_step"][name]
        lines.append(f"| {words} | {' | '.join(f'{share:.1%}' for share in shares)} |")
    near = [row["policy"]["found_within_8_px"] for row in found["by_seed"]]
    told = ", ".join(f"{share:.0%}" for share in near)
    lines += [
        "",
        f"The policy's first square is within 8 px of the object in {told} (by seed).",
        "",
    ]
    return lines


def exits() -> list[str]:
    """Return what leaving early costs and loses."""
    told = []
    found = measured("gfnet/image")
    for row, curve in zip(found["by_seed"], found["exit_curves"], strict=True):
        full = row["policy"]["accuracy_by_step"][-1]
        kept = min(p["cost_share"] for p in curve if p["accuracy"] >= full - 0.01)
        told.append(f"{kept:.0%}")
    return [
        f"Leaving when sure keeps the accuracy of all steps but a point at {', '.join(told)} of "
        "their cost (by seed), and along the curve accuracy never falls as cost rises."
    ]


def speed() -> list[str]:
    """Return what exits save in time."""
    found = measured("gfnet/speed")
    many, one, whole = (found[key] for key in ("batch_16", "batch_1", "end_to_end"))
    return [
        "",
        f"Speed with exits (decoded pictures, batch 16): {many['macs_saved']:.0%} of MACs saved, "
        f"{many['time_saved']:.0%} of time; one at a time {one['time_saved']:.0%}; from MP4 files "
        f"of one frame {whole['time_saved']:.0%} of the wall clock for {whole['macs_saved']:.0%} "
        f"of MACs. Both runners decided otherwise on {found['decided_otherwise']} of "
        f"{found['clips']} pictures.",
    ]


def official() -> list[str]:
    """Return our times over those of the official inference."""
    found = measured("gfnet/official")
    one, many = found["batch_1"], found["batch_16"]
    lines = [
        "| ResNet-50, five steps of 96 px, exits off: wall clock over the official inference's "
        "| one picture | sixteen |",
        "|---|---|---|",
    ]
    ways = {"network": "the network", "torch": "PyTorch runner", "onnx": "ONNX Runtime"}
    for name, words in ways.items():
        cells = [f"{rows[name]['time_of_official']:.2f}" for rows in (one, many)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    worst = max(rows[name]["time_of_official"] for rows in (one, many) for name in ways)
    return [
        *lines,
        "",
        f"Golden weights in both, one thread, load {found['load_average_before'][0]:.1f} to "
        f"{found['load_average_after'][0]:.1f}. The rule was that none is slower; the slowest is "
        f"at {worst:.2f}.",
    ]


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    lines = [
        *table("image", "pictures of 48 px, squares of 16"),
        *exits(),
        "",
        *table("video", "8 frames of 48 px, one small moving object"),
        *speed()[1:],
        "",
        *official(),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/gfnet_card.py", figures=figures())
