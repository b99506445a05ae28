"""The protocol decides and answers as the training network does, and pays for what it uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from foveal.bundle import Bundle, decode_config, encode_config
from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.runners import OnnxRunner
from foveal.export import export_bundle
from foveal.sampling.confidence import ExitRule
from foveal.systems.adafocus_v2 import protocol
from foveal.systems.adafocus_v2.model import build, make_network
from foveal.types import Canvas
from foveal.video import ArraySource
from tests.unit.adafocus_v2 import runs

TINY = protocol.tiny(num_classes=8, num_frames=4)
VIDEO = replace(TINY, place="video", num_focus_frames=6)


def details(outcome, kind):
    return [event.detail for event in outcome.trace.events if event.kind == kind]


def test_without_exits_it_answers_what_the_network_computes():
    network = runs.network_of(TINY)
    clips = runs.clips_of(TINY, 5)
    with torch.no_grad():
        looked = network(torch.from_numpy(clips))
    for index, outcome in enumerate(runs.run(network, TINY, clips)):
        wanted = torch.log_softmax(looked.logits[index, -1].double(), dim=-1).numpy()
        assert np.abs(np.log(outcome.answer.probs) - wanted).max() < 1e-5
        boxes = np.array([note["box"] for note in details(outcome, "note")])
        corners = looked.actions[index].numpy()[:, ::-1] * (1 - 16 / 64)
        assert np.abs(boxes[:, :2] - corners).max() < 1e-6
        assert np.abs(boxes[:, 2:] - boxes[:, :2] - 0.25).max() < 1e-9
        assert outcome.trace.exit_index == 3
        assert not outcome.trace.stopped_early


def test_frames_are_looked_at_coarse_to_fine_and_each_once():
    network = runs.network_of(TINY)
    (outcome,) = runs.run(network, TINY, runs.clips_of(TINY, 1))
    seconds = [look["seconds"] for look in details(outcome, "look")]
    assert seconds == [[frame / runs.FPS] for frame in network.order]
    assert [note["time"] for note in details(outcome, "note")] == [
        look["asked"][0] for look in details(outcome, "look")
    ]


def test_the_order_has_every_frame_once():
    for count in range(1, 130):
        assert sorted(protocol.frame_order(count)) == list(range(count))


def test_a_sample_that_stops_never_looks_at_the_rest():
    network = runs.network_of(TINY)
    rule = ExitRule(thresholds=(float("inf"), 0.0))
    for outcome in runs.run(network, TINY, runs.clips_of(TINY, 3), exit_rule=rule):
        assert outcome.trace.exit_index == 1
        assert outcome.cost.frames_used == 2
        assert len(details(outcome, "call")) == 4


def test_an_answer_does_not_depend_on_batch_mates():
    network = runs.network_of(TINY)
    clips = runs.clips_of(TINY, 7)
    together = runs.run(network, TINY, clips)
    for index, alone in enumerate(runs.run(network, TINY, clips, max_batch=1)):
        assert np.abs(together[index].answer.probs - alone.answer.probs).max() < 1e-6


def test_one_square_for_a_video():
    network = runs.network_of(VIDEO)
    clips = runs.clips_of(replace(VIDEO, num_frames=24), 3)
    times = [int(24 * (i + 0.5) / 4) for i in range(4)], [int(24 * (i + 0.5) / 6) for i in range(6)]
    with torch.no_grad():
        looked = network(*(torch.from_numpy(clips[:, t]) for t in times))
    for index, outcome in enumerate(runs.run(network, VIDEO, clips)):
        wanted = torch.log_softmax(looked.logits[index].double(), dim=-1).numpy()
        assert np.abs(np.log(outcome.answer.probs) - wanted).max() < 1e-5
        assert len(details(outcome, "note")) == 1


def test_a_square_from_the_files_own_pixels():
    cfg = replace(TINY, crop_from="native")
    network = runs.network_of(cfg)
    # Frames of the canvas's size: at whole pixels both ways to cut give the same square.
    with torch.no_grad():
        network.policy.place[0].weight.zero_()
        network.policy.place[0].bias.copy_(torch.tensor([30.0, -100.0]))
    clips = runs.clips_of(cfg, 2)
    native = runs.run(network, cfg, clips)
    for one, other in zip(native, runs.run(network, TINY, clips), strict=True):
        assert details(one, "note")[0]["box"] == (0.0, 0.75, 0.25, 1.0)
        assert np.abs(one.answer.probs - other.answer.probs).max() < 1e-6
        crops = [look for look in details(one, "look") if look["view"] == "crop"]
        assert len(crops) == 4
        assert crops[0]["size"] == [16, 16]
        assert one.cost.frames_used == 4
        assert one.cost.total_macs == other.cost.total_macs


@pytest.mark.parametrize("cfg", [TINY, VIDEO, protocol.paper(), protocol.paper_tsm()])
def test_a_configuration_comes_back_from_json(cfg):
    assert decode_config(protocol.Config, encode_config(cfg)) == cfg


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canvas": Canvas(height=32, width=64)}, "square"),
        ({"focus_size": 65}, "at least 65 px"),
        ({"num_frames": 0}, "positive"),
        ({"glance": "vgg"}, "no such network"),
        ({"crop_from": "file"}, "no such choice"),
        ({"place": "video", "crop_from": "native"}, "cut from the canvas"),
        ({"canvas": Canvas(height=72, width=72)}, "multiple of 16"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_parts_are_of_one_network():
    with pytest.raises(ValueError, match="no parts for place='video'"):
        build(make_network(TINY), VIDEO)


@pytest.mark.export
def test_the_light_run_decides_the_same(tmp_path):
    cfg = VIDEO  # the contract tests do the same with one square a frame
    network = runs.network_of(cfg)
    modules = build(network, cfg)
    bundle, exported = export_bundle(
        tmp_path / "tiny.foveal",
        system="adafocus_v2",
        config=cfg,
        modules=modules,
        specs=protocol.parts(cfg),
        class_names=[str(k) for k in range(cfg.num_classes)],
        licence="Apache-2.0",
        class_output="focus.logits",
    )
    for one in exported:
        spec = one.part.spec
        inputs = [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs]
        independent = count_torch_macs(modules[spec.name], *inputs)
        assert one.part.macs[()] == pytest.approx(independent, rel=0.01)
    clips = runs.clips_of(replace(cfg, num_frames=max(cfg.num_frames, 6)), 6)
    light = OnnxRunner(Bundle.open(bundle.path), threads=1)
    jobs = [
        Job(
            name=str(i),
            open=lambda clip=clip: ArraySource(clip, fps=runs.FPS),
            steps=lambda info: protocol.steps(cfg, {}, info),
        )
        for i, clip in enumerate(clips)
    ]
    outcomes = sorted(Executor(light, fetch_threads=0).run(jobs), key=lambda o: o.index)
    for one, other in zip(outcomes, runs.run(network, cfg, clips), strict=True):
        assert np.abs(one.answer.probs - other.answer.probs).max() < 1e-4
        boxes = [[note["box"] for note in details(o, "note")] for o in (one, other)]
        assert np.abs(np.array(boxes[0]) - np.array(boxes[1])).max() < 1e-5


def test_exits_on_raw_logits():
    network = runs.network_of(TINY)
    clips = runs.clips_of(TINY, 6)
    with torch.no_grad():
        largest = network(torch.from_numpy(clips)).logits.max(dim=-1).values.numpy()
    limit = float(np.median(largest[:, 0])) - 1e-4
    rule = ExitRule(thresholds=(limit,), criterion="max_logit")
    stopped = [o.trace.stopped_early for o in runs.run(network, TINY, clips, exit_rule=rule)]
    assert stopped == (largest[:, 0] >= limit).tolist()
    assert 0 < sum(stopped) < 6
    with pytest.raises(ValueError, match="max_logit needs logits"):
        rule.holds(0, np.ones(1))
