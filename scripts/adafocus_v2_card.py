"""Carry the figures of ``results/adafocus_v2`` into AdaFocusV2's card.

python scripts/adafocus_v2_card.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from figures import ROOT, keep_up_to_date, measured

CARD = ROOT / "src" / "foveal" / "systems" / "adafocus_v2" / "README.md"
WAYS = {
    "policy": "where the policy says",
    "random": "at random",
    "centre": "in the centre",
    "object": "on the object (oracle)",
}
TRAININGS = {
    "default": "as it is",
    "no_random_pass": "without the random pass",
    "gradient_into_glance": "the policy's gradient let into the glance",
}
OFFICIAL = {
    "network": "the network, one call",
    "torch": "frame by frame, PyTorch",
    "onnx": "frame by frame, ONNX Runtime",
}


def figures() -> str:
    """Return the section of the card that holds figures, as Markdown."""
    names = ("policy", "exits", "ablation", "speed")
    policy, exits, ablation, speed = (measured(f"adafocus_v2/{name}") for name in names)
    found, macs = policy["over_seeds"], policy["macs_per_clip"]
    once = macs["one_square_a_frame"]
    fast, slow, whole = (speed[name] for name in ("batch_16", "batch_1", "end_to_end"))
    lines = [
        "| 2 frames of 64 px, a 16-px object; one square a frame | right | on the object | MMACs |",
        "|---|---|---|---|",
    ]
    for name, words in WAYS.items():
        near = found[f"{name}_found_within_8_px"]["mean"]
        lines.append(
            f"| {words} | {found[f'{name}_accuracy']['mean']:.1%} | {near:.1%} | {once / 1e6:.2f} |"
        )
    for name, words in (("glance", "the glance alone"), ("dense", "sixteen squares a frame")):
        right = found[f"{name}_accuracy"]["mean"]
        lines.append(f"| {words} | {right:.1%} | | {macs[name] / 1e6:.2f} |")
    seeds = policy["by_seed"]
    lines += [
        "",
        f"By seed, the policy: {_each(r['policy_accuracy'] for r in seeds)} right, "
        f"{_each(r['policy_found_within_8_px'] for r in seeds)} on the object.",
        "",
        *_exit_lines(exits),
        "",
        "| training | right | on the object | glance alone | squares at random |",
        "|---|---|---|---|---|",
        *(
            _training_line(ablation["by_training"][name], words)
            for name, words in TRAININGS.items()
        ),
        "",
        *real_clips(),
        "",
        f"Speed with exits (decoded clips, batch 16): {fast['macs_saved']:.1%} of MACs saved, "
        f"{fast['time_saved']:.1%} of time; one clip at a time {slow['time_saved']:.1%}. The "
        f"bundle has {speed['bundle_bytes'] / 1e3:.0f} kB; without PyTorch it decided otherwise "
        f"on {speed['decided_otherwise']} of {speed['clips']} clips.",
        "",
        f"From MP4 files {whole['macs_saved']:.1%} of MACs and {whole['time_saved']:.1%} of the "
        "wall clock: what the codec loses makes answers less sure, and both ends of the clip are "
        f"among the first three frames, so that {whole['on_frames_decoded_per_clip']:.1f} of "
        f"{whole['off_frames_decoded_per_clip']:.0f} frames are decoded.",
    ]
    lines += ["", *_official_lines(measured("adafocus_v2/official"))]
    return "\n".join(lines) + "\n"


def _official_lines(official: dict[str, Any]) -> list[str]:
    one, eight = (official[name] for name in ("batch_1", "batch_8"))
    lines = [
        "| exits off, wall clock (CPU time) over the official forward's | one clip | eight clips |",
        "|---|---|---|",
    ]
    for name, words in OFFICIAL.items():
        cells = " | ".join(
            f"{rows[name]['time_of_official']:.2f} ({rows[name]['cpu_time_of_official']:.2f})"
            for rows in (one, eight)
        )
        lines.append(f"| {words} | {cells} |")
    far = max(official["largest_difference"].values())
    lines += [
        "",
        "Paper size, golden weights in both, decoded clips, one thread; the official "
        "clips are normalised and put in order beforehand. Of one clip the logits of all ways are "
        f"within {far:.0e} of their spread. Other work shared the machine (load average "
        f"{official['load_average_before'][0]:.1f} to {official['load_average_after'][0]:.1f}).",
    ]
    return lines


def _exit_lines(exits: dict[str, Any]) -> list[str]:
    lines = [
        "| exits, 8 frames | cost | right | all frames | random exits in the same numbers |",
        "|---|---|---|---|---|",
    ]
    columns = ("cost", "exit_accuracy", "static_accuracy", "random_exit_accuracy")
    for name in ("plain", "faint"):
        found = exits[name]["over_seeds"]
        cells = " | ".join(f"{found[column]['mean']:.1%}" for column in columns)
        lines.append(f"| {name} clips | {cells} |")
    return lines


def _training_line(training: dict[str, Any], words: str) -> str:
    columns = (
        "policy_accuracy",
        "policy_found_within_8_px",
        "glance_accuracy",
        "random_accuracy",
    )
    cells = " | ".join(f"{training['over_seeds'][column]['mean']:.1%}" for column in columns)
    return f"| {words} | {cells} |"


def real_clips() -> list[str]:
    """Return the figures on untrimmed Weizmann actions."""
    told = measured("adafocus_v2/weizmann")
    lines = [
        "| 8 frames of untrimmed real clips (Weizmann); three splits | right | crossing the "
        "picture | other actions | on the person | MMACs |",
        "|---|---|---|---|---|---|",
    ]
    for name, way in told["ways"].items():
        right, found = way["accuracy"], way.get("squares_on_person")
        lines.append(
            f"| {name} | {right['mean']:.1%} ± {100 * right['deviation']:.1f} | "
            f"{way['crossing_accuracy']['mean']:.1%} | {way['other_accuracy']['mean']:.1%} | "
            f"{'' if found is None else format(found['mean'], '.1%')} | "
            f"{way['mmacs']['mean']:.1f} |"
        )
    files = told["from_files"]
    policy, centre = (told["ways"][name]["accuracy"]["by_split"] for name in ("policy", "centre"))
    return [
        *lines,
        "",
        f"By split, the policy: {_each(policy)}, the centre: {_each(centre)}; chance is "
        f"{told['chance']:.0%}. From the",
        f"MP4 files {sum(one['other_answer'] for one in files)} of "
        f"{sum(one['videos'] for one in files)} answers differ.",
    ]


def _each(values: Sequence[float] | Any) -> str:
    return ", ".join(f"{value:.1%}" for value in values)


if __name__ == "__main__":
    keep_up_to_date(CARD, script="scripts/adafocus_v2_card.py", figures=figures())
