"""A run on disk: safetensors and JSON, so that it can go on exactly where it was.

A run folder holds ``<stage>.safetensors`` (the weights each finished stage left),
``history.jsonl`` (a line a step) and, for going on, ``checkpoint.json`` with the tensors it names.
The JSON is replaced last and in one move, so a run killed at any moment leaves a whole checkpoint.
With a validation set there is ``<stage>.last.safetensors`` too, and while a stage is under way
``best-<stage>-<step>.safetensors``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from foveal.types import FovealError

_JSON = "checkpoint.json"
_HISTORY = "history.jsonl"
_BROKEN = (OSError, LookupError, TypeError, ValueError, StopIteration, SafetensorError)


class TrainError(FovealError):
    """A run cannot start, go on, or learn."""

    kind = "train_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best validation of a stage so far.

    Args:
        step: after which it was.
        accuracy: share of clips that were right.
        loss: mean cross-entropy, which tells equal accuracies apart.
        waited: validations since then.
    """

    step: int
    accuracy: float
    loss: float
    waited: int = 0

    def beats(self, other: Best | None) -> bool:
        """Return whether this is better than ``other``."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a run is.

    Args:
        stage: index of the stage that is under way; the number of stages when all are done.
        step: steps of that stage that are done.
        network: state of the network.
        optimizer: state of the optimiser by parameter and name; empty between stages.
        average: of the weights, where a stage keeps one.
        best: of the stage's validations.
        scaler: state of what scales losses in half precision.
    """

    stage: int = 0
    step: int = 0
    network: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)
    best: Best | None = None
    scaler: Mapping[str, float] = field(default_factory=dict)


class RunFolder:
    """Reads and writes the folder of one run.

    Args:
        path: is made if it is not there.
        identity: JSON data that must be equal for a run to go on (recipe, seed, ...).
        resume: whether a run found there may go on.
        writes: whether this process is the one that writes; the others read and keep still.

    Raises:
        TrainError: the folder holds a run and ``resume`` is false, or another run, or one whose
            files are broken.
    """

    def __init__(
        self, path: Path, *, identity: Mapping[str, Any], resume: bool, writes: bool = True
    ) -> None:
        self.path = path
        self.writes = writes
        self.identity = dict(identity)
        self.checkpoint = Checkpoint()
        self.history: list[dict[str, Any]] = []
        if writes:
            path.mkdir(parents=True, exist_ok=True)
        if (path / _JSON).exists():
            if not resume and writes:
                raise TrainError(
                    f"{path} holds a run already", hint="resume it, or choose another folder"
                )
            self._read()
        # Lines of steps that the checkpoint does not know are of a run that was killed.
        self._saved_lines = len(self.history)
        if writes:
            _write(path / _HISTORY, "".join(map(_line, self.history)).encode())

    def _read(self) -> None:
        file = self.path / _JSON
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            found = data["run"]
            tensors = load_file(self.path / data["tensors"])
            with (self.path / _HISTORY).open(encoding="utf-8") as lines:
                self.history = [json.loads(next(lines)) for _ in range(data["history_lines"])]
            self.checkpoint = Checkpoint(
                stage=data["stage"],
                step=data["step"],
                network=_below("network.", tensors),
                optimizer=_below("optimizer.", tensors),
                average=_below("average.", tensors),
                best=None if data["best"] is None else Best(**data["best"]),
                scaler=data["scaler"],
            )
        except (
            OSError,
            LookupError,
            TypeError,
            ValueError,
            StopIteration,
            SafetensorError,
        ) as error:
            raise TrainError(
                f"{file} is no whole checkpoint ({type(error).__name__}: {error})",
                hint="train again in another folder",
            ) from error
        if found != self.identity:
            where, old, new = difference(found, self.identity)
            raise TrainError(
                f"{self.path} holds a run with another {where}: {old} there, {new} now",
                hint="train with what it was begun with, or name another folder",
            )

    def best_file(self, stage: int, step: int) -> Path:
        """Return where the weights of a stage's best validation lie."""
        return self.path / f"best-{stage}-{step}.safetensors"

    def save(self, checkpoint: Checkpoint) -> None:
        """Store ``checkpoint`` and the history so far; what was stored before goes away."""
        self.checkpoint = checkpoint
        if not self.writes:
            return
        name = f"checkpoint-{checkpoint.stage}-{checkpoint.step}.safetensors"
        _write_tensors(
            self.path / name,
            {f"network.{key}": tensor for key, tensor in checkpoint.network.items()}
            | {f"optimizer.{key}": tensor for key, tensor in checkpoint.optimizer.items()}
            | {f"average.{key}": tensor for key, tensor in checkpoint.average.items()},
        )
        with (self.path / _HISTORY).open("a", encoding="utf-8") as file:
            file.writelines(map(_line, self.history[self._saved_lines :]))
        self._saved_lines = len(self.history)
        data = {
            "run": self.identity,
            "stage": checkpoint.stage,
            "step": checkpoint.step,
            "tensors": name,
            "history_lines": self._saved_lines,
            "best": None if checkpoint.best is None else asdict(checkpoint.best),
            "scaler": dict(checkpoint.scaler),
        }
        _write(self.path / _JSON, json.dumps(data, indent=2).encode())
        kept = {name}
        if checkpoint.best is not None:
            kept.add(self.best_file(checkpoint.stage, checkpoint.best.step).name)
        for pattern in ("checkpoint-*.safetensors", "best-*.safetensors"):
            for old in self.path.glob(pattern):
                if old.name not in kept:
                    old.unlink()


def difference(old: Any, new: Any, where: str = "") -> tuple[str, str, str]:
    """Return the first place where two pieces of JSON data differ, and what each has there.

    >>> difference({"lr": 1, "stages": [{"name": "a", "steps": 5}]},
    ...            {"lr": 1, "stages": [{"name": "a", "steps": 7}]})
    ('stages.a.steps', '5', '7')
    """
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key), new.get(key)) for key in {**new, **old}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        named = enumerate(zip(old, new, strict=True))
        pairs = [(_called(b, str(i)), a, b) for i, (a, b) in named]
    else:
        return where, _brief(old), _brief(new)
    key, a, b = next((key, a, b) for key, a, b in pairs if a != b)
    return difference(a, b, f"{where}.{key}" if where else str(key))


def _called(item: Any, otherwise: str) -> str:
    return str(item.get("name", otherwise)) if isinstance(item, dict) else otherwise


def _brief(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of ``optimizer`` as tensors named ``parameter.name``."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give ``optimizer`` the state that :func:`optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups: Sequence[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights and buffers of ``network`` as a safetensors file, in one move."""
    _write_tensors(Path(path), network.state_dict())


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Give ``network`` the weights in the safetensors file ``path``, every one of them.

    Raises:
        TrainError: the file cannot be read, or its tensors are not those of the network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainError(
            f"{path} does not hold the weights of this network ({' '.join(str(error).split())})",
            hint="build the network with the configuration it was trained with",
        ) from error


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _line(point: Mapping[str, Any]) -> str:
    return json.dumps(point) + "\n"


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Copies, since safetensors refuses tensors that share memory (tied weights).
    copies = {key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}
    part = path.with_name(f".{path.name}.part")
    save_file(copies, part)
    os.replace(part, path)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)
