"""A second count of an ONNX graph: run it, look at what really flows, multiply out.

Shares nothing with foveal.cost: no shape inference, no table of operators. What it does not know
it must not meet: an operator with weights that it has no rule for is an error.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime

from foveal.types import Array

WEIGHTED = ("Conv", "Gemm", "MatMul", "Einsum", "LSTM", "GRU")


def recount(model: bytes, inputs: dict[str, Array]) -> int:
    """Return the multiply-accumulates of one run of ``model`` on ``inputs``."""
    proto = onnx.load_from_string(model)
    nodes = [node for node in proto.graph.node if node.op_type in WEIGHTED]
    strange = {n.op_type for n in proto.graph.node} & {"ConvTranspose", "RNN", "Scan", "Loop", "If"}
    assert not strange, f"say here how {strange} is counted"
    shapes = {i.name: tuple(i.dims) for i in proto.graph.initializer}
    shapes |= {name: array.shape for name, array in inputs.items()}
    shapes |= _flowing(proto, nodes, inputs, set(shapes))
    return sum(_macs(node, shapes) for node in nodes)


def _flowing(
    proto: onnx.ModelProto, nodes: list[Any], inputs: dict[str, Array], known: set[str]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array that the nodes read or write, from one real run."""
    wanted = {name for node in nodes for name in (*node.input, *node.output[:1])} - known - {""}
    own = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in sorted(wanted - own)
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, inputs)
    return {name: np.shape(array) for name, array in zip(names, arrays, strict=True)}


def _macs(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    a, b = (shapes[name] for name in node.input[:2])
    out = shapes.get(node.output[0], ())
    match node.op_type:
        case "Conv":  # weights (out, in / groups, *kernel)
            return math.prod(out) * math.prod(b[1:])
        case "Gemm":
            transposed = any(x.name == "transA" and x.i for x in node.attribute)
            return math.prod(out) * (a[0] if transposed else a[1])
        case "MatMul":
            return math.prod(out) * a[-1]
        case "Einsum":
            (equation,) = (x.s.decode() for x in node.attribute if x.name == "equation")
            terms = equation.replace(" ", "").partition("->")[0].split(",")
            sizes = {
                k: n for t, s in zip(terms, (a, b), strict=True) for k, n in zip(t, s, strict=True)
            }
            return math.prod(sizes.values())
        case "LSTM" | "GRU":  # X (steps, rows, in); W (directions, gates * hidden, in)
            hidden = shapes[node.input[2]]
            return a[0] * a[1] * (math.prod(b) + math.prod(hidden))
    raise AssertionError(node.op_type)
