"""All parts of a system into one bundle: exported, checked, counted, stored."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from foveal.bundle import Bundle, Part, write_bundle
from foveal.export.half import half_weights
from foveal.export.parity import check_parity, output_change
from foveal.export.part import ExportError, count_part, export_part
from foveal.types import Array, PartSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedPart:
    """A part ready to be stored, and how far it is from its module.

    Args:
        part: specification, model and counted MACs.
        parity: largest difference to the module before any rounding of weights, relative to
            the scale of the output.
        half_change: largest change that float16 weights made, likewise; ``None`` without.
    """

    part: Part
    parity: float
    half_change: float | None


def export_parts(
    modules: Mapping[str, nn.Module], specs: Iterable[PartSpec], *, half: bool = False
) -> tuple[ExportedPart, ...]:
    """Export, check and count every part.

    Args:
        modules: by the name of their part.
        specs: of the same parts.
        half: store weights as float16, cast to float32 when loaded.

    Raises:
        ExportError: modules and specifications name different parts, or a part cannot be
            exported, counted, or differs from its module.
    """
    specs = tuple(specs)
    if modules.keys() != {spec.name for spec in specs}:
        raise ExportError(
            f"modules are {sorted(modules)}, specifications {sorted(s.name for s in specs)}",
            hint="give one module for each part",
        )
    return tuple(_export_one(modules[spec.name], spec, half=half) for spec in specs)


def _export_one(module: nn.Module, spec: PartSpec, *, half: bool) -> ExportedPart:
    exact = export_part(module, spec)
    parity = check_parity(module, exact, spec)
    model = half_weights(exact) if half else exact
    return ExportedPart(
        part=Part(spec=spec, model=model, macs=count_part(model, spec)),
        parity=parity,
        half_change=output_change(exact, model, spec) if half else None,
    )


def export_bundle(
    path: str | os.PathLike[str],
    *,
    system: str,
    config: object,
    modules: Mapping[str, nn.Module],
    specs: Iterable[PartSpec],
    class_names: Sequence[str],
    licence: str,
    half: bool = False,
    description: str = "",
    provenance: Mapping[str, str] | None = None,
    class_output: str | None = None,
    threshold: float | tuple[float, ...] | None = None,
    exit_rule: object | None = None,
    context: Mapping[str, Array] | None = None,
) -> tuple[Bundle, tuple[ExportedPart, ...]]:
    """Export a system to ``path``; return the bundle and how far each part is from its module.

    Args:
        path: the file, by custom ``<name>.foveal``.
        system: name in ``systems/index.py``.
        config: the system's frozen dataclass.
        modules: by the name of their part.
        specs: of the same parts.
        class_names: in the order of the probabilities.
        licence: SPDX expression of the weights.
        half: store weights as float16.
        description: see :func:`foveal.bundle.write_bundle`, as for all that follow.
        provenance: where the weights come from.
        class_output: ``part.output`` whose last size is the number of classes.
        threshold: for ``nothing it knows``.
        exit_rule: dataclass of the rule that says when to stop.
        context: arrays that all samples share.

    Raises:
        ExportError: see :func:`export_parts`.
        BundleError: see :func:`foveal.bundle.write_bundle`.
    """
    exported = export_parts(modules, specs, half=half)
    bundle = write_bundle(
        path,
        system=system,
        config=config,
        class_names=class_names,
        parts=[one.part for one in exported],
        licence=licence,
        description=description,
        provenance=provenance,
        class_output=class_output,
        threshold=threshold,
        exit_rule=exit_rule,
        context=context,
    )
    return bundle, exported
