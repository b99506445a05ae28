"""Measure HCMS's claim on Haystack: sounds where sound tells, looks where pictures tell.

The rules below were written down before the first number of the seeds 0 to 2 was seen under them.

    python scripts/claim_hcms.py               # results/hcms/modalities.json
    python scripts/claim_hcms.py --seeds 100   # on ``calibration``; prints, writes nothing

Task: the preset ``modalities-v1``, 10 classes, of which sound tells 4, a picture 3 and motion 3;
pixels and sound, not features. For each of the seeds 0, 1, 2: the recipe ``tiny`` with usage 0.2
and 0.1, lambda 2 and 300, 200 and 1,100 steps, on 4,000 samples of ``train``; figures are of 2,000
of ``test``.

This is the second run. The first had usage 0.25 and 0.15, all else the same, and failed in (a):
24.5, 25.6 and 23.8 % of always-on where 25 % is allowed. With lambda 2 the usage term is a price
and no limit, so motion was used above its target; a target a bit below the budget is the remedy.
It was chosen with seed 100 on 2,000 samples of ``calibration``, where always-on is right in
98.95 %: usage 0.25 and 0.15 came to 21.9 % of its cost and 98.85 %, 0.22 and 0.12 to 20.6 % and
98.85 %, 0.2 and 0.1 to 19.7 % and 98.80 %; lambda 5 to 17 to 20 % and 98.2 to 98.55 %; 2,200 steps
at 0.25 and 0.15 to 21.0 % and 99.0 %. The test samples of the seeds 0 to 2 are the same as in the
first run.

Beside it, on the same trained senses (which stand still after the first stage of the recipe):
``always on`` has learnt with open gates for as many steps as HCMS in both its stages; ``sound
alone``, ``appearance alone`` and ``motion alone`` have learnt likewise with the one sense;
``random`` is HCMS with gates that open at random at the rates HCMS had on ``test``, and ``random,
trained so`` has learnt with such gates for as many steps as HCMS. ``always on, same weights`` is
HCMS with open gates.

The claim holds if, for every seed, (a) HCMS is at most one point below ``always on`` at no more
than 25 % of its cost, (b) it is at least five points above the better of the two kinds of random
gates, (c) in clips that sound tells, motion is used in at most 2 % of the steps, (d) such clips
cost at most 60 % of what the others do in the mean, (e) along theta from 0 to 1 the cost falls
from always-on to sound-alone and never rises by more than 2 %, (f) appearance and motion are each
used in a share of the steps that is within 0.15 of its target.

Cost rule: multiply-accumulates of the parts, counted from the modules at the declared shapes by
`foveal.cost.torch_counter`, times the calls; the mel picture is in the part that listens. For the
first 100 test clips the protocol is run by the executor as well, and predictions, gates and bill
must be the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.haystack import MODALITIES, HaystackSet, Split, find, sample
from foveal.recipe import Batch, Recipe, Stage, StepContext
from foveal.results import write_result
from foveal.systems.hcms import protocol, recipe
from foveal.systems.hcms.model import (
    GateRule,
    Network,
    Ran,
    Sensed,
    always_open,
    build,
    by_chance,
    by_threshold,
)
from foveal.systems.hcms.protocol import Config
from foveal.train import ArrayData, Running, fit, load_weights
from foveal.types import Array
from foveal.video import ArraySource

OUT = Path("results/hcms/modalities.json")
SEEDS = (0, 1, 2)
TASK = find("modalities-v1")
OPTIONS = recipe.GateOptions(usage=(0.2, 0.1))
STEPS = (300, 200, 1100)
NUM_TRAIN, NUM_TEST, NUM_RUN = 4_000, 2_000, 100
THETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)
ALONE: Mapping[str, tuple[protocol.Sense, ...]] = {
    "sound alone": ("sound",),
    "appearance alone": ("appearance",),
    "motion alone": ("motion",),
}


# --- samples ------------------------------------------------------------------------------------


def made_of(split: Split, count: int, seed: int) -> HaystackSet:
    """Return samples of the task."""
    return sample(TASK, split=split, count=count, seed=seed)


def arrays_of(cfg: Config, made: HaystackSet) -> dict[str, Array]:
    """Return what a batch holds: pairs of frames, and the sound while the second one shows."""
    assert made.sound is not None
    pairs = np.arange(cfg.num_steps)[:, None] + np.arange(cfg.burst)
    sound = made.sound.reshape(len(made.labels), TASK.frames, -1)
    return {
        "frames": made.frames[:, pairs.ravel()],
        "sound": sound[:, pairs[:, cfg.middle]],
        "label": made.labels,
    }


# --- training -----------------------------------------------------------------------------------

USUAL = Running(device="cpu", workers=0, tensorboard=False)


def fitted(
    run: Recipe,
    data: Mapping[str, Array],
    folder: Path,
    seed: int,
    prepare: Callable[[nn.Module], None] | None = None,
) -> Network:
    """Train, or take up what was trained."""
    found = fit(
        run,
        ArrayData(data),
        out=folder,
        seed=seed,
        prepare=prepare,
        resume=(folder / "checkpoint.json").exists(),
        running=USUAL,
    ).network
    assert isinstance(found, Network)
    return found.eval()


def random_loss(
    network: nn.Module, batch: Batch, context: StepContext, *, usage: tuple[float, float]
) -> Mapping[str, torch.Tensor]:
    """Return the cross-entropy with gates that open at random."""
    assert isinstance(network, Network)
    rule = by_chance(usage, generator=context.generator)
    logits = network.run(recipe.sensed(network, batch), rule).logits
    return {"loss": nn.functional.cross_entropy(logits, batch["label"])}


def run_of(cfg: Config) -> Recipe:
    """Return the recipe of the claim."""
    return recipe.tiny(cfg=cfg, options=OPTIONS, steps=STEPS)


def longer(run: Recipe, loss: Any = None) -> Recipe:
    """Return a recipe whose one stage opens all gates for as long as all after the first last."""
    later = run.stages[1:]
    steps = sum(stage.steps or 0 for stage in later)
    stage: Stage = replace(later[0], steps=steps, schedule="cosine")
    return replace(run, stages=(stage if loss is None else replace(stage, loss=loss),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """The networks of a seed, and what their senses make of the test samples."""

    networks: Mapping[str, Network]
    test: Sensed
    made: HaystackSet


def taught(seed: int, folder: Path) -> Taught:
    """Train everything that does not depend on how often HCMS looks."""
    cfg = protocol.tiny()
    run = run_of(cfg)
    train = arrays_of(cfg, made_of("train", NUM_TRAIN, seed))
    senses = fitted(replace(run, stages=run.stages[:1]), train, folder / "senses", seed)
    load = partial(load_weights, path=folder / "senses" / "senses.safetensors")
    learnt = recipe.sensed_data(senses, train)
    networks = {
        "hcms": fitted(
            replace(run, stages=run.stages[1:]), learnt, folder / "hcms", seed, prepare=load
        ),
        "always on": fitted(longer(run), learnt, folder / "always-on", seed, prepare=load),
    }
    for name, some in ALONE.items():
        alone = run_of(replace(cfg, senses=some, gates="open"))
        networks[name] = fitted(
            longer(alone), learnt, folder / name.replace(" ", "-"), seed, prepare=load
        )
    made = made_of("test" if seed in SEEDS else "calibration", NUM_TEST, seed)
    found = recipe.sensed_data(senses, arrays_of(cfg, made))
    test = Sensed(*(torch.from_numpy(found[name]) for name in recipe.SENSED))
    return Taught(networks=networks, test=test, made=made)


# --- judging ------------------------------------------------------------------------------------


def macs_of(network: Network) -> dict[str, int]:
    """Return the multiply-accumulates of one row of each part."""
    parts = build(network, network.cfg)
    return {
        spec.name: count_torch_macs(
            parts[spec.name],
            *(torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs),
        )
        for spec in protocol.parts(network.cfg)
    }


def costs_of(cfg: Config, macs: Mapping[str, int], gates: Array, *, gated: bool) -> Array:
    """Return what each clip costs, (N,), by its gates (N,T,2)."""
    looked, moved = gates.astype(np.int64).sum(axis=1).T
    steps = gates.shape[1]
    cost = macs["classifier"] + looked * macs["appear"] + moved * macs["move"]
    cost = cost + steps * macs["listen"] * ("sound" in cfg.senses)
    return np.asarray(cost + steps * macs["motion_gate"] * gated, np.float64)


@torch.inference_mode()
def run_all(network: Network, test: Sensed, rule: GateRule) -> Ran:
    """Run the levels on all test samples."""
    return network.run(test, rule)


def told(network: Network, ran: Ran, made: HaystackSet, *, gated: bool) -> dict[str, Any]:
    """Return accuracy, use and cost, of all clips and of those that each sense tells."""
    right = ran.logits.argmax(dim=1).numpy() == made.labels
    gates = ran.gates.numpy()
    costs = costs_of(network.cfg, macs_of(network), gates, gated=gated)
    row: dict[str, Any] = {
        "accuracy": round(float(right.mean()), 4),
        "mmacs": round(float(costs.mean()) / 1e6, 4),
        "usage": [round(float(u), 4) for u in gates.mean(axis=(0, 1))],
        "told_by": {},
    }
    for number, name in enumerate(MODALITIES):
        here = made.truth.modality == number
        row["told_by"][name] = {
            "accuracy": round(float(right[here].mean()), 4),
            "mmacs": round(float(costs[here].mean()) / 1e6, 4),
            "usage": [round(float(u), 4) for u in gates[here].mean(axis=(0, 1))],
        }
    here = made.truth.modality == MODALITIES.index("sound")
    row["cost_share_of_sound_clips"] = round(float(costs[here].mean() / costs[~here].mean()), 4)
    row["sound_was_enough"] = round(float((gates.sum(axis=(1, 2)) == 0).mean()), 4)
    row["steps_open_p50_p95"] = [
        [float(np.percentile(gates[..., k].sum(axis=1), q)) for q in (50, 95)] for k in (0, 1)
    ]
    return row


def by_protocol(network: Network, ran: Ran, made: HaystackSet) -> dict[str, Any]:
    """Run the executor on some clips; return how far it agrees with the network and its bill."""
    cfg, macs = network.cfg, macs_of(network)
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    runner = TorchRunner(build(network, cfg), specs, {n: {(): m} for n, m in macs.items()})
    assert made.sound is not None
    jobs = [
        Job(
            name=str(i),
            open=partial(
                ArraySource,
                made.frames[i],
                fps=float(TASK.fps),
                sound=made.sound[i],
                sound_rate=TASK.sound_rate,
            ),
            steps=partial(protocol.steps, cfg, {}),
        )
        for i in range(NUM_RUN)
    ]
    gates = ran.gates.numpy()
    want = costs_of(cfg, macs, gates, gated=True)
    probs = ran.logits.softmax(dim=1).numpy()
    worst, agree, billed = 0.0, 0, 0
    for one in Executor(runner).run(jobs):
        assert isinstance(one, Outcome), one
        i = int(one.name)
        notes = [e.detail["gates"] for e in one.trace.events if "gates" in e.detail]
        used = np.array([[n["appearance"], n["motion"]] for n in notes])
        assert one.answer.probs is not None
        if (used == gates[i]).all():
            agree += 1
            billed += int(one.cost.total_macs == want[i])
            worst = max(worst, float(np.abs(one.answer.probs - probs[i]).max()))
    return {"clips": NUM_RUN, "same_gates": agree, "same_bill": billed, "worst_prob": worst}


def judge(seed: int, folder: Path) -> dict[str, Any]:
    """Return all figures of one seed."""
    made = taught(seed, folder)
    hcms = made.networks["hcms"]
    ran = run_all(hcms, made.test, by_threshold(hcms.cfg))
    usage = (float(ran.gates[..., 0].mean()), float(ran.gates[..., 1].mean()))
    row: dict[str, Any] = {"seed": seed, "hcms": told(hcms, ran, made.made, gated=True)}
    for name in ("always on", *ALONE):
        net = made.networks[name]
        rule = by_threshold(replace(net.cfg, gates="open"))
        row[name] = told(net, run_all(net, made.test, rule), made.made, gated=False)
    chance = by_chance(usage, generator=torch.Generator().manual_seed(seed))
    row["random"] = told(hcms, run_all(hcms, made.test, chance), made.made, gated=False)
    row["random, trained so"] = random_trained(seed, folder, made, usage)
    row["always on, same weights"] = told(
        hcms, run_all(hcms, made.test, always_open), made.made, gated=False
    )
    row["by_theta"] = []
    for theta in THETAS:
        rule = by_threshold(replace(hcms.cfg, thetas=(theta, theta)))
        found = told(hcms, run_all(hcms, made.test, rule), made.made, gated=True)
        row["by_theta"].append({"theta": theta, **{k: found[k] for k in ("accuracy", "mmacs")}})
    row["by_protocol"] = by_protocol(hcms, ran, made.made)
    row["macs_of_parts"] = macs_of(hcms)
    return row


def random_trained(
    seed: int, folder: Path, made: Taught, usage: tuple[float, float]
) -> dict[str, Any]:
    """Return the figures of a network that learnt with gates opening at random."""
    cfg = protocol.tiny()
    train = arrays_of(cfg, made_of("train", NUM_TRAIN, seed))
    learnt = recipe.sensed_data(made.networks["hcms"], train)
    load = partial(load_weights, path=folder / "senses" / "senses.safetensors")
    run = longer(run_of(cfg), partial(random_loss, usage=usage))
    network = fitted(run, learnt, folder / "random", seed, prepare=load)
    chance = by_chance(usage, generator=torch.Generator().manual_seed(seed))
    return told(network, run_all(network, made.test, chance), made.made, gated=False)


def holds(row: Mapping[str, Any]) -> dict[str, bool]:
    """Return which parts of the claim hold for a seed."""
    hcms, full = row["hcms"], row["always on"]
    chance = max(row[name]["accuracy"] for name in ("random", "random, trained so"))
    costs = [point["mmacs"] for point in row["by_theta"]]
    listening = row["sound alone"]["mmacs"]
    return {
        "a": hcms["accuracy"] >= full["accuracy"] - 0.01 - 1e-9
        and hcms["mmacs"] <= 0.25 * full["mmacs"],
        "b": hcms["accuracy"] >= chance + 0.05 - 1e-9,
        "c": hcms["told_by"]["sound"]["usage"][1] <= 0.02,
        "d": hcms["cost_share_of_sound_clips"] <= 0.6,
        "e": all(b <= 1.02 * a for a, b in pairwise(costs))
        and abs(costs[0] / full["mmacs"] - 1) < 0.01
        and abs(costs[-1] / listening - 1) < 0.01,
        "f": all(
            abs(used - asked) <= 0.15
            for used, asked in zip(hcms["usage"], OPTIONS.usage, strict=True)
        ),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path(".cache/claim_hcms"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        rows.append(judge(seed, options.runs / str(seed)))
        rows[-1]["holds"] = holds(rows[-1])
        print(rows[-1], file=sys.stderr, flush=True)
    if tuple(options.seeds) == SEEDS:
        write(rows)


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the result."""
    names = [
        name for name, value in rows[0].items() if isinstance(value, dict) and "mmacs" in value
    ]
    by_part = {part: all(row["holds"][part] for row in rows) for part in rows[0]["holds"]}
    write_result(
        OUT,
        title="HCMS on clips told by sound, by a picture or by motion",
        protocol="scripts/claim_hcms.py, committed before the numbers",
        seeds=SEEDS,
        threads=torch.get_num_threads(),
        measured={
            "by_seed": list(rows),
            "mean": {
                name: {
                    key: round(statistics.fmean(row[name][key] for row in rows), 4)
                    for key in ("accuracy", "mmacs")
                }
                for name in names
            },
        },
        reported={
            "source": "prototype of the specification, on features (unit costs .05, 1, 2)",
            "always_on": 0.998,
            "hcms": 0.997,
            "cost_share": 0.22,
            "random": 0.925,
        },
        claim={
            "system": "hcms",
            "text": "at most a point below always-on at no more than a quarter of its cost, "
            "five points above random gates of equal use, motion in at most 2 % of the steps of "
            "clips that sound tells, these at most 60 % as dear, and use within 0.15 of its "
            "target; for every seed",
            "holds": all(by_part.values()),
            "why": ", ".join(
                f"({p}) {'holds' if h else 'does not hold'}" for p, h in by_part.items()
            ),
        },
    )


if __name__ == "__main__":
    main()
