"""Figures of merit as pure functions over arrays: no files, no systems, NumPy alone."""

from foveal.metrics.accuracy import confusion, mean_class_accuracy, per_class, top_k_accuracy
from foveal.metrics.calibration import (
    COLDEST,
    HOTTEST,
    Reliability,
    cooled,
    expected_calibration_error,
    fit_temperature,
    reliability,
)
from foveal.metrics.ranking import (
    Scored,
    average_precision,
    hits_at_k,
    mean_average_precision,
    video_average_precisions,
)
from foveal.metrics.spread import Spread, spread

__all__ = [
    "COLDEST",
    "HOTTEST",
    "Reliability",
    "Scored",
    "Spread",
    "average_precision",
    "confusion",
    "cooled",
    "expected_calibration_error",
    "fit_temperature",
    "hits_at_k",
    "mean_average_precision",
    "mean_class_accuracy",
    "per_class",
    "reliability",
    "spread",
    "top_k_accuracy",
    "video_average_precisions",
]
