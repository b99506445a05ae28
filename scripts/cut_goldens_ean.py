"""Cut the golden numbers of EAN into the files that its tests read.

    python scripts/cut_goldens_ean.py --golden FOLDER

``FOLDER`` holds ``B3/B3.npz``, made by running the official code (tianyuan168326/EAN-Pytorch) on
fixed inputs and weights. Written are four files under ``tests/golden/ean``, all cases under their
own keys ``<sub-item>.<case>.<array>``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden" / "ean"
FILES: dict[str, tuple[str, ...]] = {
    "block.npz": ("eab.",),
    "objects.npz": ("soi.",),
    "motion_code.npz": ("lmc_tiny.", "lmc_full.", "lmc16_tiny."),
    "backbone.npz": ("me_shift.",),
}
"""Which arrays go where, by the start of their names."""


def main() -> None:
    """Write the files of :data:`FILES`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "B3"
    TARGET.mkdir(parents=True, exist_ok=True)
    with np.load(folder / "B3.npz") as arrays:
        for file, starts in FILES.items():
            kept = {name: arrays[name] for name in arrays.files if name.startswith(starts)}
            np.savez_compressed(TARGET / file, **kept)
            size = (TARGET / file).stat().st_size
            print(f"{file}: {len(kept)} arrays, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
