"""Cut from the golden numbers what AdaFocusV2's tests need.

    python scripts/cut_goldens_adafocus_v2.py --golden FOLDER

``FOLDER`` holds ``A2/A2.npz``, made by running the official code (LeapLabTHU/AdaFocusV2,
commit e97987c) on fixed inputs and rule-filled weights; ``A2/params.json`` lists the tensors of
every filled module as [stream, name, role, shape].
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

TARGET = Path("tests/golden/adafocus_v2")

FILES: dict[str, tuple[str, ...]] = {
    "policy.npz": ("policy.", "tsmpolicy."),
    "classifier.npz": ("classifier.",),
    "training.npz": ("loss.", "lr.", "order.", "order_degenerate."),
    "exits.npz": ("exit_confidence.", "exit_entropy."),
    "whole.npz": ("whole.",),
    "encoders.npz": ("tsn_glance.", "tsn_focus."),
}
"""Which arrays go where, by the start of their names."""

MODULES = ("policy", "classifier", "whole", "tsmpolicy", "tsn_mobilenetv2", "tsn_resnet50")


def main() -> None:
    """Write the files of :data:`FILES` and ``params.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, required=True)
    folder = parser.parse_args().golden / "A2"
    TARGET.mkdir(parents=True, exist_ok=True)
    with np.load(folder / "A2.npz") as arrays:
        for file, starts in FILES.items():
            kept = {name: arrays[name] for name in arrays.files if name.startswith(starts)}
            np.savez_compressed(TARGET / file, **kept)
            size = (TARGET / file).stat().st_size
            print(f"{file}: {len(kept)} arrays, {size} bytes", file=sys.stderr)
    params = json.loads((folder / "params.json").read_text())
    kept_params = {k: v for k, v in params.items() if k.startswith(MODULES)}
    text = json.dumps(kept_params, separators=(",", ":"))
    text = text.replace("],[", "],\n[").replace("],\n[[", "],[[")
    (TARGET / "params.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
