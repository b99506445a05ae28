"""Count the multiply-accumulates of an exported part from its graph, at given input shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.cost.graph_walk import walk_graph
from foveal.types import FovealError

if TYPE_CHECKING:
    import onnx


class MissingOnnxError(FovealError):
    """The ``onnx`` package, which only counting and exporting need, is not installed."""

    kind = "missing_package"


@dataclass(frozen=True, slots=True, kw_only=True)
class MacCount:
    """What a graph costs.

    Args:
        total: multiply-accumulates (1 MAC = 2 FLOPs).
        by_op: the same by operator, only those above zero.
        unsupported: one line for each kind of node that could not be counted; ``total`` is
            the whole truth only when this is empty.
    """

    total: int
    by_op: Mapping[str, int]
    unsupported: tuple[str, ...]


def count_macs(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> MacCount:
    """Count the MACs of ``model`` when its inputs have ``shapes``.

    Nodes that depend on no input are computed once, when the part is loaded, and cost nothing
    here. What each operator costs is in :mod:`foveal.cost.operators`.

    Args:
        model: with its weights or without; it is not changed.
        shapes: of every input, rows first; one row gives the cost of one row.

    Raises:
        ValueError: the inputs named are not those of the graph, or a shape contradicts it.
        MissingOnnxError: the ``onnx`` package is not installed.
    """
    try:
        by_op, unsupported = walk_graph(model, shapes)
    except ModuleNotFoundError as error:
        raise MissingOnnxError(
            "counting MACs needs the onnx package", hint='pip install "foveal[train]"'
        ) from error
    return MacCount(total=sum(by_op.values()), by_op=by_op, unsupported=unsupported)
