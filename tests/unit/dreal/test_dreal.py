"""What the sheet asks of DREAL: neutral modules, rewards, whose gradient goes where, no cost."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.cost.torch_counter import count_torch_macs
from foveal.recipe import StepContext
from foveal.systems.dreal import protocol, recipe
from foveal.systems.dreal.model import (
    GroupEnhance,
    Network,
    build,
    flat_action,
    multiplied,
    neutral,
)

TINY = protocol.tiny()
KINDS = ("se", "cbam", "sge")


def batch_of(cfg, num=12, seed=0):
    rng = np.random.default_rng(seed)
    shape = (num, cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width)
    frames = torch.from_numpy(rng.integers(0, 256, shape, np.uint8))
    return {"frames": frames, "label": torch.from_numpy(rng.integers(0, cfg.num_classes, num))}


def network_of(cfg, seed=0):
    torch.manual_seed(seed)
    network = Network(cfg)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, GroupEnhance):
                module.weight.fill_(0.7)
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(std=2 * module.in_features**-0.5)
        for _ in range(3):
            network.train()(batch_of(cfg)["frames"])
    return network


def context(progress=0.5, seed=0):
    return StepContext(progress=progress, generator=torch.Generator().manual_seed(seed))


def judged(network, batch, gamma=1.0, modules=(0, 1, 2)):
    return recipe.rewards(
        network, batch["frames"], batch["label"], gamma=gamma, modules=list(modules)
    )


# --- neutral modules ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_neutral_module_keeps_the_mean_and_makes_no_choice(kind):
    network = network_of(protocol.tiny(attention=kind)).eval()
    passed = network.recogniser.passed(batch_of(TINY)["frames"])
    for weights in passed.weights:
        for before, after in zip(weights, neutral(weights), strict=True):
            assert after.shape == before.shape
            assert torch.allclose(after.mean((1, 2, 3)), before.mean((1, 2, 3)), atol=1e-6)
            assert (after.flatten(1).std(dim=1) < 1e-6).all()


def test_attention_that_is_constant_already_is_worth_nothing():
    network = network_of(TINY)
    with torch.no_grad():
        for block in network.recogniser.each_block:
            block.attention.excite.weight.zero_()
            block.attention.excite.bias.fill_(0.3)
    batch = batch_of(TINY)
    batch["label"] = network.eval()(batch["frames"]).argmax(dim=1)  # all of them right
    assert judged(network, batch).rewards.abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_going_on_from_a_block_is_the_whole_pass_again(kind):
    network = network_of(protocol.tiny(attention=kind)).eval()
    frames = batch_of(TINY)["frames"]
    passed = network.recogniser.passed(frames)
    for number, block in enumerate(network.recogniser.each_block):
        whole = copy.deepcopy(network.recogniser)
        own = whole.each_block[number].attention.weights
        whole.each_block[number].attention.weights = lambda x, own=own: neutral(own(x))
        with torch.no_grad():
            again = network.recogniser.without(passed, number, frames.shape[1])
            assert torch.allclose(again, whole(frames), atol=1e-6)
            seen = whole.passed(frames).features
            for before in range(number + 1):  # nothing before its weights has changed
                assert torch.equal(seen[before], passed.features[before])
        assert block.attention is network.recogniser.each_block[number].attention


# --- rewards --------------------------------------------------------------------------------------


def test_rewards_are_gains_where_right_and_the_penalty_where_wrong():
    network, batch = network_of(TINY), batch_of(TINY, num=40)
    right = network.eval()(batch["frames"]).argmax(dim=1)
    batch["label"][::2] = right[::2]
    found = judged(network, batch, gamma=0.7)
    is_right = right == batch["label"]
    assert not found.rewards.requires_grad
    assert (found.rewards[~is_right] == -0.7).all()
    assert found.rewards[is_right].abs().max() <= 1
    assert (found.gain[~is_right] == 0).all()
    assert torch.equal(found.rewards[is_right], found.gain[is_right])


def test_judging_moves_no_statistics():
    network = network_of(TINY).train()
    before = {name: b.clone() for name, b in network.named_buffers()}
    judged(network, batch_of(TINY))
    assert all(torch.equal(b, before[name]) for name, b in network.named_buffers())
    assert network.recogniser.training


def test_one_module_a_step_is_an_unbiased_sample_of_all():
    network, batch = network_of(TINY), batch_of(TINY, num=64)
    all_modules = judged(network, batch).rewards.mean(dim=0)
    options = recipe.CriticOptions(modules="one")
    generator = torch.Generator().manual_seed(0)
    seen = [[], [], []]
    for draw in range(200):
        (module,) = recipe.picked_modules(3, options, generator)
        rows = torch.randperm(64, generator=generator)[:16]
        part = {name: tensor[rows] for name, tensor in batch.items()}
        seen[module].append(judged(network, part, modules=[module]).rewards.mean().item())
        assert draw >= 0
    for module, values in enumerate(seen):
        error = np.std(values) / len(values) ** 0.5
        assert abs(np.mean(values) - all_modules[module].item()) <= 3 * error
        assert len(values) > 40


# --- whose gradient goes where --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_critic_speaks_to_attention_alone(kind):
    network = network_of(protocol.tiny(attention=kind))
    passed = network.recogniser.passed(batch_of(TINY)["frames"])
    recipe.attention_value(network, passed).backward()
    for name, parameter in network.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert reached == (".attention." in name), name


def test_with_the_option_it_reaches_what_comes_before_too():
    network = network_of(TINY)
    passed = network.recogniser.passed(batch_of(TINY)["frames"])
    recipe.attention_value(network, passed, attention_only=False).backward()
    reached = {n for n, p in network.named_parameters() if p.grad is not None}
    assert any(".conv." in name for name in reached)
    assert not any(name.startswith("critic.") for name in reached)


def test_the_critic_learns_from_its_error_and_the_network_does_not():
    network, batch = network_of(TINY), batch_of(TINY)
    found = recipe.dreal_loss(network, batch, context(), options=recipe.CriticOptions(weight=0.0))
    found["critic"].backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.startswith("critic."), name


@pytest.mark.parametrize("modules", ["all", "one"])
def test_without_a_say_of_the_critic_it_is_the_plain_training(modules):
    plain, taught = network_of(TINY).train(), network_of(TINY).train()
    options = recipe.CriticOptions(weight=0.0, modules=modules)
    batch = batch_of(TINY)
    first = torch.optim.Adam(plain.recogniser.parameters(), lr=1e-3)
    second = torch.optim.Adam(taught.parameters(), lr=1e-3)
    for step in range(4):
        first.zero_grad()
        functional.cross_entropy(plain(batch["frames"]), batch["label"]).backward()
        first.step()
        second.zero_grad()
        recipe.dreal_loss(taught, batch, context(seed=step), options=options)["loss"].backward()
        second.step()
    for a, b in zip(plain.recogniser.parameters(), taught.recogniser.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.recogniser.buffers(), taught.recogniser.buffers(), strict=True):
        assert torch.equal(a, b)


def test_a_warm_up_hears_nothing_of_the_critic():
    network, batch = network_of(TINY), batch_of(TINY)
    assert "worth" not in recipe.dreal_loss(network, batch, context(progress=0.05))
    assert "worth" in recipe.dreal_loss(network, batch, context(progress=0.2))


# --- what runs ------------------------------------------------------------------------------------


def test_what_runs_costs_what_the_plain_network_costs():
    cfg = protocol.tiny()
    network = Network(cfg)
    (part,) = build(network, cfg).values()
    assert not any("critic" in name for name, _ in part.named_parameters())
    wider = Network(replace(cfg, critic_width=64))
    frames = batch_of(cfg, num=1)["frames"]
    costs = {count_torch_macs(build(n, cfg)[protocol.PART], frames) for n in (network, wider)}
    assert len(costs) == 1


def test_attention_in_every_block_of_a_resnet():
    cfg = protocol.paper()
    with torch.device("meta"):
        network = Network(cfg)
    assert len(network.recogniser.each_block) == 16
    assert network.recogniser.widths[0] == 256
    frames = torch.zeros(1, 1, 3, 224, 224, dtype=torch.uint8, device="meta")
    macs = count_torch_macs(network.recogniser.eval(), frames)
    assert macs / 1e9 == pytest.approx(4.1, rel=0.02)


@pytest.mark.parametrize(("kind", "width"), [("se", 32), ("cbam", 32 + 49), ("sge", 8 * 49)])
def test_actions_as_the_critic_sees_them(kind, width):
    cfg = protocol.tiny(attention=kind)
    passed = network_of(cfg).recogniser.passed(batch_of(cfg)["frames"])
    assert flat_action(cfg, passed.weights[-1]).shape == (12, width)
    seen, weights = passed.features[-1], passed.weights[-1]
    assert multiplied(seen, weights).shape == seen.shape


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="warm_up in"):
        recipe.CriticOptions(warm_up=1.0)
    with pytest.raises(ValueError, match="must be positive"):
        replace(TINY, reduction=0)
    with pytest.raises(ValueError, match="parted into"):
        GroupEnhance(10, groups=4)
