"""What each ONNX operator costs in multiply-accumulates (MACs).

One MAC is one multiplication whose product is added to a sum. Bias additions are not counted,
padding is counted as if it were data, and an attention mask saves nothing: the same convention
as the tables of published networks and PyTorch's counter.

An operator is in :data:`FORMULAS`, or in :data:`ZERO_MACS` with the reason, or it is reported
as unsupported. There is no fourth way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from foveal.types import Array

Shape: TypeAlias = tuple[int, ...]


class UncountableError(ValueError):
    """A node of a known operator lacks what its formula needs; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node with everything static about it.

    Args:
        inputs: shape of each input; ``None`` where it is left out or unknown.
        outputs: shape of each output; likewise.
        values: value of each input where it is small and known.
        attributes: by name; strings decoded.
    """

    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]
    values: tuple[Array | None, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def shape(self, index: int) -> Shape:
        """Return the shape of input ``index``.

        Raises:
            UncountableError: it is unknown.
        """
        shape = self.optional(index)
        if shape is None:
            raise UncountableError(f"the shape of input {index} is unknown")
        return shape

    def optional(self, index: int) -> Shape | None:
        """Return the shape of input ``index`` if it is there and known."""
        return self.inputs[index] if index < len(self.inputs) else None

    def out(self) -> Shape:
        """Return the shape of the first output.

        Raises:
            UncountableError: it is unknown.
        """
        if self.outputs[0] is None:
            raise UncountableError("the shape of the output is unknown")
        return self.outputs[0]

    def integer(self, index: int) -> int | None:
        """Return the one number that input ``index`` holds, if it is there and known."""
        value = self.values[index] if index < len(self.values) else None
        return None if value is None or value.size != 1 else int(value.reshape(()))


def _conv(weight: int) -> Callable[[Node], int]:
    """Every output sums over the kernel and the input channels of its group."""
    return lambda node: math.prod(node.out()) * math.prod(node.shape(weight)[1:])


def _conv_transpose(node: Node) -> int:
    """Every input is spread over the kernel and the output channels of its group."""
    return math.prod(node.shape(0)) * math.prod(node.shape(1)[1:])


def _gemm(node: Node) -> int:
    a = node.shape(0)
    return math.prod(node.out()) * a[0 if node.attributes.get("transA") else 1]


def _mat_mul(node: Node) -> int:
    return math.prod(node.out()) * node.shape(0)[-1]


def _recurrent(node: Node) -> int:
    """Each step multiplies the input by W and the state by R; gates are element-wise."""
    x = node.shape(0)
    return x[0] * x[1] * (math.prod(node.shape(1)) + math.prod(node.shape(2)))


def _attention(node: Node) -> int:
    """Queries by keys, then weights by values, for every query head."""
    queries, keys, values = node.shape(0), node.shape(1), node.shape(2)
    if len(queries) == 4:
        batch, heads, length, size = queries
        total, value_size = keys[2], values[3]
    else:
        batch, length, width = queries
        heads = node.attributes["q_num_heads"]
        size, total = width // heads, keys[1]
        value_size = values[2] // node.attributes["kv_num_heads"]
    past = node.optional(4)
    if past is not None:
        total += past[2]
    return int(batch * heads * length * total * (size + value_size))


def _linear_attention(node: Node) -> int:
    """Per token: the state's outer-product update and its read-out; delta rules read twice."""
    batch, length, width = node.shape(0)
    heads, kv_heads = node.attributes["q_num_heads"], node.attributes["kv_num_heads"]
    state = (width // heads) * (node.shape(2)[2] // kv_heads)
    rule = node.attributes.get("update_rule", "gated_delta")
    updates = 2 * kv_heads if rule.endswith("delta") else kv_heads
    return int(batch * length * state * (heads + updates))


def _einsum(node: Node) -> int:
    """Operands are joined from left to right; what only one of them has is summed before."""
    labels, output = _einsum_labels(node)
    sizes: dict[str, int] = {}
    for index, names in enumerate(labels):
        for name, size in zip(names, node.shape(index), strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    macs = 0
    joined = set(labels[0])
    for index in range(1, len(labels)):
        later = set(output).union(*labels[index + 1 :])
        new = set(labels[index])
        used = {n for n in joined | new if n in later or (n in joined and n in new)}
        macs += math.prod(sizes[n] for n in used)
        joined = {n for n in used if n in later}
    return macs


def _einsum_labels(node: Node) -> tuple[list[list[str]], list[str]]:
    equation = str(node.attributes["equation"]).replace(" ", "")
    left, arrow, right = equation.partition("->")
    labels: list[list[str]] = []
    for index, term in enumerate(left.split(",")):
        before, dots, after = term.partition("...")
        extra = len(node.shape(index)) - len(before) - len(after) if dots else 0
        # Broadcast axes are aligned at their last, so they are numbered from there.
        middle = [f".{i}" for i in range(extra, 0, -1)]
        labels.append([*before, *middle, *after])
    if not arrow:
        every = left.replace(",", "").replace(".", "")
        right = "..." + "".join(sorted(c for c in set(every) if every.count(c) == 1))
    before, dots, after = right.partition("...")
    dotted = sorted({n for names in labels for n in names if n[0] == "."}, reverse=True)
    return labels, [*before, *(dotted if dots else []), *after]


def _affine_grid(node: Node) -> int:
    grid = node.out()
    return math.prod(grid) * (grid[-1] + 1)


def _fft(length: int, transforms: int) -> int:
    """Radix-2 butterflies: length/2 * log2(length) complex products of four MACs each."""
    return transforms * 2 * length * math.ceil(math.log2(length)) if length > 1 else 0


def _dft(node: Node) -> int:
    signal = node.shape(0)
    axis = node.integer(2) if len(node.inputs) > 2 else node.attributes.get("axis", -2)
    if axis is None:
        raise UncountableError("the axis is unknown")
    length = node.integer(1) if node.optional(1) is not None else signal[axis]
    if length is None:
        raise UncountableError("the length of the transform is unknown")
    return _fft(length, math.prod(signal[:-1]) // signal[axis])


def _stft(node: Node) -> int:
    window = node.optional(2)
    length = window[0] if window is not None else node.integer(3)
    if length is None:
        raise UncountableError("the length of the frame is unknown")
    return _fft(length, math.prod(node.out()[:2]))


FORMULAS: Mapping[str, Callable[[Node], int]] = {
    "AffineGrid": _affine_grid,
    "Attention": _attention,
    "CausalConvWithState": _conv(1),
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "DFT": _dft,
    "DeformConv": _conv(1),
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "LinearAttention": _linear_attention,
    "MatMul": _mat_mul,
    "MatMulInteger": _mat_mul,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _mat_mul,
    "RNN": _recurrent,
    "STFT": _stft,
}
"""Operators with a formula."""

_ZERO: Mapping[str, str] = {
    "moves or shapes data, no arithmetic": """
        BitCast Cast CastLike CenterCropPad Concat ConcatFromSequence Constant ConstantOfShape
        DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND Identity OneHot Optional
        OptionalGetElement OptionalHasElement Pad Range Reshape ReverseSequence Scatter
        ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase
        SequenceInsert SequenceLength Shape Size Slice SpaceToDepth Split SplitToSequence Squeeze
        TensorScatter Tile Transpose Trilu Unsqueeze Where""",
    "one operation an element, nothing is summed": """
        Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr
        BitwiseXor Ceil Celu Clip Cos Cosh DequantizeLinear Div Dropout DynamicQuantizeLinear Elu
        Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu
        Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear
        Reciprocal Relu RotaryEmbedding Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign
        Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Xor""",
    "sums, compares or sorts without products that are summed": """
        ArgMax ArgMin AveragePool Col2Im CumProd CumSum GlobalAveragePool GlobalLpPool GlobalMaxPool
        Hardmax LpPool MaxPool MaxRoiPool MaxUnpool ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK""",
    "normalises: a few operations an element, as in published counts": """
        BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization
        LogSoftmax LpNormalization MeanVarianceNormalization RMSNormalization Softmax""",
    "interpolates: two to sixteen products a pixel, left out of published counts": """
        GridSample Resize RoiAlign Upsample""",
    "makes numbers from none": """
        Bernoulli BlackmanWindow HammingWindow HannWindow MelWeightMatrix Multinomial RandomNormal
        RandomNormalLike RandomUniform RandomUniformLike""",
}

ZERO_MACS: Mapping[str, str] = {op: why for why, ops in _ZERO.items() for op in ops.split()}
"""Operators that count as zero MACs, each with the reason; their time is in the ms."""
