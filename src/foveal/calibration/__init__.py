"""Measure what a bundle can do at every cost, keep it in the bundle, and draw it."""

from foveal.calibration.calibrate import (
    FEWEST,
    Calibrated,
    Calibrating,
    CalibrationError,
    prepare,
)
from foveal.calibration.curve import Curve, CurveError, Mark, read_curves, with_front
from foveal.calibration.drawing import csv_of, svg_of
from foveal.calibration.measure import Measured, measure
from foveal.calibration.points import front, measured_points

__all__ = [
    "FEWEST",
    "Calibrated",
    "Calibrating",
    "CalibrationError",
    "Curve",
    "CurveError",
    "Mark",
    "Measured",
    "csv_of",
    "front",
    "measure",
    "measured_points",
    "prepare",
    "read_curves",
    "svg_of",
    "with_front",
]
