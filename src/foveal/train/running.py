"""How a run is carried out: where, how precisely, how often; not what is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from foveal.train.processes import Device, PrecisionName


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a run is carried out; nothing here changes what is to be learnt.

    Args:
        device: ``auto`` takes an accelerator if there is one.
        precision: of what the network computes; weights stay in full precision.
        workers: processes that make batches; 0 makes them between the steps.
        checkpoint_steps: steps between checkpoints; a validation and the end of a stage are always
            one.
        validations: of a stage, evenly spread; the last is after its last step.
        patience: the stage ends after so many validations without a better one.
        keep: which weights a stage leaves: of its best validation, or of its last step.
        max_bad_share: the run ends when more of the clips cannot be read.
        tensorboard: write curves for TensorBoard too.
    """

    device: Device = "auto"
    precision: PrecisionName = "32-true"
    workers: int = 0
    checkpoint_steps: int = 500
    validations: int = 20
    patience: int | None = None
    keep: Literal["best", "last"] = "best"
    max_bad_share: float = 0.1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_steps", 1), ("validations", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if not 0 <= self.max_bad_share <= 1:
            raise ValueError(f"max_bad_share must be in [0, 1], got {self.max_bad_share}")
