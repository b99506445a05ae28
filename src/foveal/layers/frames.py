"""Frames one by one: a vector, a class, and the answer of several of them.

Letters: B clips, T frames, N frames of all clips, D features, K classes.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from foveal.layers import FrameClassifier
    >>> classifier = FrameClassifier(nn.Identity(), width=32, num_classes=10)
    >>> classifier(torch.zeros(5, 32)).shape
    torch.Size([5, 10])
    >>> classifier.clip_logits(torch.zeros(2, 16, 32)).shape
    torch.Size([2, 16, 10])
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foveal.layers.encoder import ImageEncoder
from foveal.layers.labels import class_probs, is_right, label_loss
from foveal.layers.pixels import PixelNorm


class PictureVectors(nn.Module):
    """uint8 pictures (N,3,H,W) to the vectors (N,D) of an encoder.

    Args:
        encoder: takes normalised pictures.
        blocks: pixels down and across that are averaged into one first.
    """

    def __init__(self, encoder: ImageEncoder, *, blocks: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.shrink = nn.Identity() if blocks == (1, 1) else nn.AvgPool2d(blocks)
        self.norm = PixelNorm()
        self.encoder = encoder

    def forward(self, pictures: Tensor) -> Tensor:
        """Return vectors (N,D)."""
        vectors: Tensor = self.encoder(self.norm(self.shrink(pictures.float())))[1]
        return vectors


class FrameClassifier(nn.Module):
    """A recogniser of single frames; called, it gives probabilities.

    Args:
        encoder: frames (N,...) to vectors (N,D).
        width: D.
        num_classes: K.
        dropout: before the last layer, while training.
        several: whether a frame may show several classes; then each has its own probability.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        num_classes: int,
        dropout: float = 0.0,
        several: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.several = several
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return probabilities (N,K) of frames (N,...)."""
        logits: Tensor = self.head(self.encoder(frames))
        return class_probs(logits, several=self.several)

    def clip_logits(self, frames: Tensor) -> Tensor:
        """Return logits (B,T,K) of frames (B,T,...)."""
        logits: Tensor = self.head(self.dropout(self.clip_vectors(frames)))
        return logits

    def clip_vectors(self, frames: Tensor) -> Tensor:
        """Return vectors (B,T,D) of frames (B,T,...)."""
        vectors: Tensor = self.encoder(frames.flatten(0, 1))
        return vectors.reshape(*frames.shape[:2], vectors.shape[1])


def mean_answer(frame_logits: Tensor, *, several: bool = False) -> Tensor:
    """Return logits (B,K) whose probabilities are the mean of those of the frames (B,T,K).

    Args:
        frame_logits: of every frame.
        several: whether a clip may show several classes.
    """
    if several:
        there, absent = (
            nn.functional.logsigmoid(sign * frame_logits).logsumexp(dim=1) for sign in (1, -1)
        )
        return there - absent
    log_probs = frame_logits.log_softmax(dim=-1)
    return log_probs.logsumexp(dim=1) - math.log(frame_logits.shape[1])


def drawn_frames(frames: Tensor, *, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` of the frames (B,T,...), drawn anew for each clip, in order of time."""
    keys = torch.rand(frames.shape[:2], generator=generator)
    index = keys.argsort(dim=1)[:, :count].sort(dim=1).values.to(frames.device)
    return taken(frames, index)


def taken(frames: Tensor, index: Tensor) -> Tensor:
    """Return ``frames`` (B,T,...) at ``index`` int64 (B,N), as (B,N,...)."""
    rows = torch.arange(len(frames), device=frames.device)[:, None]
    return frames[rows, index]


def scaled_rows(scores: Tensor) -> Tensor:
    """Return ``scores`` (...,T) moved and scaled to [0, 1] in float64; 0 where all are equal.

    Equal is what differs by a millionth at most: rounding is not stretched to a ranking.
    """
    scores = scores.double()
    lowest, highest = scores.amin(dim=-1, keepdim=True), scores.amax(dim=-1, keepdim=True)
    width = highest - lowest
    return torch.where(width > 1e-6, (scores - lowest) / width.clamp(min=1e-6), 0.0)


def most_salient(saliency: Tensor, *, num_frames: int) -> Tensor:
    """Return the N largest of (B,T) as int64 (B,N) ascending; ties go to the lower index."""
    order = torch.sort(saliency, dim=1, descending=True, stable=True).indices
    return order[:, :num_frames].sort(dim=1).values


def consensus_loss(
    classifier: FrameClassifier,
    frames: Tensor,
    label: Tensor,
    *,
    count: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the loss of the mean logits of some frames of each clip, drawn anew.

    Source: temporal segment networks (Wang et al., ECCV 2016, arXiv 1608.00859).

    Args:
        classifier: learns.
        frames: (B,T,...).
        label: int64 (B,), or float (B,K) where clips may show several classes.
        count: frames drawn; all, where there are fewer.
        generator: draws them.
    """
    kept = drawn_frames(frames, count=min(count, frames.shape[1]), generator=generator)
    logits = classifier.clip_logits(kept).mean(dim=1)
    accuracy = is_right(logits, label).float().mean()
    return {"loss": label_loss(logits, label), "accuracy": accuracy}
