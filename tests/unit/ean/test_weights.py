"""Official names find their tensors, and what does not fit is named."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from foveal.systems.ean import protocol
from foveal.systems.ean.model import make_network
from foveal.systems.ean.weights import (
    ADAPTIVE,
    ATTEND,
    EXCITE,
    MOTION,
    THINK,
    TRANSFORMER,
    WeightsError,
    convert,
)
from tests.unit.ean import golden

CONFIGS = pytest.mark.parametrize(
    "cfg", [protocol.paper(num_classes=5), protocol.paper_16(num_classes=5)], ids=["8", "16"]
)
DEAD = ("relation2.bn2.weight", "bn2.running_var", "fc.bias", "stm_proj2.0.weight")
PLACES = {0: (1, 0), 2: (1, 2), 3: (2, 0), 7: (3, 0), 13: (4, 0), 15: (4, 2)}
"""Some of our sixteen blocks, and the layer and block they are in the official ResNet-50."""


def official_name(ours: str) -> str:
    """Return the official name of a tensor of ours, by reading the tables backwards."""

    def back(name: str, table: Mapping[str, str]) -> str:
        for official, own in table.items():
            if name.startswith(f"{own}."):
                return f"{official}.{name.removeprefix(f'{own}.')}"
        raise AssertionError(name)

    first, _, rest = ours.partition(".")
    match first:
        case "head":
            return f"new_fc.{rest}"
        case "backbone":
            return f"base_model.{rest.removeprefix('net.')}"
        case "moving":
            number, kind, name = rest.split(".", 2)
            blocks = [(layer, b) for layer, n in enumerate((3, 4, 6, 3), 1) for b in range(n)]
            layer, block = blocks[int(number)]
            assert PLACES.get(int(number), (layer, block)) == (layer, block)
            inner = f"t_conv.{name}" if kind == "shift" else f"me.{back(name, EXCITE)}"
            return f"base_model.layer{layer}.{block}.{inner}"
        case "adaptive":
            number, name = rest.split(".", 1)
            return f"base_model.relation{int(number) + 1}.{back(name, ADAPTIVE)}"
        case "transformer":
            found = re.fullmatch(r"layers\.(\d)\.(attend|think)\.(.+)", rest)
            if rest == "position":
                inside = "pos_embedding"
            elif found:
                half, table = (0, ATTEND) if found[2] == "attend" else (1, THINK)
                inside = f"transformer.layers.{found[1]}.{half}.fn.{back(found[3], table)}"
            else:
                inside = back(rest, TRANSFORMER)
            return f"base_model.sparse_transformer.{inside}"
        case _:
            return f"base_model.{back(ours, MOTION)}"


def official_state(cfg: protocol.Config) -> dict[str, Tensor]:
    with torch.device("meta"):
        own = make_network(cfg).state_dict()
    state = {}
    for number, (name, tensor) in enumerate(own.items()):
        if name.endswith("num_batches_tracked"):
            continue
        shape = tensor.shape[:3] if ".shift." in name else tensor.shape
        state[f"module.{official_name(name)}"] = torch.tensor(float(number)).expand(shape)
    for name in DEAD:
        state[f"module.base_model.{name}"] = torch.zeros(1)
    return state


@CONFIGS
def test_an_official_checkpoint_fills_the_network(cfg):
    state = official_state(cfg)
    with torch.device("meta"):
        own = make_network(cfg).state_dict()
    converted = convert(state, cfg)
    assert list(converted) == list(own)
    for number, (name, tensor) in enumerate(converted.items()):
        assert tensor.shape == own[name].shape
        if not name.endswith("num_batches_tracked"):
            assert (tensor.flatten()[0], tensor.flatten()[-1]) == (number, number)


def test_the_names_inside_the_blocks_are_those_of_the_official_code():
    """Those that the golden numbers list: each has its place in an official state."""
    ours = {name.removeprefix("module.base_model.") for name in official_state(protocol.paper_16())}
    ours |= {name.removeprefix("module.base_model.") for name in official_state(protocol.paper())}
    for file, item, place in (
        ("block.npz", "eab", "relation1."),
        ("objects.npz", "soi", "sparse_transformer."),
        ("motion_code.npz", "lmc_tiny", ""),
        ("motion_code.npz", "lmc16_tiny", ""),
        ("backbone.npz", "me_shift", "layer1.0.me."),
    ):
        listed = {f"{place}{name}" for name in golden.cases(file, item)[0]["W"]}
        assert listed <= ours, item


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("module.new_fc.bias"), "head.bias is missing"),
        (lambda s: s.update({"module.base_model.gate.weight": torch.zeros(1)}), "gate.weight"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 3, 7, 7)}), "no EAN model has"),
        (lambda s: s.update({"module.new_fc.bias": torch.zeros(6)}), r"\(6,\) where \(5,\)"),
    ],
    ids=["missing", "unknown", "a backbone alone", "another shape"],
)
def test_a_misfit_is_named(change, said):
    cfg = protocol.paper(num_classes=5)
    state = official_state(cfg)
    change(state)
    with pytest.raises(WeightsError, match=said):
        convert(state, cfg)


def test_eight_segments_are_not_sixteen():
    with pytest.raises(WeightsError, match="does not fit"):
        convert(official_state(protocol.paper_16()), protocol.paper(num_classes=174))
