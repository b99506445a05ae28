"""From PyTorch modules to a bundle: parts to ONNX, checked against the modules they came from."""

from foveal.export.bundle import ExportedPart, export_bundle, export_parts
from foveal.export.half import half_weights
from foveal.export.parity import check_parity, output_change
from foveal.export.part import OPSET, ExportError, count_part, export_part

__all__ = [
    "OPSET",
    "ExportError",
    "ExportedPart",
    "check_parity",
    "count_part",
    "export_bundle",
    "export_part",
    "export_parts",
    "half_weights",
    "output_change",
]
