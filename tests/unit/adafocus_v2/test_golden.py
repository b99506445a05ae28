"""What the official code computes, on its own inputs and weights, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foveal.backbones import create, insert_temporal_shift
from foveal.backbones.official import mobilenetv2_modules
from foveal.layers import ImageEncoder, PrefixClassifier, RecurrentPolicy
from foveal.recipe import StepContext
from foveal.sampling.budget import exit_indices, exit_shares, solve_thresholds
from foveal.sampling.confidence import confidence, softmax
from foveal.systems.adafocus_v2 import recipe
from foveal.systems.adafocus_v2.model import (
    Glanced,
    Looked,
    Network,
    ShiftEncoder,
    shift_policy,
)
from foveal.systems.adafocus_v2.protocol import frame_order, paper_tsm
from foveal.train import learning_rate_factor
from tests.helpers_golden import close, sym
from tests.unit.adafocus_v2 import made

INSTANCES = (0, 1)
PASSES = ("policy", "random")


@pytest.mark.parametrize("instance", INSTANCES)
def test_policy(instance):
    table = made.golden("policy", f"policy.{instance}")
    channels, side, width, frames, clips = (int(d) for d in table["dims"])
    policy = RecurrentPolicy(in_channels=channels, side=side, channels=64, width=width).double()
    made.load(policy, made.policy_tensors(made.filled(f"policy.{instance}")))
    maps = torch.from_numpy(table["feat"]).unflatten(0, (clips, frames)).requires_grad_()
    actions = policy.eval()(maps)
    close(actions.flatten(0, 1), table["action_eval"])
    (actions.flatten(0, 1) * torch.from_numpy(table["cot"])).sum().backward()
    close(maps.grad.flatten(0, 1), table["dfeat_eval"])
    close(policy.place[0].weight.grad, table["dfc_w_eval"])
    close(policy.memory.weight_hh.grad, table["dgru_hh_eval"])
    memory = torch.zeros(clips, width, dtype=torch.float64)
    for frame in range(frames):
        action, memory = policy.step(maps[:, frame], memory)
        close(action, actions[:, frame].detach())
    close(policy.train()(maps).flatten(0, 1), table["action_train"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_policy_of_the_shift_variant(instance):
    table = made.golden("policy", f"tsmpolicy.{instance}")
    maps = torch.from_numpy(table["feat"])
    policy = shift_policy(in_channels=maps.shape[1], side=7, channels=64, width=1024).double()
    made.load(policy, made.filled(f"tsmpolicy.{instance}"))
    close(policy.eval()(maps), table["action_eval"])
    # Statistics of two or three rows magnify the rounding of the official float32 run.
    close(policy.train()(maps), table["action_train"], relative=1e-4)


@pytest.mark.parametrize("instance", INSTANCES)
def test_prefix_classifier(instance):
    table = made.golden("classifier", f"classifier.{instance}")
    in_width, frames, classes, clips = (int(d) for d in table["dims"])
    classifier = PrefixClassifier(
        in_width=in_width, width=4096, num_frames=frames, num_classes=classes, dropout=0.0
    ).double()
    tensors = made.filled(f"classifier.{instance}")
    made.load(classifier, made.classifier_tensors(tensors, num_frames=frames))
    vectors = torch.from_numpy(table["feat"]).requires_grad_()
    logits = classifier.eval()(vectors)
    close(logits, table["logits_eval"])
    (logits.flatten(0, 1) * torch.from_numpy(table["cot"])).sum().backward()
    close(vectors.grad, table["dfeat_eval"])
    best = torch.zeros(clips, 4096, dtype=torch.float64)
    for frame in range(frames):
        prefix = torch.full((clips,), frame)
        step, best = classifier.step(vectors[:, frame], best, prefix)
        close(step, logits[:, frame].detach())
    close(classifier.train()(vectors), table["logits_train"])


def test_order():
    for instance in INSTANCES:
        table = made.golden("training", f"order.{instance}")
        for count, order in zip(table["T"], table["order"], strict=True):
            assert frame_order(int(count)) == tuple(int(i) for i in order[: int(count)])
    # The official order of one or two frames has three entries; ours has each frame once.
    official = made.golden("training", "order_degenerate.0")
    assert official["T1"].tolist() == [0, 0, 0]
    assert official["T2"].tolist() == [0, 0, 1]
    assert frame_order(1) == (0,)
    assert frame_order(2) == (0, 1)


@pytest.mark.parametrize("instance", INSTANCES)
def test_learning_rates(instance):
    table = made.golden("training", f"lr.{instance}")
    stage = recipe.paper().stages[0]
    by_module = {p: g.lr_scale for g in stage.trains for p in g.prefixes}
    modules = ("policy", "glance", "glance_head", "focus", "focus_head", "classifier")
    scales = np.array([by_module[m] for m in modules])
    if instance == 0:  # the released multipliers; the other instance has made-up ones
        np.testing.assert_allclose(scales, table["mult"])
    epochs = int(table["epochs"][0])
    for epoch, rates in enumerate(table["lr"][:-1]):  # the last official epoch is at 0
        factor = learning_rate_factor(stage, epoch, num_steps=epochs, steps_per_epoch=1)
        np.testing.assert_allclose(rates, factor * table["base_lr"] * table["mult"], rtol=1e-6)
    assert not table["lr"][-1].any()


class _Given(Network):
    """Gives stored predictions, so that the loss alone is under test."""

    def __init__(self, glance, looks):
        nn.Module.__init__(self)
        self.glance, self.looks = glance, list(looks)

    def glance_at(self, frames):
        return self.glance

    def place(self, glanced, *, detach=True):
        return torch.zeros(*glanced.logits.shape[:2], 2, dtype=torch.float64)

    def look(self, glanced, actions):
        return self.looks.pop(0)


@pytest.mark.parametrize("instance", INSTANCES)
def test_two_pass_loss(instance):
    table = made.golden("training", f"loss.{instance}")
    clips, frames, _ = (int(d) for d in table["dims"])
    names = ("logits_policy", "local_policy", "logits_random", "local_random", "glance_logits")
    rows = {n: torch.from_numpy(table[n]).requires_grad_() for n in names}
    shaped = {n: t.unflatten(0, (clips, frames)) for n, t in rows.items()}
    nothing = torch.zeros(clips, frames, 2)
    network = _Given(
        Glanced(nothing, nothing, nothing, shaped["glance_logits"]),
        [Looked(shaped[f"logits_{p}"], shaped[f"local_{p}"], nothing) for p in PASSES],
    )
    batch = {"frames": nothing, "label": torch.from_numpy(table["label"]).long()}
    context = StepContext(progress=0.0, generator=torch.Generator())
    loss = recipe.two_pass_loss(network, batch, context)["loss"]
    close(loss, table["loss"])
    loss.backward()
    for name in names:
        close(rows[name].grad, table[f"d_{name.removesuffix('_logits')}"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_whole_network(instance):
    network, table = made.toy(f"whole.{instance}")
    clip = made.clip_of(network, table)
    glanced = network.eval().glance_at(clip)
    looked = network(clip)
    close(looked.actions, table["action_eval"])
    close(looked.logits, table["logits_eval"])
    close(glanced.logits, table["glance_logits_eval"])
    close(looked.focus_logits, table["local_logits_eval"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_training_the_whole_network(instance):
    network, table = made.toy(f"whole.{instance}")
    labels = torch.from_numpy(table["label"]).long()
    clip = made.clip_of(network, table)
    glanced = network.train().glance_at(clip)
    shape = glanced.logits.shape[:2]
    actions = network.place(glanced)
    places = (actions, torch.from_numpy(table["random_action"]).unflatten(0, shape))
    close(actions, table["action_train"])
    close(glanced.logits, table["glance_logits_train"])
    parts = []
    for name, where in zip(PASSES, places, strict=True):
        looked = network.look(glanced, where)
        close(looked.logits, table[f"logits_{name}_train"])
        close(looked.focus_logits, table[f"local_{name}_train"])
        losses = (looked.logits, glanced.logits, looked.focus_logits)
        parts.append([recipe.rows_loss(logits, labels) for logits in losses])
    values = np.array([[p.item() for p in row] for row in parts])
    close(values, table["loss_parts"])
    total = torch.stack([p for row in parts for p in row]).sum() / 2
    close(total, table["loss"])
    # In the policy's pass of instance 0 one fused element is 3e-6 before its ReLU: the official
    # float32 run has it on the other side of the kink, and its gradient with it.
    kink = 2e-3 if instance == 0 else 1e-5
    kind = f"whole.{instance}"
    check_gradients(network, total, table["grad_total"], kind, relative=kink)
    check_gradients(network, parts[0][2], table["grad_local_policy"], kind)
    check_gradients(network, parts[1][2], table["grad_local_random"], kind)
    check_gradients(network, parts[0][0], table["grad_cat_policy"], kind, relative=kink)


def check_gradients(network, loss, wanted, kind, *, relative=1e-5):
    """Compare sum, sum of absolute values and norm of the gradient of every parameter."""
    network.zero_grad()
    loss.backward(retain_graph=True)
    found = {}
    for name, value in official_gradients(network).items():
        found[name] = (value.sum(), value.abs().sum(), value.norm())
    rows = [[x.item() for x in found[name]] for name in made.listed()[f"{kind}.gradnames"]]
    scale = np.abs(wanted).max()
    assert np.abs(np.array(rows) - wanted).max() <= relative * scale
    # Where the official gradient is exactly zero, ours is too.
    assert not np.array(rows)[wanted[:, 1] == 0].any()


def official_gradients(network):
    """Return every gradient under the name it has in the golden list."""
    parts = {
        "glance.net.0": "glance_encoder.conv",
        "glance_head": "glance_head",
        "focus.net.0": "local_encoder.conv",
        "focus_head": "local_head",
        "policy.encode": "policy.encoder",
        "policy.place": "policy.fc",
        "classifier.fuse": "classifier.mlp",
    }
    named = {}
    for name, parameter in network.named_parameters():
        value = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if name in ("classifier.weight", "classifier.bias"):
            kind = name.removeprefix("classifier.")
            for t, head in enumerate(value):
                named[f"classifier.prefix_linear.{t}.1.{kind}"] = head
        elif name.startswith("policy.memory."):
            named[name.replace("memory", "gru") + "_l0"] = value
        else:
            ours = next(part for part in parts if name.startswith(f"{part}."))
            named[name.replace(ours, parts[ours], 1)] = value
    return named


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("criterion", ["confidence", "entropy"])
def test_exit_thresholds(criterion, instance):
    logits = made.golden("exits", f"exit_confidence.{instance}")
    table = made.golden("exits", f"exit_{criterion}.{instance}")
    values = {half: exit_values(criterion, logits[f"{half}_logits"]) for half in ("cal", "test")}
    close(values["cal"], table["cal_value"])
    labels = logits["test_label"].astype(int)
    for row, r in enumerate(table["r"]):
        shares = exit_shares(r, num_exits=len(values["cal"]))
        np.testing.assert_allclose(shares, table["p"][row], atol=1e-7)
        thresholds = solve_thresholds(table["cal_value"], shares)
        wanted = table["threshold"][row]
        assert (np.isinf(thresholds) == (np.abs(wanted) == made.FAR)).all()
        np.testing.assert_allclose(np.clip(thresholds, -made.FAR, made.FAR), wanted, rtol=1e-6)
        left = exit_indices(values["test"], thresholds)
        assert left.tolist() == table["exit_stage"][row].tolist()
        chosen = logits["test_logits"][left, np.arange(len(left))].argmax(axis=1)
        accuracy = (chosen == labels).mean()
        np.testing.assert_allclose(accuracy, table["accuracy"][row], rtol=1e-5)
        cost = logits["flops"][left].mean()
        np.testing.assert_allclose(cost, table["cost"][row], rtol=1e-5)


def exit_values(criterion, logits):
    """Return the official confidence: the largest raw logit, or the negative entropy."""
    if criterion == "confidence":
        return logits.max(axis=-1)
    return np.array(
        [[confidence(softmax(row), criterion="neg_entropy") for row in rows] for rows in logits]
    )


@pytest.mark.parametrize(("name", "instance"), [("glance", 0), ("focus", 1)])
def test_encoders_of_the_shift_variant(name, instance):
    table = made.golden("encoders", f"tsn_{name}.{instance}")
    clips, frames, side, classes = (int(d) for d in table["dims"])
    gain = float(table["gain"][0])
    if name == "glance":
        backbone, module = create("mobilenetv2_100"), f"tsn_mobilenetv2.{instance}"
    else:
        backbone, module = create("resnet50"), f"tsn_resnet50.{instance}"
    insert_temporal_shift(backbone, num_frames=frames, fold_div=8)
    cfg = paper_tsm(num_classes=classes)
    encoder = ImageEncoder(backbone, width=backbone.num_features)
    network = ShiftEncoder(encoder, num_frames=frames, cfg=cfg).double().eval()
    made.load(network, shift_tensors(network, made.filled(module, gain=gain)))
    stream = int(table["x_k"][0])
    images = 1.5 * sym((clips, 3 * frames, side, side), stream).astype(np.float32)
    rows = torch.from_numpy(images.astype(np.float32).astype(np.float64)).unflatten(1, (-1, 3))
    maps, final, regular = network(rows.flatten(0, 1))
    close(final, table["final"], relative=1e-4)
    close(regular, table["reg"], relative=1e-4)
    if name == "glance":
        means = maps.mean((2, 3)).reshape(-1, 1280)[:, ::8]
        close(means, table["map_mean"], relative=1e-4)


def shift_tensors(network, tensors):
    """Return an encoder's golden tensors under our names."""
    heads = {"final_head": "final", "reg_head": "regular"}
    modules = mobilenetv2_modules()
    own = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if module in heads:
            own[f"{heads[module]}.{leaf}"] = tensor
            continue
        module = module.removeprefix("encoder.").replace("body.", "features.")
        module = f"encoder.net.net.{modules.get(module, module)}"
        shifted = f"{module}.conv.{leaf}" in network.state_dict()
        own[f"{module}.conv.{leaf}" if shifted else f"{module}.{leaf}"] = tensor
    return own
