"""One process or several: who writes, who trains on what, and how they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import CheckpointIO, ClusterEnvironment, Precision
from lightning_fabric.plugins.precision.amp import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from foveal.train.checkpoint import TrainError

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName: TypeAlias = Literal["32-true", "bf16-mixed", "16-mixed"]

T = TypeVar("T")


def make_fabric(device: Device, precision: PrecisionName) -> Fabric:
    """Return what places networks and batches, one process a device.

    Several processes are started by ``torchrun``, whose environment says how many there are;
    they talk over gloo on a CPU and over NCCL on CUDA. One process is the rule otherwise.

    Raises:
        TrainError: there is no such device.
    """
    found = _accelerator() if device == "auto" else device
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    if not there.get(found, torch.backends.mps.is_available()):
        raise TrainError(
            f"there is no {found} device that PyTorch can use here",
            hint="leave device at auto, or install a build of PyTorch for it",
        )
    plugins: list[Precision | ClusterEnvironment | CheckpointIO] = []
    if precision != "32-true":
        plugins.append(MixedPrecision(precision, found))
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        fabric = Fabric(accelerator=found, devices=1, plugins=plugins)
    else:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        fabric = Fabric(
            accelerator=found,
            devices=local,
            num_nodes=int(os.environ["WORLD_SIZE"]) // local,
            # a loss may leave out what it did not draw, a head for each number of frames say
            strategy=DDPStrategy(find_unused_parameters=True),
            plugins=plugins,
        )
    fabric.launch()
    return fabric


def _accelerator() -> Literal["cpu", "cuda", "mps"]:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def gather(fabric: Fabric, items: Sequence[T]) -> list[T]:
    """Return the items of all processes, in the order of their ranks, in every process."""
    if fabric.world_size == 1:
        return list(items)
    parts: list[Sequence[T]] = [()] * fabric.world_size
    torch.distributed.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]


def mean(fabric: Fabric, values: Mapping[str, float]) -> dict[str, float]:
    """Return the means of ``values`` over all processes, in every process."""
    if fabric.world_size == 1:
        return dict(values)
    told = torch.tensor(list(values.values()), dtype=torch.float64, device=fabric.device)
    torch.distributed.all_reduce(told)
    return dict(zip(values, (told / fabric.world_size).tolist(), strict=True))


def share_buffers(fabric: Fabric, network: nn.Module) -> None:
    """Give ``network`` the statistics it has in the first process, which are those stored."""
    if fabric.world_size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def first(fabric: Fabric, work: Callable[[], T]) -> T:
    """Return what ``work`` returns in the first process; what it raises is raised in all."""
    if fabric.world_size == 1:
        return work()
    told: list[T | Exception | None] = [None]
    if fabric.global_rank == 0:
        try:
            told = [work()]
        except Exception as error:  # the others would wait for ever
            told = [error]
    torch.distributed.broadcast_object_list(told)
    (found,) = told
    if isinstance(found, Exception):
        raise found
    return cast(T, found)
