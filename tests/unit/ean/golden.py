"""The golden numbers of EAN, and our blocks filled with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "ean"


def cases(file: str, item: str) -> list[dict[str, Any]]:
    """Return the cases of a sub-item: arrays by name, and ``W``, the official tensors by name."""
    with np.load(FOLDER / file) as arrays:
        names = sorted({name.split(".")[1] for name in arrays.files if name.startswith(f"{item}.")})
        found = []
        for name in names:
            start = f"{item}.{name}."
            case: dict[str, Any] = {
                key.removeprefix(start): arrays[key]
                for key in arrays.files
                if key.startswith(start)
            }
            if "w_index" in case:
                case["W"] = unpacked(case["w"], str(case["w_index"]))
            found.append(case)
    assert found
    return found


def unpacked(flat: np.ndarray, index: str) -> dict[str, Tensor]:
    """Return tensors of double precision out of a flat vector."""
    tensors, at = {}, 0
    for line in index.split("\n"):
        name, sizes = line.split("|")
        shape = tuple(int(size) for size in sizes.split("x")) if sizes else ()
        count = int(np.prod(shape)) if shape else 1
        tensors[name] = torch.from_numpy(flat[at : at + count].reshape(shape).astype(np.float64))
        at += count
    assert at == len(flat)
    return tensors


def filled(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    name_of: Callable[[str], str | None],
    *,
    train_mode: bool = False,
) -> nn.Module:
    """Return ``module`` in double precision with the official ``weights``, every one of them.

    Statistics that the golden file does not hold, as it needs none, stay fresh.
    """
    named = {name_of(name): tensor for name, tensor in weights.items()}
    assert None not in named
    own = module.double().state_dict()
    assert named.keys() <= own.keys()
    missing = own.keys() - named.keys()
    assert all(name.endswith(("running_mean", "running_var", "tracked")) for name in missing)
    assert not missing or train_mode or all(name.endswith("tracked") for name in missing)
    module.load_state_dict({**own, **named})
    return module.train(train_mode)


def frames(*, count: int, size: int, phase: float) -> Tensor:
    """Return frames (count,3,H,W) of the golden rule."""
    f, c, y, x = np.ogrid[:count, :3, :size, :size]
    wave = np.sin(1.3 * x + 2.1 * y + 0.7 * f**2 + 1.9 * c + 0.01 * x * y + phase)
    return torch.from_numpy(0.5 + 0.5 * wave)
