"""Measure NSNet's claim: frames kept after suppressing those that show no action.

    python scripts/claim_nsnet.py                  # all seeds, about ten minutes on one core
    python scripts/claim_nsnet.py --calibration    # seed 100, nothing is written

The rules below were written down before the first number of seeds 0 to 2 was seen.

Task: the stored features of Haystack ``distractor-frames-v1``: 16 frames, 2 to 4 show one of 10
classes, 1 to 3 another class; 16 numbers a frame for the sampler, 32 for the recogniser. There the
noise of the preview alone keeps the AUROC at 0.91 and all 16 frames are right in 86 % (seed 100),
so that neither 0.95 nor 10 points can be reached by any sampler. The claim is therefore made on a
variant with less noise in the preview (0.2 for 0.35) and more in what the recogniser sees (0.35 for
0.25), chosen with seed 100; the preset itself stands beside it, without a claim.

Splits: seed s trains on samples 0 to 3999 of ``train`` drawn with seed s and is judged on 0 to
1999 of ``test`` with seed s. What had to be chosen was chosen on 0 to 1999 of ``calibration`` with
seed 100.

System: ``protocol.features`` keeping 3 of 16, recipe ``features`` with ``guidance`` 1 (without it
attention settled on frames without evidence with seed 100: 23 % right). From one run: both
saliencies together (``nsnet``), the frame module alone (beta 1), the video module alone (beta 0).
The same network and recogniser trained without background (``no-background``): every frame belongs
to the class, nothing is asked of the frames that are not attended to, and a frame is as salient as
its probability of the class that the sampler believes in, joined with the attention. The video
module's attention alone of that run is ``class-only attention``.

Baselines: uniform, random, centre (3 frames), dense (16), oracle (3, those with evidence first), by
the same recogniser through the same executor; they pay for no preview.

Cost: multiply-accumulates of all calls, preview included, mean over the clips. The feature-level
networks that would make the numbers are not counted for anyone: with stored features the recogniser
costs less than the preview, so the share of the dense cost is told for the paper's networks, from
the multiply-accumulates of their exported parts: preview of 16 frames and 3 frames recognised
against 16 recognised.

AUROC: background probability of frames that do not show the label of their clip against those that
do, over all test frames.

The claim holds if on every seed, on the variant, ``nsnet`` is at least 30 points above
``uniform-3``, at least 10 above dense at no more than 25 % of its cost (paper's networks), at least
15 above ``no-background``; AUROC is at least 0.95; and at least 70 % of the frames kept show the
class.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from feature_task import (
    PRESET,
    VARIANT,
    Clips,
    chosen_by,
    oracle,
    over_seeds,
    rules,
    run,
    runner_of,
    score,
    trained,
)

from foveal.export.bundle import export_parts
from foveal.haystack import Preset, Split, features
from foveal.results import write_result
from foveal.systems.nsnet import protocol, recipe
from foveal.systems.nsnet.model import Network, build, make_network
from foveal.types import Array, Features

TOLD = recipe.Supervision(guidance=1.0)
TRAIN, TEST = 4000, 2000
CALIBRATION_SEED = 100
KEPT = 3
CHOSEN = "nsnet"
CFG = protocol.features(
    num_frames=KEPT, name="recognizer", feature_width=32, preview="preview", preview_width=16
)
BETAS = {"nsnet": 0.5, "frame module": 1.0, "video module": 0.0}


def clips_of(preset: Preset, split: Split, *, count: int, seed: int) -> Clips:
    """Return samples of a preset."""
    made = features(preset, split=split, count=count, seed=seed)
    return Clips(
        name=f"{preset.name}/{split}",
        views=made.views,
        labels=made.labels,
        evidence=made.truth.evidence,
    )


def auroc(scores: Array, positive: Array) -> float:
    """Return the share of pairs in which the positive one scores higher; ties count half."""
    order = np.argsort(np.concatenate([scores[~positive], scores[positive]]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    first, second = int((~positive).sum()), int(positive.sum())
    return float((ranks[first:].sum() - second * (second + 1) / 2) / (first * second))


@torch.no_grad()
def background(network: Network, clips: Clips) -> float:
    """Return the AUROC of the background's probability."""
    network.eval()
    scored = network.sampler(torch.from_numpy(clips.views["preview"]))
    probs = scored.frame_logits.softmax(dim=-1)[..., -1].numpy()
    assert clips.evidence is not None
    return auroc(probs.ravel(), ~clips.evidence.ravel())


def measure(preset: Preset, *, seed: int, split: Split) -> dict[str, Any]:
    """Train under one seed, and return what every way reaches."""
    data = clips_of(preset, "train", count=TRAIN, seed=seed).data(
        frames="recognizer", preview="preview"
    )
    clips = clips_of(preset, split, count=TEST, seed=seed)
    network: Network = trained(recipe.features(cfg=CFG, told=TOLD), data, seed=seed)
    plain_cfg = replace(CFG, frame_saliency="class")
    plain: Network = trained(
        recipe.features(cfg=plain_cfg, told=recipe.Supervision(background=False)), data, seed=seed
    )
    runner, macs = runner_of(build(network, CFG), protocol.parts(CFG))
    other, _ = runner_of(build(plain, plain_cfg), protocol.parts(plain_cfg))
    found = {
        name: score(run(runner, partial(protocol.steps, replace(CFG, beta=beta), {}), clips), clips)
        for name, beta in BETAS.items()
    }
    for name, beta in (("no-background", 0.5), ("class-only attention", 0.0)):
        way = partial(protocol.steps, replace(plain_cfg, beta=beta), {})
        found[name] = score(run(other, way, clips), clips)
    fixed = rules(KEPT, seed=seed) | {f"oracle-{KEPT}": oracle(clips, KEPT)}
    assert isinstance(CFG.canvas, Features)
    for name, rule in fixed.items():
        way = partial(chosen_by, rule, CFG.canvas, protocol.RECOGNISER)
        found[name] = score(run(runner, way, clips), clips)
    for name, figures in found.items():
        print(preset.name, seed, name, figures, flush=True)
    told = {"ways": found, "auroc": round(background(network, clips), 4), "macs_of_parts": macs}
    print(preset.name, seed, told["auroc"], flush=True)
    return told


def paper_share() -> float:
    """Return the cost of 3 of 16 frames over that of all 16, with the paper's networks."""
    cfg = protocol.paper()
    with torch.device("cpu"):
        network = make_network(cfg)
    macs = {
        one.part.spec.name: one.part.macs[()]
        for one in export_parts(build(network, cfg), protocol.parts(cfg))
    }
    dense = cfg.num_candidates * macs[protocol.RECOGNISER]
    return (macs[protocol.SAMPLER] + KEPT * macs[protocol.RECOGNISER]) / dense


def holds(one: Mapping[str, Any], share: float) -> bool:
    """Return whether all parts of the claim hold on one seed."""
    right = {name: figures["accuracy"] for name, figures in one["ways"].items()}
    ours = right[CHOSEN]
    return bool(
        ours >= right[f"uniform-{KEPT}"] + 0.30
        and ours >= right["dense"] + 0.10
        and share <= 0.25
        and ours >= right["no-background"] + 0.15
        and one["auroc"] >= 0.95
        and one["ways"][CHOSEN]["hits"] >= 0.70
    )


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--calibration", action="store_true", help="seed 100, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.calibration:
        for preset in (VARIANT, PRESET):
            measure(preset, seed=CALIBRATION_SEED, split="calibration")
        return
    share = paper_share()
    runs = {
        preset.name: [measure(preset, seed=seed, split="test") for seed in options.seeds]
        for preset in (VARIANT, PRESET)
    }
    told = over_seeds([one["ways"] for one in runs[VARIANT.name]])
    ours, even = told[CHOSEN]["accuracy"]["mean"], told[f"uniform-{KEPT}"]["accuracy"]["mean"]
    text = (
        f"3 of 16 frames: {ours:.1%} right where 3 uniform ones give {even:.1%}, all 16 "
        f"{told['dense']['accuracy']['mean']:.1%} and the same network without background "
        f"{told['no-background']['accuracy']['mean']:.1%}"
    )
    by_seed = [holds(one, share) for one in runs[VARIANT.name]]
    write_result(
        Path("results/nsnet/distractors.json"),
        title="NSNet keeps 3 of 16 frames, some of which show another class",
        protocol="scripts/claim_nsnet.py, committed before the numbers",
        seeds=options.seeds,
        threads=1,
        measured={
            "chosen": CHOSEN,
            "share_of_dense_macs_with_the_papers_networks": round(share, 4),
            "variant": told,
            "variant_auroc": [one["auroc"] for one in runs[VARIANT.name]],
            "preset": over_seeds([one["ways"] for one in runs[PRESET.name]]),
            "preset_auroc": [one["auroc"] for one in runs[PRESET.name]],
            "macs_of_parts": runs[VARIANT.name][0]["macs_of_parts"],
            "holds_by_seed": by_seed,
        },
        claim={"system": "nsnet", "text": text, "holds": all(by_seed)},
    )


if __name__ == "__main__":
    main()
