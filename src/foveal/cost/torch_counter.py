"""An independent count of a PyTorch module's MACs, by PyTorch's own FLOP counter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_torch_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Return the multiply-accumulates of ``module(*inputs)``: half of PyTorch's FLOPs.

    Fused attention hides its matrix products from PyTorch's counter, so the plain form runs.
    Recurrent layers are hidden too (the result is too small); count them as cells.

    Args:
        module: is run once, in evaluation mode; its own mode is restored.
        inputs: as its ``forward`` takes them, with the rows to be counted.
    """
    was_training = module.training
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            module.eval()(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        module.train(was_training)
    return int(flops.get_total_flops()) // 2
