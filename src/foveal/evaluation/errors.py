"""Why something cannot be evaluated."""

from __future__ import annotations

from foveal.types import FovealError


class EvaluationError(FovealError):
    """The model, the clips or the folder asked for do not fit an evaluation."""

    kind = "evaluation"
