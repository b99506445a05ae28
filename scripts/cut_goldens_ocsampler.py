"""Cut what the tests of OCSampler need out of the golden numbers of the official code.

    python scripts/cut_goldens_ocsampler.py --golden FOLDER

``FOLDER`` holds ``A5/A5.npz`` and ``A5/params.json``. Written is
``tests/golden/ocsampler/official.npz``: all arrays under their own keys but those of evaluation
(``map``, ``clipavg``), which other code computes, and of the skim network the order, official
names and roles of the tensors, which the fill rule needs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden" / "ocsampler" / "official.npz"
LEFT_OUT = ("map.", "clipavg.")


def main() -> None:
    """Read the files given, write the arrays kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "A5"
    with np.load(folder / "A5.npz") as file:
        kept = {key: file[key] for key in file.files if not key.startswith(LEFT_OUT)}
    rows = json.loads((folder / "params.json").read_text(encoding="utf-8"))["skim.0"]
    kept["skim.names"] = np.array([name for _, name, _, _ in rows])
    kept["skim.roles"] = np.array([role for _, _, role, _ in rows])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **kept)


if __name__ == "__main__":
    main()
