"""What the policies of the AdaFocus family begin with: a map to a state, and a memory of states.

Source: Wang et al., "AdaFocus V2", CVPR 2022, arXiv 2112.14238, section 3. Letters: B samples, T
frames, G channels of a map, h its side, M width of the memory.

Example:
    >>> import torch
    >>> from foveal.layers import RecurrentPolicy
    >>> policy = RecurrentPolicy(in_channels=4, side=3, channels=5, width=6).eval()
    >>> policy(torch.zeros(2, 7, 4, 3, 3)).shape
    torch.Size([2, 7, 2])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def map_state(*, in_channels: int, side: int, channels: int, width: int) -> nn.Sequential:
    """Return layers from maps (N,G,h,h) to states (N,M): 1x1 convolution, one linear layer.

    Args:
        in_channels: G.
        side: h.
        channels: of the convolution.
        width: M.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(channels * side * side, width),
        nn.BatchNorm1d(width),
        nn.Tanh(),
    )


class RecurrentPolicy(nn.Module):
    """Feature maps, in the order they are seen, to where the square goes: (y, x) in [0, 1]."""

    def __init__(self, *, in_channels: int, side: int, channels: int, width: int) -> None:
        super().__init__()
        self.encode = map_state(in_channels=in_channels, side=side, channels=channels, width=width)
        self.memory = nn.GRUCell(width, width)
        self.place = nn.Sequential(nn.Linear(width, 2), nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        """Return actions (B,T,2) for ``maps`` (B,T,G,h,h)."""
        actions: Tensor = self.place(self.memories(maps))
        return actions

    def memories(self, maps: Tensor) -> Tensor:
        """Return what is remembered (B,T,M) after each of ``maps`` (B,T,G,h,h)."""
        return run_memory(self.memory, states_of(self.encode, maps))

    def step(self, maps: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return actions (B,2) and the new memory (B,M) for one frame's ``maps`` (B,G,h,h)."""
        memory = self.memory(self.encode(maps), memory)
        return self.place(memory), memory


def states_of(encode: nn.Module, maps: Tensor) -> Tensor:
    """Return the states (B,T,M) of ``maps`` (B,T,G,h,h)."""
    states: Tensor = encode(maps.flatten(0, 1))
    return states.reshape(*maps.shape[:2], -1)


def run_memory(cell: nn.GRUCell, states: Tensor) -> Tensor:
    """Return what ``cell`` remembers (B,T,M) after each of ``states`` (B,T,M), from nothing.

    Step by step, since PyTorch's own counter sees no multiplication in a whole ``nn.GRU``.
    """
    memory = torch.zeros_like(states[:, 0])
    memories = []
    for state in states.unbind(1):
        memory = cell(state, memory)
        memories.append(memory)
    return torch.stack(memories, dim=1)
