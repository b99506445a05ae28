"""The trained bundle that ships: small, complete, and right about clips nobody trained on."""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from foveal.bundle import Bundle, decode_config
from foveal.engine.executor import Executor, Job
from foveal.engine.runners import OnnxRunner
from foveal.haystack import find, sample
from foveal.systems.ocsampler import protocol
from foveal.video import ArraySource

RESULTS = Path(__file__).resolve().parents[3] / "results" / "ocsampler"


@pytest.fixture(scope="module")
def bundle():
    return Bundle.open(files("foveal.systems.ocsampler") / "tiny.foveal")


def test_it_is_small_and_what_was_measured(bundle):
    bundle.verify()
    told = json.loads((RESULTS / "bundle.json").read_text(encoding="utf-8"))["measured"]
    size = len((files("foveal.systems.ocsampler") / "tiny.foveal").read_bytes())
    assert size == told["bytes"] < 300_000
    assert told["other_frames_chosen"] <= 0.01 * told["clips"]
    assert bundle.manifest.system == "ocsampler"
    assert decode_config(protocol.Config, bundle.manifest.config) == protocol.tiny()
    assert len(bundle.manifest.class_names) == 8


def test_it_finds_the_frames_that_say_the_class(bundle):
    made = sample(find("salient-frames-v1"), split="test", count=60, seed=7)
    sources = [ArraySource(f, fps=made.preset.fps, name=str(i)) for i, f in enumerate(made.frames)]
    steps = partial(protocol.steps, decode_config(protocol.Config, bundle.manifest.config), {})
    jobs = [Job(name=s.info.name, open=lambda s=s: s, steps=steps) for s in sources]
    executor = Executor(OnnxRunner(bundle, threads=1), fetch_threads=0)
    right, seen = [], []
    for outcome in executor.run(jobs):
        (note,) = [e.detail for e in outcome.trace.events if e.kind == "note"]
        evidence = made.truth.evidence[outcome.index]
        seen.append(evidence[list(note["chosen"])].sum() / evidence.sum())
        right.append(outcome.answer.probs.argmax() == made.labels[outcome.index])
    assert np.mean(right) > 0.95
    assert np.mean(seen) > 0.95
