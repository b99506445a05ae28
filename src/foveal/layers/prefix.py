"""A classifier that answers after every vector, from the largest value so far of every element.

Source: Ghodrati et al., "FrameExit", CVPR 2021, arXiv 2104.13400 (a head for every prefix), as the
AdaFocus family uses it. Letters: B samples, T vectors, D their width, F width of what is fused, E
of what stands beside it, K classes.

Example:
    >>> import torch
    >>> from foveal.layers import PrefixClassifier
    >>> classifier = PrefixClassifier(
    ...     in_width=6, width=8, num_frames=3, num_classes=5, dropout=0.0, beside_width=4
    ... )
    >>> vectors, beside = torch.zeros(2, 3, 6), torch.zeros(2, 4)
    >>> classifier(vectors, beside).shape
    torch.Size([2, 3, 5])
    >>> first = torch.zeros(2, dtype=torch.int64)
    >>> logits, best = classifier.step(vectors[:, 0], torch.zeros(2, 8), first, beside)
    >>> logits.shape, best.shape
    (torch.Size([2, 5]), torch.Size([2, 8]))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PrefixClassifier(nn.Module):
    """Vectors, in the order they are seen, to one prediction for every prefix.

    Each prefix has a linear head of its own on the largest value so far of every element.

    Args:
        in_width: D.
        width: F.
        num_frames: how many prefixes have a head; where there are more vectors, the last ones.
        num_classes: K.
        dropout: share of what the heads read that is dropped in training.
        beside_width: E, of what every head reads besides.
    """

    def __init__(
        self,
        *,
        in_width: int,
        width: int,
        num_frames: int,
        num_classes: int,
        dropout: float,
        beside_width: int = 0,
    ) -> None:
        super().__init__()
        self.fuse = nn.Sequential(nn.Linear(in_width, width), nn.BatchNorm1d(width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        read = width + beside_width
        bound = read**-0.5  # as nn.Linear draws its weights
        self.weight = nn.Parameter(
            torch.empty(num_frames, num_classes, read).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(num_frames, num_classes).uniform_(-bound, bound))

    def forward(self, vectors: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return logits (B,T,K) for ``vectors`` (B,T,D); row t knows of vectors 0..t only.

        Args:
            vectors: at least as many as there are heads; rows are those of the last ones.
            beside: (B,E).
        """
        return self.heads(self.best(vectors), beside)

    def best(self, vectors: Tensor) -> Tensor:
        """Return the largest value so far (B,T,F) of what ``vectors`` (B,T,D) are fused to."""
        fused: Tensor = self.fuse(vectors.flatten(0, 1))
        return fused.reshape(*vectors.shape[:2], -1).cummax(dim=1).values

    def heads(self, best: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return logits (B,T,K) of the last prefixes of ``best`` (B,T',F), beside (B,E)."""
        read = best[:, -len(self.weight) :]
        if beside is not None:
            read = torch.cat([read, beside[:, None].expand(-1, read.shape[1], -1)], dim=2)
        return torch.einsum("btf,tkf->btk", self.dropout(read), self.weight) + self.bias

    def step(
        self, vectors: Tensor, best: Tensor, prefix: Tensor, beside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B,K) and the new maximum (B,F) after vector ``prefix`` (B,)."""
        best = torch.maximum(best, self.fuse(vectors))
        read = best if beside is None else torch.cat([best, beside], dim=1)
        weight, bias = self.weight[prefix], self.bias[prefix]
        return torch.matmul(weight, read[:, :, None])[:, :, 0] + bias, best
