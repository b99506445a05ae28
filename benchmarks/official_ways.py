"""What comparisons with the official forward of the AdaFocus family share."""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from foveal.types import Array

Way: TypeAlias = Callable[[], Array]
"""Runs all clips and gives their logits (B,K)."""

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
