from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from foveal.bundle.onnx_wire import has_external_data


def outside() -> onnx.TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "secrets.bin"
    return tensor


def a_model(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto]) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(nodes, "g", [], [], initializers))


def constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def as_initializer(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return a_model([], [tensor])


def as_constant(tensor: onnx.TensorProto) -> onnx.ModelProto:
    return a_model([constant(tensor)], [])


def in_a_branch(tensor: onnx.TensorProto) -> onnx.ModelProto:
    branch = helper.make_graph([constant(tensor)], "then", [], [])
    return a_model([helper.make_node("If", ["c"], ["y"], then_branch=branch)], [])


def in_a_function(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = a_model([], [])
    function = helper.make_function(
        "local", "f", [], ["c"], [constant(tensor)], [helper.make_opsetid("", 18)]
    )
    model.functions.append(function)
    return model


def sparse(tensor: onnx.TensorProto) -> onnx.ModelProto:
    model = a_model([], [])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, indices, [1]))
    return model


@pytest.mark.parametrize("build", [as_initializer, as_constant, in_a_branch, in_a_function, sparse])
def test_a_tensor_in_another_file_is_found(
    build: Callable[[onnx.TensorProto], onnx.ModelProto],
) -> None:
    inside = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    assert not has_external_data(build(inside).SerializeToString())
    assert has_external_data(build(outside()).SerializeToString())


def test_a_cut_model_is_refused() -> None:
    raw = as_constant(helper.make_tensor("w", TensorProto.FLOAT, [8], [1.0] * 8))
    with pytest.raises(ValueError, match="past the end"):
        has_external_data(raw.SerializeToString()[:-3])
