"""Official OCSampler checkpoints, tensor by tensor.

The released recogniser keeps its sampler below ``sampler``, a torchvision ResNet-50 cut into
numbered children below ``backbone.model``, and the classifier's head below ``cls_head`` (``fc``,
or ``fc_list`` with a last layer per count). No tensor changes its values; the last layers
are stacked. The names of sampler and head are checked against golden numbers, those of the
ResNet-50 are read off the official module and untested, since no checkpoint is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from foveal.backbones import create
from foveal.backbones.weight_file import COUNTER, WeightsError, whole_state
from foveal.systems.ocsampler.model import Network
from foveal.systems.ocsampler.protocol import Config

NORM = ("weight", "bias", "running_mean", "running_var")
BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of each stage of MobileNetV2."""


def sampler_names() -> dict[str, str]:
    """Return the official name of every tensor of the sampler by ours, counters left out."""
    names = _conv("backbone.net.conv_stem", "backbone.net.bn1", "conv1")
    for stage, num_blocks in enumerate(BLOCKS):
        for block in range(num_blocks):
            ours = f"backbone.net.blocks.{stage}.{block}"
            theirs = f"layer{stage + 1}.{block}.conv"
            if stage == 0:  # no expansion
                convs = ["conv_dw", "conv_pw"]
            else:
                # A block with a skip has its first convolution wrapped by the temporal shift.
                convs = ["conv_pw.conv" if block else "conv_pw", "conv_dw", "conv_pwl"]
            for i, conv in enumerate(convs):
                names |= _conv(f"{ours}.{conv}", f"{ours}.bn{i + 1}", f"{theirs}.{i}")
    names |= _conv("backbone.net.conv_head", "backbone.net.bn2", "conv2")
    names |= {"logit.weight": "logit.weight", "logit.bias": "logit.bias"}
    return names


def head_names() -> dict[str, str]:
    """Return the official name of every tensor of the head by ours, but for the last layers."""
    names = {f"embed.{kind}": f"layers.0.{kind}" for kind in ("weight", "bias")}
    return names | {f"norm.{kind}": f"layers.1.{kind}" for kind in NORM}


def _conv(conv: str, norm: str, theirs: str) -> dict[str, str]:
    """Return the names of a convolution and its normalisation."""
    pairs = {f"{conv}.weight": f"{theirs}.conv.weight"}
    return pairs | {f"{norm}.{kind}": f"{theirs}.bn.{kind}" for kind in NORM}


@cache
def backbone_names() -> dict[str, str]:
    """Return the official name of every tensor of the ResNet-50 by ours."""
    children = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    with torch.device("meta"):
        ours = list(create("resnet50").net.state_dict())
    return {
        f"net.{name}": f"{children[first]}.{rest}"
        for name in ours
        for first, _, rest in [name.partition(".")]
        if not name.endswith(COUNTER)
    }


def official_names(cfg: Config) -> dict[str, tuple[str, ...]]:
    """Return the official names of every tensor of the network of ``cfg``, counters left out.

    Several names are those of tensors to be stacked.
    """
    names: dict[str, tuple[str, ...]] = {}
    names |= {f"sampler.{a}": (f"sampler.{b}",) for a, b in sampler_names().items()}
    names |= {
        f"classifier.backbone.{a}": (f"backbone.model.{b}",) for a, b in backbone_names().items()
    }
    names |= {f"classifier.head.{a}": (f"cls_head.{b}",) for a, b in head_names().items()}
    counts = range(cfg.num_candidates)
    layers = ["fc"] if cfg.head == "shared" else [f"fc_list.{i}" for i in counts]
    for kind in ("weight", "bias"):
        names[f"classifier.head.{kind}"] = tuple(f"cls_head.{x}.{kind}" for x in layers)
    return names


def convert(state: Mapping[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Return the tensors of the network of ``cfg`` from those of an official recogniser.

    Counters of batch normalisation, which nothing reads, are set to zero.

    Args:
        state: the official tensors by name, a prefix ``module.`` still on or not.
        cfg: what they were trained with. The tensors tell its classes and its head, and nothing
            of ``shift_div``: 10 on ActivityNet, 8 on Mini-Kinetics.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape, or ``cfg`` is of
            networks that nobody published.
    """
    if cfg.networks != "paper":
        raise WeightsError(
            f"official weights are of the paper's networks, not of the {cfg.networks} ones",
            hint="take one of the paper's configurations",
        )
    # The layer that the temporal shift wraps is one deeper.
    left = {
        name.removeprefix("module.").replace(".conv.net.", ".conv."): tensor
        for name, tensor in state.items()
        if not name.endswith(COUNTER)
    }
    wanted, names = _tensors(cfg), official_names(cfg)
    stacked = {f"classifier.head.{kind}" for kind in ("weight", "bias")}
    official = whole_state(
        left,
        {
            theirs: wanted[ours][0] if ours in stacked else wanted[ours]
            for ours, several in names.items()
            for theirs in several
        },
        hint="give the classes, head and networks it was trained with",
    )
    found = {name: torch.tensor(0) for name in wanted if name.endswith(COUNTER)}
    for ours, several in names.items():
        tensors = [official[theirs] for theirs in several]
        found[ours] = torch.stack(tensors) if ours in stacked else tensors[0]
    return {name: found[name] for name in wanted}


@cache
def _tensors(cfg: Config) -> dict[str, Tensor]:
    """Return the tensors of the network of ``cfg`` by name: shapes without memory."""
    with torch.device("meta"):
        return Network(cfg).state_dict()
