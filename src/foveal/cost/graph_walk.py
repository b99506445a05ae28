"""Walk an ONNX graph in order, with every shape known: what the MAC counter stands on.

Shapes come from ONNX's own inference, one node at a time. Small values (sizes, axes, scales)
are computed as they are met, so a shape that the graph itself computes is exact. ``onnx`` is
imported when a walk starts: the light install, which never counts, can import this module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.cost.operators import FORMULAS, ZERO_MACS, Node, Shape, UncountableError
from foveal.types import Array

if TYPE_CHECKING:
    import onnx

_MAX_KNOWN = 4096
"""Values of more elements are weights, not sizes: nothing's shape depends on them."""

_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


@dataclass(slots=True)
class _Scope:
    """What is known of each name: its type, its value if small, whether no input reaches it."""

    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    constant: set[str] = field(default_factory=set)

    def inner(self) -> _Scope:
        """Return a scope for a subgraph, which sees everything outside it."""
        return _Scope(dict(self.types), dict(self.values), set(self.constant))

    def define(self, name: str, kind: onnx.TypeProto, value: Array | None, constant: bool) -> None:
        self.types[name] = kind
        if value is not None and value.size <= _MAX_KNOWN:
            self.values[name] = value
        if constant:
            self.constant.add(name)

    def copy_from(self, inner: _Scope, source: str, target: str) -> None:
        if source in inner.types:
            value = inner.values.get(source)
            self.define(target, inner.types[source], value, source in inner.constant)

    def shape(self, name: str) -> Shape | None:
        return _shape_of(self.types[name]) if name in self.types else None


def walk_graph(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the MACs by operator and one line for each kind of node that has no count.

    Raises:
        ValueError: the inputs named are not those of the graph, or a shape contradicts it.
    """
    walk = _Walk(model)
    scope = _Scope()
    initialised = {tensor.name for tensor in model.graph.initializer}
    inputs = {i.name: i.type for i in model.graph.input if i.name not in initialised}
    if inputs.keys() != shapes.keys():
        raise ValueError(f"the graph's inputs are {sorted(inputs)}, got shapes of {sorted(shapes)}")
    for name, kind in inputs.items():
        _check_fits(name, kind, shapes[name])
        scope.define(name, walk.tensor(kind.tensor_type.elem_type, shapes[name]), None, False)
    walk.graph(walk.model.graph, scope, 1)
    return {op: n for op, n in walk.macs.items() if n}, tuple(walk.unsupported)


class _Walk:
    def __init__(self, model: onnx.ModelProto) -> None:
        import onnx
        import onnx.inliner
        import onnx.reference

        self._onnx = onnx
        self.model = onnx.inliner.inline_local_functions(model) if model.functions else model
        self.macs: Counter[str] = Counter()
        self.unsupported: dict[str, None] = {}  # a set that keeps the order
        self._opsets = list(model.opset_import)
        self._versions = {o.domain or "ai.onnx": o.version for o in self._opsets}
        self._ir_version = model.ir_version

    def tensor(self, kind: int, shape: Iterable[int]) -> onnx.TypeProto:
        """Return the type of a tensor of element type ``kind`` and known ``shape``."""
        return self._onnx.helper.make_tensor_type_proto(kind, list(shape))

    def graph(self, graph: onnx.GraphProto, scope: _Scope, times: int) -> None:
        """Count ``graph`` as run ``times`` times; its inputs are already in ``scope``."""
        for tensor in graph.initializer:
            small = math.prod(tensor.dims) <= _MAX_KNOWN
            value = self._onnx.numpy_helper.to_array(tensor) if small else None
            scope.define(tensor.name, self.tensor(tensor.data_type, tensor.dims), value, True)
        for node in graph.node:
            if node.domain not in ("", "ai.onnx"):
                self._refuse(node, f"domain {node.domain!r} is not known")
            elif node.op_type in _CONTROL:
                _CONTROL[node.op_type](self, node, scope, times)
            else:
                self._plain(node, scope, times)

    def _plain(self, node: onnx.NodeProto, scope: _Scope, times: int) -> None:
        used = [name for name in node.input if name]
        constant = node.op_type not in _RANDOM and all(name in scope.constant for name in used)
        types = self._infer(node, scope)
        values = self._evaluate(node, scope, types)
        for name in node.output:
            if name in values:
                types[name] = self._type_of(values[name])
            if name in types:
                scope.define(name, types[name], values.get(name), constant)
        if node.op_type in FORMULAS:
            if not constant:
                self._count(node, scope, times)
        elif node.op_type not in ZERO_MACS:
            self._refuse(node, "no formula, and not known to be free")

    def _count(self, node: onnx.NodeProto, scope: _Scope, times: int) -> None:
        view = Node(
            inputs=tuple(scope.shape(name) for name in node.input),
            outputs=tuple(scope.shape(name) for name in node.output),
            values=tuple(scope.values.get(name) for name in node.input),
            attributes=self._attributes(node),
        )
        try:
            self.macs[node.op_type] += times * FORMULAS[node.op_type](view)
        except UncountableError as error:
            self._refuse(node, str(error))

    def _refuse(self, node: onnx.NodeProto, why: str) -> None:
        self.unsupported[f"{node.op_type}: {why} (first at {node.name or node.output[0]!r})"] = None

    def _infer(self, node: onnx.NodeProto, scope: _Scope) -> dict[str, onnx.TypeProto]:
        names = [name for name in node.input if name]
        if any(name not in scope.types for name in names):
            return {}  # follows a node that was refused
        defs, inference = self._onnx.defs, self._onnx.shape_inference
        try:
            schema = defs.get_schema(node.op_type, self._versions["ai.onnx"], "")
            types: dict[str, onnx.TypeProto] = inference.infer_node_outputs(
                schema,
                node,
                {name: scope.types[name] for name in names},
                {
                    name: self._onnx.numpy_helper.from_array(scope.values[name])
                    for name in names
                    if name in scope.values
                },
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )
            return types
        except defs.SchemaError:
            self._refuse(node, f"not in opset {self._versions['ai.onnx']}")
        except inference.InferenceError as error:
            self._refuse(node, f"its shapes do not fit ({' '.join(str(error).split())})")
        return {}

    def _evaluate(
        self, node: onnx.NodeProto, scope: _Scope, types: Mapping[str, onnx.TypeProto]
    ) -> dict[str, Array]:
        """Return the outputs of ``node`` where they are small and follow from what is known."""
        if node.op_type in ("Shape", "Size"):
            shape = scope.shape(node.input[0])
            if shape is None:
                return {}
            feeds = {node.input[0]: np.broadcast_to(np.float32(0), shape)}
        else:
            names = [name for name in node.input if name]
            if node.op_type in _RANDOM or any(name not in scope.values for name in names):
                return {}
            feeds = {name: scope.values[name] for name in names}
        sizes = [_shape_of(types[name]) for name in node.output if name in types]
        if any(size is not None and math.prod(size) > _MAX_KNOWN for size in sizes):
            return {}
        helper = self._onnx.helper
        inputs = [
            helper.make_value_info(name, self._type_of(value)) for name, value in feeds.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        single = helper.make_model(
            helper.make_graph([node], "single", inputs, outputs),
            opset_imports=self._opsets,
            ir_version=self._ir_version,
        )
        results = self._onnx.reference.ReferenceEvaluator(single).run(None, feeds)
        named = zip((o.name for o in outputs), results, strict=True)
        return {name: np.asarray(r) for name, r in named if isinstance(r, (np.ndarray, np.generic))}

    def _type_of(self, value: Array) -> onnx.TypeProto:
        return self.tensor(self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        values = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}

    def _if(self, node: onnx.NodeProto, scope: _Scope, times: int) -> None:
        condition = scope.values.get(node.input[0])
        if condition is None:
            self._refuse(node, "which branch runs depends on the data")
            return
        branch = self._attributes(node)["then_branch" if condition.all() else "else_branch"]
        inner = scope.inner()
        self.graph(branch, inner, times)
        for outside, inside in zip(node.output, branch.output, strict=True):
            scope.copy_from(inner, inside.name, outside)

    def _loop(self, node: onnx.NodeProto, scope: _Scope, times: int) -> None:
        body = self._attributes(node)["body"]
        trips = scope.values.get(node.input[0])
        runs_on = node.input[1] == "" or bool(scope.values.get(node.input[1], np.False_).all())
        if trips is None or not (runs_on and _passes_condition(body)):
            self._refuse(node, "how often it runs depends on the data")
            return
        inner = scope.inner()
        for inside in body.input[:2]:
            inner.define(inside.name, inside.type, None, False)
        for outside, inside in zip(node.input[2:], body.input[2:], strict=True):
            self._carry(scope, outside, inner, inside.name)
        count = int(trips.reshape(()))
        self.graph(body, inner, times * count)
        states = [inside.name for inside in body.input[2:]]
        self._leave(node, scope, body.output[1:], inner, count, states)

    def _scan(self, node: onnx.NodeProto, scope: _Scope, times: int) -> None:
        attributes = self._attributes(node)
        body = attributes["body"]
        scanned = attributes["num_scan_inputs"]
        states = len(node.input) - scanned
        axes = attributes.get("scan_input_axes", [0] * scanned)
        if any(attributes.get("scan_output_axes", [])):
            self._refuse(node, "scanned outputs on another axis than the first are not supported")
            return
        inner = scope.inner()
        lengths: set[int] = set()
        for index, (outside, inside) in enumerate(zip(node.input, body.input, strict=True)):
            if index < states:
                self._carry(scope, outside, inner, inside.name)
                continue
            shape = scope.shape(outside)
            if shape is None:
                self._refuse(node, f"the shape of input {index} is unknown")
                return
            axis = axes[index - states] % len(shape)
            lengths.add(shape[axis])
            kind = scope.types[outside].tensor_type.elem_type
            one = shape[:axis] + shape[axis + 1 :]
            inner.define(inside.name, self.tensor(kind, one), None, False)
        (count,) = lengths
        self.graph(body, inner, times * count)
        names = [inside.name for inside in body.input[:states]]
        self._leave(node, scope, body.output, inner, count, names)

    def _carry(self, scope: _Scope, outside: str, inner: _Scope, inside: str) -> None:
        """Bring a state into a body: its type stays, its value changes from turn to turn."""
        if outside in scope.types:
            inner.define(inside, scope.types[outside], None, False)

    def _leave(
        self,
        node: onnx.NodeProto,
        scope: _Scope,
        results: Iterable[onnx.ValueInfoProto],
        inner: _Scope,
        count: int,
        states: list[str],
    ) -> None:
        """Bring a body's results out: states as they are, the others stacked ``count`` times."""
        for index, (outside, result) in enumerate(zip(node.output, results, strict=True)):
            shape = inner.shape(result.name)
            if shape is None:
                self._refuse(node, f"the shape of output {index} is unknown")
                return
            if index < len(states) and shape != inner.shape(states[index]):
                self._refuse(node, "the shape of a state changes from turn to turn")
                return
            kind = inner.types[result.name].tensor_type.elem_type
            stacked = shape if index < len(states) else (count, *shape)
            scope.define(outside, self.tensor(kind, stacked), None, False)


_CONTROL = {"If": _Walk._if, "Loop": _Walk._loop, "Scan": _Walk._scan}


def _passes_condition(body: onnx.GraphProto) -> bool:
    """Return whether a loop's body hands its condition on unchanged."""
    name = body.output[0].name
    producers = {out: node for node in body.node for out in node.output}
    while name in producers and producers[name].op_type == "Identity":
        name = producers[name].input[0]
    return bool(name == body.input[1].name)


def _shape_of(kind: onnx.TypeProto) -> Shape | None:
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _check_fits(name: str, kind: onnx.TypeProto, shape: tuple[int, ...]) -> None:
    declared = kind.tensor_type.shape.dim
    fits = len(declared) == len(shape) and all(
        not dim.HasField("dim_value") or dim.dim_value == size
        for dim, size in zip(declared, shape, strict=True)
    )
    if not fits:
        wanted = [dim.dim_param or dim.dim_value for dim in declared]
        raise ValueError(f"input {name!r} has shape {wanted}, got {shape}")
