"""One of several processes, as torchrun starts it: ``rank.py CLIPS OUT``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Do the work and write down what came of it."""
    import torch

    from tests.unit.train.in_processes import work

    torch.set_num_threads(1)
    clips, out = map(Path, sys.argv[1:])
    found = work(clips, out)
    (out / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
