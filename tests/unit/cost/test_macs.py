"""The walk over the graph: what is unsupported, what is folded, where shapes come from."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal.cost import MacCount, count_macs
from foveal.cost.operators import FORMULAS, ZERO_MACS

FLOAT = TensorProto.FLOAT


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[Any]],
    *,
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 20,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, FLOAT, shape) for n, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def test_the_tables_share_no_operator_and_name_only_real_ones() -> None:
    assert not FORMULAS.keys() & ZERO_MACS.keys()
    real = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {*FORMULAS, *ZERO_MACS} <= real


def test_symbolic_axes_are_bound_to_the_shapes_asked_for() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of([node], {"x": ["rows", "t", 3]}, weights={"w": zeros(3, 5)})
    assert count_macs(model, {"x": (1, 2, 3)}).total == 2 * 3 * 5
    assert count_macs(model, {"x": (1, 8, 3)}).total == 8 * 3 * 5
    assert count_macs(model, {"x": (4, 8, 3)}).total == 4 * 8 * 3 * 5


def test_the_model_is_left_as_it_was() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = model_of([node], {"x": ["rows", 3]}, weights={"w": zeros(3, 5)})
    before = model.SerializeToString()
    count_macs(model, {"x": (1, 3)})
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({}, r"inputs are \['x'\], got shapes of \[\]"),
        ({"x": (1, 4)}, r"'x' has shape \['rows', 3\], got \(1, 4\)"),
        ({"x": (1, 3, 1)}, r"'x' has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["rows", 3]})
    with pytest.raises(ValueError, match=message):
        count_macs(model, shapes)


def test_shapes_that_the_graph_computes_are_exact() -> None:
    """(1, 6, 4) is viewed as (6 / 2, 8) by arithmetic on its own shape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["t"], axis=0),
        helper.make_node("Div", ["t", "two"], ["half"]),
        helper.make_node("Concat", ["half", "rest"], ["size"], axis=0),
        helper.make_node("Reshape", ["x", "size"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = {
        "one": np.array([1]),
        "two": np.array([2]),
        "rest": np.array([-1]),
        "w": zeros(8, 5),
    }
    model = model_of(nodes, {"x": ["rows", "t", 4]}, weights=weights)
    assert count_macs(model, {"x": (1, 6, 4)}) == MacCount(
        total=3 * 8 * 5, by_op={"MatMul": 120}, unsupported=()
    )


def test_what_no_input_reaches_is_computed_once_and_free() -> None:
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    weights = {"a": zeros(3, 7), "b": zeros(7, 5)}
    assert count_macs(model_of(nodes, {"x": [1, 3]}, weights=weights), {"x": (1, 3)}).total == 15


def test_unknown_operators_are_listed() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Det", ["z"], ["d"], name="det"),
        helper.make_node("FastGelu", ["z"], ["y"], domain="com.microsoft", name="gelu"),
    ]
    model = model_of(nodes, {"x": [1, 3]}, weights={"w": zeros(3, 3)})
    count = count_macs(model, {"x": (1, 3)})
    assert count.total == 9
    assert [line.split(" (")[0] for line in count.unsupported[-2:]] == [
        "Det: no formula, and not known to be free",
        "FastGelu: domain 'com.microsoft' is not known",
    ]


def test_sizes_that_depend_on_the_data_are_listed() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["w", "f"], ["y"]),
    ]
    count = count_macs(model_of(nodes, {"x": [1, 3]}, weights={"w": zeros(3, 2)}), {"x": (1, 3)})
    assert [line.split(":")[0] for line in count.unsupported] == ["NonZero", "MatMul"]
    assert "shape of the output is unknown" in count.unsupported[1]


def test_contradicting_shapes_are_listed() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    count = count_macs(model_of([node], {"x": [1, 3]}, weights={"w": zeros(4, 2)}), {"x": (1, 3)})
    assert count.unsupported
    assert count.unsupported[0].startswith("MatMul: its shapes do not fit")


def test_a_function_of_the_model_is_counted_where_it_is_called() -> None:
    double = helper.make_function(
        "local",
        "Twice",
        ["a", "w"],
        ["c"],
        [
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("MatMul", ["b", "w"], ["c"]),
        ],
        [helper.make_opsetid("", 20)],
    )
    nodes = [
        helper.make_node("Twice", ["x", "w"], ["h"], domain="local"),
        helper.make_node("Twice", ["h", "w"], ["y"], domain="local"),
    ]
    model = model_of(nodes, {"x": [1, 3]}, weights={"w": zeros(3, 3)})
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(double)
    assert count_macs(model, {"x": (1, 3)}) == MacCount(
        total=36, by_op={"MatMul": 36}, unsupported=()
    )


# --- subgraphs --------------------------------------------------------------------------------


def product(name: str, size: int) -> onnx.GraphProto:
    nodes = [
        helper.make_node("MatMul", ["x", f"w{size}"], ["h"]),
        helper.make_node("MatMul", ["h", f"v{size}"], [f"{name}_out"]),
    ]
    return helper.make_graph(nodes, name, [], [helper.make_empty_tensor_value_info(f"{name}_out")])


def branching(condition: str, **constants: Any) -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["from_data"], to=TensorProto.BOOL),
        helper.make_node(
            "If", [condition], ["z"], then_branch=product("a", 2), else_branch=product("b", 9)
        ),
        helper.make_node("MatMul", ["z", "w2"], ["y"]),
    ]
    weights = {"w2": zeros(3, 2), "v2": zeros(2, 3), "w9": zeros(3, 9), "v9": zeros(9, 3)}
    return model_of(nodes, {"x": [1, 3]}, weights={**weights, **constants})


def test_a_branch_taken_for_certain_is_counted() -> None:
    assert count_macs(branching("yes", yes=np.array(True)), {"x": (1, 3)}).total == 12 + 6
    assert count_macs(branching("no", no=np.array(False)), {"x": (1, 3)}).total == 54 + 6


def test_a_branch_that_depends_on_the_data_is_listed() -> None:
    count = count_macs(branching("from_data"), {"x": (1, 3)})
    assert "If: which branch runs depends on the data" in count.unsupported[0]


def looping(trips: str, *, stops: bool = False, grows: bool = False) -> onnx.ModelProto:
    step = helper.make_node("MatMul", ["state", "w"], ["next"])
    if grows:
        step = helper.make_node("Concat", ["state", "state"], ["next"], axis=0)
    body = helper.make_graph(
        [
            step,
            helper.make_node("Identity", ["going"], ["still"])
            if not stops
            else helper.make_node("Not", ["going"], ["still"]),
            helper.make_node("Identity", ["next"], ["seen"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_empty_tensor_value_info(n) for n in ("still", "next", "seen")],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Cast", ["total"], ["from_data"], to=TensorProto.INT64),
        helper.make_node("Loop", [trips, "", "x"], ["last", "all"], body=body),
        helper.make_node("MatMul", ["all", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": [1, 3]}, weights={"w": zeros(3, 3), "five": np.array(5)})


def test_a_loop_of_known_length_is_counted() -> None:
    count = count_macs(looping("five"), {"x": (1, 3)})
    assert (count.total, count.unsupported) == (5 * 9 + 5 * 9, ())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (looping("from_data"), "how often it runs depends on the data"),
        (looping("five", stops=True), "how often it runs depends on the data"),
        (looping("five", grows=True), "the shape of a state changes"),
    ],
)
def test_other_loops_are_listed(model: onnx.ModelProto, reason: str) -> None:
    assert reason in count_macs(model, {"x": (1, 3)}).unsupported[0]


def test_a_scan_is_counted_once_a_slice() -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["row", "w"], ["new"]),
            helper.make_node("Add", ["state", "new"], ["next"]),
            helper.make_node("Identity", ["next"], ["seen"]),
        ],
        "body",
        [helper.make_tensor_value_info(n, FLOAT, None) for n in ("state", "row")],
        [helper.make_empty_tensor_value_info(n) for n in ("next", "seen")],
    )
    nodes = [
        helper.make_node("Scan", ["zero", "x"], ["last", "all"], body=body, num_scan_inputs=1),
        helper.make_node("MatMul", ["all", "v"], ["y"]),
    ]
    weights = {"w": zeros(3, 4), "v": zeros(4, 2), "zero": zeros(1, 4)}
    model = model_of(nodes, {"x": ["t", 1, 3]}, weights=weights)
    count = count_macs(model, {"x": (7, 1, 3)})
    assert (count.total, count.unsupported) == (7 * 3 * 4 + 7 * 4 * 2, ())


def test_counting_without_onnx_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import foveal.cost\n"
        "try: foveal.cost.count_macs(None, {})\n"
        "except foveal.cost.MissingOnnxError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith('pip install "foveal[train]"')
