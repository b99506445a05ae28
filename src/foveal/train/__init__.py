"""Training: runs the stages of a recipe, and goes on exactly where it was stopped."""

from foveal.train.batches import Made, batches
from foveal.train.cache import FrameCache, default_cache
from foveal.train.checkpoint import TrainError, load_weights, save_weights
from foveal.train.clips import ClipData
from foveal.train.data import ArrayData, Data, Trouble
from foveal.train.fresh import PrepareError, prepared
from foveal.train.loop import TrainResult, fit
from foveal.train.processes import Device, PrecisionName
from foveal.train.progress import Progress, terminal_line
from foveal.train.project import RunData, make_data
from foveal.train.running import Running
from foveal.train.settings import Configured, SettingError, configure
from foveal.train.stage import learning_rate_factor, make_optimizer, set_modes
from foveal.train.stage_run import Point

__all__ = [
    "ArrayData",
    "ClipData",
    "Configured",
    "Data",
    "Device",
    "FrameCache",
    "Made",
    "Point",
    "PrecisionName",
    "PrepareError",
    "Progress",
    "RunData",
    "Running",
    "SettingError",
    "TrainError",
    "TrainResult",
    "Trouble",
    "batches",
    "configure",
    "default_cache",
    "fit",
    "learning_rate_factor",
    "load_weights",
    "make_data",
    "make_optimizer",
    "prepared",
    "save_weights",
    "set_modes",
    "terminal_line",
]
