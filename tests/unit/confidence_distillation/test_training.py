"""What the stages teach, to whom, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.recipe import StepContext
from foveal.systems.confidence_distillation import protocol, recipe
from foveal.train import ArrayData, Running, fit
from foveal.train.checkpoint import load_weights
from tests.unit.confidence_distillation.made import network, videos

CFG = protocol.tiny(num_classes=4, num_clips=3)
TARGETS = ("tcp", "correct", "margin", "mc", "scaled", "energy")


def batch(numbers, cfg=CFG, *, seed=0):
    frames = torch.from_numpy(videos(len(numbers), cfg, seed=seed))
    label = torch.tensor(numbers) % cfg.num_classes
    return {"frames": frames, "label": label, "number": torch.tensor(numbers)}


def context():
    return StepContext(progress=0.5, generator=torch.Generator().manual_seed(0))


# --- confidence and its target -------------------------------------------------------------------


def test_confidence_lies_between_0_and_1_and_the_loss_is_least_at_the_target():
    clips = torch.from_numpy(videos(20, CFG)).reshape(-1, 4, 3, 16, 16)[:, ::2]
    with torch.inference_mode():
        _, trust = network(CFG).student(clips)
    assert trust.min() > 0
    assert trust.max() < 1
    target = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

    def loss(u):
        return functional.binary_cross_entropy_with_logits(u.logit(), target)

    u = target.clone().requires_grad_()
    loss(u).backward()
    assert u.grad.abs().max() < 1e-12
    for step in (-0.05, 0.05):
        assert loss(target + step) > loss(target)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_lie_between_0_and_1_and_know_sure_from_unsure(target):
    generator = torch.Generator().manual_seed(1)
    logits = 8 * torch.randn(500, 6, generator=generator)
    label = torch.randint(0, 6, (500,), generator=generator)
    said = logits[None].repeat(10, 1, 1) if target == "mc" else logits
    t = recipe.trust_target(said, label, target=target)
    assert t.shape == (500,)
    assert t.min() >= 0
    assert t.max() <= 1
    sure = torch.full((1, 6), -20.0)
    sure[0, 2] = 20.0
    both = torch.cat([sure, torch.zeros(1, 6)])
    said = both[None] if target == "mc" else both
    certain, unsure = recipe.trust_target(said, torch.tensor([2, 3]), target=target).tolist()
    assert certain == pytest.approx(1.0, abs=1e-6)
    assert unsure <= 0.5
    if target in ("tcp", "correct", "margin"):  # those that know the truth
        assert recipe.trust_target(both[:1], torch.tensor([3]), target=target) < 1e-6


def test_an_unknown_target_or_impossible_weights_are_refused():
    with pytest.raises(ValueError, match="target must be one of"):
        recipe.Distillation(target="truth")
    with pytest.raises(ValueError, match="temperatures"):
        recipe.Distillation(temperature=0.0)
    with pytest.raises(ValueError, match="weights"):
        recipe.Distillation(ranking_weight=-1.0)
    with pytest.raises(ValueError, match="set dropout"):
        recipe.tiny(cfg=replace(CFG, dropout=0.0), options=recipe.Distillation(target="mc"))
    with pytest.raises(ValueError, match="noise must be one of"):
        recipe.tiny(noise="white")


@pytest.mark.parametrize("target", TARGETS)
def test_the_student_learns_any_target_and_no_teacher_moves(target):
    net = network(CFG).train()
    options = recipe.Distillation(target=target, ranking_weight=0.5)
    values = recipe.student_loss(net, batch(range(6)), context(), options=options)
    values["loss"].backward()
    assert all(p.grad is not None for p in net.student.parameters())
    assert all(p.grad is None for p in net.teacher.parameters())
    assert all(p.grad is None for p in net.fold_teachers.parameters())


def test_the_confidence_sends_no_gradient_through_the_probabilities():
    net = network(CFG)
    clips = torch.from_numpy(videos(2, CFG)).reshape(-1, 4, 3, 16, 16)[:, ::2]
    _, trust = net.student.scores(clips)
    trust.sum().backward()
    assert net.student.head.weight.grad is None
    assert net.student.trust_probs.weight.grad is not None


# --- out-of-fold teachers ------------------------------------------------------------------------


def test_a_fold_teacher_learns_from_the_videos_of_the_other_folds_alone():
    net = network(CFG)
    recipe.folds_loss(net, batch([0, 2, 4]), context())["loss"].backward()
    first, second = net.fold_teachers
    assert all(p.grad is None for p in first.parameters())
    assert all(p.grad is not None for p in second.parameters())


def test_a_step_may_teach_some_clips_of_every_video():
    net, given = network(CFG), batch([0, 1, 2])
    seen = []
    net.teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    every = recipe.teacher_loss(net, given, context())["loss"]
    assert torch.equal(recipe.teacher_loss(net, given, context(), taught=3)["loss"], every)
    recipe.teacher_loss(net, given, context(), taught=2)
    clips = net.clips(given["frames"])
    for video, some in enumerate(seen[-1].reshape(3, 2, *clips.shape[2:])):
        places = [i for i in range(3) if any(torch.equal(clips[video, i], one) for one in some)]
        assert len(places) == 2
    recipe.folds_loss(net, given, context(), taught=1)["loss"].backward()
    assert all(p.grad is not None for p in net.fold_teachers.parameters())


def test_a_clip_is_judged_by_the_teacher_that_never_saw_its_video():
    net = network(CFG)
    for i, teacher in enumerate(net.fold_teachers):
        torch.nn.init.zeros_(teacher.head.weight)
        torch.nn.init.constant_(teacher.head.bias, float(i + 1))
    logits = recipe.taught_logits(net, batch([0, 1, 3, 8]))
    by_video = logits.reshape(4, CFG.num_clips, 4)[:, :, 0]
    assert by_video.tolist() == [[1.0] * 3, [2.0] * 3, [2.0] * 3, [1.0] * 3]
    drawn = recipe.taught_logits(net, batch([0, 1]), passes=5)
    assert drawn.shape == (5, 2 * CFG.num_clips, 4)


def test_without_folds_the_teacher_itself_is_asked():
    cfg = replace(CFG, num_folds=0)
    net = network(cfg)
    given = batch([0, 1], cfg)
    with torch.no_grad():
        wanted = net.teacher(net.clips(given["frames"]).flatten(0, 1))
    assert torch.equal(recipe.taught_logits(net, given), wanted)
    assert [stage.name for stage in recipe.tiny(cfg=cfg).stages] == ["teacher", "student"]


# --- noise and order -----------------------------------------------------------------------------


def test_noise_is_best_answered_by_equal_probabilities():
    net = network(CFG)
    given = batch(range(4))
    plain = recipe.teacher_loss(net, given, context())["loss"]
    for noise in ("uniform", "blurred"):
        loud = recipe.teacher_loss(net, given, context(), noise=noise)["loss"]
        assert loud > plain
    torch.nn.init.zeros_(net.teacher.head.weight)
    torch.nn.init.zeros_(net.teacher.head.bias)
    with torch.no_grad():
        silent = recipe.teacher_loss(net, given, context(), noise="uniform", noise_weight=0.5)
    assert float(silent["loss"]) == pytest.approx(1.5 * np.log(4), abs=1e-5)


def test_noise_clips_say_nothing_of_the_clip():
    clips = batch(range(2))["frames"].reshape(-1, 4, 3, 16, 16)
    drawn = recipe.noise_clips(clips, torch.Generator().manual_seed(0), noise="uniform")
    again = recipe.noise_clips(0 * clips, torch.Generator().manual_seed(0), noise="uniform")
    assert torch.equal(drawn, again)
    assert drawn.dtype == torch.uint8
    blurred = recipe.noise_clips(clips, torch.Generator(), noise="blurred")
    assert blurred.shape == clips.shape
    spread = clips.float().std(dim=(3, 4)).mean()
    assert blurred.float().std(dim=(3, 4)).mean() < 0.3 * spread


def test_only_pairs_of_a_video_that_are_apart_are_ordered():
    trust = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2]], requires_grad=True)
    target = torch.tensor([[0.1, 0.9, 0.2], [0.5, 0.6, 0.45]])
    recipe.ranking_loss(trust, target, gap=0.2).backward()
    assert trust.grad[0, 1] < 0  # it should be higher
    assert trust.grad[0, 0] > 0
    assert (trust.grad[1] == 0).all()
    assert recipe.ranking_loss(trust.detach(), torch.zeros(2, 3), gap=0.2) == 0


# --- a whole run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = videos(16, CFG)
    data = ArrayData({"frames": made, "label": np.arange(16) % 4})
    short = recipe.tiny(cfg=CFG, epochs=1)
    short = replace(short, stages=tuple(replace(s, batch_size=8) for s in short.stages))
    out = tmp_path_factory.mktemp("run") / "run"
    running = Running(device="cpu", workers=0, tensorboard=False)
    return fit(short, data, out=out, seed=0, running=running), out


def test_no_later_stage_changes_a_teacher(trained):
    """Statistics of normalisation included."""
    result, out = trained
    left = {}
    for name in ("teacher", "folds", "student"):
        net = recipe.tiny(cfg=CFG).network()
        load_weights(net, out / f"{name}.safetensors")
        left[name] = net.state_dict()
    for key, tensor in left["student"].items():
        if key.startswith("teacher."):
            assert torch.equal(tensor, left["teacher"][key]), key
        if not key.startswith("student."):
            assert torch.equal(tensor, left["folds"][key]), key
    moved = [k for k, t in left["student"].items() if not torch.equal(t, left["folds"][k])]
    assert moved
    assert all(key.startswith("student.") for key in moved)
    assert {"label", "soft", "trust"} <= result.history[-1].values.keys()


def test_a_batch_tells_videos_apart_by_their_place():
    data = ArrayData({"frames": np.zeros((4, 2), np.uint8)})
    assert data.batch(np.array([3, 1]), np.zeros(2, np.int64))["number"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="number"):
        ArrayData({"number": np.zeros(3)})


def test_the_largest_place_of_each_moment_counts_if_asked_for() -> None:
    torch.manual_seed(0)
    taught = network(replace(protocol.tiny(), pool="max"))
    clips = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        maps = taught.teacher.backbone.features(taught.teacher.norm(clips))
        wanted = maps.flatten(3).max(dim=3).values.mean(dim=2)
        assert torch.allclose(taught.teacher.features(clips), wanted)
        assert not torch.allclose(wanted, maps.mean(dim=(2, 3, 4)))
