"""What things cost: one MAC counter for exported parts, one latency meter.

Nothing here imports PyTorch; the independent counter of PyTorch modules, which tests hold the
MAC counter against, is :mod:`foveal.cost.torch_counter`.
"""

from foveal.cost.latency import Latency, LatencyReport, measure_latency
from foveal.cost.macs import MacCount, MissingOnnxError, count_macs

__all__ = [
    "Latency",
    "LatencyReport",
    "MacCount",
    "MissingOnnxError",
    "count_macs",
    "measure_latency",
]
