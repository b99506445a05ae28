"""How far a run is, in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is; ``str`` makes the line.

    Args:
        stage: its name.
        step: steps of the stage that are done.
        num_steps: of the stage.
        steps_after: of the stages after it.
        values: what the loss returned at this step.
        ms_per_step: mean since the stage began, or went on.
        data_wait: share of that spent waiting for a batch, in [0, 1].
        validation: ``accuracy`` and ``loss``, if this step was followed by one.
    """

    stage: str
    step: int
    num_steps: int
    steps_after: int = 0
    values: Mapping[str, float]
    ms_per_step: float
    data_wait: float = 0.0
    validation: Mapping[str, float] | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until all stages are done, at the speed of this one so far."""
        return (self.num_steps - self.step + self.steps_after) * self.ms_per_step / 1000

    @property
    def time_left(self) -> str:
        """The same in words; steps of later stages may take another time, so that it is about.

        >>> Progress(stage="a", step=1, num_steps=3, values={}, ms_per_step=1000.0).time_left
        '0:02 left'
        """
        minutes, seconds = divmod(round(self.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
        return f"about {clock} left in all" if self.steps_after else f"{clock} left"

    def __str__(self) -> str:
        values = "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())
        return (
            f"{self.stage} {self.step}/{self.num_steps}  {values}  "
            f"{self.ms_per_step:.1f} ms/step  {self.time_left}"
        )


def terminal_line(stream: TextIO | None = None) -> Callable[[Progress], None]:
    """Return a ``log`` for :func:`foveal.train.fit` that keeps one line up to date.

    Args:
        stream: standard error if not given. What is no terminal gets a line every ten seconds.
    """
    target = sys.stderr if stream is None else stream
    rewrite = target.isatty()
    due = 0.0

    def log(progress: Progress) -> None:
        nonlocal due
        last = progress.step == progress.num_steps
        if not last and time.monotonic() < due:
            return
        due = time.monotonic() + (0.1 if rewrite else 10.0)
        start, end = ("\r\x1b[K", "\n" if last else "") if rewrite else ("", "\n")
        target.write(f"{start}{progress}{end}")
        target.flush()

    return log
