"""Temporal shift: a 2-D network sees its neighbours in time, at no multiplication.

Source: Lin, Gan, Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019,
arXiv 1811.08383, section 4 (the bi-directional shift, zeros beyond the ends of the clip).
Letters: B clips, T frames, C channels; rows are the frames of all clips, clip by clip.

Example:
    >>> import torch
    >>> from foveal.layers import TemporalShift, temporal_shift
    >>> rows = torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 4)  # 1 clip, 3 frames, 4 channels
    >>> temporal_shift(rows, num_frames=3, fold_div=4)
    tensor([[2., 0., 1., 1.],
            [3., 1., 2., 2.],
            [0., 2., 3., 3.]])
    >>> conv = TemporalShift(torch.nn.Conv2d(4, 8, 1), num_frames=3, fold_div=4)
    >>> conv(torch.zeros(6, 4, 7, 7)).shape
    torch.Size([6, 8, 7, 7])
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def temporal_shift(x: Tensor, *, num_frames: int, fold_div: int = 8) -> Tensor:
    """Return ``x`` with one share of its channels taken from the next frame, one from the last.

    With ``fold = C // fold_div``, channels [0, fold) come from t+1 and [fold, 2 fold) from t-1;
    the others stay. What would come from beyond an end of the clip is zero.

    Args:
        x: (B*T,C,...), any type.
        num_frames: T, at least 1.
        fold_div: at least 2; 8 moves a quarter of the channels.

    Returns:
        A tensor like ``x``.

    Raises:
        ValueError: the rows are no whole number of clips, or ``fold_div`` is below 2.
    """
    if fold_div < 2:
        raise ValueError(f"fold_div must be at least 2, got {fold_div}")
    if num_frames < 1 or x.shape[0] % num_frames != 0:
        raise ValueError(f"{x.shape[0]} rows are no whole number of clips of {num_frames} frames")
    clips = x.reshape(-1, num_frames, *x.shape[1:])
    fold = clips.shape[2] // fold_div
    end = torch.zeros_like(clips[:, :1, :fold])
    from_next = torch.cat([clips[:, 1:, :fold], end], dim=1)
    from_last = torch.cat([end, clips[:, :-1, fold : 2 * fold]], dim=1)
    return torch.cat([from_next, from_last, clips[:, :, 2 * fold :]], dim=2).flatten(0, 1)


class TemporalShift(nn.Module):
    """A layer whose input is shifted in time first.

    Args:
        conv: takes (B*T,C,...), by custom a convolution.
        num_frames: T of every clip it will see.
        fold_div: see :func:`temporal_shift`.
    """

    def __init__(self, conv: nn.Module, *, num_frames: int, fold_div: int = 8) -> None:
        super().__init__()
        self.conv = conv
        self.num_frames = num_frames
        self.fold_div = fold_div

    def forward(self, x: Tensor) -> Tensor:
        """Return ``conv`` of the shifted rows (B*T,C,...)."""
        shifted = temporal_shift(x, num_frames=self.num_frames, fold_div=self.fold_div)
        result: Tensor = self.conv(shifted)
        return result

    def extra_repr(self) -> str:
        """Return what ``print`` shows beside the layer."""
        return f"num_frames={self.num_frames}, fold_div={self.fold_div}"
