"""What a clip shows, told to a network: one class, or several.

A label is int64 (B,), one class a clip, or float (B,K), 1 for every class that a clip shows and 0
for the others. Letters: B clips, K classes.

Example:
    >>> import torch
    >>> from foveal.layers import is_right, label_loss
    >>> logits = torch.tensor([[2.0, -2.0], [2.0, 2.0]])
    >>> is_right(logits, torch.tensor([1, 0])).tolist()
    [False, True]
    >>> is_right(logits, torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist()
    [True, False]
    >>> round(float(label_loss(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))), 4)
    0.2539
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def label_losses(logits: Tensor, label: Tensor) -> Tensor:
    """Return the loss (B,) of each clip.

    That is the cross-entropy where a clip shows one class; where it may show several, the binary
    cross-entropies of the classes, summed.

    Args:
        logits: (B,K).
        label: int64 (B,), or float (B,K).
    """
    if label.ndim == 1:
        return functional.cross_entropy(logits, label, reduction="none")
    each = functional.binary_cross_entropy_with_logits(logits, label.to(logits), reduction="none")
    return each.sum(dim=1)


def label_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return the mean of :func:`label_losses` over the clips."""
    if label.ndim == 1:
        return functional.cross_entropy(logits, label)
    return label_losses(logits, label).mean()


def is_right(logits: Tensor, label: Tensor) -> Tensor:
    """Return whether each clip shows the class with the largest logit, bool (B,)."""
    best = logits.argmax(dim=1)
    if label.ndim == 1:
        return best == label
    return label.gather(1, best[:, None])[:, 0] > 0


def has_class(label: Tensor, num_classes: int) -> Tensor:
    """Return which classes each clip shows, bool (B,K)."""
    if label.ndim == 1:
        return functional.one_hot(label, num_classes).bool()
    return label > 0


def class_probs(logits: Tensor, *, several: bool) -> Tensor:
    """Return probabilities along the last axis: of one class of all, or of each by itself."""
    return logits.sigmoid() if several else logits.softmax(dim=-1)
