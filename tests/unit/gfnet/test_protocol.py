"""What the sheet asks of GFNet beside its golden numbers: slices, exits, stages, counts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.torch_runner import TorchRunner
from foveal.layers import slice_at
from foveal.recipe import StepContext
from foveal.sampling.confidence import ExitRule
from foveal.systems.gfnet import protocol, recipe
from foveal.systems.gfnet.model import Network, build, log_density
from foveal.types import Canvas
from foveal.video import ArraySource

TINY = protocol.tiny()


def lively(cfg, seed=0):
    """A fresh network that is not sure of anything, in evaluation mode."""
    torch.manual_seed(seed)
    network = Network(cfg)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=module.in_features**-0.5)
        for _ in range(3):
            network.train()(pictures(cfg, 8))
    return network.eval()


def pictures(cfg, num, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num, cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width)
    return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))


def runner_of(network, cfg):
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    return TorchRunner(build(network, cfg), specs, {name: {(): 1} for name in specs})


def run(network, cfg, frames, rule=None):
    """Return the outcomes of the protocol on clips whose frames are pictures of the canvas."""
    jobs = [
        Job(
            name=str(i),
            open=partial(ArraySource, clip.numpy(), fps=25.0, name=str(i)),
            steps=partial(protocol.steps, cfg, {}),
        )
        for i, clip in enumerate(frames)
    ]
    done = Executor(runner_of(network, cfg), exit_rule=rule, fetch_threads=0).run(jobs)
    return sorted(done, key=lambda outcome: int(outcome.name))


# --- squares ------------------------------------------------------------------------------------


def test_a_square_is_a_slice_and_never_leaves_the_picture():
    image = torch.arange(2 * 3 * 9 * 11).reshape(2, 3, 9, 11).to(torch.uint8)
    positions = torch.tensor([[0.0, 1.0], [0.999, 0.26]])
    found = slice_at(image, positions, crop_size=4)
    assert torch.equal(found[0], image[0, :, 0:4, 7:11])  # 1 is the last corner
    assert torch.equal(found[1], image[1, :, 4:8, 1:5])
    outside = slice_at(image, torch.tensor([[-3.0, 9.0], [2.0, -1.0]]), crop_size=4)
    assert torch.equal(outside[0], image[0, :, 0:4, 7:11])
    assert torch.equal(outside[1], image[1, :, 5:9, 0:4])
    with pytest.raises(ValueError, match="does not fit"):
        slice_at(image, positions, crop_size=10)


def test_the_box_is_where_the_pixels_come_from():
    box = protocol.square_box(TINY, np.array([0.51, 1.0], np.float32))
    assert box == pytest.approx((32 / 48, 16 / 48, 1.0, 32 / 48))


# --- the policy ---------------------------------------------------------------------------------


def test_a_replay_right_after_the_roll_out_has_ratio_one():
    network = lively(TINY)
    looked = network.run(pictures(TINY, 6), recipe.drawn_around(torch.Generator().manual_seed(1)))
    actions = looked.actions.transpose(0, 1)
    old = log_density(actions, looked.means.transpose(0, 1))
    new, _, _ = network.policy.evaluate(torch.stack(looked.maps), actions)
    assert torch.allclose((new - old).exp(), torch.ones_like(new), atol=1e-5)


def test_rewards_telescope_and_returns_follow_their_rule():
    rng = np.random.default_rng(3)
    confidence = torch.from_numpy(rng.random((5, 7)))
    reward = recipe.rewards(confidence, kind="gain")
    assert torch.allclose(reward.sum(0), confidence[-1] - confidence[0])
    returns = recipe.discounted(reward, gamma=0.7)
    assert torch.allclose(returns[:-1], reward[:-1] + 0.7 * returns[1:])
    assert torch.allclose(returns[-1], reward[-1])
    flat = recipe.standardised(returns)
    assert abs(flat.mean().item()) < 1e-6
    assert flat.std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("reward", ["gain", "probability", "against_chance"])
def test_the_policy_stage_teaches_nothing_else(reward):
    network = lively(TINY)
    batch = {"frames": pictures(TINY, 4), "label": torch.arange(4)}
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    options = recipe.PolicyOptions(reward=reward, gamma=0.5)
    found = recipe.policy_loss(network, batch, context, options=options)
    found["loss"].backward()
    assert found["ratio"].item() == pytest.approx(1, abs=1e-5)
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.startswith("policy."), name


def test_no_gradient_reaches_the_encoders_through_the_policy():
    network = lively(TINY)
    looked = network.run(pictures(TINY, 3), lambda means, _: means)
    looked.means.sum().backward()
    assert all(p.grad is None for p in network.glance.parameters())


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg", [TINY, protocol.tiny(num_frames=4), replace(
    TINY, fusion="cascade", glance_head="own")], ids=["rnn", "mean", "cascade"])  # fmt: skip
def test_stopping_for_real_gives_what_was_simulated(cfg):
    network, frames = lively(cfg), pictures(cfg, 12, seed=5)
    with torch.inference_mode():
        probs = network(frames).logits.softmax(-1).numpy()
    sure = probs.max(-1)
    rule = ExitRule(thresholds=(float(np.median(sure[:, 0])), float(np.median(sure[:, 1]))))
    wanted = np.where(sure[:, 0] >= rule.thresholds[0], 0,
                      np.where(sure[:, 1] >= rule.thresholds[1], 1, 2))  # fmt: skip
    assert 0 < (wanted == 0).sum() < 12
    for i, outcome in enumerate(run(network, cfg, frames, rule)):
        assert outcome.trace.exit_index == wanted[i]
        assert np.abs(outcome.answer.probs - probs[i, wanted[i]]).max() < 1e-5
        # one glance, then a policy and a square for every further step; none after the last
        assert outcome.cost.total_macs == 1 + 2 * wanted[i]


def test_one_step_is_the_glance_alone():
    network, frames = lively(TINY), pictures(TINY, 3)
    one = replace(TINY, num_steps=1)
    assert [spec.name for spec in protocol.parts(one)] == ["glance"]
    alone = Network(one).eval()
    kept = {k: v for k, v in network.state_dict().items() if k in alone.state_dict()}
    alone.load_state_dict(kept)
    with torch.inference_mode():
        assert torch.allclose(alone(frames).logits[:, 0], network(frames).logits[:, 0])


def test_answers_to_a_clip_are_means_over_its_frames():
    """Of the rule without a GRU: the glance's mean, and the mean over squares so far."""
    cfg = protocol.tiny(num_frames=4)
    network, frames = lively(cfg), pictures(cfg, 2)
    with torch.inference_mode():
        looked = network(frames)
        each = [network.see_small(frames[:, i : i + 1]).own for i in range(4)]
        own = looked.own_logits
    assert torch.allclose(torch.stack(each).mean(0), looked.logits[:, 0], atol=1e-5)
    assert torch.allclose(looked.logits[:, 1], own[:, 0] + own[:, 1], atol=1e-5)
    assert torch.allclose(looked.logits[:, 2], own[:, 0] + own[:, 1:].mean(1), atol=1e-5)


# --- configurations -----------------------------------------------------------------------------


def test_macs_of_the_paper():
    """ResNet-50 at 96 px: 0.76, 1.57, 2.38, 3.18, 3.99 G after each step."""
    cfg = protocol.paper()
    with torch.device("meta"):
        network = Network(cfg)
    parts = build(network.eval(), cfg)
    macs = {}
    for spec in protocol.parts(cfg):
        inputs = [
            torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype), device="meta")
            for t in spec.inputs
        ]
        macs[spec.name] = count_torch_macs(parts[spec.name], *inputs) / 1e9
    step = macs["policy"] + macs["focus"]
    found = [macs["glance"] + step * n for n in range(5)]
    assert found == pytest.approx([0.76, 1.57, 2.38, 3.18, 3.99], rel=0.01)


def test_shared_encoders_are_one():
    network = Network(replace(TINY, share_encoder=True))
    assert network.focus is network.glance
    assert network.focus_head is network.glance_head


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"canvas": Canvas(height=48, width=64)}, "must be square"),
        ({"focus_size": 64, "glance_size": 64}, "at least as wide"),
        ({"glance_size": 24}, "glance_size must be focus_size"),
        ({"num_steps": 0}, "must be positive"),
        ({"shift": True}, "several frames"),
        ({"fusion": "mean"}, "glance_head=own"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        replace(TINY, **changes)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="gamma lies in"):
        recipe.PolicyOptions(gamma=2.0)
