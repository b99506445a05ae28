"""Runners: they join calls of a part into one batch, run it, and give each call its rows back.

:class:`OnnxRunner` needs only ONNX Runtime; the PyTorch one is in
:mod:`foveal.engine.torch_runner`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from foveal.bundle import Bundle, MacTable, look_up_macs
from foveal.types import Array, FovealError, PartSpec

if TYPE_CHECKING:
    import onnxruntime


class Runner(Protocol):
    """What the executor needs of the parts of a system."""

    @property
    def specs(self) -> Mapping[str, PartSpec]:
        """The parts by name."""

    def load(self, part: str) -> None:
        """Make ``part`` ready to run; what that takes is not on the bill of any sample.

        Raises:
            ValueError: no such part.
            RunnerError: it cannot be loaded.
        """

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call, rows first, in the order of the part's outputs.

        Args:
            part: name of the part.
            calls: inputs of each call, rows first; apart from the rows all shapes are equal.

        Raises:
            ValueError: no such part, or the arrays do not fit its specification.
            RunnerError: the part failed.
        """

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return the multiply-accumulates of one row at input ``shapes`` (rows first).

        Raises:
            ValueError: no such part, or these shapes were not declared and counted.
        """


class RunnerError(FovealError):
    """A part could not be loaded or failed while it ran."""

    kind = "runner_failed"


class OnnxRunner:
    """Runs the parts of a bundle with ONNX Runtime on the CPU.

    A part is loaded when it is first called, so one that is never called costs nothing.

    Args:
        bundle: opened and checked.
        threads: for the operators of one part, at least 1.
        max_macs: a batch that costs more multiply-accumulates is run in pieces of whole rows.
            On a CPU large rows gain nothing from company: of EfficientNet-Lite0 at 224 px, 16
            rows take 200 ms of CPU two by two, and 250 ms and 120 MB more all at once.
    """

    def __init__(self, bundle: Bundle, *, threads: int, max_macs: int = 10**9) -> None:
        if threads < 1 or max_macs < 1:
            raise ValueError(f"threads and max_macs must be positive, got {threads}, {max_macs}")
        self.specs: Mapping[str, PartSpec] = bundle.specs
        self._macs: Mapping[str, MacTable] = {
            part.name: part.mac_table for part in bundle.manifest.parts
        }
        self._bundle = bundle
        self._threads = threads
        self._max_macs = max_macs
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()

    def load(self, part: str) -> None:
        """Load ``part`` now, for instance in a thread while the first frames are decoded.

        Raises:
            ValueError: no such part.
            RunnerError: it cannot be loaded.
            BundleError: its file is damaged.
        """
        self._session(find_part(self.specs, part))

    def run(self, part: str, calls: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Return the outputs of each call; see :meth:`Runner.run`.

        One call is passed on without a copy.
        """
        spec = find_part(self.specs, part)
        rows = rows_of(spec, calls)
        row_macs = self.macs(part, tuple(array.shape for array in calls[0]))
        session = self._session(spec)
        inputs = [_join(spec, i, calls) for i in range(len(spec.inputs))]
        total, step = sum(rows), max(1, self._max_macs // max(1, row_macs))
        pieces = [
            self._run_rows(session, spec, [array[start : start + step] for array in inputs])
            for start in range(0, total, step)
        ]
        if len(pieces) == 1:
            return split_rows(spec, pieces[0], rows)
        outputs = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        return split_rows(spec, outputs, rows)

    def macs(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Return the multiply-accumulates of one row; see :meth:`Runner.macs`."""
        spec = find_part(self.specs, part)
        return look_up_macs(part, self._macs[part], spec.bind(shapes))

    def _run_rows(
        self, session: onnxruntime.InferenceSession, spec: PartSpec, inputs: Sequence[Array]
    ) -> list[Array]:
        feeds = {tensor.name: array for tensor, array in zip(spec.inputs, inputs, strict=True)}
        try:
            outputs: list[Array] = session.run([tensor.name for tensor in spec.outputs], feeds)
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise _failure(self._bundle, spec.name, "failed", error) from error
        return outputs

    def _session(self, spec: PartSpec) -> onnxruntime.InferenceSession:
        with self._lock:
            session = self._sessions.get(spec.name)
            if session is None:
                session = self._sessions[spec.name] = self._open(spec)
            return session

    def _open(self, spec: PartSpec) -> onnxruntime.InferenceSession:
        # Imported here: help, listing and probing never pay for it.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: its errors reach the user as ours
        # A pattern is kept for each batch size, up to 40 MB for EfficientNet-Lite0; without
        # it the arena (which halves the time of a batch) is as fast.
        options.enable_mem_pattern = False
        # Threads that spin while they wait take the core that decodes the next frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = self._bundle.part_bytes(spec.name)
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise _failure(self._bundle, spec.name, "cannot be loaded", error) from error
        declared = ({t.name for t in spec.inputs}, {t.name for t in spec.outputs})
        found = ({t.name for t in session.get_inputs()}, {t.name for t in session.get_outputs()})
        if declared != found:
            raise RunnerError(
                f"{self._bundle.path}: part {spec.name!r} has tensors {found}, not {declared}",
                hint="export the bundle again",
            )
        return session


def find_part(specs: Mapping[str, PartSpec], part: str) -> PartSpec:
    """Return the specification of ``part``.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    spec = specs.get(part)
    if spec is None:
        raise ValueError(f"no part {part!r}; known parts: {', '.join(specs)}")
    return spec


def rows_of(spec: PartSpec, calls: Sequence[tuple[Array, ...]]) -> list[int]:
    """Return the number of rows of each call.

    Raises:
        ValueError: no calls, one that does not fit ``spec``, or one without rows.
    """
    if not calls:
        raise ValueError(f"part {spec.name!r} needs at least one call")
    for call in calls:
        spec.bind(tuple(array.shape for array in call))
    rows = [int(call[0].shape[0]) for call in calls]
    if min(rows) < 1:
        raise ValueError(f"part {spec.name!r} needs at least one row in each call")
    return rows


def _join(spec: PartSpec, index: int, calls: Sequence[tuple[Array, ...]]) -> Array:
    """Return input ``index`` of all calls as one array; that of a single call is not copied."""
    tensor = spec.inputs[index]
    arrays = [call[index] for call in calls]
    if any(array.dtype != tensor.dtype for array in arrays):
        found = ", ".join(sorted({str(array.dtype) for array in arrays}))
        raise ValueError(f"{spec.name}.{tensor.name} takes {tensor.dtype}, got {found}")
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def split_rows(
    spec: PartSpec, outputs: Iterable[Any], rows: Sequence[int]
) -> list[tuple[Array, ...]]:
    """Return for each call its own rows of ``outputs``, as views.

    Raises:
        RunnerError: an output does not have as many rows as went in.
    """
    outputs = tuple(outputs)
    total = sum(rows)
    for tensor, output in zip(spec.outputs, outputs, strict=True):
        if tuple(output.shape[:1]) != (total,):
            raise RunnerError(
                f"{spec.name}.{tensor.name} has shape {tuple(output.shape)} for {total} rows",
                hint="every output of a part needs its rows first",
            )
    if len(rows) == 1:
        return [outputs]
    split: list[tuple[Array, ...]] = []
    start = 0
    for count in rows:
        split.append(tuple(output[start : start + count] for output in outputs))
        start += count
    return split


def _failure(bundle: Bundle, part: str, what: str, error: Exception) -> RunnerError:
    # ONNX Runtime's messages span lines and repeat its source paths; the last line says why.
    cause = " ".join(str(error).split())[-300:]
    return RunnerError(
        f"{bundle.path}: part {part!r} {what} ({cause})",
        hint="download or export the bundle again",
    )
