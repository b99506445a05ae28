"""Cut what the tests of ResKD need out of the golden numbers of the official code.

    python scripts/cut_goldens_reskd.py --golden FOLDER

``FOLDER`` holds ``B8/B8.npz``. Written is ``tests/golden/reskd/losses.npz``: all ten cases under
their own keys ``<sub-item>.<case>.<array>``, without the accuracies, which nothing here computes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden" / "reskd" / "losses.npz"


def main() -> None:
    """Read the file given, write the arrays kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    golden = parser.parse_args().golden
    with np.load(golden / "B8" / "B8.npz") as file:
        kept = {key: file[key] for key in file.files if not key.endswith((".top1", ".top5"))}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **kept)


if __name__ == "__main__":
    main()
