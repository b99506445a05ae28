"""Cut from the golden numbers what GFNet's tests need.

    python scripts/cut_goldens_gfnet.py --golden FOLDER

``FOLDER`` holds ``A4/A4.npz``, made by running the official code (blackfeather-wang/GFNet-Pytorch,
commit 8a6775c) on fixed inputs and rule-filled weights; ``A4/params.json`` lists the tensors of
every filled module as [stream, name, role, shape].
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

TARGET = Path("tests/golden/gfnet")
LEFT_OUT = ("budget.", "budget_ties.1", "prime.0.bicubic_up", "prime.1.bicubic_up")
"""What nothing of ours is compared with: the solver's plain tables serve one instance with ties."""


def main() -> None:
    """Write ``official.npz`` and ``params.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "A4"
    TARGET.mkdir(parents=True, exist_ok=True)
    with np.load(folder / "A4.npz") as arrays:
        kept = {n: arrays[n] for n in arrays.files if not n.startswith(LEFT_OUT)}
    np.savez_compressed(TARGET / "official.npz", **kept)
    params = json.loads((folder / "params.json").read_text())
    text = json.dumps(params, separators=(",", ":")).replace("],[", "],\n[")
    (TARGET / "params.json").write_text(text.replace("],\n[[", "],[[") + "\n")
    size = (TARGET / "official.npz").stat().st_size
    print(f"{len(kept)} arrays, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
