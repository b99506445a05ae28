"""Golden arrays, the rule that filled the golden weights, and small networks to test on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foveal.layers import ImageEncoder
from foveal.systems.adafocus_v2.model import Network
from foveal.systems.adafocus_v2.protocol import Config
from foveal.types import Canvas
from tests.helpers_golden import sym, unit

GOLDEN = Path(__file__).parents[2] / "golden" / "adafocus_v2"
FAR = 1e8
"""What the official code writes for a threshold nobody reaches."""

Table = Mapping[str, NDArray[np.float64]]


def golden(file: str, kind: str) -> dict[str, NDArray[np.float64]]:
    """Return the arrays of one instance, e.g. ``golden("policy", "policy.0")``, as float64."""
    start = f"{kind}."
    with np.load(GOLDEN / f"{file}.npz") as arrays:
        names = [name for name in arrays.files if name.startswith(start)]
        assert names, f"no golden arrays {kind}"
        return {n.removeprefix(start): np.asarray(arrays[n], np.float64) for n in names}


@cache
def listed() -> dict[str, list[tuple[int, str, str, list[int]]]]:
    """Return for every filled module its tensors: stream, name, role, shape."""
    tables: dict[str, list[tuple[int, str, str, list[int]]]] = json.loads(
        (GOLDEN / "params.json").read_text()
    )
    return tables


def filled(module: str, *, gain: float = 1.0) -> dict[str, Tensor]:
    """Return the tensors of a golden module, float64 (rounded to float32), by official name."""
    return {
        name: torch.from_numpy(fill(role, tuple(shape), stream, gain).astype(np.float32)).double()
        for stream, name, role, shape in listed()[module]
    }


def fill(role: str, shape: tuple[int, ...], stream: int, gain: float) -> NDArray[np.float64]:
    """Return one golden parameter: weight, bias, mean, norm scale or variance."""
    if role == "w":
        return gain * np.sqrt(3 / np.prod(shape[1:])) * sym(shape, stream)
    if role in "bm":
        return 0.2 * sym(shape, stream)
    low, width = {"g": (0.8, 0.4), "v": (0.6, 0.8)}[role]
    return (low + width * unit(int(np.prod(shape)), stream)).reshape(shape)


def load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give ``module`` exactly these tensors; only counts of batches may be left out."""
    result = module.load_state_dict(dict(tensors), strict=False)
    assert not result.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in result.missing_keys)


def classifier_tensors(tensors: Mapping[str, Tensor], *, num_frames: int) -> dict[str, Tensor]:
    """Return the prefix classifier's tensors under our names."""
    own = {
        name.replace("mlp.", "fuse."): t for name, t in tensors.items() if name.startswith("mlp.")
    }
    for kind in ("weight", "bias"):
        heads = [tensors[f"prefix_linear.{t}.1.{kind}"] for t in range(num_frames)]
        own[kind] = torch.stack(heads)
    return own


def policy_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the recurrent policy's tensors under our names."""
    parts = {"encoder.": "encode.", "gru.": "memory.", "fc.": "place."}
    renamed = {}
    for name, tensor in tensors.items():
        official = next(part for part in parts if name.startswith(part))
        ours = parts[official] + name.removeprefix(official)
        renamed[ours.removesuffix("_l0")] = tensor
    return renamed


def below(prefix: str, tensors: Mapping[str, Tensor], *, at: str = "") -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix``, with ``at`` in its place."""
    return {at + n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def toy(kind: str) -> tuple[Network, Table]:
    """Return the golden toy network, filled, float64, and its arrays."""
    table = golden("whole", kind)
    _, frames, side, square, classes, wide, narrow, width = (int(d) for d in table["dims"])
    cfg = Config(
        canvas=Canvas(height=side, width=side),
        num_classes=classes,
        num_frames=frames,
        focus_size=square,
        policy_width=width,
        dropout=0.0,
    )
    glance = nn.Sequential(nn.Conv2d(3, wide, 4, stride=4), nn.Tanh())
    focus = nn.Sequential(nn.Conv2d(3, narrow, 3, stride=2, padding=1), nn.Tanh())
    network = Network(
        cfg,
        glance=ImageEncoder(glance, width=wide),
        focus=ImageEncoder(focus, width=narrow),
        map_side=side // 4,
    ).double()
    network.normalise = nn.Identity()
    tensors = filled(kind)
    load(network.glance.net, below("glance_encoder.conv.", tensors, at="0."))
    load(network.glance_head, below("glance_head.", tensors))
    load(network.focus.net, below("local_encoder.conv.", tensors, at="0."))
    load(network.focus_head, below("local_head.", tensors))
    load(network.policy, policy_tensors(below("policy.", tensors)))
    heads = classifier_tensors(below("classifier.", tensors), num_frames=frames)
    load(network.classifier, heads)
    return network, table


def clip_of(network: Network, table: Table) -> Tensor:
    """Return the toy's images (B,T,3,S,S) in the time order that puts them in golden order."""
    images = torch.from_numpy(table["images"])
    ordered = images.unflatten(1, (-1, 3))
    return ordered[:, np.argsort(network.order).tolist()]
