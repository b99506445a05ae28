"""TSQNet on tennis strokes: accuracy against the number of frames.

    python scripts/thetis_tsqnet.py --data FOLDER

The rules are in ``thetis_task.py``. Recipe ``features`` at its defaults: the visual branch. The
recogniser takes single frames; answers are averaged.
"""

from __future__ import annotations

import torch
from thetis_task import CLASSES, Answer, Sets, main, trained
from torch import Tensor

from foveal.layers import mean_answer
from foveal.systems.tsqnet import protocol, recipe
from foveal.systems.tsqnet.model import Network


def measure(sets: Sets, seed: int) -> dict[str, tuple[Tensor, Answer]]:
    """Return what the trained sampler finds salient, and its recogniser."""
    network: Network = trained(
        recipe.features(cfg=protocol.features(num_classes=CLASSES)), sets, seed
    )
    with torch.no_grad():
        saliency = network.saliency(network.sampler(torch.from_numpy(sets["test"]["frames"])))

    def answer(kept: Tensor) -> Tensor:
        return mean_answer(network.recogniser.clip_logits(kept))

    return {"tsqnet, visual": (saliency, answer)}


if __name__ == "__main__":
    main("tsqnet", measure)
