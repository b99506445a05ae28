"""Official AdaFocusV2 checkpoints as weights of our network, tensor by tensor.

The names are those of the published code (LeapLabTHU/AdaFocusV2): ``global_CNN`` glances,
``policy_stn`` places, ``local_CNN`` looks. Its ImageNet classifiers, which nothing reads, are left
out. ``module.`` in front, from data-parallel training, is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from foveal.backbones.official import encoder_name
from foveal.backbones.weight_file import WeightsError, stacked, whole_state
from foveal.systems.adafocus_v2.model import make_network
from foveal.systems.adafocus_v2.protocol import Config

UNUSED = re.compile(r"(global_CNN|local_CNN)(\.base_model)?\.(fc|classifier)\.(weight|bias)")
PREFIX_HEAD = re.compile(r"classifier\.classifiers\.(\d+)\.1\.(weight|bias)")

FRAME_MODULES: Mapping[str, str] = {
    "global_CNN_fc": "glance_head",
    "local_CNN_fc": "focus_head",
    "policy_stn.encoder": "policy.encode",
    "policy_stn.fc": "policy.place",
    "classifier.mlp.layers": "classifier.fuse",
    "global_CNN": "glance.net.net",
    "local_CNN": "focus.net.net",
}
"""Official module to ours, offline variant; the first that fits counts."""

VIDEO_MODULES: Mapping[str, str] = {
    "policy_stn": "policy",
    "global_CNN.new_fc": "glance.final",
    "global_CNN.new_new_fc": "glance.regular",
    "local_CNN.new_fc": "focus.final",
    "local_CNN.new_new_fc": "focus.regular",
    "global_CNN.base_model": "glance.encoder.net.net",
    "local_CNN.base_model": "focus.encoder.net.net",
}
"""The same for the TSM variant."""

GRU: Mapping[str, str] = {
    f"policy_stn.gru.{name}_l0": f"policy.memory.{name}"
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
}


def convert(state: Mapping[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Return an official ``state`` under our names, every tensor of the network of ``cfg``.

    Args:
        state: the checkpoint's ``state_dict``.
        cfg: what it was trained with.

    Raises:
        WeightsError: a tensor is missing, unknown, or of another shape; the message names it.
    """
    converted: dict[str, Tensor] = {}
    heads: dict[str, dict[int, Tensor]] = {"weight": {}, "bias": {}}
    for name, tensor in state.items():
        plain = name.removeprefix("module.")
        head = PREFIX_HEAD.fullmatch(plain)
        if head:
            heads[head[2]][int(head[1])] = tensor
        elif not UNUSED.fullmatch(plain):
            converted[our_name(plain, cfg)] = tensor
    for kind, tensors in heads.items():
        if tensors:
            converted[f"classifier.{kind}"] = stacked(tensors, name=f"classifier.{kind}")
    with torch.device("meta"):
        wanted = make_network(cfg).state_dict()
    return whole_state(
        converted, wanted, hint="give the classes, frames, square and networks it was trained with"
    )


def our_name(name: str, cfg: Config) -> str:
    """Return our name of the official tensor ``name``.

    Raises:
        WeightsError: it is not one of the official model's.
    """
    if name in GRU:
        return GRU[name]
    modules = FRAME_MODULES if cfg.place == "frame" else VIDEO_MODULES
    for official, ours in modules.items():
        if name.startswith(f"{official}."):
            rest = name.removeprefix(f"{official}.")
            is_encoder = ours.endswith("net.net")
            return f"{ours}.{encoder_name(rest) if is_encoder else rest}"
    raise WeightsError(
        f"the checkpoint holds {name!r}, which no AdaFocusV2 model has",
        hint="give the checkpoint of the official code, not one of its encoders alone",
    )
