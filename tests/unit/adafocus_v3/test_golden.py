"""What the official code of Uni-AdaFocus computes, on its own inputs and weights, in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from foveal.cost.torch_counter import count_torch_macs
from foveal.layers import ImageEncoder, PrefixClassifier, resample, windows_of
from foveal.sampling.budget import exit_indices, exit_shares, solve_thresholds
from foveal.systems.adafocus_v3 import protocol, recipe
from foveal.systems.adafocus_v3.model import Network, RegionPolicy, TimePolicy, build, make_network
from foveal.systems.adafocus_v3.protocol import take_frames
from tests.helpers_golden import Golden, close, sym, unit

GOLDEN = Golden(Path(__file__).parents[2] / "golden" / "adafocus_v3")
INSTANCES = (0, 1)


def deepclose(found, wanted):
    """Compare what is behind crops whose coordinates the official code keeps in float32."""
    close(found, wanted, relative=1e-4)


def pictures(shape, stream):
    return torch.from_numpy(sym(shape, int(stream)).astype(np.float32)).double()


def load(module, tensors):
    result = module.load_state_dict(tensors, strict=False)
    assert not result.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in result.missing_keys)


def renamed(tensors, names):
    """Return tensors under our names, the heads of prefixes stacked; the first name that fits."""
    own, heads = {}, {}
    for name, tensor in tensors.items():
        official = next(start for start in names if name.startswith(start))
        rest = name.removeprefix(official)
        if "prefix_linear" in official:
            number, _, kind = rest.split(".")
            heads.setdefault(names[official] + kind, {})[int(number)] = tensor
        else:
            flat = "time_policy" in names[official] and tensor.ndim == 4
            own[names[official] + rest] = tensor.squeeze(3) if flat else tensor
    return own | {n: torch.stack([t[i] for i in sorted(t)]) for n, t in heads.items()}


CLASSIFIER = {
    "glance_mlp.": "glance_classifier.fuse.",
    "focus_mlp.": "classifier.fuse.",
    "glance_prefix_linear.": "glance_classifier.",
    "focus_prefix_linear.": "classifier.",
}
WHOLE = {
    "glance_encoder.conv.": "glance.net.0.",
    "glance_head.": "glance_head.",
    "map_head.": "map_head.",
    "local_encoder.conv.": "focus.net.0.",
    "local_head.": "focus_head.",
    "space_policy.encoder.": "policy.encode.",
    "time_policy.convs.": "time_policy.encode.",
    **{f"classifier.{official}": ours for official, ours in CLASSIFIER.items()},
}


@pytest.mark.parametrize("kind", ["spolicy", "spolicy_tsm"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_policy_of_space(kind, instance):
    table = GOLDEN.arrays(f"{kind}.{instance}")
    channels, width, frames, clips, side = (int(d) for d in table["dims"])
    assert side == 7
    cfg = replace(
        protocol.paper_uni(), num_glances=frames, policy_channels=width, shift=kind.endswith("tsm")
    )
    policy = RegionPolicy(cfg, in_channels=channels).double().eval()
    load(
        policy,
        renamed(
            GOLDEN.filled(f"{kind}.{instance}", gain=table["gain"][0]), {"encoder.": "encode."}
        ),
    )
    maps = torch.tensor(table["feat"]).unflatten(0, (clips, frames)).requires_grad_()
    found = policy(maps)
    close(found, table["action_eval"])
    if "dfeat_eval" in table:
        found.backward(torch.tensor(table["cot"]).reshape(found.shape))
        close(maps.grad, table["dfeat_eval"], relative=1e-4)
    close(policy.train()(maps), table["action_train"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_policy_of_time(instance):
    table = GOLDEN.arrays(f"tpolicy.{instance}")
    channels, width, frames, clips = (int(d) for d in table["dims"])
    cfg = replace(protocol.paper_uni(), time_channels=width)
    stored = [torch.tensor(table[f"w{i}"]) for i in range(11)]
    flat = [t.squeeze(3) if t.ndim == 4 else t for t in stored]
    vectors = torch.tensor(table["feat"]).unflatten(0, (clips, frames)).requires_grad_()
    heat = table["temperature"][0]
    for mode in ("train", "eval"):
        policy = TimePolicy(cfg, in_channels=channels).double().train(mode == "train")
        keys = [name for name in policy.state_dict() if not name.endswith("tracked")]
        load(policy, dict(zip(keys, flat, strict=True)))
        logits = policy(vectors)
        close(logits.softmax(1), table[f"w_{mode}"])
        close((logits / heat).softmax(1), table[f"wT_{mode}"])
    total = (logits.softmax(1) * torch.tensor(table["cot_w"])).sum()
    total = total + ((logits / heat).softmax(1) * torch.tensor(table["cot_wT"])).sum()
    total.backward()
    close(vectors.grad, table["dfeat_eval"], relative=1e-4)


def cut(images, action, *, side, size, patch):
    """Return the official crop: a window of size * (96 + 128 a) / patch."""
    corners, windows = windows_of(
        action, side=side, smallest=size * 96 / patch, largest=size * 224 / patch
    )
    return resample(images, corners, windows, size=size, border="zero")


KINKS = {"mapcrop": [2, 4, 5, 6], "tinycrop": slice(None)}
"""Rows whose gradient is a matter of convention are left out."""


@pytest.mark.parametrize("kind", ["mapcrop", "tinycrop"])
@pytest.mark.parametrize("instance", INSTANCES)
def test_crops_of_any_size_and_their_gradient(kind, instance):
    table = GOLDEN.arrays(f"{kind}.{instance}")
    side, size, patch = (int(x) for x in table["size"])
    images = torch.tensor(table["feat" if kind == "mapcrop" else "frames"])
    action = torch.tensor(table["action"], requires_grad=True)
    found = cut(images, action, side=side, size=size, patch=patch)
    # The official code computes coordinates in float32, also where its pixels are float64.
    close(found, table["patch_f64"], relative=1e-4)
    (found * torch.tensor(table["cot"])).sum().backward()
    rows = KINKS[kind]
    close(action.grad[rows], table["dact_f64"][rows], relative=1e-3)


def test_crops_of_pictures():
    table = GOLDEN.arrays("framecrop.0")
    side, patch = (int(x) for x in table["size"])
    images = pictures((3, 3, side, side), table["frame_k"][0])
    action = torch.tensor(table["action"], requires_grad=True)
    found = cut(images, action, side=side, size=patch, patch=patch)
    close(found[:, :, ::8, ::8], table["patch_sub8_f64"], relative=1e-3)
    close(found.sum((2, 3)), table["patch_sum_f64"], relative=1e-3)


@pytest.mark.parametrize("instance", INSTANCES)
def test_beyond_the_border(instance):
    table = GOLDEN.arrays(f"border.{instance}")
    side, patch = (int(x) for x in table["size"])
    action = torch.tensor(table["action"])
    ones = torch.ones(len(action), 3, side, side, dtype=torch.float64)
    found = cut(ones, action, side=side, size=patch, patch=patch)[:, 0]
    close(found[:, :3, :3], table["top_left"], relative=1e-4)
    close(found[:, -3:, -3:], table["bottom_right"], relative=1e-4)
    corners, windows = windows_of(
        action, side=side, smallest=96.0, largest=224.0
    )  # the method itself stays inside
    assert torch.allclose(
        resample(ones, corners, windows, size=patch), torch.ones(()).double(), atol=1e-12
    )


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("draw", ["center", "random"])
def test_frames_taken_by_weight(draw, instance):
    table = GOLDEN.arrays(f"pick.{instance}")
    _, frames, count = (int(c) for c in table["counts"])
    compared = 0
    for row, weights in enumerate(table["weights"]):
        offsets = table["offsets"][row] if draw == "random" else None
        found = take_frames(weights, num_frames=frames, count=count, offsets=offsets)
        assert (np.diff(found) > 0).all()
        if table[f"safe_{draw}"][row].all():  # else float32 may round to either side
            assert found.tolist() == table[f"index_{draw}"][row].astype(int).tolist()
            compared += 1
    assert compared >= 5


def test_a_query_of_zero():
    table = GOLDEN.arrays("pick_zero.0")
    _, frames, count = (int(c) for c in table["counts"])
    found = take_frames(
        table["weights"][0], num_frames=frames, count=count, offsets=np.zeros(count)
    )
    assert found.tolist() == table["index"].astype(int).tolist()


def removed_by(draws, frames):
    """Return the mask (rows, T) of drawn frames."""
    mask = np.zeros((len(draws), frames), bool)
    np.put_along_axis(mask, draws.astype(int), True, axis=1)
    return torch.from_numpy(mask)


@pytest.mark.parametrize("instance", INSTANCES)
def test_monte_carlo_mix(instance):
    table = GOLDEN.arrays(f"mc.{instance}")
    clips, frames, width, draws, samples = (int(d) for d in table["dims"])
    weights = torch.tensor(table["weights"], requires_grad=True)
    rows = torch.tensor(table["feat"], requires_grad=True)
    logits = rows.unflatten(0, (clips, frames))
    means = []
    for i in range(draws):
        mask = torch.zeros(clips * samples, frames, dtype=torch.bool)
        if i:
            mask = removed_by(table[f"draw{i}"], frames)
        mask = mask.unflatten(0, (clips, samples))
        means.append(recipe.mixed_without(logits, weights, mask))
    found = torch.stack(means).mean(0)
    close(found, table["out"])
    (found * torch.tensor(table["cot"])).sum().backward()
    close(weights.grad, table["dweights"], relative=1e-4)
    close(rows.grad, table["dfeat"], relative=1e-4)
    many = recipe.mc_temporal(
        logits.detach(),
        weights.detach(),
        num_draws=draws,
        num_samples=20_000,
        generator=torch.Generator().manual_seed(0),
    )
    assert np.abs(many.numpy() - table["mean_20000"]).max() < 0.03
    assert width == found.shape[1]


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_classifier(instance, mode):
    table = GOLDEN.arrays(f"classifier.{instance}")
    wide, narrow, glances, looks, classes, _ = (int(d) for d in table["dims"])
    both = nn.ModuleDict()
    for name, width, count, beside in (
        ("glance_classifier", wide, glances, 0),
        ("classifier", narrow, looks, 4096),
    ):
        both[name] = PrefixClassifier(
            in_width=width,
            width=4096,
            num_frames=count,
            num_classes=classes,
            dropout=0.0,
            beside_width=beside,
        )
    load(both.double(), renamed(GOLDEN.filled(f"classifier.{instance}"), CLASSIFIER))
    both.train(mode == "train")
    best = both["glance_classifier"].best(torch.tensor(table["glance"]))
    first = both["glance_classifier"].heads(best)
    then = both["classifier"](torch.tensor(table["focus"]), best[:, -1])
    close(torch.cat([first, then], 1), table[f"logits_{mode}"])
    if mode == "eval":
        close(then[:, -1], table["last_eval"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_loss_and_its_gradients(instance):
    table = GOLDEN.arrays(f"loss.{instance}")
    clips, glances, looks, classes = (int(d) for d in table["dims"])
    shapes = {"cat": glances + looks, "local": looks, "glance": glances}
    given = {
        name: torch.tensor(table[name], requires_grad=True)
        for name in table
        if f"d_{name}" in table and name != "weights"
    }

    def rows(name):
        return given[name].reshape(clips, shapes[name.split("_")[0]], classes)

    factor = table["ratios"][1]
    terms = recipe.region_terms(
        prefixes=[rows("cat_policy"), rows("cat_random")],
        focus=[rows("local_policy"), rows("local_random")],
        glance=rows("glance"),
        temporal=given["temporal"],
        spatial=given["spatial"],
        sizes=given["action"][:, 2:],
        labels=torch.tensor(table["label"].astype(int)),
        size_weight=factor,
    )
    # Of factor 0 in the released commands, and left out here.
    divergence = table["ratios"][0] * table["loss_kl"]
    close(terms["loss"], table["loss_total"] - divergence)
    close(2 * terms["glance"], table["loss_global2"])
    close(2 * terms["focus"], table["loss_local2"])
    close(2 * terms["temporal"], table["loss_temporal2"])
    close(2 * terms["spatial"], table["loss_spatial2"])
    close(terms["size"], factor * table["loss_norm"])
    terms["loss"].backward()
    for name, tensor in given.items():
        close(tensor.grad, table[f"d_{name}"], relative=1e-4)


def toy(instance):
    """Return the golden toy network, filled, float64, its arrays, and its clips."""
    kind = f"whole.{instance}"
    table = GOLDEN.arrays(kind)
    _, frames, glances, looks, classes, patch = (int(d) for d in table["dims"])
    cfg = replace(
        protocol.uni_released(num_classes=classes, focus_size=patch),
        num_frames=frames,
        num_glances=glances,
        num_cubes=looks,
        policy_channels=4,
        time_channels=4,
        dropout=0.0,
    )
    glance = nn.Sequential(nn.Conv2d(3, 5, 32, stride=32), nn.Tanh())
    focus = nn.Sequential(nn.Conv2d(3, 6, 16, stride=16), nn.Tanh())
    network = Network(
        cfg, glance=ImageEncoder(glance, width=5), focus=ImageEncoder(focus, width=6)
    ).double()
    network.normalise = nn.Identity()
    load(network, renamed(GOLDEN.filled(kind, gain=table["gain"][0]), WHOLE))
    clips = int(table["dims"][0])
    images = pictures((clips, 3 * frames, 224, 224), table["image_k"][0])
    return network, table, images.unflatten(1, (frames, 3))


def drawn_mix(network, table, logits, weights):
    """Return the temporal logits with the golden draws."""
    clips, glances = weights.shape
    means = []
    for i in range(glances // 3):
        mask = torch.zeros(clips * 128, glances, dtype=torch.bool)
        if i:
            chance = unit(clips * 128 * glances, int(table["draw_k"][0]) + i)
            order = chance.reshape(clips * 128, glances).argsort(axis=1, kind="stable")
            mask = removed_by(order[:, :i], glances)
        means.append(recipe.mixed_without(logits, weights, mask.unflatten(0, (clips, 128))))
    return torch.stack(means).mean(0)


@pytest.mark.parametrize("instance", INSTANCES)
def test_whole_network(instance):
    network, table, frames = toy(instance)
    network.eval()
    glanced = network.glance_at(frames)
    regions = network.place(glanced)
    weights, sampled = network.weigh(glanced)
    looked = network(frames)
    close(weights, table["weights"])
    start = np.arange(len(frames))[:, None] * network.cfg.num_frames
    assert ((looked.indices[..., 0].numpy() + start) == table["focus_index"]).all()
    close(looked.actions, table["focus_action"])
    deepclose(torch.cat([glanced.logits, looked.logits[:, 1:]], 1), table["cat_logits"])
    close(glanced.frame_logits, table["glance_logits"])
    deepclose(looked.cube_logits, table["local_logits"])
    close(network.map_logits(glanced, regions), table["spatial_logits"])
    mixed = drawn_mix(network, table, glanced.frame_logits, sampled)
    close(mixed, table["temporal_logits"])


GROUPS = (
    ("glance.",),
    ("glance_head.",),
    ("map_head.",),
    ("focus.",),
    ("focus_head.",),
    ("policy.",),
    ("time_policy.",),
    ("classifier.", "glance_classifier."),
)


@pytest.mark.parametrize("instance", INSTANCES)
def test_a_training_step_of_the_whole_network(instance):
    network, whole, frames = toy(instance)
    table = GOLDEN.arrays(f"whole_train.{instance}")
    cfg, clips = network.cfg, len(frames)
    network.train()
    start = np.arange(clips)[:, None] * cfg.num_frames
    seen = table["glance_index"].reshape(clips, -1) - start
    glanced = network.glance_at(frames, torch.from_numpy(seen.astype(int)))
    regions = network.place(glanced)
    weights, sampled = network.weigh(glanced)
    indices = network.take(sampled, torch.tensor(table["draw_offset"]))
    assert (indices.numpy() + start == table["focus_index"].reshape(clips, -1)).all()
    own = network.regions_at(regions, indices)
    close(own, table["focus_action_policy"])
    rows = torch.tensor(table["random_action"]).unflatten(0, (clips, -1))
    drawn = rows[torch.arange(clips)[:, None], indices]
    drawn[..., 2:] = recipe.unscaled_size(cfg)
    close(drawn, table["focus_action_random"])
    looks = [network.look_at_regions(glanced, where, indices) for where in (own, drawn)]
    cats = [torch.cat([glanced.logits, one.logits[:, 1:]], 1) for one in looks]
    mixed = drawn_mix(network, whole, glanced.frame_logits, weights)
    spatial = network.map_logits(glanced, regions)
    labels = torch.tensor(table["label"].astype(int))
    close(mixed, table["temporal"])
    close(spatial, table["spatial"])
    close(regions, table["action_glance"])
    losses = [
        recipe.rows_loss(cats[0], labels),
        recipe.rows_loss(cats[1], labels),
        recipe.rows_loss(glanced.frame_logits, labels),
        recipe.rows_loss(looks[0].cube_logits, labels),
        recipe.rows_loss(looks[1].cube_logits, labels),
        functional.cross_entropy(mixed, labels),
        functional.cross_entropy(spatial, labels),
        ((regions[..., 2:] - 1) ** 2).mean(),
    ]
    deepclose(torch.stack(losses), table["component_loss"])
    for loss, wanted in zip(losses, table["grad_norm"], strict=True):
        network.zero_grad()
        loss.backward(retain_graph=True)
        found = [norm_of(network, group) for group in GROUPS]
        assert (np.array(found) == 0).tolist() == (wanted == 0).tolist()
        close(found, wanted, relative=1e-4)


def norm_of(network, group):
    grads = [p.grad for n, p in network.named_parameters() if n.startswith(group)]
    return float(sum((g**2).sum() for g in grads if g is not None) ** 0.5)


def test_exits():
    table = GOLDEN.arrays("exit.0")
    cal, test = (table[f"{half}_logits"].max(axis=-1).T for half in ("cal", "test"))
    costs = GOLDEN.arrays("gflops.0")["total"]
    for row, q in enumerate(table["q"]):
        thresholds = solve_thresholds(cal, exit_shares(q, num_exits=17))
        left = exit_indices(test, thresholds)
        np.testing.assert_allclose(costs[left].mean(), table["cost"][row], rtol=1e-6)
        np.testing.assert_allclose(np.bincount(left, minlength=17) / left.size, table["ratio"][row])
        chosen = table["test_logits"][np.arange(left.size), left].argmax(axis=1)
        np.testing.assert_allclose(
            100 * (chosen == table["test_label"]).mean(), table["top1"][row], rtol=1e-6
        )


def gmacs(cfg):
    """Return what the glance's part costs and what all does, counted from the modules."""
    with torch.device("meta"):
        parts = build(make_network(cfg), cfg)
    cost = {}
    for spec in protocol.parts(cfg):
        shapes = [(1, *t.shape) for t in spec.inputs]
        inputs = [
            torch.zeros(s, dtype=getattr(torch, t.dtype), device="meta")
            for s, t in zip(shapes, spec.inputs, strict=True)
        ]
        cost[spec.name] = count_torch_macs(parts[spec.name].to("meta"), *inputs) / 1e9
    return cost


@pytest.mark.parametrize("instance", INSTANCES)
def test_7_what_it_costs(instance):
    table = GOLDEN.arrays(f"gflops.{instance}")
    patch = int(table["patch"][0])
    cost = gmacs(protocol.paper_uni(focus_size=patch))
    assert cost["glance"] == pytest.approx(table["total"][0], rel=0.01)
    for k in (1, 8, 16):
        found = cost["glance"] + cost["policy"] + k * cost["focus"]
        assert found == pytest.approx(table["total"][k], rel=0.01)
    for frames, wanted in zip((8, 12, 16), table["tsm_exits"], strict=True):
        cfg = protocol.paper_uni_tsm(num_focus_frames=frames, focus_size=patch)
        cost = gmacs(cfg)
        assert cost["glance"] == pytest.approx(wanted[0], rel=0.02)  # ours has a fused answer
        assert sum(cost.values()) == pytest.approx(wanted[1], rel=0.01)


def test_7_at_160_px():
    cost = gmacs(protocol.paper_uni(focus_size=160))
    found = cost["glance"] + cost["policy"] + 16 * cost["focus"]
    assert found == pytest.approx(39.2, rel=0.01)
