from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.bundle import Bundle
from foveal.engine.runners import OnnxRunner, Runner, RunnerError
from foveal.engine.torch_runner import TorchRunner
from foveal.types import Array, Call, PartSpec

Make = Callable[[Bundle], Runner]


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.arange(6.0).reshape(3, 2))

    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        s = x.sum(1)
        return s @ self.get_buffer("w") + bias, s


class OneOutput(nn.Module):
    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x.sum(1)


def onnx_runner(bundle: Bundle) -> Runner:
    return OnnxRunner(bundle, threads=1)


def torch_runner(bundle: Bundle) -> Runner:
    tables = {p.name: p.mac_table for p in bundle.manifest.parts}
    return TorchRunner({"head": Head()}, bundle.specs, tables)


both = pytest.mark.parametrize("make", [onnx_runner, torch_runner])


def a_call(rows: int, t: int, seed: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, t, 3)).astype(np.float32)
    return x, rng.normal(size=(rows, 2)).astype(np.float32)


def expected(call: tuple[Array, ...]) -> tuple[Array, ...]:
    x, bias = call
    s = x.sum(1)
    return s @ np.arange(6, dtype=np.float32).reshape(3, 2) + bias, s


@both
@pytest.mark.parametrize("rows", [[1], [3], [1, 1, 1], [2, 1, 4]])
def test_each_call_gets_its_own_rows(make: Make, head: Bundle, rows: list[int]) -> None:
    calls = [a_call(n, 2, seed) for seed, n in enumerate(rows)]
    answers = make(head).run("head", calls)
    assert len(answers) == len(rows)
    for call, answer in zip(calls, answers, strict=True):
        for got, want in zip(answer, expected(call), strict=True):
            assert isinstance(got, np.ndarray)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@both
def test_inputs_may_be_read_only(make: Make, head: Bundle) -> None:
    call = a_call(2, 1, 0)
    for array in call:
        array.flags.writeable = False
    make(head).run("head", [call])


@both
def test_macs_are_looked_up_by_row(make: Make, head: Bundle) -> None:
    runner = make(head)
    assert runner.macs("head", ((1, 2, 3), (1, 2))) == 6
    assert runner.macs("head", ((16, 2, 3), (16, 2))) == 6
    with pytest.raises(ValueError, match=r"not counted at \{'t': 5\}; declared are \{'t': 1\}"):
        runner.macs("head", ((1, 5, 3), (1, 2)))


@both
@pytest.mark.parametrize(
    ("part", "calls", "message"),
    [
        ("hat", [a_call(1, 1, 0)], "no part 'hat'; known parts: head"),
        ("head", [], "at least one call"),
        ("head", [a_call(1, 1, 0)[:1]], "takes 2 inputs, got 1"),
        ("head", [a_call(0, 1, 0)], "at least one row"),
        ("head", [(np.zeros((1, 1, 3), np.float32), np.zeros((1, 7), np.float32))], "head.bias"),
        (
            "head",
            [(np.zeros((1, 1, 3)), np.zeros((1, 2), np.float32))],
            r"head\.x takes float32, got float64",
        ),
    ],
)
def test_calls_that_do_not_fit_are_refused(
    make: Make, head: Bundle, part: str, calls: list[tuple[Array, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(head).run(part, calls)


# --- ONNX Runtime -----------------------------------------------------------------------------


def test_a_single_call_is_not_copied(head: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a single call was copied")

    call = a_call(3, 1, 0)
    monkeypatch.setattr("numpy.concatenate", never)
    OnnxRunner(head, threads=1).run("head", [call])


def test_a_part_is_loaded_once_and_only_when_called(
    head: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    read = Bundle.part_bytes

    def counting(bundle: Bundle, name: str) -> bytes:
        loads.append(name)
        return read(bundle, name)

    monkeypatch.setattr(Bundle, "part_bytes", counting)
    runner = OnnxRunner(head, threads=1)
    assert loads == []
    runner.load("head")
    runner.run("head", [a_call(1, 1, 0)])
    assert loads == ["head"]


def test_onnxruntime_is_imported_with_the_first_part() -> None:
    code = (
        "import sys, foveal.engine.runners, foveal.bundle; "
        "print(*({'onnxruntime', 'onnx', 'torch', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_is_no_graph_cannot_be_loaded(not_a_graph: Bundle) -> None:
    with pytest.raises(RunnerError, match=r"empty\.foveal: part 'head' cannot be loaded"):
        OnnxRunner(not_a_graph, threads=1).load("head")


def test_tensors_that_differ_from_the_specification_are_named(other_names: Bundle) -> None:
    with pytest.raises(RunnerError, match=r"'bias'.* not .*'offset'"):
        OnnxRunner(other_names, threads=1).load("head")


def test_a_graph_with_a_fixed_batch_fails_clearly(fixed_batch: Bundle) -> None:
    with pytest.raises(RunnerError, match=r"fixed\.foveal: part 'head' failed") as caught:
        OnnxRunner(fixed_batch, threads=1).run("head", [a_call(2, 1, 0)])
    assert caught.value.kind == "runner_failed"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("max_macs", "pieces"), [(1, 7), (12, 4), (13, 4), (42, 1), (10**9, 1)])
def test_a_costly_batch_is_run_in_pieces(
    head: Bundle, monkeypatch: pytest.MonkeyPatch, max_macs: int, pieces: int
) -> None:
    runner = OnnxRunner(head, threads=1, max_macs=max_macs)
    batches: list[int] = []
    run_rows = OnnxRunner._run_rows

    def counting(self: OnnxRunner, session: Any, spec: PartSpec, inputs: list[Array]) -> Any:
        batches.append(len(inputs[0]))
        return run_rows(self, session, spec, inputs)

    monkeypatch.setattr(OnnxRunner, "_run_rows", counting)
    calls = [a_call(n, 2, n) for n in (2, 1, 4)]
    answers = runner.run("head", calls)
    assert (len(batches), sum(batches)) == (pieces, 7)
    for call, answer in zip(calls, answers, strict=True):
        np.testing.assert_allclose(answer[0], expected(call)[0], rtol=1e-5, atol=1e-6)


def test_threads_must_be_positive(head: Bundle) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        OnnxRunner(head, threads=0)


# --- PyTorch ----------------------------------------------------------------------------------


def test_the_torch_runner_evaluates(head: Bundle) -> None:
    modules = {"head": Head().train()}
    runner = TorchRunner(modules, head.specs, {"head": {}})
    assert not modules["head"].training
    (answer,) = runner.run("head", [a_call(1, 1, 0)])
    assert isinstance(answer[0], np.ndarray)


def test_outputs_that_only_parts_read_stay_tensors(head: Bundle) -> None:
    runner = TorchRunner({"head": Head()}, head.specs, {"head": {}}, keep_on_device=frozenset("s"))
    answers = runner.run("head", [a_call(1, 1, 0), a_call(2, 1, 1)])
    y, s = answers[1]
    assert isinstance(y, np.ndarray)
    assert isinstance(s, Tensor)
    Call(part="head", inputs=(s,), rows=2)
    again = runner.run("head", [(s[:, None], bias[:, :2]) for bias, s in answers])
    assert [a[0].shape for a in again] == [(1, 2), (2, 2)]


def test_what_the_torch_runner_is_given_must_agree(head: Bundle) -> None:
    with pytest.raises(ValueError, match="must name the same parts"):
        TorchRunner({}, head.specs, {})
    with pytest.raises(ValueError, match="no part has an output named"):
        TorchRunner({"head": Head()}, head.specs, {"head": {}}, keep_on_device=frozenset("q"))


def test_a_module_with_other_outputs_is_refused(head: Bundle) -> None:
    runner = TorchRunner({"head": OneOutput()}, head.specs, {"head": {}})
    with pytest.raises(ValueError, match="gave 1 of 2 outputs"):
        runner.run("head", [a_call(1, 1, 0)])


class Failing(nn.Module):
    def forward(self, x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return bias @ bias, x


def test_a_module_that_fails_is_one_clear_error(head: Bundle) -> None:
    runner = TorchRunner({"head": Failing()}, head.specs, {"head": {}})
    with pytest.raises(RunnerError, match="part 'head' failed") as caught:
        runner.run("head", [a_call(3, 1, 0)])
    assert "\n" not in str(caught.value)
