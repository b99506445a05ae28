"""The baselines look where they say, pay for it, and share one protocol."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from foveal.engine.executor import Executor, Job
from foveal.systems.baselines import protocol, recipe
from foveal.train import configure
from foveal.types import Canvas, ClipInfo
from tests.unit.engine.fakes import FakeRunner, FakeSource

CANVAS = Canvas(height=1, width=3)
CLIP = ClipInfo(name="clip", duration_seconds=16.0, fps=4.0)


def build(preset, **options):
    return preset(CANVAS, num_frames=4, num_classes=2, part="classifier", **options)


def bright(frames):
    share = frames[:, 0, 0, 0].astype(np.float64)
    return (np.stack([share, 1 - share], axis=1),)


def run(cfg, seeds=(0,)):
    runner = FakeRunner({"classifier": bright})
    sources = [FakeSource(seed) for seed in seeds]
    work = [
        Job(
            name=s.info.name,
            open=lambda s=s: s,
            steps=partial(protocol.steps, cfg, {}),
        )
        for s in sources
    ]
    return list(Executor(runner, fetch_threads=0).run(work))


def test_uniform_takes_segment_centres():
    assert protocol.frame_times(build(protocol.uniform), CLIP) == (2.0, 6.0, 10.0, 14.0)


def test_centre_takes_consecutive_frames_around_the_middle():
    times = protocol.frame_times(build(protocol.centre), CLIP)
    assert np.diff(times) == pytest.approx([0.25] * 3)
    assert np.mean(times) == pytest.approx(8.0)
    short = replace(CLIP, duration_seconds=0.2)
    assert all(0 <= t <= 0.2 for t in protocol.frame_times(build(protocol.centre), short))


def test_random_draws_once_per_segment_and_repeats_with_its_seed():
    one = protocol.frame_times(build(protocol.random, seed=1), CLIP)
    assert one == protocol.frame_times(build(protocol.random, seed=1), CLIP)
    assert one != protocol.frame_times(build(protocol.random, seed=2), CLIP)
    other = protocol.frame_times(build(protocol.random, seed=1), replace(CLIP, name="other"))
    assert one != other
    assert [int(t // 4) for t in one] == [0, 1, 2, 3]


def test_dense_looks_at_more_and_glance_only_says_it_glanced():
    dense = protocol.dense(CANVAS, num_classes=2, part="classifier")
    assert len(protocol.frame_times(dense, CLIP)) == 16
    (outcome,) = run(build(protocol.glance_only))
    (look,) = [e.detail for e in outcome.trace.events if e.kind == "look"]
    assert look["role"] == "glance"


def test_every_baseline_pays_for_every_frame():
    for preset in (protocol.uniform, protocol.random, protocol.centre, protocol.glance_only):
        outcomes = run(build(preset), seeds=range(5))
        assert [o.cost.macs for o in outcomes] == [{"classifier": 40}] * 5


def test_mean_averages_probabilities_and_each_answers_for_its_own_time():
    (mean,) = run(build(protocol.uniform))
    each_cfg = replace(build(protocol.uniform), answer="each")
    (each,) = run(each_cfg)
    frames = [np.random.default_rng([0, t]).random(4)[0] for t in (2, 6, 10, 14)]
    assert mean.answer.probs[0] == pytest.approx(np.mean(frames), rel=1e-6)
    segments = each.answer.segments
    assert segments.start_seconds[0] == 0
    assert max(segments.end_seconds) == 16
    at_seven = [
        label
        for start, end, label in zip(
            segments.start_seconds, segments.end_seconds, segments.labels, strict=True
        )
        if start <= 7 < end
    ]
    assert at_seven[0] == int(frames[1] < 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 0}, "at least one frame"),
        ({"when": "sometimes"}, "when must be"),
        ({"answer": "all"}, "answer must be"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(build(protocol.uniform), **change)


def test_running_answers_after_every_frame_and_ends_where_the_mean_does():
    mean = build(protocol.uniform)
    (whole,) = run(mean)
    (running,) = run(replace(mean, answer="running"))
    assert running.trace.exit_index == 3
    np.testing.assert_allclose(running.answer.probs, whole.answer.probs)
    assert running.cost.total_macs == whole.cost.total_macs
    asked = [e.detail["asked"] for e in running.trace.events if e.kind == "look"]
    assert asked == [[6.0], [2.0], [14.0], [10.0]]


@pytest.mark.parametrize("name", ["small_resnet", "small_mobilenet"])
def test_a_run_may_name_another_small_network(name: str) -> None:
    made = configure(recipe.small, num_classes=3, num_samples=8, settings={"network": name})
    network = made.recipe.network().eval()
    with torch.no_grad():
        logits = network(torch.zeros(2, 4, 3, 96, 96, dtype=torch.uint8))
    assert logits.shape == (2, 3)
    wide, plain = (
        sum(p.numel() for p in n.parameters()) for n in (network, recipe.small().network())
    )
    assert wide != plain
