"""From training to the light install: the same logits without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.export import export_bundle
from foveal.systems.baselines import protocol
from foveal.train import Running, fit
from foveal.types import Canvas, PartSpec, TensorSpec
from tests.unit.train import toy

RUN_LIGHT = """
import sys
import numpy as np
from foveal.bundle import Bundle
from foveal.engine.runners import OnnxRunner

bundle, frames, out = sys.argv[1:]
((logits, probs),) = OnnxRunner(Bundle.open(bundle), threads=1).run("toy", [(np.load(frames),)])
heavy = {"torch", "lightning_fabric", "safetensors", "timm"} & set(sys.modules)
assert not heavy, heavy
np.save(out, logits)
"""

SPEC = PartSpec(
    name="toy",
    inputs=(TensorSpec("frames", (3, 8, 8), "uint8"),),
    outputs=(TensorSpec("logits", (toy.NUM_CLASSES,)), TensorSpec("probs", (toy.NUM_CLASSES,))),
)


class Part(nn.Module):
    """The trained network as a part: it shares the weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.network(frames)
        return logits, logits.softmax(1)


@pytest.mark.export
def test_a_trained_network_gives_the_same_logits_in_the_light_runner(tmp_path: Path) -> None:
    network = fit(
        toy.recipe(steps=80),
        toy.data(),
        out=tmp_path / "run",
        seed=0,
        running=Running(device="cpu"),
    ).network
    path = tmp_path / "toy.foveal"
    config = protocol.uniform(
        Canvas(height=8, width=8), num_frames=2, num_classes=toy.NUM_CLASSES, part="toy"
    )
    export_bundle(
        path,
        system="baselines",
        config=config,
        modules={"toy": Part(network)},
        specs=(SPEC,),
        class_names=["red", "green", "blue"],
        class_output="toy.probs",
        licence="Apache-2.0",
    )
    frames = toy.data().arrays["frames"]
    np.save(tmp_path / "frames.npy", frames)
    subprocess.run(
        [sys.executable, "-c", RUN_LIGHT, path, tmp_path / "frames.npy", tmp_path / "logits.npy"],
        check=True,
        timeout=60,
    )
    with torch.inference_mode():
        wanted = network(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), wanted, atol=1e-4)
    labels = toy.data().arrays["label"]
    assert (wanted.argmax(1) == labels).mean() > 0.9  # it learned, so the logits say something
