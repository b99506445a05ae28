"""Training: runs the stages of a recipe, and goes on exactly where it was stopped."""

from foveal.train.checkpoint import TrainError, load_weights, save_weights
from foveal.train.data import ArrayData, Data
from foveal.train.loop import Device, Point, TrainResult, fit
from foveal.train.progress import Progress, terminal_line
from foveal.train.stage import learning_rate_factor, make_optimizer, set_modes

__all__ = [
    "ArrayData",
    "Data",
    "Device",
    "Point",
    "Progress",
    "TrainError",
    "TrainResult",
    "fit",
    "learning_rate_factor",
    "load_weights",
    "make_optimizer",
    "save_weights",
    "set_modes",
    "terminal_line",
]
