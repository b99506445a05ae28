"""Judging a bundle on labelled clips: accuracy, calibration, cost, and where it looked.

::

    judged = evaluate("runs/first", "clips/", out="runs/first/test")
    judged.figures["accuracy"]["top1"]

Every clip is one line of ``clips.jsonl`` as soon as it is done, and all figures are made of those
lines, so an evaluation that was stopped goes on where it was. docs/evaluation.md has the files.
"""

from foveal.evaluation.delivery import Run, Verified, check_target, open_run, verify
from foveal.evaluation.errors import EvaluationError
from foveal.evaluation.figures import EVALUATION_SCHEMA
from foveal.evaluation.judge import Evaluated, Judging, evaluate, prepare

__all__ = [
    "EVALUATION_SCHEMA",
    "Evaluated",
    "EvaluationError",
    "Judging",
    "Run",
    "Verified",
    "check_target",
    "evaluate",
    "open_run",
    "prepare",
    "verify",
]
