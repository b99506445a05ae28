"""Which clips the teacher sees, what that costs, and what the two answer together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.cost.torch_counter import count_torch_macs
from foveal.explain.story import read
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.confidence_distillation import protocol
from foveal.systems.confidence_distillation.model import make_network
from foveal.systems.confidence_distillation.protocol import STUDENT, TEACHER
from foveal.types import Canvas, ClipInfo
from tests.unit.confidence_distillation.made import calls, network, noted, run, sources, videos

CFG = protocol.tiny()
COUNT = 12
LABELS = np.arange(COUNT) % CFG.num_classes


@pytest.fixture(scope="module")
def net():
    return network(CFG)


@pytest.fixture(scope="module")
def made():
    return videos(COUNT, CFG)


def scan(net, made):
    """Return what the student says of every clip: probabilities (V,N,K), confidence (V,N)."""
    frames = torch.from_numpy(made)
    with torch.inference_mode():
        logits, trust = net.student(net.student_clips(frames).flatten(0, 1))
    shape = (len(made), CFG.num_clips, -1)
    return softmax(logits.numpy()).reshape(shape), trust.double().numpy().reshape(shape[:2])


def probs(outcomes):
    return np.stack([outcome.answer.probs for outcome in outcomes])


# --- the sheet's lines ---------------------------------------------------------------------------


def test_all_clips_weighted_alike_are_the_dense_teacher_exactly(net, made):
    everything = {"num_chosen": CFG.num_clips, "rho": 0.0, "weighting": "equal"}
    ours = run(net, replace(CFG, **everything), sources(made), tau=1.1, max_batch=1)
    plain = replace(CFG, mode="uniform", num_chosen=CFG.num_clips)
    dense = run(net, plain, sources(made), max_batch=1)
    assert np.allclose(probs(ours), probs(dense), rtol=0, atol=1e-15)
    assert probs(dense).std(axis=0).max() > 1e-3  # the videos differ
    with torch.inference_mode():
        clips = torch.from_numpy(made).reshape(-1, CFG.clip_frames, *made.shape[2:])
        taught = softmax(net.teacher(clips).numpy()).reshape(COUNT, CFG.num_clips, -1)
    assert np.abs(probs(dense) - taught.mean(axis=1)).max() < 1e-6


def test_at_tau_0_the_teacher_is_never_called_and_the_vote_is_the_answer(net, made):
    each, trust = scan(net, made)
    vote = (trust[..., None] * each).sum(axis=1) / trust.sum(axis=1, keepdims=True)
    for i, outcome in enumerate(run(net, CFG, sources(made), tau=0.0)):
        assert calls(outcome, TEACHER) == 0
        assert outcome.trace.stopped_early
        assert np.abs(outcome.answer.probs - vote[i]).max() < 1e-6
    alone = run(net, replace(CFG, mode="student"), sources(made))
    assert np.abs(probs(alone) - vote).max() < 1e-6
    assert all(calls(outcome, TEACHER) == 0 for outcome in alone)


def test_the_teacher_is_called_k_times_for_each_video_that_stays_and_the_bill_says_so(net, made):
    each, trust = scan(net, made)
    vote = (trust[..., None] * each).sum(axis=1) / trust.sum(axis=1, keepdims=True)
    sure = np.sort(trust, axis=1)[:, -CFG.num_chosen :].mean(axis=1) * vote.max(axis=1)
    tau = float(np.median(sure))
    outcomes = run(net, CFG, sources(made), tau=tau)
    stayed = sure < tau
    assert 0 < stayed.sum() < COUNT
    for outcome, stays in zip(outcomes, stayed, strict=True):
        assert calls(outcome, TEACHER) == CFG.num_chosen * stays
        assert calls(outcome, STUDENT) == CFG.num_clips
        assert outcome.cost.total_macs == CFG.num_clips + 10 * CFG.num_chosen * stays
        assert outcome.trace.stopped_early == (not stays)
    total = sum(calls(outcome, TEACHER) for outcome in outcomes)
    assert total == CFG.num_chosen * stayed.sum()


def test_raising_tau_never_lowers_the_share_of_calls_and_ends_at_top_k(net, made):
    shares, rights = [], []
    for tau in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.1):
        outcomes = run(net, CFG, sources(made), tau=tau)
        shares.append(sum(calls(outcome, TEACHER) for outcome in outcomes))
        rights.append((probs(outcomes).argmax(axis=1) == LABELS).mean())
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == CFG.num_chosen * COUNT
    top_k = run(net, CFG, sources(made))
    assert rights[-1] == (probs(top_k).argmax(axis=1) == LABELS).mean()
    assert np.array_equal(probs(outcomes), probs(top_k))


# --- choosing ------------------------------------------------------------------------------------


def test_the_clips_of_highest_confidence_go_to_the_teacher(net, made):
    _, trust = scan(net, made)
    for i, outcome in enumerate(run(net, CFG, sources(made))):
        detail = noted(outcome)
        each = CFG.student_frames
        saliency = np.array(detail["saliency"]).reshape(CFG.num_clips, each)
        assert np.abs(saliency - trust[i][:, None]).max() < 1e-6
        kept = np.array(detail["chosen"]).reshape(CFG.num_chosen, each) // each
        assert sorted(kept[:, 0]) == sorted(np.argsort(-trust[i])[: CFG.num_chosen])
        assert np.array_equal(kept[:, 0], kept[:, -1])


def test_a_page_shows_confidence_over_time_and_what_the_teacher_saw(net, made):
    (outcome,) = run(net, CFG, sources(made[:1]))
    story = read(SimpleNamespace(clip=outcome.clip, trace=outcome.trace))
    (scores,) = story.scores
    assert scores.seconds == tuple(np.arange(0, 48, 2) / 8)
    chosen = {frame.seconds for frame in story.frames if frame.chosen}
    closely = {frame.seconds for frame in story.frames if frame.focused}
    assert chosen == {t for t in closely if round(8 * t) % 2 == 0}
    assert len(closely) == CFG.num_chosen * CFG.clip_frames
    assert "4 for the teacher" in story.remarks[0]


def test_frames_of_other_clips_are_never_fetched_for_the_teacher(net, made):
    for outcome in run(net, CFG, sources(made)):
        looks = [e.detail for e in outcome.trace.events if e.kind == "look"]
        assert [look["role"] for look in looks] == ["glance", "focus"]
        kept = np.array(noted(outcome)["chosen"])[:: CFG.student_frames] // CFG.student_frames
        wanted = {int(i) * CFG.clip_frames + j for i in kept for j in range(CFG.clip_frames)}
        assert {round(t * 8) for t in looks[1]["seconds"]} == wanted
        glanced = CFG.num_clips * CFG.student_frames
        more = CFG.num_chosen * (CFG.clip_frames - CFG.student_frames)
        assert outcome.cost.frames_used == glanced + more


def test_equal_confidences_are_ordered_by_the_students_best_class_then_by_index():
    cfg = replace(CFG, num_clips=4, num_chosen=2)
    flat = np.full((4, 2), 0.5)
    assert protocol.choose(cfg, np.ones(4), flat).tolist() == [0, 1]
    flat[3] = (0.9, 0.1)
    assert protocol.choose(cfg, np.ones(4), flat).tolist() == [0, 3]
    assert protocol.choose(cfg, np.array([1.0, 1.0, 1.0, 0.99]), flat).tolist() == [0, 1]


def test_above_the_threshold_or_the_best_one():
    cfg = replace(CFG, num_clips=4, mode="threshold", theta=0.6)
    flat = np.full((4, 2), 0.5)
    assert protocol.choose(cfg, np.array([0.7, 0.1, 0.6, 0.9]), flat).tolist() == [0, 3]
    assert protocol.choose(cfg, np.array([0.2, 0.5, 0.4, 0.1]), flat).tolist() == [1]


def test_theta_is_solved_for_a_number_of_calls():
    trust = np.random.default_rng(0).random((200, 12))
    for wanted in (1.0, 2.5, 6.0, 12.0):
        theta = protocol.theta_for(trust, num_calls=wanted)
        spent = np.maximum((trust > theta).sum(axis=1), 1).mean()
        assert spent <= wanted
        assert wanted - spent < 0.05
    with pytest.raises(ValueError, match="at least 1"):
        protocol.theta_for(trust, num_calls=0.5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "threshold"},
        {"mode": "student"},
        {"mode": "uniform", "num_chosen": 5},
        {"weighting": "equal", "rho": 0.0, "num_chosen": 3},
    ],
)
def test_every_mode_answers_what_the_network_computes(made, changes):
    cfg = replace(CFG, **changes)
    if cfg.mode == "threshold":  # between two confidences that occur, about the middle ones
        low, high = np.sort(scan(network(cfg), made)[1].ravel())[[71, 72]]
        cfg = replace(cfg, theta=float(low + high) / 2)
    net = network(cfg)
    with torch.inference_mode():
        output = net(torch.from_numpy(made))
    wanted = output.logits[:, -1].double().softmax(dim=1).numpy()
    outcomes = run(net, cfg, sources(made))
    assert np.abs(probs(outcomes) - wanted).max() < 1e-5
    called = [calls(outcome, TEACHER) for outcome in outcomes]
    assert called == output.called.sum(dim=1).tolist()
    if cfg.mode == "threshold":
        assert len(set(called)) > 1


# --- where and at which size it looks ------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 3, 20, 48, 49, 500])
def test_clips_are_in_succession_in_their_part_and_do_not_overlap_where_they_need_not(frames):
    info = ClipInfo(name="clip", duration_seconds=frames / 10, num_frames=frames, fps=10.0)
    clips = protocol.clip_times(CFG, info)
    index = np.array([[int(t * 10) for t in times] for times in clips])
    assert index.shape == (CFG.num_clips, CFG.clip_frames)
    assert index.min() >= 0
    assert index.max() <= frames - 1
    assert (np.diff(index[:, 0]) >= 0).all()
    if frames >= CFG.clip_frames:
        assert (np.diff(index, axis=1) == 1).all()
    if frames >= CFG.num_clips * CFG.clip_frames:
        assert (index[1:, 0] > index[:-1, -1]).all()
    if frames == 48:
        assert index.ravel().tolist() == list(range(48))


def test_the_student_looks_through_its_own_canvas():
    cfg = protocol.small()
    net = network(cfg)
    made = np.repeat(videos(1, cfg)[:, :, :, ::2, ::2], 2, axis=3).repeat(2, axis=4)
    (outcome,) = run(net, cfg, sources(made))
    looks = [e.detail for e in outcome.trace.events if e.kind == "look"]
    assert [list(look["size"]) for look in looks] == [[32, 32], [64, 64]]
    with torch.inference_mode():  # pictures of 2x2 blocks: halving them is exact
        wanted = net(torch.from_numpy(made)).logits[0, -1].double().softmax(dim=0).numpy()
    assert np.abs(outcome.answer.probs - wanted).max() < 1e-3


def test_small_pictures_are_taken_where_they_are_at_hand():
    cfg = protocol.small()
    net = network(cfg)
    frames = torch.from_numpy(videos(2, cfg))
    small = torch.zeros(2, frames.shape[1], 3, 32, 32, dtype=torch.uint8)
    with torch.inference_mode():
        made, given = net(frames), net(frames, small)
    assert not torch.allclose(made.confidence, given.confidence)
    assert given.confidence.std(dim=1).max() < 1e-6


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_chosen": 13}, "num_chosen must be in 1..12"),
        ({"num_folds": 1}, "num_folds"),
        ({"theta": 1.5}, "theta"),
        ({"rho": -0.1}, "rho"),
        ({"dropout": 1.0}, "dropout"),
        ({"mode": "best"}, "mode must be one of"),
        ({"networks": "huge"}, "networks must be one of"),
        ({"pool": "median"}, "pool must be one of"),
        ({"weighting": "some"}, "weighting"),
        ({"student_step": 0}, "student_step"),
        ({"student_canvas": Canvas(height=8, width=4)}, "shape of canvas"),
        ({"student_canvas": Canvas(height=32, width=32)}, "no more pixels"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CFG, **changes)


def test_the_cascade_is_solved_on_the_video_confidence():
    by_name = {point.name: point for point in protocol.operating_points(CFG)}
    assert by_name["cascade"].solve == "own"
    assert by_name["confident 12"].settings["num_chosen"] == 12
    assert by_name["dense"].settings == {"mode": "uniform", "num_chosen": 12}


def test_an_exit_on_the_systems_own_confidence_needs_one():
    rule = ExitRule(thresholds=(0.5,), criterion="own")
    assert rule.holds(0, np.array([0.4, 0.6]), sure=0.5)
    assert not rule.holds(0, np.array([0.0, 1.0]), sure=0.4)
    with pytest.raises(ValueError, match="how sure it is"):
        rule.holds(0, np.array([0.4, 0.6]))


def test_the_papers_student_sees_half_the_frames_at_half_the_size():
    student, teacher = protocol.parts(protocol.paper())
    assert student.inputs[0].shape == (8, 3, 56, 56)
    assert teacher.inputs[0].shape == (16, 3, 112, 112)
    with torch.device("meta"):
        net = make_network(protocol.paper()).eval()
        macs = [
            count_torch_macs(module, torch.zeros(1, *spec.inputs[0].shape, dtype=torch.uint8))
            for module, spec in ((net.student, student), (net.teacher, teacher))
        ]
    assert macs[0] < 0.2 * macs[1]  # else nothing is saved at moderate K
    assert macs == [26_476_952, 9_567_102_976]
