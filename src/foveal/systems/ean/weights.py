"""Official EAN checkpoints as weights of our network, tensor by tensor.

The names are those of the published code (tianyuan168326/EAN-Pytorch): a ResNet-50 as
``base_model`` whose blocks hold ``me`` and ``t_conv``, four blocks ``relation1`` to ``relation4``,
``sparse_transformer``, layers of the motion code, and ``new_fc``. No checkpoint was at hand; the
tensors of the official networks, mapped so, give their logits (``benchmarks/official_ean.py``).
Layers that nothing there reads are left out: the blocks' ``bn2``, a second ``bn2`` and ``fc`` of
the ResNet, ``stm_proj2``. ``module.`` in front, from data-parallel training, is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor

from foveal.backbones.weight_file import WeightsError, whole_state
from foveal.systems.ean.model import make_network
from foveal.systems.ean.protocol import Config

UNUSED = re.compile(r"base_model\.(relation\d\.bn2|bn2|fc|stm_proj2\.\d+)\.\w+")
MOVING = re.compile(r"base_model\.layer(\d)\.(\d+)\.(me|t_conv)\.(.+)")

ADAPTIVE: Mapping[str, str] = {
    "compress_c1": "compress",
    "expand_c1": "expand",
    "t_part2_conv": "temporal.0",
    "t_part3_conv": "temporal.1",
    "s_part2_conv": "spatial.0",
    "s_part3_conv": "spatial.1",
    "non_linear.0": "norm",
    "max_project": "pool_project",
    "p_prod1": "descriptor",
    "p_prod2.0": "matrix",
}
"""Official module of an adaptive block to ours; the same for the other three tables."""

TRANSFORMER: Mapping[str, str] = {
    "squeeze_l": "squeeze",
    "expand_l": "expand",
    "score_predictor": "scorer",
    "Tr_BN": "norm",
}
ATTEND: Mapping[str, str] = {"norm": "0.norm", "fn.to_qkv": "1.qkv", "fn.to_out.0": "1.out"}
THINK: Mapping[str, str] = {
    "norm": "0.norm",
    "fn.net.0": "1",
    "fn.net.1": "2.norm",
    "fn.net.3": "4",
    "fn.net.4": "5.norm",
    "fn.net.6": "7",
}

EXCITE: Mapping[str, str] = {
    "conv1": "squeeze",
    "bn1": "squeeze_norm",
    "conv2": "transform",
    "conv3": "expand",
    "bn3": "expand_norm",
}

MOTION: Mapping[str, str] = {
    "stm_proj1": "motion.project",
    "stm_st_model1": "motion.first",
    "stm_st_model2": "motion.second",
    "proj_back": "motion.back",
    "stack_diff_motion": "stack",
}


def convert(state: Mapping[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Return an official ``state`` under our names, every tensor of the network of ``cfg``.

    Args:
        state: the checkpoint's ``state_dict``.
        cfg: ``paper`` or ``paper_16``, as it was trained.

    Raises:
        WeightsError: a tensor is missing, unknown, or of another shape; the message names it.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name.removeprefix("module.")
        if UNUSED.fullmatch(plain):
            continue
        # Their shift is a convolution over time alone; ours has an axis for place beside it.
        shift = ".t_conv." in plain and tensor.ndim == 3
        converted[our_name(plain, cfg)] = tensor[..., None] if shift else tensor
    with torch.device("meta"):
        wanted = make_network(cfg).state_dict()
    return whole_state(
        converted, wanted, hint="give the classes and the number of segments it was trained with"
    )


def our_name(name: str, cfg: Config) -> str:
    """Return our name of the official tensor ``name``.

    Raises:
        WeightsError: it is not one of the official model's.
    """
    if name.startswith("new_fc."):
        return f"head.{name.removeprefix('new_fc.')}"
    inside = name.removeprefix("base_model.")
    moving = MOVING.fullmatch(name)
    if moving:
        first = (0, *accumulate(cfg.shape.blocks))
        place = f"moving.{first[int(moving[1]) - 1] + int(moving[2])}"
        if moving[3] == "t_conv":
            return f"{place}.shift.{moving[4]}"
        found = _renamed(moving[4], EXCITE, f"{place}.excite.")
    elif inside.startswith("relation"):
        block, _, rest = inside.removeprefix("relation").partition(".")
        found = adaptive_name(rest, f"adaptive.{int(block) - 1}.") if block.isdecimal() else None
    elif inside.startswith("sparse_transformer."):
        found = transformer_name(inside.removeprefix("sparse_transformer."), "transformer.")
    elif inside.startswith(("conv1.", "bn1.", "layer")):
        found = f"backbone.net.{inside}"
    else:
        found = _renamed(inside, MOTION, "")
    if found is None or inside == name:
        raise WeightsError(
            f"the checkpoint holds {name!r}, which no EAN model has",
            hint="give the checkpoint of the official code, not its backbone alone",
        )
    return found


def adaptive_name(name: str, place: str = "") -> str | None:
    """Return our name of a tensor of an official adaptive block, ``None`` if it is none."""
    return _renamed(name, ADAPTIVE, place)


def transformer_name(name: str, place: str = "") -> str | None:
    """Return our name of a tensor of an official sparse transformer, ``None`` if it is none."""
    if name == "pos_embedding":
        return f"{place}position"
    layer = re.fullmatch(r"transformer\.layers\.(\d+)\.([01])\.fn\.(.+)", name)
    if layer is None:
        return _renamed(name, TRANSFORMER, place)
    table, half = (ATTEND, "attend") if layer[2] == "0" else (THINK, "think")
    return _renamed(layer[3], table, f"{place}layers.{layer[1]}.{half}.")


def excite_name(name: str) -> str | None:
    """Return our name of a tensor of an official motion excitation, ``None`` if it is none."""
    return _renamed(name, EXCITE, "")


def motion_name(name: str) -> str | None:
    """Return our name of a tensor of an official motion code, ``None`` if it is none."""
    return _renamed(name, MOTION, "")


def _renamed(name: str, modules: Mapping[str, str], place: str) -> str | None:
    for official, ours in modules.items():
        if name.startswith(f"{official}."):
            return f"{place}{ours}.{name.removeprefix(f'{official}.')}"
    return None
