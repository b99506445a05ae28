"""Does an exported part compute what its module computes, at every declared size?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from foveal.bundle import declared_axes
from foveal.export.part import ExportError, make_inputs, sizes_of
from foveal.types import Array, PartSpec

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest value of the output."""

_ROWS = (1, 3)

_Run = Callable[[tuple[Array, ...]], Sequence[Array]]


def check_parity(
    module: nn.Module, model: bytes, spec: PartSpec, *, tolerance: float = TOLERANCE
) -> float:
    """Return the largest relative difference between ``module`` and its export ``model``.

    Both get the same random inputs, with one row and with three, for every declared value of
    the axes. Integer outputs must be equal.

    Args:
        module: is not changed; a copy is evaluated on the CPU.
        model: what :func:`foveal.export.part.export_part` gave.
        spec: of the part.
        tolerance: relative to the largest magnitude of the output.

    Raises:
        ExportError: they differ by more, or an output does not have the declared shape or type.
    """
    frozen = copy.deepcopy(module).cpu().eval()

    def eager(inputs: tuple[Array, ...]) -> list[Array]:
        try:
            with torch.inference_mode():
                result = frozen(*(torch.from_numpy(array) for array in inputs))
        except RuntimeError as error:
            raise ExportError(
                f"the module of part {spec.name!r} fails at {_shapes(spec, inputs)} "
                f"({_one_line(error)})",
                hint="make the module and its specification agree",
            ) from error
        return [t.numpy() for t in ((result,) if isinstance(result, Tensor) else result)]

    worst = _compare(eager, _session(model, spec), spec)
    if not worst <= tolerance:
        raise ExportError(
            f"part {spec.name!r} differs from its module by {worst:.2g} of the output's scale, "
            f"more than {tolerance:.2g}",
            hint="look for randomness, or sizes and loops that tracing has fixed",
        )
    return worst


def output_change(before: bytes, after: bytes, spec: PartSpec) -> float:
    """Return the largest difference between two models' outputs, relative to the output's scale.

    Raises:
        ExportError: a model does not run, or an output does not have the declared shape.
    """
    return _compare(_session(before, spec), _session(after, spec), spec)


def _compare(want: _Run, got: _Run, spec: PartSpec) -> float:
    worst = 0.0
    for seed, bound in enumerate(declared_axes(spec)):
        for rows in _ROWS:
            inputs = make_inputs(spec, bound, rows=rows, seed=seed)
            expected, found = want(inputs), got(inputs)
            for outputs in (expected, found):
                _check_outputs(outputs, spec, bound, rows)
            for a, b in zip(expected, found, strict=True):
                worst = max(worst, _difference(a, b))
    return worst


def _difference(a: Array, b: Array) -> float:
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else float("inf")
    scale = float(np.abs(a).max(initial=0.0))
    difference = float(np.abs(a - b).max(initial=0.0))
    # nan compares as unequal to everything, so it must not pass as a small difference.
    if not np.isfinite(difference):
        return float("inf")
    return difference / scale if scale > 0 else difference


def _check_outputs(
    outputs: Sequence[Array], spec: PartSpec, bound: Mapping[str, int], rows: int
) -> None:
    if len(outputs) != len(spec.outputs):
        raise ExportError(
            f"part {spec.name!r} has {len(outputs)} outputs, {len(spec.outputs)} are declared",
            hint="make the module and its specification agree",
        )
    for tensor, array in zip(spec.outputs, outputs, strict=True):
        shape = (rows, *sizes_of(tensor.shape, bound))
        if array.shape != shape or array.dtype != tensor.dtype:
            raise ExportError(
                f"{spec.name}.{tensor.name} is {array.dtype} {array.shape} "
                f"where {tensor.dtype} {shape} is declared",
                hint="make the module and its specification agree",
            )


def _session(model: bytes, spec: PartSpec) -> _Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    names = [t.name for t in spec.outputs]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ExportError(
            f"part {spec.name!r} cannot be loaded ({_one_line(error)})",
            hint="an operator may be missing in ONNX Runtime; write the part without it",
        ) from error

    def run(inputs: tuple[Array, ...]) -> Sequence[Array]:
        feeds = {t.name: array for t, array in zip(spec.inputs, inputs, strict=True)}
        try:
            outputs: Sequence[Array] = session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ExportError(
                f"part {spec.name!r} fails at {_shapes(spec, inputs)} ({_one_line(error)})",
                hint="a size was fixed while tracing; take sizes from the inputs",
            ) from error
        return outputs

    return run


def _shapes(spec: PartSpec, inputs: tuple[Array, ...]) -> str:
    return ", ".join(f"{t.name} {a.shape}" for t, a in zip(spec.inputs, inputs, strict=True))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
