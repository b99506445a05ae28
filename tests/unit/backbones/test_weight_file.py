"""Layers that a checkpoint numbers become one tensor, or it is said why not."""

from __future__ import annotations

import pytest
import torch

from foveal.backbones.weight_file import WeightsError, stacked


def test_numbered_layers_are_stacked_in_their_order():
    layers = {
        number: torch.full((3,), float(number)) for number in (10, 2, *range(2), *range(3, 10))
    }
    assert stacked(layers, name="head.bias")[:, 0].tolist() == list(range(11))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {0: torch.zeros(3), 1: torch.zeros(4)},
            r"head\.bias: layers 0, 1 of shapes \(3,\), \(4,\)",
        ),
        ({0: torch.zeros(3), 2: torch.zeros(3)}, r"head\.bias: layers 0, 2 of shapes \(3,\)"),
        ({1: torch.zeros(3), 2: torch.zeros(3)}, r"head\.bias: layers 1, 2 of shapes \(3,\)"),
    ],
)
def test_layers_that_are_no_stack_are_refused(layers, message):
    with pytest.raises(WeightsError, match=message):
        stacked(layers, name="head.bias")
