"""Official weights to a bundle: a checkpoint file read warily, mapped, checked and exported.

Which tensor becomes which is said by ``systems/<name>/weights.py`` (docs/protocol.md, "Official
weights"); here is what is the same for all systems. The file is read by
:mod:`foveal.backbones.weight_file`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from torch import nn

from foveal.backbones.weight_file import Weights, WeightsMisfitError, fill
from foveal.bundle import Bundle
from foveal.export.bundle import ExportedPart, export_bundle
from foveal.systems.index import System
from foveal.types import FovealError


def import_official(
    weights: Weights,
    out: str | os.PathLike[str],
    *,
    row: System,
    config: object,
    class_names: Sequence[str],
    licence: str,
) -> tuple[Bundle, tuple[ExportedPart, ...]]:
    """Write the bundle of a system with official weights; return it and each part's parity.

    Args:
        weights: as read from the official file.
        out: the bundle to write.
        row: of a system that has a ``weights.py``.
        config: what the weights were trained with, the system's ``Config``.
        class_names: in the order of the training labels.
        licence: SPDX expression of the weights.

    Raises:
        WeightsMisfitError: the system cannot map the tensors, or see :func:`fill`.
        ExportError: see :func:`foveal.export.export_bundle`.
    """
    model = importlib.import_module(f"{row.module}.model")
    protocol = importlib.import_module(f"{row.module}.protocol")
    mapping = importlib.import_module(f"{row.module}.weights")
    try:
        tensors = mapping.convert(weights.tensors, config)
    except FovealError as error:  # of the system, which knows no file
        raise WeightsMisfitError(f"{weights.path}: {error.message}", hint=error.hint) from error
    network: nn.Module = model.make_network(config)
    fill(network, tensors, place=weights.path)
    network.eval()
    return export_bundle(
        out,
        system=row.name,
        config=config,
        modules=model.build(network, config),
        specs=protocol.parts(config),
        class_names=class_names,
        licence=licence,
        description=f"{row.title} with official weights.",
        provenance={
            "weights": Path(weights.path).name,
            "weights_sha256": weights.sha256,
            "paper": row.paper,
            "mapped_by": f"foveal {version('foveal')}, {row.module}.weights",
        },
    )
