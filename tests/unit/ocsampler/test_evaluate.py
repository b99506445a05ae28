"""Generated clips say whether it looked at the evidence."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from foveal.evaluation import evaluate
from foveal.haystack import find, write_videos


def test_it_looks_at_the_evidence_far_more_often_than_by_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = Path(str(files("foveal.systems.ocsampler") / "tiny.foveal"))
    list(write_videos("clips", find("salient-frames-v1"), split="test", count=6))
    done = evaluate(bundle, "clips")
    assert done.figures["num_judged"] == 6
    evidence = done.figures["evidence"]
    assert evidence["num_clips"] == 6
    assert evidence["chance"] == 0.2
    assert evidence["precision"] > 0.5
    assert evidence["found"] == 1.0
    assert "Where it looked" in (done.out / "report.html").read_text()
