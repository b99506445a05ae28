"""Lines of an evaluation as they come out of a run, without one."""

from __future__ import annotations

from typing import Any

ABOUT: dict[str, Any] = {
    "model": {
        "system": "toy",
        "bundle": "toy.foveal",
        "sha256": "0" * 64,
        "description": "",
        "exit_rule": None,
    },
    "data": {
        "name": "toys",
        "split": "test",
        "how_split": "as given",
        "trained_on": "other",
        "sha256": "1" * 64,
        "notes": [],
        "warnings": [],
    },
}


def row(
    sample: str,
    label: str,
    probs: list[float],
    *,
    macs: tuple[int, ...] = (100,),
    answers: tuple[int, ...] | None = None,
    frames: int = 4,
    ms: float = 8.0,
    **more: Any,
) -> dict[str, Any]:
    """A clip that called one part before each of its answers."""
    said = answers if answers is not None else (max(range(len(probs)), key=probs.__getitem__),)
    events: list[dict[str, Any]] = []
    for amount, answer in zip(macs, said, strict=True):
        events.append({"kind": "call", "part": "net", "rows": 1, "macs": amount})
        events.append({"kind": "answer", "label": answer, "confidence": 0.5})
    return {
        "schema": 1,
        "path": f"clips/{sample}",
        "status": "ok",
        "predictions": [],
        "trace": {
            "frames_seconds": [],
            "exit_index": len(said) - 1,
            "stopped_early": False,
            "events": events,
        },
        "cost": {
            "macs": sum(macs),
            "macs_by_part": {"net": sum(macs)},
            "frames_decoded": 2 * frames,
            "frames_used": frames,
            "packets_read": frames,
            "bytes": 1000,
            "ms": {"decode": ms / 2, "render": 0.0, "decide": 0.0, "compute": ms / 2},
        },
        "model": "toy",
        "duration_seconds": 1.0,
        "num_frames": 10,
        "warnings": [],
        "sample": sample,
        "label": label,
        "probs": probs,
        **more,
    }


def failed(sample: str, label: str, *, kind: str = "empty") -> dict[str, Any]:
    """A clip that could not be read."""
    error = {"kind": kind, "message": f"{sample}: <b>broken</b>", "hint": "copy it again"}
    return {
        "schema": 1,
        "path": sample,
        "status": "error",
        "error": error,
        "sample": sample,
        "label": label,
    }
