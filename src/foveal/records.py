"""What comes out: one record a sample, the same everywhere, a failure being one too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foveal.types import Answer, ClipInfo, Cost, FovealError, Trace

SCHEMA_VERSION = 1
"""Version of the record that ``--json`` prints; raised when a field changes meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One recognised thing and when.

    Args:
        label: a class name, or ``nothing it knows`` (then ``guess`` holds the name).
        prob: in [0, 1].
        known: False below the model's threshold.
    """

    label: str
    prob: float
    start_seconds: float
    end_seconds: float
    known: bool = True
    guess: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; ``guess`` only where nothing is known."""
        data: dict[str, Any] = {
            "label": self.label,
            "prob": round(self.prob, 6),
            "start_seconds": round(self.start_seconds, 6),
            "end_seconds": round(self.end_seconds, 6),
        }
        return data if self.known else {**data, "guess": self.guess}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer for one sample with its trace and its bill; ``to_json`` is the record."""

    path: str
    predictions: tuple[Label, ...]
    trace: Trace
    cost: Cost
    model: str
    clip: ClipInfo
    answer: Answer
    warnings: tuple[str, ...] = ()
    operating_point: str | None = None
    several: bool = False
    """Whether a stretch may show several classes: then all that are known are the answer."""

    def to_json(self) -> dict[str, Any]:
        """Return the record (:data:`SCHEMA_VERSION`); ``operating_point`` only where one is set."""
        point = self.operating_point
        return {
            "schema": SCHEMA_VERSION,
            "path": self.path,
            "status": "ok",
            "predictions": [p.to_json() for p in self.predictions],
            "trace": self.trace.to_json(),
            "cost": self.cost.to_json(),
            "model": self.model,
            **({} if point is None else {"operating_point": point}),
            "duration_seconds": round(self.clip.duration_seconds, 6),
            "num_frames": self.clip.num_frames,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sample that has no answer, and why; a record like any other."""

    path: str
    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, path: str, error: FovealError) -> Failure:
        """Return the failure that ``error`` means for the sample ``path``."""
        return cls(path=path, kind=error.kind, message=error.message, hint=error.hint)

    @classmethod
    def unexpected(cls, path: str, error: Exception) -> Failure:
        """Return the failure of the sample ``path`` by a fault in Foveal itself."""
        return cls(
            path=path,
            kind="internal",
            message=" ".join(f"{path}: {type(error).__name__}: {error}".split()),
            hint="this is a fault in Foveal; please report it with the file",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record (:data:`SCHEMA_VERSION`)."""
        return {
            "schema": SCHEMA_VERSION,
            "path": self.path,
            "status": "error",
            "error": {"kind": self.kind, "message": self.message, "hint": self.hint},
        }
