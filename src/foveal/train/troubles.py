"""Files that could not be read: one line each, a row in ``bad.jsonl``, and a limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from lightning_fabric import Fabric

from foveal.train.checkpoint import TrainError
from foveal.train.data import Trouble
from foveal.train.processes import gather


class TroubleList:
    """What was said of broken files so far, in this run and before it was stopped.

    Args:
        path: the JSON lines file; made with the first trouble.
        num_samples: of the set, which the limit is a share of.
        max_share: the run ends when more of the samples are broken.
        tell: is given one line for each file, once.
        fabric: several processes tell each other when they :meth:`meet`; one alone knows at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_samples: int,
        max_share: float,
        tell: Callable[[str], None],
        fabric: Fabric,
    ) -> None:
        self.path = path
        self.num_samples = num_samples
        self.max_share = max_share
        self.tell = tell
        self.fabric = fabric
        self._waiting: list[Trouble] = []
        self.known: set[str] = set()
        if path.exists():
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # the end of a run that was killed as it wrote
            self.known = {json.loads(line)["path"] for line in whole.splitlines()}
            if whole != text and fabric.global_rank == 0:
                path.write_text(whole, encoding="utf-8")

    def add(self, troubles: Iterable[Trouble]) -> None:
        """Take in what could not be read.

        Raises:
            TrainError: see :meth:`meet`.
        """
        self._waiting.extend(troubles)
        if self.fabric.world_size == 1 and self._waiting:
            self.meet()

    def meet(self) -> None:
        """Tell and write down what is new in any process; all of them call this together.

        Raises:
            TrainError: more than the set share of the samples is broken.
        """
        everyone = gather(self.fabric, self._waiting)
        self._waiting.clear()
        for trouble in everyone:
            if trouble.path in self.known:
                continue
            self.known.add(trouble.path)
            if self.fabric.global_rank == 0:
                self.tell(f"{trouble.message}; {trouble.hint}; another clip takes its place")
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(trouble)) + "\n")
        share = len(self.known) / self.num_samples
        if share > self.max_share:
            raise TrainError(
                f"{len(self.known)} of {self.num_samples} clips cannot be read ({share:.0%}, "
                f"the limit is {self.max_share:.0%}); {self.path} lists them",
                hint="mend or remove them, or allow more with max_bad_share",
            )
