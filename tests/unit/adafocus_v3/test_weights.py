"""Official names find their tensors, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch

from foveal.backbones.official import mobilenetv2_modules
from foveal.systems.adafocus_v3 import protocol
from foveal.systems.adafocus_v3.model import make_network
from foveal.systems.adafocus_v3.weights import WeightsError, convert

CFG = protocol.uni_released(num_classes=5, focus_size=96)
PARTS = {
    "glance_head": "global_CNN_fc",
    "focus_head": "local_CNN_fc",
    "map_head": "aux_fc",
    "policy.encode": "spatial_policy.encoder",
    "time_policy.encode": "temporal_policy.Tconv",
    "glance_classifier.fuse": "classifier.global_mlp.layers",
    "classifier.fuse": "classifier.local_mlp.layers",
    "focus.net.net": "local_CNN",
}
HEADS = {"glance_classifier": "global", "classifier": "local"}


def official_state():
    """Return a state of the official network: its names, every tensor of another value."""
    with torch.device("meta"):
        own = make_network(CFG).state_dict()
    layers = {ours: official for official, ours in mobilenetv2_modules().items()}
    state = {}
    for number, (name, meta) in enumerate(own.items()):
        tensor = torch.full(meta.shape, float(number)).to(meta.dtype)
        owner, _, leaf = name.rpartition(".")
        if owner in HEADS:
            for i, head in enumerate(tensor):
                key = f"module.classifier.{HEADS[owner]}_classifiers.{i}.1.{leaf}"
                state[key] = head + i
        elif name.startswith("glance.net.net."):
            module = layers[owner.removeprefix("glance.net.net.")]
            state[f"module.global_CNN.{module}.{leaf}"] = tensor
        else:
            ours = next(part for part in PARTS if name.startswith(f"{part}."))
            flat = ours.startswith("time_policy") and tensor.ndim == 3
            rest = name.removeprefix(ours)
            state[f"module.{PARTS[ours]}{rest}"] = tensor[..., None] if flat else tensor
    state["module.global_CNN.classifier.1.weight"] = torch.zeros(1000, 1280)
    state["module.local_CNN.fc.bias"] = torch.zeros(1000)
    return state


def test_an_official_checkpoint_fills_the_network():
    network = make_network(CFG)
    converted = convert(official_state(), CFG)
    network.load_state_dict(converted)
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        if name.rpartition(".")[0] in HEADS:
            assert (tensor.flatten(1)[:, 0] == torch.arange(16) + number).all()
        else:
            assert (tensor == number).all(), name


def test_what_does_not_fit_is_named():
    state = official_state()
    del state["module.aux_fc.bias"]
    with pytest.raises(WeightsError, match=r"map_head\.bias is missing"):
        convert(state, CFG)
    state["module.aux_fc.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError, match=r"map_head\.bias is \(7,\) where \(5,\)"):
        convert(state, CFG)
    whole = official_state()
    with pytest.raises(WeightsError, match=r"classifier\.bias: layers 0, .* of shapes"):
        convert({**whole, "module.classifier.local_classifiers.3.1.bias": torch.zeros(9)}, CFG)
    with pytest.raises(WeightsError, match="which no Uni-AdaFocus model has"):
        convert({"backbone.conv1.weight": torch.zeros(1)}, CFG)
    with pytest.raises(WeightsError, match="no published weights for place='cube'"):
        convert(state, protocol.paper())
