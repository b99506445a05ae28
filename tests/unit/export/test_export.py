from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from foveal.bundle import Bundle
from foveal.engine.runners import OnnxRunner
from foveal.engine.torch_runner import TorchRunner
from foveal.export import (
    OPSET,
    ExportError,
    check_parity,
    count_part,
    export_bundle,
    export_part,
    export_parts,
    half_weights,
    output_change,
)
from foveal.types import PartSpec, TensorSpec


class Glance(nn.Module):
    """Pictures of T frames and a state to a vector a frame, the best frame and the new state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.mix = nn.GRUCell(8, 8)

    def forward(self, frames: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, num_frames = frames.shape[:2]
        x = self.conv(frames.flatten(0, 1).float() / 255)
        vec = x.mean((2, 3)).unflatten(0, (rows, num_frames))
        h = self.mix(vec.mean(1), h)
        return vec, vec.sum(2).argmax(1), h


GLANCE = PartSpec(
    name="glance",
    inputs=(TensorSpec("frames", ("t", 3, 8, 8), "uint8"), TensorSpec("h", (8,))),
    outputs=(
        TensorSpec("vec", ("t", 8)),
        TensorSpec("best", (), "int64"),
        TensorSpec("h_next", (8,)),
    ),
    axes={"t": (1, 2, 5)},
)
GLANCE_MACS = {(("t", t),): t * 16 * 8 * 27 + 2 * 3 * 8 * 8 for t in (1, 2, 5)}

HEAD = PartSpec(name="head", inputs=(TensorSpec("x", (8,)),), outputs=(TensorSpec("logits", (4,)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    tau: float = 0.5


@pytest.fixture(scope="module")
def glance() -> Glance:
    torch.manual_seed(0)
    module = Glance()
    module(torch.randint(0, 256, (4, 2, 3, 8, 8)), torch.zeros(4, 8))  # moves the running mean
    return module


@pytest.fixture(scope="module")
def model(glance: Glance) -> bytes:
    return export_part(glance, GLANCE)


@pytest.mark.export
def test_rows_and_axes_are_symbolic_and_named(model: bytes) -> None:
    graph = onnx.load_from_string(model).graph
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in graph.input
    }
    assert shapes == {"frames": ["rows", "t", 3, 8, 8], "h": ["rows", 8]}
    assert [o.name for o in graph.output] == ["vec", "best", "h_next"]


@pytest.mark.export
def test_the_graph_is_lean(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    ops = [node.op_type for node in proto.graph.node]
    assert "BatchNormalization" not in ops
    assert b".py" not in model  # no stack traces


@pytest.mark.export
def test_an_export_can_be_had_again(glance: Glance, model: bytes) -> None:
    assert export_part(glance, GLANCE) == model


@pytest.mark.export
def test_the_module_is_left_as_it_was(glance: Glance, model: bytes) -> None:
    assert glance.training
    assert all(p.requires_grad for p in glance.parameters())
    assert onnx.load_from_string(model).graph.name == "glance"


@pytest.mark.export
def test_every_declared_size_agrees_with_the_module(glance: Glance, model: bytes) -> None:
    assert check_parity(glance, model, GLANCE) < 1e-5


@pytest.mark.export
def test_every_declared_size_is_counted(model: bytes) -> None:
    assert count_part(model, GLANCE) == GLANCE_MACS
    assert count_part(half_weights(model), GLANCE) == GLANCE_MACS


@pytest.mark.export
def test_another_module_is_found_out(model: bytes) -> None:
    torch.manual_seed(1)
    with pytest.raises(ExportError, match="part 'glance' differs from its module by"):
        check_parity(Glance(), model, GLANCE)


@pytest.mark.export
def test_a_system_goes_into_a_bundle_and_runs(glance: Glance, tmp_path: Path) -> None:
    modules = {"glance": glance, "head": nn.Linear(8, 4)}
    bundle, exported = export_bundle(
        tmp_path / "toy.foveal",
        system="toy",
        config=Config(),
        modules=modules,
        specs=(GLANCE, HEAD),
        class_names=["a", "b", "c", "d"],
        class_output="head.logits",
        licence="Apache-2.0",
        half=True,
    )
    assert all(one.parity <= 1e-4 for one in exported)
    assert all(one.half_change is not None and one.half_change < 1e-2 for one in exported)
    assert bundle == Bundle.open(tmp_path / "toy.foveal")
    tables = {p.name: p.mac_table for p in bundle.manifest.parts}
    onnx_runner = OnnxRunner(bundle, threads=1)
    torch_runner = TorchRunner(modules, bundle.specs, tables)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 5, 3, 8, 8)).astype(np.uint8)
    call = (frames, np.zeros((3, 8), np.float32))
    (ours,), (theirs,) = (r.run("glance", [call]) for r in (onnx_runner, torch_runner))
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=5e-3)
    assert onnx_runner.macs("glance", ((3, 5, 3, 8, 8), (3, 8))) == GLANCE_MACS[("t", 5),]


# --- float16 weights, without the exporter ----------------------------------------------------


def linear_model(weight: np.ndarray) -> bytes:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["logits"])],
        "head",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(weight)])],
        [onnx.helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 4])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


WIDE = PartSpec(
    name="head", inputs=(TensorSpec("x", (100,)),), outputs=(TensorSpec("logits", (4,)),)
)


def weights_of(model: bytes) -> list[np.dtype]:
    return [numpy_helper.to_array(t).dtype for t in onnx.load_from_string(model).graph.initializer]


def test_half_weights_halve_the_file_and_barely_change_the_output() -> None:
    weight = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    exact = linear_model(weight)
    half = half_weights(exact)
    assert weights_of(half) == [np.dtype(np.float16)]
    assert len(half) < 0.65 * len(exact)
    assert 0 < output_change(exact, half, WIDE) < 1e-3
    rounded = linear_model(weight.astype(np.float16).astype(np.float32))
    assert output_change(rounded, half, WIDE) == 0.0


def test_small_and_huge_weights_stay_as_they_are() -> None:
    small = linear_model(np.ones((8, 4), np.float32))
    assert weights_of(half_weights(small)) == [np.dtype(np.float32)]
    huge = linear_model(np.full((100, 4), 1e6, np.float32))
    assert weights_of(half_weights(huge)) == [np.dtype(np.float32)]


# --- what cannot be exported ------------------------------------------------------------------


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :4] if x.sum() > 0 else x[:, 4:]


class LoopsOverRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[i, :4] for i in range(x.shape[0])])


@pytest.mark.export
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Branches, "data-dependent expression"),
        (LoopsOverRows, "tracing fixed rows of 'x' to 2"),
    ],
)
def test_what_is_no_static_part_is_one_clear_error(
    make: Callable[[], nn.Module], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match=f"part 'head' cannot be exported .*{message}") as caught:
        export_parts({"head": make()}, [HEAD])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert capfd.readouterr().out == ""


class NeedsTwoRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 2, 8)[:, 0, :4]


class WrongShape(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3]


class WrongType(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :4].double()


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :4], x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (NeedsTwoRows, r"the module of part 'head' fails at x \(1, 8\)"),
        (WrongShape, r"head\.logits is float32 \(1, 3\) where float32 \(1, 4\) is declared"),
        (WrongType, r"head\.logits is float64"),
        (TwoOutputs, "has 2 outputs, 1 are declared"),
        (lambda: nn.Linear(8, 4), "differs from its module by"),
    ],
)
def test_modules_that_are_not_as_declared_are_refused(
    make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        check_parity(make(), linear_model(np.ones((8, 4), np.float32)), HEAD)
    assert "\n" not in str(caught.value)


def test_nan_is_not_a_small_difference() -> None:
    broken = linear_model(np.full((8, 4), np.nan, np.float32))
    with pytest.raises(ExportError, match="by inf of the output's scale"):
        check_parity(nn.Linear(8, 4), broken, HEAD)


def test_a_model_that_does_not_run_is_one_clear_error() -> None:
    with pytest.raises(ExportError, match=r"part 'head' fails at x \(1, 8\)"):
        check_parity(nn.Linear(8, 4), linear_model(np.ones((100, 4), np.float32)), HEAD)
    with pytest.raises(ExportError, match="part 'head' cannot be loaded"):
        check_parity(nn.Linear(8, 4), b"not a model", HEAD)


def test_uncountable_operators_refuse_the_export() -> None:
    proto = onnx.load_from_string(linear_model(np.ones((8, 4), np.float32)))
    proto.graph.node[0].op_type = "Det"
    del proto.graph.node[0].input[1:]
    with pytest.raises(ExportError, match="part 'head' cannot be counted: Det"):
        count_part(proto.SerializeToString(), HEAD)


def test_modules_and_specifications_must_agree() -> None:
    with pytest.raises(ExportError, match=r"modules are \['hat'\], specifications \['head'\]"):
        export_parts({"hat": nn.Linear(8, 4)}, [HEAD])
