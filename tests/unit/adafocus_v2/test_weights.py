"""Official names find their tensors, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch

from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import make_network
from foveal.systems.adafocus_v2.weights import WeightsError, convert
from tests.unit.adafocus_v2 import made

SHIFT = protocol.paper_tsm(num_classes=5, focus_size=96)
FRAME = protocol.paper(num_classes=5, focus_size=96)


def official_encoder(module: str, *, frames: bool) -> dict[str, torch.Tensor]:
    """Return the golden list of an encoder under the official names."""
    state = {}
    for _, name, _, shape in made.listed()[module]:
        if "_head" in name:
            continue
        plain = name.removeprefix("encoder.").replace("body.", "features.")
        owner, _, leaf = plain.rpartition(".")
        # Shifted convolutions are wrapped in the official shift variant.
        if not frames and is_shifted(owner):
            plain = f"{owner}.net.{leaf}"
        state[plain] = torch.zeros(shape)
    return state


def is_shifted(owner: str) -> bool:
    if owner.startswith("layer"):
        return owner.endswith(".conv1")
    with_skip = (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    return owner in [f"features.{i}.conv.0" for i in with_skip]


def official_state(cfg: protocol.Config) -> dict[str, torch.Tensor]:
    frames = cfg.place == "frame"
    inner = "" if frames else "base_model."
    state = {}
    for part, module in (("global_CNN", "tsn_mobilenetv2.0"), ("local_CNN", "tsn_resnet50.0")):
        for name, tensor in official_encoder(module, frames=frames).items():
            state[f"module.{part}.{inner}{name}"] = tensor
        width = {"global_CNN": 1280, "local_CNN": 2048}[part]
        heads = [f"{part}_fc.1"] if frames else [f"{part}.new_fc", f"{part}.new_new_fc"]
        for head in heads:
            state[f"module.{head}.weight"] = torch.zeros(cfg.num_classes, width)
            state[f"module.{head}.bias"] = torch.zeros(cfg.num_classes)
    if frames:
        state["module.global_CNN.classifier.weight"] = torch.zeros(1000, 1280)
        state["module.local_CNN.fc.bias"] = torch.zeros(1000)
    with torch.device("meta"):
        own = make_network(cfg).state_dict()
    for name, meta in own.items():
        tensor = torch.zeros(meta.shape)
        if name.startswith("policy."):
            rest = name.removeprefix("policy.")
            for ours, theirs in (("encode.", "encoder."), ("place.", "fc."), ("memory.", "gru.")):
                rest = rest.replace(ours, theirs)
            rest += "_l0" if rest.startswith("gru.") else ""
            state[f"module.policy_stn.{rest}"] = torch.full_like(tensor, 3)
        elif name.startswith("classifier.fuse."):
            state[f"module.{name.replace('fuse', 'mlp.layers')}"] = torch.full_like(tensor, 4)
    for t in range(cfg.num_frames if frames else 0):
        state[f"module.classifier.classifiers.{t}.1.weight"] = torch.full((5, 4096), float(t))
        state[f"module.classifier.classifiers.{t}.1.bias"] = torch.full((5,), float(t))
    return state


@pytest.mark.parametrize("cfg", [FRAME, SHIFT])
def test_an_official_checkpoint_fills_the_network(cfg):
    network = make_network(cfg)
    network.load_state_dict(convert(official_state(cfg), cfg))
    if cfg.place == "frame":
        assert network.classifier.bias[:, 0].tolist() == list(range(16))
        assert (network.policy.memory.weight_hh == 3).all()
    assert not network.focus.state_dict()[first_key(network)].any()


def first_key(network) -> str:
    return next(name for name in network.focus.state_dict() if name.endswith("conv1.weight"))


def test_what_does_not_fit_is_named():
    whole = official_state(FRAME)
    state = dict(whole)
    state.pop("module.policy_stn.gru.bias_hh_l0")
    with pytest.raises(WeightsError, match=r"1 tensors: policy\.memory\.bias_hh is missing"):
        convert(state, FRAME)
    state = dict(whole)
    state["module.local_CNN_fc.1.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError, match=r"focus_head\.1\.bias is \(7,\) where \(5,\)"):
        convert(state, FRAME)
    state = dict(whole)
    state["module.classifier.classifiers.20.1.bias"] = torch.zeros(5)
    with pytest.raises(WeightsError, match=r"classifier\.bias: layers 0, .* 20 of shapes"):
        convert(state, FRAME)
    with pytest.raises(WeightsError, match="which no AdaFocusV2 model has"):
        convert({"backbone.conv1.weight": torch.zeros(1)}, FRAME)
    with pytest.raises(WeightsError, match="is unknown"):
        convert(whole | {"global_CNN.features.99.weight": torch.zeros(1)}, FRAME)
