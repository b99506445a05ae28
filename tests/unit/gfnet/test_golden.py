"""What the official code computes, on its own inputs and weights, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.layers import slice_at
from foveal.sampling.budget import exit_indices, exit_shares, solve_thresholds
from foveal.systems.gfnet import protocol, recipe
from foveal.systems.gfnet.model import CascadeFusion, Policy, RecurrentFusion, log_density
from foveal.systems.gfnet.recipe import PolicyOptions
from tests.helpers_golden import Golden, close

GOLDEN = Golden(Path(__file__).parents[2] / "golden" / "gfnet")
INSTANCES = (0, 1)
PARTS = {"state_net.": "encode.", "gru.": "memory.", "actor.": "actor.", "critic.": "critic."}


def policy_of(kind, instance, table):
    channels, side, width, *_ = (int(d) for d in table["dims"])
    # Nothing but the policy is built of it; the encoder's width is that of the stored maps.
    cfg = replace(
        protocol.tiny(), policy=kind, policy_channels=32, policy_hidden=2048, policy_width=width
    )
    shaped = type("Shaped", (), {"map_shape": (channels, side, side), "policy": kind,
                                 "policy_channels": 32, "policy_hidden": 2048,
                                 "policy_width": cfg.policy_width})()  # fmt: skip
    policy = Policy(shaped).double()
    state = {}
    for name, tensor in GOLDEN.filled(
        f"policy_{kind}.{instance}", gain=float(table["gain"][0])
    ).items():
        (start,) = (s for s in PARTS if name.startswith(s))
        rest = name.removeprefix(start).replace("_l0", "")
        if kind == "flat" and start == "state_net.":  # ours begins by flattening
            number, _, rest = rest.partition(".")
            rest = f"{int(number) + 1}.{rest}"
        state[PARTS[start] + rest] = tensor
    if "critic.0.weight" in state:
        state["critic.weight"], state["critic.bias"] = (
            state.pop("critic.0.weight"), state.pop("critic.0.bias")
        )  # fmt: skip
    policy.load_state_dict(state)
    return policy


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("kind", ["conv", "flat"])
def test_policy_step_by_step_and_replayed(kind, instance):
    table = GOLDEN.arrays(f"policy_{kind}.{instance}")
    policy = policy_of(kind, instance, table)
    maps = torch.from_numpy(table["state"])
    memory = policy.start(maps[0])
    for step, seen in enumerate(maps):
        if step:
            close(memory, table["hidden"][step, 0])
        action, memory = policy.step(seen, memory)
        close(action, table["mean_action"][step])
    close(memory, table["hidden"][-1, 0])
    log_prob, value, entropy = policy.evaluate(maps, torch.from_numpy(table["given_action"]))
    close(log_prob, table["logprob"])
    close(value, table["value"])
    close(entropy, table["entropy"])
    assert entropy[0, 0].item() == pytest.approx(-1.767, abs=1e-3)


@pytest.mark.parametrize("instance", INSTANCES)
def test_exploring_clips_first_and_scores_what_is_clipped(instance):
    table = GOLDEN.arrays(f"explore.{instance}")
    policy = policy_of("conv", instance, GOLDEN.arrays(f"policy_conv.{instance}"))
    maps = torch.from_numpy(GOLDEN.arrays(f"policy_conv.{instance}")["state"])
    memory = policy.start(maps[0])
    for step, seen in enumerate(maps):
        mean, memory = policy.step(seen, memory)
        action = (mean + 0.1 * torch.from_numpy(table["noise"][step])).clamp(0, 1)
        close(action, table["action"][step])
        close(log_density(action, mean), table["logprob"][step])


@pytest.mark.parametrize("instance", INSTANCES)
def test_updates_of_ppo(instance):
    table = GOLDEN.arrays(f"ppo.{instance}")
    policy = policy_of("conv", instance, {**GOLDEN.arrays(f"policy_conv.{instance}"), **{
        k: table[k] for k in ("dims", "gain")}})  # fmt: skip
    maps, actions = (torch.from_numpy(table[k]) for k in ("state", "action"))
    old, reward = (torch.from_numpy(table[k]) for k in ("old_logprob", "reward"))
    options = PolicyOptions(gamma=float(table["gamma"][0]), clip=float(table["clip"][0]))
    returns = recipe.standardised(recipe.discounted(reward, gamma=options.gamma))
    close(returns, table["std_return"])
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-4)
    for epoch in range(int(table["epochs"][0])):
        new, value, entropy = policy.evaluate(maps, actions)
        if epoch == 0:
            close(new, table["new_logprob"])
            close(value, table["value"])
        loss = recipe.ppo_loss(new, old, value, entropy, returns, options=options)
        close(loss, table["loss"][epoch], relative=1e-5)
        optimizer.zero_grad()
        loss.backward()
        last = {
            "actor_w_grad": policy.actor[0].weight.grad.clone(),
            "critic_w_grad": policy.critic.weight.grad.clone(),
        }
        optimizer.step()
    for name, grad in last.items():
        close(grad, table[name], relative=1e-4)


@pytest.mark.parametrize("instance", INSTANCES)
def test_classifier_that_is_a_gru(instance):
    table = GOLDEN.arrays(f"seq_rnn.{instance}")
    feat, classes = table["feat"], int(table["dims"][2])
    width = int(table["dims"][1])
    shaped = type("Shaped", (), {"width": feat.shape[2], "fusion_width": width,
                                 "num_classes": classes})()  # fmt: skip
    fusion = RecurrentFusion(shaped).double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = {f"memory.{name}": torch.from_numpy(table[f"w{i}"]) for i, name in enumerate(names)}
    state |= {
        f"head.{n}": torch.from_numpy(table[f"w{i}"]) for i, n in ((4, "weight"), (5, "bias"))
    }
    fusion.load_state_dict(state)
    carried = torch.zeros(feat.shape[1], width, dtype=torch.float64)
    for step, vectors in enumerate(torch.from_numpy(feat)):
        own = torch.zeros(len(vectors), classes)
        logits, carried = fusion(vectors[:, None], own, carried, torch.full((len(vectors),), step))
        close(logits, table["logits"][step])


@pytest.mark.parametrize("instance", INSTANCES)
def test_classifier_that_is_a_cascade(instance):
    feat = GOLDEN.arrays(f"seq_rnn.{instance}")["feat"]
    wanted = GOLDEN.arrays(f"seq_cascade.{instance}")["logits_from_step2"]
    weights = GOLDEN.filled(f"seq_cascade.{instance}")
    steps, clips, width = feat.shape
    classes = wanted.shape[-1]
    shaped = type("Shaped", (), {"width": width, "num_steps": steps, "num_classes": classes})()
    fusion = CascadeFusion(shaped).double()
    with torch.no_grad():
        for step in range(2, steps + 1):
            fusion.weight[step - 2, :, : step * width] = weights[f"fc_{step}.weight"]
            fusion.bias[step - 2] = weights[f"fc_{step}.bias"]
    state = torch.zeros(clips, steps * width, dtype=torch.float64)
    own = torch.zeros(clips, classes, dtype=torch.float64)
    for step, vectors in enumerate(torch.from_numpy(feat)):
        logits, state = fusion(vectors[:, None], own, state, torch.full((clips,), step))
        if step:
            close(logits, wanted[step - 1])


@pytest.mark.parametrize("instance", INSTANCES)
def test_reward_is_the_growth_of_the_label(instance):
    table = GOLDEN.arrays(f"reward.{instance}")
    logits = torch.from_numpy(table["logits"]).transpose(0, 1)
    label = torch.from_numpy(table["label"]).long()
    confidence = recipe.label_confidence(logits, label)
    close(confidence, table["confidence"])
    close(recipe.rewards(confidence, kind="gain"), table["reward"])


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_glance_is_resized_with_corners_aligned(instance, mode):
    table = GOLDEN.arrays(f"prime.{instance}")
    size = int(table["size"][1])
    image = torch.from_numpy(table["image"]).float()
    found = functional.interpolate(image, (size, size), mode=mode, align_corners=True)
    close(found, table[mode], relative=1e-5)


@pytest.mark.parametrize("instance", INSTANCES)
def test_square_is_a_slice(instance):
    table = GOLDEN.arrays(f"patch.{instance}")
    side, square = (int(s) for s in table["size"])
    num = len(table["action"])
    image = torch.arange(num * side * side, dtype=torch.float64).reshape(num, 1, side, side)
    positions = torch.from_numpy(table["action"]).float()
    assert np.array_equal(slice_at(image, positions, crop_size=square).numpy(), table["patch"])


def test_budget_with_ties():
    table = GOLDEN.arrays("budget_ties.0")
    sure, test = table["cal_prob"].max(-1), table["test_prob"].max(-1)
    for row, p in enumerate(table["p"]):
        shares = exit_shares(float(p), num_exits=len(sure))
        assert np.allclose(shares, table["share"][row], atol=1e-6)
        thresholds = solve_thresholds(sure.astype(np.float32), shares, ties="value")
        official = np.where(np.abs(table["threshold"][row]) > 1e7,
                            np.sign(table["threshold"][row]) * np.inf,
                            table["threshold"][row])  # fmt: skip
        assert np.allclose(thresholds, official)
        left = exit_indices(test.astype(np.float32), thresholds)
        assert np.bincount(left, minlength=len(sure)).tolist() == table["exit_count"][row].tolist()
