"""One part: a PyTorch module to a static ONNX graph, and its MACs counted."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from foveal.bundle import MacTable, axes_key, declared_axes
from foveal.cost import count_macs
from foveal.types import Array, FovealError, PartSpec

OPSET = 18
"""The ONNX operator set of exported parts: the oldest that the exporter writes natively."""

EXAMPLE_ROWS = 2


class ExportError(FovealError):
    """A part cannot be exported, counted, or does not match its module."""

    kind = "export_failed"


def export_part(module: nn.Module, spec: PartSpec) -> bytes:
    """Return ``module`` as a serialised ONNX model; rows and axes of several values are symbolic.

    Args:
        module: takes the part's inputs as positional arguments, rows first, and returns its
            outputs as a tensor or a tuple. It is not changed; a copy is evaluated on the CPU.
        spec: names and shapes. An axis with one declared value is fixed to it.

    Raises:
        ExportError: PyTorch cannot trace it, a shape is fixed that should not be, or an
            operator has no ONNX form.
    """
    frozen = copy.deepcopy(module).cpu().eval()
    bound = {axis: _example_size(sizes) for axis, sizes in spec.axes.items()}
    inputs = tuple(torch.from_numpy(a) for a in make_inputs(spec, bound, rows=EXAMPLE_ROWS, seed=0))
    axes = {axis: Dim(axis) for axis, sizes in spec.axes.items() if len(sizes) > 1}
    rows = Dim("rows")
    dynamic = tuple(
        {0: rows, **{i + 1: axes[size] for i, size in enumerate(t.shape) if size in axes}}
        for t in spec.inputs
    )
    try:
        with warnings.catch_warnings():
            # The exporter warns of its own deprecations; what it gets wrong, parity finds.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Positional(frozen),
                inputs,
                dynamo=True,
                dynamic_shapes=(dynamic,),
                input_names=[t.name for t in spec.inputs],
                output_names=[t.name for t in spec.outputs],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter's errors share no base class
        raise ExportError(
            f"part {spec.name!r} cannot be exported ({_root_cause(error)})",
            hint="write it without control flow on data, and with sizes taken from its inputs",
        ) from error
    assert program is not None  # only None when it writes to a file
    _refuse_fixed_sizes(program.model_proto, spec, {"rows", *axes})
    return _cleaned(program.model_proto, spec)


def count_part(model: bytes, spec: PartSpec) -> MacTable:
    """Return the MACs of one row of ``model`` for every declared value of its axes.

    Raises:
        ExportError: an operator could not be counted.
    """
    graph = onnx.load_from_string(model)
    table: dict[tuple[tuple[str, int], ...], int] = {}
    for bound in declared_axes(spec):
        count = count_macs(graph, {t.name: (1, *sizes_of(t.shape, bound)) for t in spec.inputs})
        if count.unsupported:
            raise ExportError(
                f"part {spec.name!r} cannot be counted: {'; '.join(count.unsupported)}",
                hint="write it with other operators, or add them to foveal.cost.operators",
            )
        table[axes_key(bound)] = count.total
    return table


def sizes_of(shape: tuple[int | str, ...], bound: Mapping[str, int]) -> tuple[int, ...]:
    """Return ``shape`` with its symbolic axes replaced by their values in ``bound``."""
    return tuple(bound[size] if isinstance(size, str) else size for size in shape)


def make_inputs(
    spec: PartSpec, bound: Mapping[str, int], *, rows: int, seed: int
) -> tuple[Array, ...]:
    """Return random inputs for ``spec``: normal floats, any bytes, integers 0 or 1."""
    rng = np.random.default_rng(seed)
    inputs: list[Array] = []
    for tensor in spec.inputs:
        shape = (rows, *sizes_of(tensor.shape, bound))
        if tensor.dtype == "float32":
            inputs.append(rng.standard_normal(shape, dtype=np.float32))
        else:
            high = 256 if tensor.dtype == "uint8" else 2
            inputs.append(rng.integers(0, high, shape).astype(tensor.dtype))
    return tuple(inputs)


class _Positional(nn.Module):
    """Gives every module the same signature, so that dynamic shapes are named by position."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        result: Tensor | tuple[Tensor, ...] = self.module(*inputs)
        return result


def _example_size(sizes: tuple[int, ...]) -> int:
    """Return a size to trace with: PyTorch fixes axes that are traced at 0 or 1."""
    return min((size for size in sizes if size > 1), default=sizes[0])


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    # PyTorch's messages go on for pages; the first line says what.
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(lines[0].split())[:300]}"


def _refuse_fixed_sizes(model: onnx.ModelProto, spec: PartSpec, symbolic: set[str]) -> None:
    """Raise if tracing fixed a size that must stay free; the exporter does so silently."""
    for tensor, graph_input in zip(spec.inputs, model.graph.input, strict=True):
        sizes = ("rows", *tensor.shape)
        for size, dim in zip(sizes, graph_input.type.tensor_type.shape.dim, strict=True):
            if size in symbolic and dim.HasField("dim_value"):
                raise ExportError(
                    f"part {spec.name!r} cannot be exported (tracing fixed {size} of "
                    f"{tensor.name!r} to {dim.dim_value})",
                    hint="write it without loops over that axis or sizes that are constants",
                )


def _cleaned(model: onnx.ModelProto, spec: PartSpec) -> bytes:
    """Return ``model`` without what only a debugger reads: traces hold paths of this machine."""
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        graph.ClearField("value_info")
        for owner in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
            owner.ClearField("metadata_props")
            owner.ClearField("doc_string")
        for node in graph.node:
            for attribute in node.attribute:
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    model.graph.name = spec.name
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"part {spec.name!r} was exported to a broken graph ({_root_cause(error)})",
            hint="report this with the module",
        ) from error
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
