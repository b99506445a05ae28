"""What comparisons with the official forward of the AdaFocus family share."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.runners import OnnxRunner, Runner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import export_bundle
from foveal.results import write_result
from foveal.sampling.protocol import Steps
from foveal.types import Array, ClipInfo, PartSpec
from foveal.video import ArraySource

Way: TypeAlias = Callable[[], Array]
"""Runs all clips and gives their logits (B,K)."""

SEED = 0
ROUNDS = 5
FIRST_STREAM = 20000


@contextlib.contextmanager
def official_modules(folder: Path, *, absent: tuple[str, ...] = ()) -> Iterator[None]:
    """Let ``folder``'s modules be imported; both variants have modules of the same names.

    Args:
        folder: with the code of one variant.
        absent: modules it imports and, here, never uses.
    """
    before = set(sys.modules)
    for name in absent:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name])["SummaryWriter"] = None
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name in absent or (name not in before and file.startswith(str(folder))):
                del sys.modules[name]
        for name in ("ops", "models", "archs"):
            sys.modules.pop(name, None)


def same_tensor(tensor: Tensor, *_: object, **__: object) -> Tensor:
    """Return ``tensor``: there is no CUDA here."""
    return tensor


def without_download(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return ``make`` without pretrained weights, whatever it is called with."""
    return lambda pretrained=False: make(pretrained=False)


def unit(count: int, stream: int) -> Array:
    """Return ``count`` numbers in [0, 1): the golden rule's hash of position and stream."""
    low = np.uint64(2**32 - 1)
    x = np.arange(count, dtype=np.uint64) + np.uint64(0x9E3779B9 * (stream + 1) % 2**32)
    x &= low
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        x = ((x ^ (x >> np.uint64(shift))) * np.uint64(factor)) & low
    return (x ^ (x >> np.uint64(15))) / 2.0**32


def golden_weights(network: nn.Module, *, glance_gain: float = 2**0.5) -> dict[str, Tensor]:
    """Return the state of an official ``network`` as the golden rule fills it.

    Args:
        network: of the official code.
        glance_gain: of the weights of the glance, whose activations are cut at 6. As in the golden
            files, unless said otherwise.
    """
    state = {}
    stream = FIRST_STREAM
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = tensor
            continue
        drawn = torch.from_numpy(unit(tensor.numel(), stream)).reshape(tensor.shape)
        if tensor.ndim > 1:
            gain = glance_gain if name.startswith("global_CNN.") else 1.0
            values = gain * (3 / tensor[0].numel()) ** 0.5 * (2 * drawn - 1)
        elif name.endswith("running_var"):
            values = 0.6 + 0.8 * drawn
        elif name.endswith("weight"):
            values = 0.8 + 0.4 * drawn
        else:
            values = 0.2 * (2 * drawn - 1)
        state[name] = values.float()
        stream += 1
    return state


def arguments(description: str, *, batches: Sequence[int]) -> argparse.ArgumentParser:
    """Return a parser of what every comparison may be told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--official", type=Path, required=True, help="checkout of its repository")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=list(batches))
    return parser


def coarse_clips(count: int, num_frames: int, *, side: int) -> Array:
    """Return decoded clips uint8 (B,T,3,S,S): coarse blocks and noise, other in every frame."""
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 256, (count, num_frames, 3, 14, 14))
    frames = coarse.repeat(side // 14, axis=-1).repeat(side // 14, axis=-2)
    return np.clip(frames + rng.integers(-40, 41, frames.shape), 0, 255).astype(np.uint8)


def runners_of(
    path: Path,
    *,
    system: str,
    cfg: object,
    modules: Mapping[str, nn.Module],
    specs: Sequence[PartSpec],
    num_classes: int,
    threads: int,
) -> dict[str, Runner]:
    """Return both runners of our parts, from a bundle exported to ``path``."""
    bundle, _ = export_bundle(
        path,
        system=system,
        config=cfg,
        modules=modules,
        specs=specs,
        class_names=[f"class {i}" for i in range(num_classes)],
        licence="Apache-2.0",
    )
    tables = {part.name: part.mac_table for part in bundle.manifest.parts}
    runners: dict[str, Runner] = {
        "torch": TorchRunner(modules, bundle.specs, tables),
        "onnx": OnnxRunner(bundle, threads=threads),
    }
    for name in bundle.specs:
        runners["onnx"].load(name)
    return runners


def executed(runner: Runner, start: Callable[[ClipInfo], Steps], clips: Array) -> Array:
    """Return log-probabilities of the protocol run to its end: logits but for a constant.

    Args:
        runner: of its parts.
        start: starts it on a clip.
        clips: (B,T,3,S,S), all in flight at once.
    """
    count = len(clips)
    jobs = [
        Job(name=str(i), open=partial(ArraySource, clip, fps=1.0), steps=start)
        for i, clip in enumerate(clips)
    ]
    executor = Executor(runner, max_batch=count, max_in_flight=count, fetch_threads=0)
    found = {o.index: o.answer.probs for o in executor.run(jobs) if isinstance(o, Outcome)}
    return np.log(np.stack([found[i] for i in range(count)]))


def compared(
    ways_of: Callable[[Array], Mapping[str, Way]], clips: Array, *, batches: Sequence[int]
) -> tuple[dict[str, Any], float]:
    """Return what was measured of all ways, and the largest ratio to the official time.

    Args:
        ways_of: each way to the logits of some clips, the official one first.
        clips: as many as the largest batch.
        batches: of so many clips.
    """
    measured: dict[str, Any] = {"largest_difference": differences(ways_of(clips[:1]))}
    measured["load_average_before"] = list(os.getloadavg())
    ratios: list[float] = []
    for size in batches:
        rows = measure(ways_of(clips[:size]), rounds=ROUNDS)
        measured[f"batch_{size}"] = rows
        shown = {n: r["time_of_official"] for n, r in rows.items() if n != "official"}
        ratios += shown.values()
        print(size, rows["official"]["median_seconds"], shown, file=sys.stderr)
    measured["load_average_after"] = list(os.getloadavg())
    return measured, max(ratios)


def write_comparison(
    path: Path,
    *,
    title: str,
    how: str,
    measured: Mapping[str, Any],
    worst: float,
    threads: int,
    claim: str | None,
) -> None:
    """Write the result of a comparison.

    Args:
        path: of the result.
        title: in one line.
        how: what was on the clock.
        measured: see :func:`compared`.
        worst: the largest ratio to the official time.
        threads: of every way.
        claim: what holds where ``worst`` is at most 1.
    """
    write_result(
        path,
        title=title,
        protocol=how,
        measured=measured,
        seeds=[SEED],
        threads=threads,
        claim=None if claim is None else {"text": claim, "holds": worst <= 1.0},
    )


def differences(ways: Mapping[str, Way]) -> dict[str, float]:
    """Return each way's largest difference from the official log-probabilities, over their spread.

    Raises:
        ValueError: a way says something else, so there is nothing to compare.
    """
    rows = {name: way() for name, way in ways.items()}
    logs = {n: r - np.log(np.exp(r).sum(axis=1, keepdims=True)) for n, r in rows.items()}
    official = logs.pop("official")
    spread = np.ptp(official)
    found = {name: float(np.abs(row - official).max() / spread) for name, row in logs.items()}
    if not max(found.values()) < 1e-3:
        raise ValueError(f"the networks disagree: {found}")
    return found


def measure(ways: Mapping[str, Way], *, rounds: int) -> dict[str, dict[str, Any]]:
    """Return times of every way, and for ours the ratio to the official time of the round."""
    names = list(ways)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            begin, begin_cpu = time.perf_counter(), time.process_time()
            ways[name]()
            spent, spent_cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
            if turn:
                wall[name].append(spent)
                cpu[name].append(spent_cpu)
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = {
            "median_seconds": round(statistics.median(wall[name]), 4),
            "median_cpu_seconds": round(statistics.median(cpu[name]), 4),
            "all_seconds": [round(s, 4) for s in wall[name]],
        }
        if name != "official":
            for key, times in (("", wall), ("cpu_", cpu)):
                pairs = zip(times[name], times["official"], strict=True)
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                rows[name][f"{key}time_of_official"] = round(ratio, 3)
    return rows
