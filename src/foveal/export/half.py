"""Weights of half the size: stored as float16, cast to float32 when the part is loaded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MIN_ELEMENTS = 64
"""Smaller tensors stay as they are: a cast costs more bytes than it saves."""


def half_weights(model: bytes) -> bytes:
    """Return ``model`` with its float32 weights stored as float16, each followed by a cast.

    ONNX Runtime folds the casts while it loads, so the part computes in float32 as before;
    only the rounding of the weights remains (see :func:`foveal.export.parity.output_change`).
    Tensors that do not fit float16, or are small, stay float32.
    """
    proto = onnx.load_from_string(model)
    casts: list[onnx.NodeProto] = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < MIN_ELEMENTS or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node(
                "Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    halved: bytes = proto.SerializeToString(deterministic=True)
    return halved
