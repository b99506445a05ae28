"""Curves for other programs: a CSV file, and TensorBoard's own if it is wanted."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from foveal.train.stage_run import Point

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COLUMNS = ("stage", "step", "total_step", "name", "value")


class Logs:
    """Writes ``metrics.csv`` and, on demand, a folder ``tensorboard``, below a run's folder.

    The CSV file has a line for each number: stage, step of the stage, step of the run, name and
    value. What a resumed run's checkpoint does not know is taken out first, so no step is there
    twice; TensorBoard is told to forget it too.

    Args:
        out: of the run.
        tensorboard: whether to write for it.
        history: the points of the steps that are done.
        writes: whether this process is the one that writes.
    """

    def __init__(
        self,
        out: Path,
        *,
        tensorboard: bool,
        history: Sequence[Mapping[str, Any]],
        writes: bool = True,
    ) -> None:
        self._total = len(history)
        self._writer: SummaryWriter | None = None
        self._file: io.TextIOWrapper | None = None
        if not writes:
            return
        known = {(point["stage"], str(point["step"])) for point in history}
        path = out / "metrics.csv"
        kept: list[list[str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.reader(file) if tuple(row[:2]) in known]
        part = path.with_name(f".{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS)
            rows.writerows(row for row in kept if len(row) == len(_COLUMNS))
        os.replace(part, path)  # a run killed here keeps its lines
        self._file = path.open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=self._total + 1)

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def write(self, point: Point, *, ms_per_step: float, data_wait: float) -> None:
        """Write the numbers of one step."""
        self._total += 1
        if self._file is None:
            return
        numbers = {
            "lr": point.lr,
            **point.values,
            **{f"validation_{name}": v for name, v in (point.validation or {}).items()},
            "ms_per_step": ms_per_step,
            "data_wait": data_wait,
        }
        for name, value in numbers.items():
            self._rows.writerow((point.stage, point.step, self._total, name, f"{value:.6g}"))
            if self._writer is not None:
                self._writer.add_scalar(f"{point.stage}/{name}", value, self._total)
        if self._total % 50 == 0:
            self._file.flush()

    def flush(self) -> None:
        """Hand what was written to the system, so that a killed run has it."""
        if self._file is not None:
            self._file.flush()
        if self._writer is not None:
            self._writer.flush()
