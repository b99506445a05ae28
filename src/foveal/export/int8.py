"""Parts in eight bits: smaller, and on some machines faster; what that costs is measured.

Weights and activations of convolutions and linear layers become int8 by ONNX Runtime's static
quantisation (QDQ, weights by channel). The ranges of activations are those that the calls of some
real clips show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from foveal.bundle import Bundle
from foveal.dataset import Kind, Sample
from foveal.engine.runners import Runner
from foveal.export.part import ExportError
from foveal.records import Failure
from foveal.sampling.protocol import Steps
from foveal.tasks.classification import NothingReadError, run
from foveal.types import Array, ClipInfo, PartSpec

QUANTISED = ("Conv", "MatMul", "Gemm")
MAX_ROWS = 256
"""Of a part that its ranges are taken from."""


class Listener:
    """Runs parts by another runner and keeps the inputs they are called with."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.specs: Mapping[str, PartSpec] = runner.specs
        self.heard: dict[str, list[tuple[Array, ...]]] = {name: [] for name in runner.specs}

    def load(self, part: str) -> None:
        """Load the part; see :meth:`foveal.engine.runners.Runner.load`."""
        self._runner.load(part)

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call; see :meth:`foveal.engine.runners.Runner.run`."""
        kept = self.heard[part]
        if sum(len(call[0]) for call in kept) < MAX_ROWS:
            kept += [tuple(array.copy() for array in call) for call in calls]
        return self._runner.run(part, calls)

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return the MACs of one row; see :meth:`foveal.engine.runners.Runner.macs`."""
        return self._runner.macs(part, shapes)


def listen(
    runner: Runner,
    samples: Iterable[tuple[str, Sample]],
    *,
    kind: Kind,
    steps: Callable[[ClipInfo], Steps],
) -> Mapping[str, Sequence[tuple[Array, ...]]]:
    """Return the inputs that each part is called with on ``samples``, run to their last answers.

    Raises:
        NothingReadError: no clip can be read.
    """
    listener = Listener(runner)
    done = list(run(samples, kind=kind, runner=listener, steps=steps))
    failed = [one for one in done if isinstance(one, Failure)]
    if len(failed) == len(done):
        told = failed[0].message if failed else "there are none"
        raise NothingReadError(f"no clip to take ranges from: {told}", hint="name other clips")
    return listener.heard


def quantise(
    bundle: Bundle, heard: Mapping[str, Sequence[tuple[Array, ...]]]
) -> Mapping[str, bytes]:
    """Return the ONNX models of all parts in int8.

    A part that no clip called, or that has nothing to quantise, stays as it is.

    Args:
        bundle: with parts in float.
        heard: inputs of calls by part.

    Raises:
        ExportError: a part cannot be quantised.
    """
    return {
        name: _quantised(bundle.part_bytes(name), spec, heard.get(name, ()))
        for name, spec in bundle.specs.items()
    }


class _Reader:
    """Feeds the calls, one at a time, as ONNX Runtime's ``CalibrationDataReader`` does."""

    def __init__(self, spec: PartSpec, calls: Sequence[tuple[Array, ...]]) -> None:
        self._feeds: Iterator[dict[str, Array]] = (
            {tensor.name: array for tensor, array in zip(spec.inputs, call, strict=True)}
            for call in calls
        )

    def get_next(self) -> dict[str, Array] | None:
        """Return the next call, None after the last."""
        return next(self._feeds, None)


def _quantised(model: bytes, spec: PartSpec, calls: Sequence[tuple[Array, ...]]) -> bytes:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    nodes = onnx.load_from_string(model).graph.node
    if not calls or not any(node.op_type in QUANTISED for node in nodes):
        return model

    reader = _Reader(spec, calls)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "done"))
        plain.write_bytes(model)
        try:
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(done),
                reader,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
            )
        except Exception as error:  # its errors share no base class
            cause = " ".join(str(error).split())[:200]
            raise ExportError(
                f"part {spec.name!r} cannot be made int8 ({cause})", hint="export it in float"
            ) from error
        return done.read_bytes()
