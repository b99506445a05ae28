"""Bundles: one file that holds a system ready to run, read warily and written reproducibly."""

from foveal.bundle.calibration import MAX_POINTS, Calibration, Machine, MeasuredPoint
from foveal.bundle.decode import decode_config, encode_config
from foveal.bundle.errors import (
    BundleError,
    BundleInvalidError,
    BundleMissingError,
    BundleTamperedError,
    BundleTooNewError,
    ConfigError,
)
from foveal.bundle.file import Bundle, Part, write_bundle
from foveal.bundle.manifest import (
    BUNDLE_SCHEMA,
    Axes,
    MacTable,
    Manifest,
    Tested,
    axes_key,
    declared_axes,
    look_up_macs,
)

__all__ = [
    "BUNDLE_SCHEMA",
    "MAX_POINTS",
    "Axes",
    "Bundle",
    "BundleError",
    "BundleInvalidError",
    "BundleMissingError",
    "BundleTamperedError",
    "BundleTooNewError",
    "Calibration",
    "ConfigError",
    "MacTable",
    "Machine",
    "Manifest",
    "MeasuredPoint",
    "Part",
    "Tested",
    "axes_key",
    "declared_axes",
    "decode_config",
    "encode_config",
    "look_up_macs",
    "write_bundle",
]
