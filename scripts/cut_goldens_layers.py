"""Cut from the golden numbers what the tests of the shared layers need.

    python scripts/cut_goldens_layers.py --golden FOLDER

``FOLDER`` holds ``A1/A1.npz``: the differentiable crop of the official AdaFocusV2
(LeapLabTHU/AdaFocusV2, commit e97987c) on fixed images, in float32 and float64, with gradients.
Kept is the first case of every kind, and both at the paper's sizes, without the float32 results:
those are rounded in ways of their own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden" / "layers" / "crop.npz"


def main() -> None:
    """Read the file given, write the arrays kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    golden = parser.parse_args().golden
    with np.load(golden / "A1" / "A1.npz") as file:
        kept = {
            key: file[key]
            for key in file.files
            if (".0." in key or key.startswith("real."))
            and not key.endswith(("patch_f32", "patch_sub8_f32", "dact_f32"))
        }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **kept)


if __name__ == "__main__":
    main()
