"""The trained student in results/: small, and the same answers without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "results" / "reskd" / "tiny.foveal"

LIGHT = """
import json, sys
import foveal
from foveal.haystack import find, sample
from foveal.video import ArraySource

preset = find("resolution-v1")
made = sample(preset, split="test", count=64, seed=0)
model = foveal.load(sys.argv[1], threads=1)
names = list(model.class_names)
right, macs = 0, set()
for frames, label in zip(made.frames, made.labels):
    record = model.recognize(ArraySource(frames, fps=preset.fps))
    right += record.predictions[0].label == names[label]
    macs.add(record.cost.total_macs)
    assert record.cost.frames_used == 4
heavy = [name for name in ("torch", "timm", "onnx") if name in sys.modules]
print(json.dumps({"right": right, "macs": sorted(macs), "heavy": heavy}))
"""


def test_the_bundle_is_small() -> None:
    assert BUNDLE.stat().st_size < 300_000


def test_the_light_install_recognises_as_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(BUNDLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    result = json.loads((BUNDLE.parent / "distillation.json").read_text(encoding="utf-8"))
    measured = result["measured"]
    table = measured["accuracy"][f"distilled_{measured['weight']:g}"]
    assert found["heavy"] == []
    assert found["macs"] == [table["macs"]]
    # 64 of the 2,000 clips that were measured: four deviations of their mean.
    assert found["right"] / 64 == pytest.approx(table["test"][0], abs=0.15)
