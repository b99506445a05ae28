"""Attention over the frames (or other tokens) of a clip: each one's vector, with what others say.

Letters: B clips, T frames, D width of what comes in, d width inside, h heads.

Example:
    >>> import torch
    >>> from foveal.layers import TemporalEncoder
    >>> encoder = TemporalEncoder(32, num_frames=16, width=48, heads=4, ffn=96)
    >>> encoder(torch.zeros(2, 16, 32)).shape
    torch.Size([2, 16, 48])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Every frame asks every other (Vaswani et al., arXiv 1706.03762).

    Args:
        width: d, a multiple of ``heads``.
        heads: h.
        dropout: of the weights, while training.
        bias: whether queries, keys and values have one.
    """

    def __init__(self, width: int, *, heads: int, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors (B,T,d) of vectors (B,T,d)."""
        shape = (self.heads, vectors.shape[2] // self.heads)
        q, k, v = (x.unflatten(2, shape).transpose(1, 2) for x in self.qkv(vectors).chunk(3, -1))
        weights = self.dropout((q @ k.transpose(2, 3) * shape[1] ** -0.5).softmax(-1))
        told: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return told


class TemporalEncoder(nn.Module):
    """A linear layer, a code for the place in time, and transformer layers (norm after).

    Args:
        features: D.
        num_frames: T.
        width: d.
        heads: h.
        ffn: width between the two linear layers that follow the attention.
        layers: at least 1.
        dropout: while training.
        position: without it, a permutation of the frames permutes what comes out.
    """

    def __init__(
        self,
        features: int,
        *,
        num_frames: int,
        width: int,
        heads: int,
        ffn: int,
        layers: int = 1,
        dropout: float = 0.0,
        position: bool = True,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        code = sinusoids(num_frames, width) if position else torch.zeros(num_frames, width)
        self.register_buffer("code", code, persistent=False)
        self.code: Tensor
        self.layers = nn.ModuleList(
            _Layer(width, heads=heads, ffn=ffn, dropout=dropout) for _ in range(layers)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors (B,T,d) of vectors (B,T,D)."""
        seen: Tensor = self.project(vectors) + self.code
        for layer in self.layers:
            seen = layer(seen)
        return seen


class _Layer(nn.Module):
    def __init__(self, width: int, *, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.attend = SelfAttention(width, heads=heads, dropout=dropout)
        self.think = nn.Sequential(
            nn.Linear(width, ffn), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn, width)
        )
        self.after_attend = nn.LayerNorm(width)
        self.after_think = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        vectors = self.after_attend(vectors + self.dropout(self.attend(vectors)))
        result: Tensor = self.after_think(vectors + self.dropout(self.think(vectors)))
        return result


def sinusoids(num_frames: int, width: int) -> Tensor:
    """Return the fixed code (T,d) of Vaswani et al.: sines, then cosines, ever slower.

    Raises:
        ValueError: ``width`` is odd.
    """
    if width % 2:
        raise ValueError(f"the code for places in time needs an even width, got {width}")
    rates = 10000 ** (-torch.arange(width // 2) / (width // 2))
    angles = torch.arange(num_frames)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
