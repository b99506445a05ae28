"""A file of weights, read warily and checked against the network that is to take it.

Nothing in a file is ever run: ``.safetensors`` files are read as such, all others with
``weights_only=True``.

Example:
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from foveal.backbones.weight_file import fill, read_weights
    >>> layer = torch.nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "layer.pth"
    ...     torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, path)
    ...     fill(layer, read_weights(path).tensors, place=path.name)
    >>> layer.weight.tolist()
    [[1.0, 1.0]]
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from foveal.types import FovealError

COUNTER = "num_batches_tracked"
"""Counts of batches seen, which nothing reads; old checkpoints have none."""

MAX_NAMED = 5
"""Tensors of one kind that an error names."""


class WeightsFileError(FovealError):
    """A file holds no tensors by name, or more than that."""

    kind = "weights_file"


class WeightsMisfitError(FovealError):
    """The tensors are not those of the network."""

    kind = "weights_misfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The content of a checkpoint file.

    Args:
        path: of the file.
        sha256: of the bytes that were read, hex.
        tensors: by the name they have in the file.
    """

    path: str
    sha256: str
    tensors: Mapping[str, Tensor]


def read_weights(path: str | os.PathLike[str], *, key: str | None = None) -> Weights:
    """Return the tensors of a ``.safetensors`` file, or of a PyTorch file with any other ending.

    Args:
        path: the file.
        key: which of several sets of tensors, such as ``state_dict``; one alone needs no name.

    Raises:
        WeightsFileError: the file is missing, broken, holds more than tensors and plain values,
            or no single set of tensors.
    """
    place = os.fspath(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise WeightsFileError(
            f"{place}: {error.strerror or error}", hint="give the path of a checkpoint"
        ) from error
    if Path(path).suffix == ".safetensors":
        content = _parse_safetensors(raw, place)
    else:
        content = _parse_torch(raw, place)
    return Weights(
        path=place,
        sha256=hashlib.sha256(raw).hexdigest(),
        tensors=_one_set(content, place, key=key),
    )


def _parse_safetensors(raw: bytes, place: str) -> object:
    try:
        tensors: object = safetensors.torch.load(raw)
    except (safetensors.SafetensorError, ValueError) as error:
        raise WeightsFileError(
            f"{place}: not a safetensors file ({_first_line(error)})", hint="download it again"
        ) from error
    return tensors


def _parse_torch(raw: bytes, place: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats PyTorch calls old
            content: object = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if blocked is None:
            raise _not_a_checkpoint(place, error) from error
        raise WeightsFileError(
            f"{place}: holds {blocked[1]} beside tensors, and reading that could run any program",
            hint="have its author save the tensors alone, best as .safetensors",
        ) from error
    except Exception as error:  # what PyTorch raises on broken files shares no base class
        raise _not_a_checkpoint(place, error) from error
    return content


def _not_a_checkpoint(place: str, error: Exception) -> WeightsFileError:
    return WeightsFileError(
        f"{place}: not a PyTorch checkpoint ({_first_line(error)})",
        hint="download it again; a safetensors file must end in .safetensors",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _one_set(content: object, place: str, *, key: str | None) -> Mapping[str, Tensor]:
    """Return the set of tensors in a file that may hold epochs and optimisers beside it."""
    if key is None and (whole := _as_tensors(content)):
        return whole
    outer = content if isinstance(content, Mapping) else {}
    sets = {str(name): found for name, inner in outer.items() if (found := _as_tensors(inner))}
    if key is not None:
        if key not in sets:
            raise WeightsFileError(
                f"{place}: no set of tensors under {key!r}",
                hint=f"there are {', '.join(sets) or 'none but the file itself'}",
            )
        return sets[key]
    if len(sets) != 1:
        raise WeightsFileError(
            f"{place}: {'several sets' if sets else 'no set'} of tensors by name inside",
            hint=f"say which with --key: {', '.join(sets)}" if sets else "give a checkpoint",
        )
    return next(iter(sets.values()))


def _as_tensors(content: object) -> dict[str, Tensor]:
    """Return ``content`` as tensors by name; empty if it is anything else."""
    if not isinstance(content, Mapping):
        return {}
    named = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return named if len(named) == len(content) else {}


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    place: str,
    hint: str = "choose the configuration and the class names it was trained with",
) -> None:
    """Give ``network`` the values of ``tensors``, all of them and nothing else.

    Args:
        network: changed in place.
        tensors: by the network's own names.
        place: where they come from, for messages.
        hint: what to do about a misfit.

    Raises:
        WeightsMisfitError: tensors are missing, left over, of another shape or not finite; the
            message names them.
    """
    own = network.state_dict()
    needed = {name for name in own if not name.endswith(COUNTER)}
    groups = {
        "missing": sorted(needed - tensors.keys()),
        "left over": sorted(tensors.keys() - own.keys()),
        "of another shape": [
            f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
            for name, tensor in tensors.items()
            if name in own and tensor.shape != own[name].shape
        ],
        "not finite": [
            name
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not tensor.isfinite().all()
        ],
    }
    problems = [f"{len(names)} {what} ({_some(names)})" for what, names in groups.items() if names]
    if problems:
        raise WeightsMisfitError(
            f"{place}: the tensors do not fit the network: {'; '.join(problems)}",
            hint=hint,
        )
    network.load_state_dict({**own, **tensors})


def misfits(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Return in a few words each what keeps ``tensors`` from being those of a network.

    Args:
        tensors: by the network's names; counters of batches seen may be missing.
        own: those it has, on any device.
    """
    problems = [
        f"{name} is missing" for name in own if name not in tensors and not name.endswith(COUNTER)
    ]
    problems += [f"{name} is unknown" for name in tensors if name not in own]
    problems += [
        f"{name} is {tuple(tensor.shape)} where {tuple(own[name].shape)} is needed"
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    return problems


class WeightsError(FovealError):
    """A checkpoint does not hold the weights of this configuration."""

    kind = "weights"


def whole_state(
    converted: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, hint: str
) -> dict[str, Tensor]:
    """Return ``converted`` if it is all of a network's tensors, in the network's order.

    Args:
        converted: by the network's names; counters of batches seen, which nothing reads and old
            checkpoints lack, may be missing.
        wanted: those it has, on any device.
        hint: what to do where they do not fit.

    Raises:
        WeightsError: a tensor is missing, unknown, or of another shape; the message names it.
    """
    found = {name: torch.tensor(0) for name in wanted if name.endswith(COUNTER)} | dict(converted)
    problems = misfits(found, wanted)
    if problems:
        shown = "; ".join(problems[:3])
        raise WeightsError(
            f"the checkpoint does not fit ({len(problems)} tensors: {shown})", hint=hint
        )
    return {name: found[name] for name in wanted}


def stacked(layers: Mapping[int, Tensor], *, name: str) -> Tensor:
    """Return layers that a checkpoint numbers from 0 as one tensor (N,...), in their order.

    Args:
        layers: at least one, by number.
        name: of the tensor they become, for messages.

    Raises:
        WeightsError: a number is left out, or the layers differ in shape.
    """
    shapes = {tuple(tensor.shape) for tensor in layers.values()}
    if sorted(layers) != list(range(len(layers))) or len(shapes) > 1:
        numbers = ", ".join(str(number) for number in sorted(layers))
        raise WeightsError(
            f"the checkpoint does not fit ({name}: layers {numbers} of shapes "
            f"{', '.join(str(shape) for shape in sorted(shapes))})",
            hint="the layers of one name are numbered from 0 and of one shape: download it again",
        )
    return torch.stack([layers[number] for number in range(len(layers))])


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
