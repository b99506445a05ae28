"""What OCSampler looks at, in which order, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from foveal.bundle import Bundle
from foveal.engine.executor import Executor, Job
from foveal.engine.runners import OnnxRunner
from foveal.engine.torch_runner import TorchRunner
from foveal.export.bundle import export_bundle
from foveal.systems.ocsampler import protocol
from foveal.systems.ocsampler.model import Network, build
from foveal.types import Canvas, ClipInfo
from foveal.video import ArraySource

pytestmark = pytest.mark.export


def clips(count, num_frames=10, side=32):
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (count, num_frames, 3, side, side)).astype(np.uint8)


class System:
    """A tiny system with random weights, its bundle, and a way to run it."""

    def __init__(self, folder, head):
        self.cfg = replace(protocol.tiny(), head=head)
        torch.manual_seed(3)
        self.network = Network(self.cfg).eval()
        # Fresh networks hardly tell frames apart; this makes choices clear.
        torch.nn.init.normal_(self.network.sampler.logit.weight, std=3.0)
        modules, specs = build(self.network, self.cfg), protocol.parts(self.cfg)
        self.bundle, exported = export_bundle(
            folder / f"{head}.foveal",
            system="ocsampler",
            config=self.cfg,
            modules=modules,
            specs=specs,
            class_names=[f"class {i}" for i in range(8)],
            licence="Apache-2.0",
            class_output="classifier.logits",
        )
        macs = {e.part.spec.name: e.part.macs for e in exported}
        self.runner = TorchRunner(modules, {s.name: s for s in specs}, macs)

    def run(self, videos, *, cfg=None, runner=None, max_batch=16):
        steps = partial(protocol.steps, cfg or self.cfg, {})
        executor = Executor(runner or self.runner, max_batch=max_batch, fetch_threads=0)
        sources = [ArraySource(v, fps=5.0, name=str(i)) for i, v in enumerate(videos)]
        jobs = [Job(name=s.info.name, open=lambda s=s: s, steps=steps) for s in sources]
        return sorted(executor.run(jobs), key=lambda outcome: outcome.index)


@pytest.fixture(scope="module", params=["shared", "per_count"])
def system(request, tmp_path_factory):
    return System(tmp_path_factory.mktemp("ocsampler"), request.param)


def noted(outcome):
    (note,) = [e.detail for e in outcome.trace.events if e.kind == "note"]
    return note


def test_the_protocol_answers_what_the_network_computes(system):
    videos = clips(5)
    with torch.inference_mode():
        output = system.network(torch.from_numpy(videos))
    for i, outcome in enumerate(system.run(videos)):
        assert list(noted(outcome)["chosen"]) == output.chosen[i].tolist()
        saliency = output.frame_logits[i].double().softmax(0).numpy()
        assert np.abs(np.array(noted(outcome)["saliency"]) - saliency).max() < 1e-5
        want = torch.log_softmax(output.logits[i].double(), 0).numpy()
        assert np.abs(np.log(outcome.answer.probs) - want).max() < 1e-5


def test_chosen_frames_ascend_and_are_exactly_n(system):
    for count in (1, 4, 9):
        for outcome in system.run(clips(4), cfg=replace(system.cfg, num_frames=count)):
            chosen = noted(outcome)["chosen"]
            assert len(chosen) == count
            assert all(a < b for a, b in pairwise(chosen))
            assert 0 <= chosen[0] <= chosen[-1] < 10


def test_with_all_frames_it_is_the_classifier_alone_bit_for_bit(system):
    videos = clips(3)
    cfg = replace(system.cfg, num_frames=10)
    for video, outcome in zip(videos, system.run(videos, cfg=cfg, max_batch=1), strict=True):
        (logits,) = system.runner.run("classifier", [(video[None],)])[0]
        shifted = np.exp(logits[0].astype(np.float64) - logits[0].max())
        assert np.array_equal(outcome.answer.probs, shifted / shifted.sum())


def test_the_bill_is_skim_plus_frames_plus_head(system):
    skim = 10 * (64 * 6 * 9 + 16 * 12 * 6 * 9 + 12)
    frame = 256 * 16 * 9 + 64 * 32 * 16 * 9 + 16 * 64 * 32 * 9 + 64 * 128
    head = 128 * 8
    for count in (3, 7):
        (outcome,) = system.run(clips(1), cfg=replace(system.cfg, num_frames=count))
        assert outcome.cost.macs == {"skim": skim, "classifier": count * frame + head}
        assert outcome.cost.frames_used == 10
    assert skim / frame == pytest.approx(0.22, abs=0.005)  # as the sheet measured


def test_an_answer_does_not_depend_on_batch_mates(system):
    videos = clips(6)
    together = system.run(videos, max_batch=16)
    for i, alone in enumerate(system.run(videos, max_batch=1)):
        assert noted(together[i])["chosen"] == noted(alone)["chosen"]
        assert np.abs(together[i].answer.probs - alone.answer.probs).max() < 1e-6


def test_the_light_runner_decides_the_same(system):
    videos = clips(12)
    light = OnnxRunner(Bundle.open(system.bundle.path), threads=1)
    for a, b in zip(system.run(videos), system.run(videos, runner=light), strict=True):
        assert noted(a)["chosen"] == noted(b)["chosen"]
        assert np.abs(a.answer.probs - b.answer.probs).max() < 1e-5
        assert a.cost.macs == b.cost.macs
    assert system.bundle.path.stat().st_size < 300_000


def test_longer_and_shorter_clips_are_covered(system):
    for num_frames in (1, 4, 10, 13, 57):
        (outcome,) = system.run(clips(1, num_frames))
        looks = [e.detail for e in outcome.trace.events if e.kind == "look"]
        assert [e["role"] for e in looks] == ["glance", "focus"]
        index = protocol.candidate_indices(num_frames, 10, np.random.RandomState(255))
        assert np.allclose(looks[0]["seconds"], index / 5.0)
        assert np.allclose(looks[1]["seconds"], index[list(noted(outcome)["chosen"])] / 5.0)


def test_a_clip_of_unknown_length_in_frames_is_covered_by_its_seconds():
    clip = ClipInfo(name="stream", duration_seconds=40.0)
    times = protocol.candidate_times(protocol.tiny(), clip)
    assert all(4.0 * i <= t < 4.0 * (i + 1) for i, t in enumerate(times))


@pytest.mark.parametrize(
    "change",
    [
        {"num_frames": 7, "frame_counts": (3, 4)},
        {"frame_counts": (4, 3)},
        {"frame_counts": (3, 11)},
        {"num_classes": 0},
        {"head": "both"},
        {"networks": "huge"},
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(change):
    with pytest.raises(ValueError, match=r"must be"):
        replace(protocol.tiny(), **change)


def test_presets_are_the_released_ones():
    activitynet, kinetics = protocol.activitynet(), protocol.mini_kinetics()
    assert activitynet.canvas == Canvas(height=224, width=224, short_side=224)
    assert (activitynet.shift_div, kinetics.shift_div) == (10, 8)
    assert (activitynet.num_frames, kinetics.num_frames) == (6, 4)
    assert protocol.reference(activitynet) is None


@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_plain_model_looks_at_uniform_candidates_and_never_skims(system, count):
    cfg = replace(system.cfg, num_frames=count, choose="uniform")
    (one,) = system.run(clips(1), cfg=cfg)
    assert set(one.cost.macs) == {"classifier"}
    kept = [(2 * i + 1) * 10 // (2 * count) for i in range(count)]
    times = protocol.candidate_times(cfg, one.clip)
    (look,) = [e.detail for e in one.trace.events if e.kind == "look"]
    assert look["asked"] == [times[i] for i in kept]


def test_choosing_otherwise_is_refused(system):
    with pytest.raises(ValueError, match="choose must be skim or uniform"):
        replace(system.cfg, choose="best")
