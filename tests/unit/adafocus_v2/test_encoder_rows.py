"""On a CPU an encoder takes a few pictures at a time, and says the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foveal.backbones.focus import FOCUS_CPU_ROWS
from foveal.layers import CPU_ROWS, ImageEncoder
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import make_network


class Counted(nn.Module):
    """A convolution that writes down how many pictures it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.rows: list[int] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.rows.append(len(pictures))
        return self.conv(pictures)


@pytest.fixture
def encoder() -> ImageEncoder:
    return ImageEncoder(Counted(), width=4, cpu_rows=4)


PICTURES = torch.linspace(-1, 1, 10 * 3 * 9 * 9).reshape(10, 3, 9, 9)


def test_evaluation_takes_a_few_pictures_at_a_time(encoder):
    encoder.eval()
    whole = encoder(PICTURES)
    with torch.no_grad():
        pieces = encoder(PICTURES)
    assert encoder.net.rows == [10, 4, 4, 2]
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)


def test_training_sees_the_whole_batch(encoder):
    with torch.no_grad():
        encoder.train()(PICTURES)
    assert encoder.net.rows == [10]


def test_frames_that_see_each_other_stay_together():
    with torch.device("meta"):
        shifted = make_network(protocol.paper_tsm())
        alone = make_network(protocol.paper())
    assert (shifted.glance.encoder.cpu_rows, shifted.focus.encoder.cpu_rows) == (8, 12)
    assert (alone.glance.cpu_rows, alone.focus.cpu_rows) == (CPU_ROWS, FOCUS_CPU_ROWS)
