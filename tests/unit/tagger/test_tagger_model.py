"""The network as a part: rewriting it for export changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.systems.tagger import model, protocol, weights
from foveal.types import Canvas

CFG = protocol.Config(
    canvas=Canvas(height=64, width=64, short_side=64), num_classes=7, thumbnail_size=16
)


def randomised(seed: int) -> model.Classifier:
    torch.manual_seed(seed)
    part = model.build(CFG)[protocol.PART]
    assert isinstance(part, model.Classifier)
    with torch.no_grad():
        for module in part.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.2, 0.2)
    return part


@pytest.mark.parametrize("size", [32, 64, 96, 224])
def test_static_part_equals_the_original(size: int) -> None:
    part = randomised(0)
    frames = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        before = part(frames)
        model.make_static(part)
        after = part(frames)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in part.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after.sum(dim=1), torch.ones(2))


def test_build_makes_exactly_the_declared_parts() -> None:
    built = model.build(CFG)
    assert list(built) == [spec.name for spec in protocol.parts(CFG)]
    for spec in protocol.parts(CFG):
        rows = [torch.zeros((3, *t.shape), dtype=torch.uint8) for t in spec.inputs]
        with torch.no_grad():
            probs = built[spec.name](*rows)
        assert tuple(probs.shape) == (3, *spec.outputs[0].shape)


def test_weights_are_matched_by_order_and_shape() -> None:
    state = randomised(1).net.state_dict()
    renamed = {f"other.{i}": value for i, value in enumerate(state.values())}
    part = model.build(CFG)[protocol.PART]
    assert isinstance(part, model.Classifier)
    weights.load(part, renamed)
    for mine, theirs in zip(part.net.state_dict().values(), state.values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    renamed.pop("other.0")
    with pytest.raises(ValueError, match="not the weights"):
        weights.load(part, renamed)
