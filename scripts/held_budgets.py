"""Whether a calibrated bundle holds the budgets it is asked for, on clips it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foveal.api import Model
from foveal.budget import Budget, BudgetError
from foveal.records import Prediction


def held(
    model: Model, labels: Mapping[Path, str], budget: Budget, *, slack: float = 0.0
) -> dict[str, Any]:
    """Return which point holds ``budget``, and whether it did on clips.

    Args:
        model: of a calibrated bundle.
        labels: the class of each clip.
        budget: of one kind.
        slack: share of a budget of milliseconds that may be exceeded.
    """
    chosen = model.within(budget)
    assert chosen.choice is not None
    done = list(chosen.recognize_many(list(labels)))
    found = [one for one in done if isinstance(one, Prediction)]
    assert len(found) == len(labels)
    macs = np.array([one.cost.total_macs for one in found])
    ms = np.sort([one.cost.total_ms for one in found])
    p95 = float(ms[-(-95 * len(ms) // 100) - 1])
    right = np.mean([is_right(one, labels[Path(one.path)]) for one in found])
    if budget.max_ms is not None:
        is_held = p95 <= budget.max_ms * (1 + slack)
    else:
        spent = macs.max() if budget.hard else macs.mean()
        is_held = bool(spent <= (budget.max_gmacs or 0.0) * 1e9)
    return {
        "budget": budget.max_ms if budget.max_ms is not None else budget.max_gmacs,
        "point": chosen.choice.measured.point.name,
        "note": chosen.choice.note,
        "accuracy": round(float(right), 4),
        "mean_kmacs": float(macs.mean()) / 1e3,
        "max_kmacs": int(macs.max()) / 1e3,
        "p50_ms": round(float(np.median(ms)), 3),
        "p95_ms": round(p95, 3),
        "held": is_held,
    }


def is_right(found: Prediction, label: str) -> bool:
    """Return whether the first class is the clip's, known or guessed."""
    best = found.predictions[0]
    return (best.guess or best.label) == label


def refused(model: Model, budget: Budget) -> bool:
    """Return whether ``budget`` is refused."""
    try:
        model.within(budget)
    except BudgetError as error:
        print(error)
        return True
    return False
