"""Official Uni-AdaFocus checkpoints as weights of our network, tensor by tensor.

The names are those of the published offline code (LeapLabTHU/Uni-AdaFocus, MIT): ``global_CNN``
glances, ``spatial_policy`` and ``temporal_policy`` decide, ``local_CNN`` looks. Its ImageNet
classifiers, which nothing reads, are left out. ``module.`` in front, from data-parallel training,
is taken off. The published weights were trained with zeros beyond the border (``uni_released``). No
AdaFocusV3 weights are public; of the TSM variant the policies alone are known, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from foveal.backbones.official import encoder_name
from foveal.backbones.weight_file import WeightsError, stacked, whole_state
from foveal.systems.adafocus_v3.model import make_network
from foveal.systems.adafocus_v3.protocol import Config

UNUSED = re.compile(r"(global_CNN|local_CNN)\.(fc|classifier)(\.\d+)?\.(weight|bias)")
PREFIX_HEAD = re.compile(r"classifier\.(global|local)_classifiers\.(\d+)\.1\.(weight|bias)")
OWNERS = {"global": "glance_classifier", "local": "classifier"}

MODULES: Mapping[str, str] = {
    "global_CNN_fc": "glance_head",
    "local_CNN_fc": "focus_head",
    "aux_fc": "map_head",
    "spatial_policy.encoder": "policy.encode",
    "temporal_policy.Tconv": "time_policy.encode",
    "classifier.global_mlp.layers": "glance_classifier.fuse",
    "classifier.local_mlp.layers": "classifier.fuse",
    "global_CNN": "glance.net.net",
    "local_CNN": "focus.net.net",
}
"""Official module to ours; the first that fits counts."""


def convert(state: Mapping[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Return an official ``state`` under our names, every tensor of the network of ``cfg``.

    Args:
        state: the checkpoint's ``state_dict``.
        cfg: what it was trained with, e.g. ``protocol.uni_released()``.

    Raises:
        WeightsError: a tensor is missing, unknown, or of another shape; the message names it.
    """
    if cfg.place != "region" or cfg.shift:
        raise WeightsError(
            f"there are no published weights for place={cfg.place!r}, shift={cfg.shift}",
            hint="give --config uni_released",
        )
    converted: dict[str, Tensor] = {}
    heads: dict[str, dict[int, Tensor]] = {}
    for name, tensor in state.items():
        plain = name.removeprefix("module.")
        head = PREFIX_HEAD.fullmatch(plain)
        if head:
            heads.setdefault(f"{OWNERS[head[1]]}.{head[3]}", {})[int(head[2])] = tensor
        elif not UNUSED.fullmatch(plain):
            own = our_name(plain)
            # Its convolutions over time have a second axis of one.
            flat = own.startswith("time_policy.") and tensor.ndim == 4
            converted[own] = tensor.squeeze(3) if flat else tensor
    for own, tensors in heads.items():
        converted[own] = stacked(tensors, name=own)
    with torch.device("meta"):
        wanted = make_network(cfg).state_dict()
    return whole_state(
        converted, wanted, hint="give the classes, frames, square and networks it was trained with"
    )


def our_name(name: str) -> str:
    """Return our name of the official tensor ``name``.

    Raises:
        WeightsError: it is not one of the official model's.
    """
    for official, ours in MODULES.items():
        if name.startswith(f"{official}."):
            rest = name.removeprefix(f"{official}.")
            return f"{ours}.{encoder_name(rest) if ours.endswith('net.net') else rest}"
    raise WeightsError(
        f"the checkpoint holds {name!r}, which no Uni-AdaFocus model has",
        hint="give the checkpoint of the official code, not one of its encoders alone",
    )
