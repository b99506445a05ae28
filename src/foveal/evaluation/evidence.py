"""Whether a system looked where the evidence is, for clips of which that is known.

Generated clips come with ``truth.jsonl`` (docs/haystack.md): which frames show the class, and
where in them. Boxes are x0, y0, x1, y1 in [0, 1] of the displayed frame.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foveal.dataset import Sample
from foveal.evaluation.errors import EvaluationError
from foveal.explain.story import SeenFrame, read
from foveal.records import Prediction
from foveal.types import Box

TRUTH = "truth.jsonl"


def read_truth(data: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return what is known of the clips below the folder (or beside the list) ``data``, by path.

    Raises:
        EvaluationError: a line cannot be read.
    """
    root = Path(data) if Path(data).is_dir() else Path(data).parent
    known: dict[str, dict[str, Any]] = {}
    for path in sorted([*root.glob(TRUTH), *root.glob(f"*/{TRUTH}")]):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                truth = json.loads(line)
                file = path.parent / truth["file"]
                _need = (truth["fps"], truth["evidence_frames"], truth["shown"], truth["boxes"])
            except (ValueError, KeyError, TypeError) as error:
                raise EvaluationError(
                    f"{path} line {number}: this tells no truth about a clip ({error})",
                    hint="write the clips again with `foveal haystack`",
                ) from error
            known[os.path.realpath(file)] = truth
    return known


def truth_of(known: Mapping[str, Mapping[str, Any]], sample: Sample) -> Mapping[str, Any] | None:
    """Return what is known of a whole clip, if anything is."""
    if not known or sample.start_seconds is not None or sample.end_seconds is not None:
        return None
    return known.get(os.path.realpath(sample.path))


def located(prediction: Prediction, truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return how what was looked at closely (or at all, if nothing was) meets the evidence.

    A close look is one with the role ``focus``, or one in which a box was chosen.

    Returns:
        ``modality`` that tells the class; ``looks``: frames looked at closely, or windows
        listened to where the evidence is sound; ``on_evidence``: how many of them show it;
        ``chance``: the share of the clip that does; where boxes were looked at in frames that
        show it, ``box_coverage``: the mean share of the evidence inside the best of them, and
        ``box_area``: the mean area of the boxes, which is what a box put anywhere would cover.
    """
    story = read(prediction)
    shown = len(truth["shown"])
    evidence = frozenset(truth["evidence_frames"])
    fps = float(truth["fps"])
    found: dict[str, Any] = {
        "modality": truth["modality"],
        "chance": round(len(evidence) / shown, 6) if shown else 0.0,
    }
    if truth["modality"] == "sound":
        heard = [{*range(int(start * fps), int(np.ceil(end * fps)))} for start, end in story.sounds]
        on = sum(not evidence.isdisjoint(frames) for frames in heard)
        return {**found, "looks": len(heard), "on_evidence": on}
    frames = [f for f in story.frames if f.focused or f.boxes] or list(story.frames)
    indices = [min(round(f.seconds * fps), shown - 1) for f in frames]
    on = sum(index in evidence for index in indices)
    found |= {"looks": len(frames), "on_evidence": on}
    pairs = [
        (frame, truth["boxes"][index])
        for frame, index in zip(frames, indices, strict=True)
        if index in evidence and frame.boxes and truth["boxes"][index] is not None
    ]
    if pairs:
        found["box_coverage"] = round(float(np.mean([_covered(*pair) for pair in pairs])), 6)
        areas = [_area(box) for frame, _ in pairs for box in frame.boxes]
        found["box_area"] = round(float(np.mean(areas)), 6)
    return found


def _covered(frame: SeenFrame, wanted: Box) -> float:
    """Return the largest share of ``wanted`` that lies inside one of the boxes looked at."""
    x0, y0, x1, y1 = wanted
    shares = [
        max(0.0, min(b[2], x1) - max(b[0], x0)) * max(0.0, min(b[3], y1) - max(b[1], y0))
        for b in frame.boxes
    ]
    return max(shares) / _area(wanted) if _area(wanted) > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
