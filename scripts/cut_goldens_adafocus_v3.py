"""Cut from the golden numbers what AdaFocusV3's tests need.

    python scripts/cut_goldens_adafocus_v3.py --golden FOLDER

``FOLDER`` holds ``A3/A3.npz``, made by running the official code of the successor
(LeapLabTHU/Uni-AdaFocus, commit 8846488) on fixed inputs and rule-filled weights; of AdaFocusV3
itself no code is public. ``A3/params.json`` lists the tensors of every filled module as [stream,
name, role, shape].
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

TARGET = Path("tests/golden/adafocus_v3")
LEFT_OUT = ("exit.1.", "spolicy_x3d.", "framecrop.1.")
"""The variant for X3D is not built; the rest would make the file large and says nothing new."""


def main() -> None:
    """Write ``official.npz`` and ``params.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "A3"
    TARGET.mkdir(parents=True, exist_ok=True)
    with np.load(folder / "A3.npz") as arrays:
        kept = {n: arrays[n] for n in arrays.files if not n.startswith(LEFT_OUT)}
    np.savez_compressed(TARGET / "official.npz", **kept)
    params = json.loads((folder / "params.json").read_text())
    kept_params = {k: v for k, v in params.items() if not k.startswith(LEFT_OUT)}
    text = json.dumps(kept_params, separators=(",", ":")).replace("],[", "],\n[")
    (TARGET / "params.json").write_text(text.replace("],\n[[", "],[[") + "\n")
    size = (TARGET / "official.npz").stat().st_size
    print(f"{len(kept)} arrays, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
