"""Official OCSampler checkpoints, tensor by tensor.

The released recogniser keeps its sampler below ``sampler``, a torchvision ResNet-50 cut into
numbered children below ``backbone.model``, and the classifier's head below ``cls_head`` (``fc``,
or ``fc_list`` with a last layer per count). No tensor changes its values; the last layers
are stacked. The names of sampler and head are checked against golden numbers, those of the
ResNet-50 are read off the official module and untested, since no checkpoint is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from foveal.backbones import create
from foveal.systems.ocsampler.model import Network
from foveal.systems.ocsampler.protocol import Config, activitynet
from foveal.types import FovealError

NORM = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"
BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of each stage of MobileNetV2."""


class WeightsError(FovealError):
    """These are not the weights of an OCSampler recogniser."""

    kind = "weights"


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


def config_of(state: Mapping[str, Tensor], *, shift_div: int = 10) -> Config:
    """Return the configuration a checkpoint was made with, as far as its tensors tell.

    Args:
        state: the official tensors by name.
        shift_div: leaves no trace in the tensors: 10 on ActivityNet, 8 on Mini-Kinetics.

    Raises:
        WeightsError: there is no last layer.
    """
    last = _find(state, "cls_head.fc.weight", "cls_head.fc_list.0.weight")
    return replace(
        activitynet(num_classes=len(last)),
        shift_div=shift_div,
        head="shared" if "cls_head.fc.weight" in state else "per_count",
    )


def convert(state: Mapping[str, Tensor], cfg: Config | None = None) -> dict[str, Tensor]:
    """Return the tensors of a :class:`Network` from those of an official recogniser.

    Counters of batch normalisation, which nothing reads, are set to zero.

    Args:
        state: the official tensors by name; what wraps them ("state_dict") taken off.
        cfg: what they were trained with; by default :func:`config_of` them.

    Raises:
        WeightsError: a tensor is missing, left over, or has another shape.
    """
    cfg = cfg or config_of(state)
    with torch.device("meta"):
        wanted = Network(cfg).state_dict()
    pairs = {f"sampler.{a}": f"sampler.{b}" for a, b in sampler_names().items()}
    pairs |= {f"classifier.head.{a}": f"cls_head.{b}" for a, b in head_names().items()}
    pairs |= {
        f"classifier.backbone.{a}": f"backbone.model.{b}" for a, b in backbone_names().items()
    }
    state = {name.replace(".conv.net.", ".conv."): t for name, t in state.items()}
    found = {ours: _find(state, theirs) for ours, theirs in pairs.items()}
    used = set(pairs.values())
    for kind in ("weight", "bias"):
        layers = (
            [f"cls_head.fc.{kind}"]
            if cfg.head == "shared"
            else [f"cls_head.fc_list.{i}.{kind}" for i in range(cfg.num_candidates)]
        )
        found[f"classifier.head.{kind}"] = torch.stack([_find(state, name) for name in layers])
        used |= set(layers)
    left = [name for name in state if name not in used and not name.endswith(COUNTER)]
    if left:
        raise WeightsError(
            f"{len(left)} tensors are not known, the first is {left[0]!r}",
            hint="give the tensors of a released OCSampler recogniser with a ResNet-50",
        )
    for name, tensor in wanted.items():
        if name.endswith(COUNTER):
            found[name] = torch.zeros((), dtype=torch.int64)
        elif found[name].shape != tensor.shape:
            raise WeightsError(
                f"{pairs.get(name, name)!r} is {tuple(found[name].shape)}, "
                f"expected {tuple(tensor.shape)}",
                hint="give the tensors of a released OCSampler recogniser with a ResNet-50",
            )
    return {name: found[name] for name in wanted}


def _find(state: Mapping[str, Tensor], *names: str) -> Tensor:
    """Return the first of ``names`` that is there."""
    for name in names:
        if name in state:
            return state[name]
    raise WeightsError(
        f"the tensor {' or '.join(map(repr, names))} is missing",
        hint="give the tensors of a released OCSampler recogniser, not a file around them",
    )
