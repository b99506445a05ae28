"""The MAC counter against PyTorch's own counter, and against published numbers.

The two share no code: one reads ONNX graphs, the other watches PyTorch run.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from foveal.cost import count_macs
from foveal.cost.operators import FORMULAS, Node
from foveal.cost.torch_counter import count_torch_macs


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def macs_of_node(
    op: str, x: tuple[int, ...], weights: dict[str, tuple[int, ...]], **attributes: Any
) -> int:
    """Count a graph of one float node with input ``x`` and named ``weights``."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *weights], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", *x[1:]])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    count = count_macs(model, {"x": x})
    assert count.unsupported == ()
    assert count.by_op == {op: count.total}
    return count.total


def exported(module: nn.Module, *inputs: Tensor) -> onnx.ModelProto:
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        program = torch.onnx.export(
            module.eval(), inputs, dynamo=True, opset_version=18, verbose=False
        )
    assert program is not None
    program.save(target)
    return onnx.load_from_string(target.getvalue())


def macs_of_module(module: nn.Module, *inputs: Tensor) -> int:
    model = exported(module, *inputs)
    names = [i.name for i in model.graph.input]
    count = count_macs(model, {n: tuple(t.shape) for n, t in zip(names, inputs, strict=True)})
    assert count.unsupported == ()
    return count.total


CONVOLUTIONS = [
    {"kernel": 3, "groups": 1},
    {"kernel": 3, "groups": 1, "stride": 2, "padding": 1},
    {"kernel": 3, "groups": 2, "dilation": 2},
    {"kernel": 5, "groups": 8, "padding": 2},
    {"kernel": 1, "groups": 1, "stride": 3},
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("setting", CONVOLUTIONS)
def test_convolution(dims: int, setting: dict[str, int]) -> None:
    kernel, groups = setting["kernel"], setting["groups"]
    stride, padding = setting.get("stride", 1), setting.get("padding", 0)
    dilation = setting.get("dilation", 1)
    x = (2, 8, *(11, 9, 13)[:dims])
    weight = (16, 8 // groups, *[kernel] * dims)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    module = Lambda(
        lambda a, w: convolve(
            a, w, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
    )
    ours = macs_of_node(
        "Conv",
        x,
        {"w": weight, "b": (16,)},
        group=groups,
        strides=[stride] * dims,
        pads=[padding] * 2 * dims,
        dilations=[dilation] * dims,
    )
    assert ours == count_torch_macs(module, torch.zeros(x), torch.zeros(weight))


@pytest.mark.parametrize("stride", [1, 2])
def test_transposed_convolution(stride: int) -> None:
    x, weight = (2, 8, 7, 5), (8, 6, 3, 3)
    module = Lambda(lambda a, w: F.conv_transpose2d(a, w, stride=stride))
    ours = macs_of_node("ConvTranspose", x, {"w": weight}, strides=[stride] * 2)
    assert ours == count_torch_macs(module, torch.zeros(x), torch.zeros(weight))


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((6, 2, 3, 4), (2, 4, 5))],
)
def test_matrix_product(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    theirs = count_torch_macs(Lambda(torch.matmul), torch.zeros(a), torch.zeros(b))
    assert macs_of_node("MatMul", a, {"b": b}) == theirs


def test_vectors_multiply_as_one_column() -> None:
    assert macs_of_node("MatMul", (3, 4), {"b": (4,)}) == 12
    assert macs_of_node("MatMul", (4,), {"b": (4,)}) == 4


@pytest.mark.parametrize("transposed", [0, 1])
def test_linear(transposed: int) -> None:
    weight = (5, 4) if transposed else (4, 5)
    ours = macs_of_node("Gemm", (3, 4), {"w": weight, "b": (5,)}, transB=transposed)
    assert ours == count_torch_macs(nn.Linear(4, 5), torch.zeros(3, 4)) == 60
    assert macs_of_node("Gemm", (4, 3), {"w": (4, 5)}, transA=1) == 60


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bik,bkj->bij", [(2, 3, 4), (2, 4, 5)]),
        ("btc,dc->btd", [(2, 3, 4), (6, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("bi,bi->b", [(2, 7), (2, 7)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    module = Lambda(lambda *operands: torch.einsum(equation, *operands))
    theirs = count_torch_macs(module, *[torch.zeros(s) for s in shapes])
    weights = {f"w{i}": s for i, s in enumerate(shapes[1:])}
    assert macs_of_node("Einsum", shapes[0], weights, equation=equation) == theirs


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("ijx,jk->ik", [(2, 3, 9), (3, 4)], 24),  # x is summed before
        ("i...,i...->...", [(2, 3, 4), (2, 1, 4)], 24),  # broadcast
        ("ij->ji", [(2, 3)], 0),
    ],
)
def test_einsum_by_hand(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    view = Node(inputs=tuple(shapes), outputs=(None,), attributes={"equation": equation})
    assert FORMULAS["Einsum"](view) == macs


class Cell(nn.Module):
    """A recurrent layer of ``gates`` gates, one linear map of the input and one of the state."""

    def __init__(self, gates: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, gates * hidden)
        self.of_state = nn.Linear(hidden, gates * hidden)
        self.hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], self.hidden)
        for step in x:
            mixed = self.of_input(step) + self.of_state(h)
            h = torch.tanh(mixed.unflatten(1, (-1, self.hidden)).sum(1))
        return h


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(op: str, gates: int, directions: int) -> None:
    inputs, hidden = 6, 5
    ours = macs_of_node(
        op,
        (7, 2, inputs),
        {"w": (directions, gates * hidden, inputs), "r": (directions, gates * hidden, hidden)},
        hidden_size=hidden,
        direction="forward" if directions == 1 else "bidirectional",
    )
    theirs = count_torch_macs(Cell(gates, inputs, hidden), torch.zeros(7, 2, inputs))
    assert ours == directions * theirs


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def test_fused_attention() -> None:
    q, k, v = (2, 3, 4, 8), (2, 3, 6, 8), (2, 3, 6, 5)
    theirs = count_torch_macs(Lambda(attend), *[torch.zeros(s) for s in (q, k, v)])
    assert macs_of_node("Attention", q, {"k": k, "v": v}) == theirs == 2 * 3 * 4 * 6 * (8 + 5)
    flat = macs_of_node(
        "Attention", (2, 4, 24), {"k": (2, 6, 24), "v": (2, 6, 15)}, q_num_heads=3, kv_num_heads=3
    )
    assert flat == theirs


def test_operators_of_newer_opsets_by_hand() -> None:
    linear = Node(
        inputs=((1, 7, 12), (1, 7, 6), (1, 7, 10)),
        outputs=(None,),
        attributes={"q_num_heads": 4, "kv_num_heads": 2, "update_rule": "linear"},
    )
    assert FORMULAS["LinearAttention"](linear) == 7 * (3 * 5) * (4 + 2)
    shift = Node(inputs=((1, 8, 20), (8, 1, 4)), outputs=((1, 8, 20), (1, 8, 3)))
    assert FORMULAS["CausalConvWithState"](shift) == 8 * 20 * 4


def test_integer_variants_cost_what_the_float_ones_do() -> None:
    conv = Node(inputs=((1, 3, 8, 8), (4, 3, 3, 3)), outputs=((1, 4, 6, 6),))
    quantised = Node(
        inputs=((1, 3, 8, 8), (), (), (4, 3, 3, 3), (), (), (), ()), outputs=((1, 4, 6, 6),)
    )
    assert FORMULAS["Conv"](conv) == FORMULAS["ConvInteger"](conv)
    assert FORMULAS["Conv"](conv) == FORMULAS["QLinearConv"](quantised) == 4 * 36 * 27
    product = Node(inputs=((2, 3), (), (), (3, 5), (), (), (), ()), outputs=((2, 5),))
    assert FORMULAS["QLinearMatMul"](product) == FORMULAS["MatMulInteger"](product) == 30


def test_affine_grid() -> None:
    """Every position (x, y, 1) meets a 2x3 matrix; PyTorch's counter does not know the operator."""
    view = Node(inputs=((2, 2, 3), (4,)), outputs=((2, 5, 4, 2),))
    assert FORMULAS["AffineGrid"](view) == 2 * 5 * 4 * (2 * 3)


def test_fourier_transforms_cost_their_butterflies() -> None:
    one = 2 * 256 * 8
    stft = Node(inputs=((1, 1024, 1), (), (256,)), outputs=((1, 7, 129, 2),))
    assert FORMULAS["STFT"](stft) == 7 * one
    dft = Node(inputs=((3, 256, 1),), outputs=((3, 256, 2),))
    assert FORMULAS["DFT"](dft) == 3 * one


# --- exported modules -------------------------------------------------------------------------


@pytest.mark.export
def test_a_transformer_layer() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, dim_feedforward=32, batch_first=True)
    x = torch.zeros(1, 6, 16)
    by_hand = 6 * 16 * 16 * 4 + 2 * 4 * 6 * 6 * 4 + 2 * 6 * 16 * 32
    assert macs_of_module(layer, x) == count_torch_macs(layer, x) == by_hand


@pytest.mark.export
def test_an_exported_lstm() -> None:
    macs = macs_of_module(nn.LSTM(6, 5, batch_first=True), torch.zeros(1, 7, 6))
    assert macs == count_torch_macs(Cell(4, 6, 5), torch.zeros(7, 1, 6))


@pytest.mark.export
@pytest.mark.parametrize(
    ("name", "published_gmacs"),
    [("resnet50", 4.09), ("mobilenetv2_100", 0.30), ("tf_efficientnet_lite0", 0.39)],
)
def test_published_networks(name: str, published_gmacs: float) -> None:
    network = timm.create_model(name, pretrained=False).eval()
    x = torch.zeros(1, 3, 224, 224)
    macs = macs_of_module(network, x)
    assert macs == count_torch_macs(network, x)
    assert macs / 1e9 == pytest.approx(published_gmacs, abs=0.006)
