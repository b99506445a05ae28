"""Is OpenVINO quicker than ONNX Runtime on the part that everybody runs, the tagger's?

    pip install openvino
    python benchmarks/openvino_parts.py            # a minute on one core

The embedded tagger (EfficientNet-Lite0, 224 px), at one row and at eight, one thread, in float32
(two runners of one bundle must agree within 0.001) and as OpenVINO likes best (bfloat16 where the
processor has it). CPU milliseconds, the median of 40 runs that take turns, after one to warm up.
OpenVINO would become a runner if it took at most 0.8 of the time in float32; written down before
the numbers. (A first run had the parts of small trained networks too, where it took up to three
times as long.)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import onnxruntime
import openvino

from foveal.bundle import Bundle, declared_axes
from foveal.results import write_result
from foveal.types import Array, PartSpec

BUNDLE = files("foveal.systems.tagger") / "tagger.foveal"
ROWS, RUNS = (1, 8), 40
FAST_ENOUGH = 0.8

Run = Callable[[], list[Array]]


def inputs_of(spec: PartSpec, rows: int) -> dict[str, Array]:
    """Return inputs by chance for the first of the declared sizes."""
    bound, rng = declared_axes(spec)[0], np.random.default_rng(0)
    found: dict[str, Array] = {}
    for tensor in spec.inputs:
        shape = (rows, *(bound[s] if isinstance(s, str) else s for s in tensor.shape))
        high = 256 if tensor.dtype == "uint8" else 1
        drawn = rng.integers(0, high, shape) if "int" in tensor.dtype else rng.random(shape)
        found[tensor.name] = drawn.astype(tensor.dtype)
    return found


def runs_of(model: bytes, feeds: dict[str, Array]) -> dict[str, Run]:
    """Return what runs the part once, by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    read = core.read_model(model)
    found: dict[str, Run] = {"onnxruntime": lambda: list(session.run(None, feeds))}
    for name, precision in (("openvino float32", "f32"), ("openvino as it likes", None)):
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            settings["INFERENCE_PRECISION_HINT"] = precision
        request = core.compile_model(read, "CPU", settings).create_infer_request()
        found[name] = lambda request=request: [  # type: ignore[misc]
            np.array(request.infer(feeds)[i]) for i in range(len(read.outputs))
        ]
    return found


def compare(model: bytes, spec: PartSpec, rows: int) -> dict[str, Any]:
    """Return the times of one part, and how far the outputs are from ONNX Runtime's."""
    runs = runs_of(model, inputs_of(spec, rows))
    wanted = runs["onnxruntime"]()
    told: dict[str, Any] = {"rows": rows}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        apart = [np.abs(a - b).max() for a, b in zip(wanted, run(), strict=True)]
        told[name] = {"difference": float(max(apart))}
    for _ in range(RUNS):
        for name, run in runs.items():
            began = time.process_time()
            run()
            times[name].append(1e3 * (time.process_time() - began))
    for name, found in times.items():
        told[name]["ms"] = round(statistics.median(found), 4)
    for name in runs:
        told[name]["of_onnxruntime"] = round(told[name]["ms"] / told["onnxruntime"]["ms"], 3)
    return told


def main() -> None:
    """Measure and write ``results/benchmarks/openvino.json``."""
    measured: dict[str, Any] = {}
    bundle = Bundle.open(BUNDLE)
    for name, spec in bundle.specs.items():
        measured[name] = [compare(bundle.part_bytes(name), spec, rows) for rows in ROWS]
    ratios = [one["openvino float32"]["of_onnxruntime"] for m in measured.values() for one in m]
    write_result(
        "results/benchmarks/openvino.json",
        title="OpenVINO beside ONNX Runtime on the embedded tagger",
        protocol="see the docstring of benchmarks/openvino_parts.py, committed before the numbers",
        measured={"openvino": version("openvino"), "parts": measured},
        threads=1,
        claim={
            "text": f"OpenVINO takes at most {FAST_ENOUGH} of the time in float32",
            "holds": max(ratios) <= FAST_ENOUGH,
            "why": f"it takes {min(ratios)} to {max(ratios)} of the time",
        },
    )
    print(f"float32: {min(ratios)} to {max(ratios)} of the time")


if __name__ == "__main__":
    main()
