"""Measure HCMS on real sound and picture: kickflip or ollie, heard, seen, both, or chosen.

The rules below were written down before the first number was seen.

    python scripts/skateboard_hcms.py --data FOLDER   # results/hcms/skateboard.json

Set: ``skateboard`` below the folder (2 tricks, 189 clips of about 1.3 s with sound). It names no
subjects, so the same person, place and day can be on both sides: the clips of each trick, in the
order of the number in their names, are cut into nine blocks of equal size, as
``scripts/train_by_command.py`` does; split i tests on blocks i and i + 3, chooses by block i + 6
and learns from the other six, under seed i. Splits 0 to 2.

The recipe ``small``, but for frames of 64 px, three steps of a third of a second of sound and of
three frames, since the clips are short, and 150 steps of the first stage. That keeps the weights of
its best validation. Its senses then stand still, and the levels learn from what they make of four
random draws (times, cuts, light) of every clip, for as many steps as the recipe says; ``sound``,
``appearance``, ``pictures`` (appearance and motion) and ``always on`` have the same widths and
learn with open gates for as many steps as HCMS in both its stages; they keep their last weights.
``random`` is HCMS with gates opening at random as often as HCMS's own did on the test clips, the
mean of 20 draws.

Told for each: top-1 accuracy on the test clips, and of what the executor really did with the files:
multiply-accumulates and frames decoded a clip, bytes read, milliseconds of all stages on a loaded
machine. Nothing is chosen on the test clips, and there is no claim: of 42 clips a split, one is two
points.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from train_by_command import groups_of, parts_of

from foveal.cost.torch_counter import count_torch_macs
from foveal.dataset import Sample
from foveal.engine.torch_runner import TorchRunner
from foveal.recipe import Recipe
from foveal.results import write_result
from foveal.systems.hcms import protocol, recipe
from foveal.systems.hcms.model import Network, Sensed, build, by_chance, by_threshold
from foveal.systems.hcms.protocol import Config, Ear, Sense
from foveal.tasks.classification import Evaluation, evaluate
from foveal.train import ArrayData, ClipData, FrameCache, Running, fit, load_weights
from foveal.train.project import planned_times
from foveal.types import Array, Canvas

OUT = Path("results/hcms/skateboard.json")
SPLITS = (0, 1, 2)
DRAWS = 4
RANDOM_DRAWS = 20
CONFIG = replace(
    protocol.small(num_classes=2, num_steps=3),
    canvas=Canvas(height=64, width=64),
    burst=3,
    ear=Ear(fft_size=400, num_frames=32),
)
STEPS = (150, 60, 120)
OPEN: Mapping[str, tuple[Sense, ...]] = {
    "sound": ("sound",),
    "appearance": ("appearance",),
    "pictures": ("appearance", "motion"),
    "always on": ("sound", "appearance", "motion"),
}


def samples_of(data: Path, split: int) -> dict[str, tuple[Sample, ...]]:
    """Return the clips of each part of a split."""
    groups = groups_of(data, "skateboard")
    names = sorted({file.parent.name for file in groups})
    parts = parts_of("skateboard", split)
    found: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for file, group in groups.items():
        part = next((p for p, held in parts.items() if group in held), "train")
        label = names.index(file.parent.name)
        found[part].append(Sample(path=str(file), label=label, where=file.name))
    return {part: tuple(some) for part, some in found.items()}


def planned_of(some: tuple[Sample, ...], run: Recipe, cache: FrameCache) -> ClipData:
    """Return clips as the protocol sees them."""
    return ClipData(
        some,
        kind="video",
        planned=partial(planned_times, protocol.steps, CONFIG),
        views={"frames": CONFIG.canvas},
        heard=run.heard,
        cache=cache,
    )


@torch.no_grad()
def sensed_of(network: Network, data: ClipData, seeds: Array) -> dict[str, Array]:
    """Return what the senses make of one draw of every clip."""
    made = []
    for start in range(0, len(data), 21):
        rows = np.arange(start, min(start + 21, len(data)))
        batch = {k: v.numpy() for k, v in data.batch(rows, seeds[rows]).items()}
        made.append(recipe.sensed_data(network, batch))
    return {name: np.concatenate([one[name] for one in made]) for name in made[0]}


def fitted(
    run: Recipe,
    data: ArrayData | ClipData,
    folder: Path,
    seed: int,
    *,
    weights: Path | None = None,
    validation: ClipData | None = None,
) -> Network:
    """Train, or take up what was trained."""

    def prepare(network: nn.Module) -> None:
        if weights is not None:
            load_weights(network, weights)

    found = fit(
        run,
        data,
        out=folder,
        seed=seed,
        prepare=prepare,
        validation=validation,
        resume=(folder / "checkpoint.json").exists(),
        running=Running(device="cpu", checkpoint_steps=50, validations=10),
    ).network
    assert isinstance(found, Network)
    return found.eval()


def opened(cfg: Config) -> Recipe:
    """Return a recipe that learns with open gates for as long as HCMS in both its stages."""
    run = recipe.small(cfg=cfg, steps=STEPS)
    return replace(run, stages=run.stages[-1:])


def judged(network: Network, some: tuple[Sample, ...]) -> Evaluation:
    """Run the protocol on files and return what came of it."""
    cfg = network.cfg
    parts, specs = build(network, cfg), {spec.name: spec for spec in protocol.parts(cfg)}
    macs = {
        name: count_torch_macs(
            parts[name],
            *(torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs),
        )
        for name, spec in specs.items()
    }
    runner = TorchRunner(parts, specs, {name: {(): count} for name, count in macs.items()})
    steps = partial(protocol.steps, cfg, {})
    return evaluate(some, kind="video", runner=runner, steps=steps)


def told(found: Evaluation) -> dict[str, float]:
    """Return the figures of one way to look."""
    return {
        "accuracy": round(found.accuracy, 4),
        "mmacs": round(found.mean(lambda cost: cost.total_macs) / 1e6, 3),
        "frames_decoded": round(found.mean(lambda cost: cost.frames_decoded), 2),
        "frames_used": round(found.mean(lambda cost: cost.frames_used), 2),
        "kib_read": round(found.mean(lambda cost: cost.bytes_read) / 1024, 2),
        "ms": round(found.mean(lambda cost: cost.total_ms), 2),
    }


def measure(data: Path, split: int, folder: Path) -> dict[str, Any]:
    """Return all figures of one split."""
    some = samples_of(data, split)
    run = recipe.small(cfg=CONFIG, steps=STEPS)
    cache = FrameCache(folder.parent / "frames", limit_bytes=4 << 30)
    train = ClipData(
        some["train"],
        kind="video",
        draws=run.draws,
        heard=run.heard,
        augment=run.augment,
        cache=cache,
    )
    senses = fitted(
        replace(run, stages=run.stages[:1]),
        train,
        folder / "senses",
        split,
        validation=planned_of(some["validation"], run, cache),
    )
    weights = folder / "senses" / "senses.safetensors"
    rng = np.random.default_rng(split)
    drawn = [sensed_of(senses, train, rng.integers(2**62, size=len(train))) for _ in range(DRAWS)]
    learnt = ArrayData({name: np.concatenate([d[name] for d in drawn]) for name in drawn[0]})

    row: dict[str, Any] = {"split": split, **{f"{part}_clips": len(s) for part, s in some.items()}}
    for name, used in OPEN.items():
        cfg = replace(CONFIG, senses=used, gates="open")
        net = fitted(opened(cfg), learnt, folder / name.replace(" ", "-"), split, weights=weights)
        row[name] = told(judged(net, some["test"]))
    gated = replace(run, stages=run.stages[1:])
    hcms = fitted(gated, learnt, folder / "hcms", split, weights=weights)
    row["hcms"] = told(judged(hcms, some["test"]))
    test = planned_of(some["test"], run, cache)
    found = sensed_of(hcms, test, np.zeros(len(test), np.int64))
    seen = Sensed(*(torch.from_numpy(found[name]) for name in recipe.SENSED))
    with torch.inference_mode():
        ran = hcms.run(seen, by_threshold(hcms.cfg))
        usage = ran.gates.mean(dim=(0, 1)).tolist()
        row["usage"] = [round(share, 4) for share in usage]
        row["sound_was_enough"] = float((ran.gates.sum(dim=(1, 2)) == 0).float().mean())
        generator = torch.Generator().manual_seed(split)
        rule = by_chance((usage[0], usage[1]), generator=generator)
        answers = [hcms.run(seen, rule).logits.argmax(dim=1).numpy() for _ in range(RANDOM_DRAWS)]
    row["random"] = {"accuracy": round(float(np.mean(answers == found["label"])), 4)}
    return row


def main() -> None:
    """Measure what is not there yet, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOVEAL_DATA"))
    parser.add_argument("--runs", type=Path, default=Path(".cache/skateboard_hcms"))
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data FOLDER or FOVEAL_DATA")
    rows = []
    for split in SPLITS:
        rows.append(measure(Path(options.data), split, options.runs / str(split)))
        print(rows[-1], file=sys.stderr, flush=True)
    ways = (*OPEN, "hcms", "random")
    write_result(
        OUT,
        title="HCMS on skateboard tricks with their real sound",
        protocol="scripts/skateboard_hcms.py, committed before the numbers; subjects cannot be "
        "told apart, splits are by blocks of the number in the names",
        seeds=SPLITS,
        threads=torch.get_num_threads(),
        measured={
            "by_split": rows,
            "mean": {
                way: {
                    key: round(statistics.fmean(row[way][key] for row in rows), 4)
                    for key in rows[0][way]
                }
                for way in ways
            },
        },
    )


if __name__ == "__main__":
    main()
