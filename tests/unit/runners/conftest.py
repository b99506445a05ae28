"""A bundle with one part: y = sum over t of x @ w, and the same part as a PyTorch module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foveal.bundle import Bundle, Part, write_bundle
from foveal.types import PartSpec, TensorSpec

SPEC = PartSpec(
    name="head",
    inputs=(TensorSpec("x", ("t", 3)), TensorSpec("bias", (2,))),
    outputs=(TensorSpec("y", (2,)), TensorSpec("s", (3,))),
    axes={"t": (1, 2)},
)
MACS = {(("t", 1),): 6, (("t", 2),): 6}


def head_model(*, broken: bool = False) -> bytes:
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = "rows" if not broken else 1
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
            helper.make_node("MatMul", ["s", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "bias"], ["y"]),
        ],
        "head",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, "t", 3]),
            helper.make_tensor_value_info("bias", TensorProto.FLOAT, [rows, 2]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 2]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [rows, 3]),
        ],
        [
            onnx.numpy_helper.from_array(weight, "w"),
            onnx.numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def bundle_of(path: Path, model: bytes, spec: PartSpec = SPEC) -> Bundle:
    return write_bundle(
        path,
        system="toy",
        config={},
        class_names=["cat", "dog"],
        parts=[Part(spec=spec, model=model, macs=MACS)],
        licence="Apache-2.0",
    )


@pytest.fixture
def head(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path / "head.foveal", head_model())


@pytest.fixture
def fixed_batch(tmp_path: Path) -> Bundle:
    """A part that only takes one row, which its specification does not allow."""
    return bundle_of(tmp_path / "fixed.foveal", head_model(broken=True))


@pytest.fixture
def not_a_graph(tmp_path: Path) -> Bundle:
    return bundle_of(tmp_path / "empty.foveal", b"")


@pytest.fixture
def other_names(tmp_path: Path) -> Bundle:
    spec = PartSpec(
        name="head",
        inputs=(TensorSpec("x", ("t", 3)), TensorSpec("offset", (2,))),
        outputs=SPEC.outputs,
        axes=SPEC.axes,
    )
    return bundle_of(tmp_path / "names.foveal", head_model(), spec)
