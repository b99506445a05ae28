"""What each of the three MAC counters sees of a recurrent layer and of attention.

This is why a part writes its recurrence as cells and why attention's fast path is switched off
while counting: in other forms PyTorch's counter says less than what is computed, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from foveal.cost.torch_counter import count_torch_macs
from foveal.export import count_part, export_part
from foveal.types import PartSpec, TensorSpec
from tests.contract.recount import recount

T, D, H = 5, 8, 16
"""Steps, width of the input, width of the state."""


class Last(nn.Module):
    """A recurrent layer, and what it says at the last step."""

    def __init__(self, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)[0][:, -1]
        return result


class Cells(nn.Module):
    """The same, written as cells."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state: Tensor = x.new_zeros(x.shape[0], H)
        memory = state
        for t in range(T):
            if isinstance(self.cell, nn.LSTMCell):
                state, memory = self.cell(x[:, t], (state, memory))
            else:
                state = self.cell(x[:, t], state)
        return state


class Attention(nn.Module):
    """One transformer layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(D, 2, H, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


LSTM = T * 4 * H * (D + H)
GRU = T * 3 * H * (D + H)
# Queries, keys, values and the projection of their mean; scores and means; two linear layers.
TRANSFORMER = T * 4 * D * D + 2 * T * T * D + 2 * T * D * H
RECURRENT = (1, T, H)

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int | str, ...], int]] = {
    "lstm": (lambda: Last(nn.LSTM(D, H, batch_first=True)), (H,), LSTM),
    "lstm cells": (lambda: Cells(nn.LSTMCell(D, H)), (H,), LSTM),
    "gru": (lambda: Last(nn.GRU(D, H, batch_first=True)), (H,), GRU),
    "gru cells": (lambda: Cells(nn.GRUCell(D, H)), (H,), GRU),
    "transformer": (Attention, (T, D), TRANSFORMER),
}


@pytest.mark.parametrize("name", ["lstm", "gru", "transformer"])
def test_both_counts_of_the_graph_see_every_layer_whole(name: str) -> None:
    make, shape, want = CASES[name]
    spec = PartSpec(
        name="layer", inputs=(TensorSpec("x", (T, D)),), outputs=(TensorSpec("y", shape),)
    )
    model = export_part(make(), spec)
    assert count_part(model, spec)[()] == want
    assert recount(model, {"x": np.zeros((1, T, D), np.float32)}) == want


@pytest.mark.parametrize(
    ("name", "share"),
    [("lstm", 0), ("lstm cells", 1), ("gru", 1), ("gru cells", 1), ("transformer", 1)],
)
def test_what_the_third_count_sees(name: str, share: int) -> None:
    """An LSTM is one kernel to PyTorch, and nothing to its counter; cells are seen whole."""
    make, _, want = CASES[name]
    assert count_torch_macs(make(), torch.zeros(1, T, D)) == share * want


def test_the_fast_path_hides_attention_from_the_third_count() -> None:
    layer = Attention().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        layer(torch.zeros(1, T, D))
    assert flops.get_total_flops() == 0
