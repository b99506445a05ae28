"""A small valid bundle, and a way to spoil it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foveal.bundle import Bundle, Part, write_bundle
from foveal.types import Canvas, PartSpec, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    canvas: Canvas
    frames: tuple[int, ...] = (1, 2)
    tau: float = 0.5
    name: str | None = None


TOY = ToyConfig(canvas=Canvas(height=8, width=8), tau=0.25)
SPEC = PartSpec(
    name="head",
    inputs=(TensorSpec("x", ("t", 3)),),
    outputs=(TensorSpec("logits", (2,)),),
    axes={"t": (1, 2)},
)


def toy_model() -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], np.arange(6.0))
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
            helper.make_node("MatMul", ["s", "w"], ["logits"]),
        ],
        "head",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "t", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 2])],
        [weight, helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


TOY_PART = Part(spec=SPEC, model=toy_model(), macs={(("t", 1),): 6, (("t", 2),): 6})


def write(path: Path, **changes: Any) -> Bundle:
    options: dict[str, Any] = {
        "system": "toy",
        "config": TOY,
        "class_names": ["cat", "dog"],
        "parts": [TOY_PART],
        "licence": "Apache-2.0",
        "provenance": {"commit": "abc"},
        "class_output": "head.logits",
        "context": {"bank": np.arange(6, dtype=np.float32).reshape(2, 3)},
    }
    return write_bundle(path, **{**options, **changes})


@pytest.fixture
def write_toy() -> Callable[..., Bundle]:
    """``write_bundle`` with every option filled in; pass the ones to change."""
    return write


@pytest.fixture
def toy_config() -> ToyConfig:
    return TOY


@pytest.fixture
def toy_part() -> Part:
    return TOY_PART


@pytest.fixture
def toy(tmp_path: Path) -> Bundle:
    return write(tmp_path / "toy.foveal")


@pytest.fixture
def spoil(toy: Bundle) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Rewrite the manifest of the toy bundle with an edit, leaving the other files alone."""

    def rewrite(edit: Callable[[dict[str, Any]], None]) -> Path:
        path = Path(str(toy.path))
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(files["bundle.json"])
        edit(manifest)
        files["bundle.json"] = json.dumps(manifest).encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return rewrite
