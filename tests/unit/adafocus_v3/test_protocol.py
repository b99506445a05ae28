"""The sheet's lines of "it counts as working when", by number; 7 is in test_golden, 9 and 10 are
measured (results/adafocus_v3)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.bundle import Bundle
from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.runners import OnnxRunner
from foveal.engine.torch_runner import TorchRunner
from foveal.explain.story import read
from foveal.export import export_bundle
from foveal.layers import lattice_corners, resample
from foveal.recipe import StepContext
from foveal.records import Label, Prediction
from foveal.sampling.budget import exit_curve, exit_indices, exit_shares, rule_of
from foveal.sampling.confidence import ExitRule, confidence, softmax
from foveal.systems.adafocus_v3 import protocol, recipe
from foveal.systems.adafocus_v3.model import build, lattice_counts, make_network
from foveal.systems.adafocus_v3.protocol import corners_of, take_frames, ways
from foveal.video import ArraySource

FPS = 4.0
TINY = protocol.tiny()
SLOT = protocol.tiny(place="slot", num_cubes=4, cube_frames=1)
REGION = protocol.tiny(place="region", gradient="global_map", num_cubes=4, cube_frames=1)
BOTH = pytest.mark.parametrize("cfg", [TINY, REGION], ids=["cube", "region"])


def network_of(cfg, *, seed=0):
    """Return a fresh network in evaluation mode with an opinion, whose cubes are anywhere."""
    torch.manual_seed(seed)
    network = make_network(cfg)
    lively = ("classifier.weight", "policy.place.weight", "policy.places.place.0.weight")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(lively):
                parameter.mul_(12.0)
        for _ in range(10):
            network.train()(torch.from_numpy(clips_of(cfg, 8, seed=seed)))
    return network.eval()


def clips_of(cfg, count, *, seed=0):
    """Return uint8 (count,V,3,S,S)."""
    side = cfg.canvas.width
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, cfg.num_frames, 3, 8, 8))
    frames = coarse.repeat(side // 8, axis=-1).repeat(side // 8, axis=-2)
    return np.clip(frames + rng.integers(-40, 40, frames.shape), 0, 255).astype(np.uint8)


def runner_of(network):
    """Return a runner that bills what PyTorch counts."""
    specs = {spec.name: spec for spec in protocol.parts(network.cfg)}
    modules = {name: module.eval() for name, module in build(network, network.cfg).items()}
    macs = {}
    for name, spec in specs.items():
        inputs = [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs]
        macs[name] = {(): count_torch_macs(modules[name], *inputs)}
    return TorchRunner(modules, specs, macs)


def shapes_of(spec):
    return tuple((1, *t.shape) for t in spec.inputs)


def run(network, clips, *, exit_rule=None, runner=None):
    """Return the outcome of every clip, in order."""
    runner = runner_of(network) if runner is None else runner
    executor = Executor(runner, exit_rule=exit_rule, fetch_threads=0)
    jobs = [
        Job(
            name=str(i),
            open=partial(ArraySource, clip, fps=FPS, name=str(i)),
            steps=partial(protocol.steps, network.cfg, {}),
        )
        for i, clip in enumerate(clips)
    ]
    return sorted(executor.run(jobs), key=lambda outcome: outcome.index)


# --- 1: cubes ---------------------------------------------------------------------------------


def test_1_a_cube_is_the_slice_at_its_corner():
    network, seen = network_of(TINY), []
    network.encode = lambda cut: seen.append(cut) or torch.zeros(len(cut) // 2, 64)
    frames = torch.from_numpy(clips_of(TINY, 2))
    corners = torch.tensor([[[0, 48, 6], [17, 3, 0]], [[48, 0, 2], [5, 5, 5]]])
    network.cube_vectors(frames, corners)
    (cut,) = seen
    cut = cut.reshape(2, 2, 2, 3, 16, 16)
    for b in range(2):
        for m in range(2):
            y, x, t = corners[b, m].tolist()
            assert torch.equal(cut[b, m], frames[b, t : t + 2, :, y : y + 16, x : x + 16])


def test_1_corners_are_inside_for_any_action():
    rng = np.random.default_rng(0)
    actions = np.concatenate([rng.random((1000, 3)), list(np.ndindex(2, 2, 2))]).astype(np.float32)
    corners = corners_of(TINY, actions)
    assert (corners >= 0).all()
    assert (corners <= np.array(ways(TINY))).all()
    assert corners[-1].tolist() == [48, 48, 6]
    assert corners[-8].tolist() == [0, 0, 0]


# --- 2: interpolation -------------------------------------------------------------------------


def test_2_weights_of_the_lattice():
    actions = torch.rand(50, 3, dtype=torch.float64)
    corners, weights = lattice_corners(actions, counts=lattice_counts(TINY), reach=ways(TINY))
    assert corners.shape == (50, 8, 3)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(50, dtype=torch.float64))
    mean = (corners * weights[..., None]).sum(1)
    torch.testing.assert_close(mean, actions * torch.tensor(ways(TINY)))  # all steps are whole here


def test_2_on_a_lattice_point_the_features_are_those_of_its_cube():
    network = network_of(TINY)
    frames = torch.from_numpy(clips_of(TINY, 1))
    points = torch.tensor([[0, 24, 2], [48, 12, 6], [36, 48, 0]])[None]
    actions = points / torch.tensor(ways(TINY))
    mixed = network.lattice_vectors(frames, actions)
    torch.testing.assert_close(mixed, network.cube_vectors(frames, points), rtol=0, atol=1e-5)


def test_2_features_are_continuous_across_cells():
    network = network_of(TINY)
    frames = torch.from_numpy(clips_of(TINY, 1))
    border = torch.tensor([[[0.25, 0.5, 1 / 3]]])  # a corner shared by eight cells
    below, above = (network.lattice_vectors(frames, border + e) for e in (-1e-5, 1e-5))
    assert (below - above).abs().max() < 1e-3
    there, far = (network.lattice_vectors(frames, border + e) for e in (0.0, 0.1))
    assert (there - far).abs().max() > 1e-2


def test_2_the_gradient_of_an_action():
    frozen = torch.randn(2, 8, 5, dtype=torch.float64)

    def features(actions):
        _, weights = lattice_corners(actions, counts=(5, 5, 4), reach=(48, 48, 6))
        return (weights[..., None] * frozen).sum(1)

    actions = torch.tensor([[0.3, 0.6, 0.4], [0.9, 0.1, 0.8]]).double().requires_grad_()
    assert torch.autograd.gradcheck(features, (actions,))


def test_2_windows_have_a_gradient_too():
    pictures = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    corners = torch.tensor([[1.21, 2.33], [0.44, 3.17]]).double().requires_grad_()
    windows = torch.tensor([[4.13, 5.21], [6.07, 3.39]]).double().requires_grad_()
    for border in ("edge", "zero"):
        cut = partial(resample, pictures, size=4, border=border)
        assert torch.autograd.gradcheck(cut, (corners, windows))


# --- 3: who learns from what ------------------------------------------------------------------


def reached(network, loss):
    network.zero_grad()
    loss.backward(retain_graph=True)
    named = network.named_parameters()
    return {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("gradient", ["lattice", "pixel"])
@pytest.mark.parametrize("cfg", [TINY, SLOT], ids=["cube", "slot"])
def test_3_the_policy_learns_from_where_it_looks_alone(cfg, gradient):
    network = network_of(replace(cfg, gradient=gradient)).train()
    labels = torch.tensor([0, 3, 5])
    glanced = network.glance_at(torch.from_numpy(clips_of(cfg, 3)))
    actions = network.place(glanced)
    own = network.look(glanced, actions, gradient=gradient)
    assert reached(network, recipe.rows_loss(own.cube_logits, labels)) == {
        "policy", "focus", "focus_head"
    }  # fmt: skip
    everything = {"glance", "glance_classifier", "policy", "focus", "classifier"}
    assert reached(network, recipe.rows_loss(own.logits, labels)) == everything
    frozen = network.look(glanced, actions.detach(), gradient=gradient)
    assert "policy" not in reached(network, recipe.rows_loss(frozen.logits, labels))
    random = network.look(glanced, torch.rand(actions.shape))
    both = recipe.rows_loss(random.logits, labels) + recipe.rows_loss(random.cube_logits, labels)
    assert "policy" not in reached(network, both)
    # Nothing gets to the glance through the policy.
    assert reached(network, actions.sum()) == {"policy"}


def test_3_maps_teach_the_policy_and_pictures_do_not():
    for cfg in (replace(TINY, gradient="global_map"), REGION):
        network = network_of(cfg).train()
        labels = torch.tensor([0, 3, 5])
        glanced = network.glance_at(torch.from_numpy(clips_of(cfg, 3)))
        actions = network.place(glanced)
        loss = functional.cross_entropy(network.map_logits(glanced, actions), labels)
        assert reached(network, loss) == {"policy", "map_head"}
        if cfg is REGION:
            weights, sampled = network.weigh(glanced)
            indices = network.take(sampled)
            where = network.regions_at(actions, indices)
            looked = network.look_at_regions(glanced, where, indices)
            assert {"glance", "time_policy"} <= reached(network, weights.var())
        else:
            looked = network.look(glanced, actions, gradient="global_map")
        both = recipe.rows_loss(looked.logits, labels) + recipe.rows_loss(
            looked.cube_logits, labels
        )
        assert not {"policy", "time_policy", "map_head"} & reached(network, both)


def test_3_one_cube_a_clip_is_interpolated():
    network = network_of(TINY)
    glanced = network.glance_at(torch.from_numpy(clips_of(TINY, 3)))
    actions = network.place(glanced).detach().requires_grad_()
    only = torch.tensor([0, 2, 1])
    looked = network.look(glanced, actions, gradient="lattice", only=only)
    looked.logits.square().sum().backward()
    moved = actions.grad.abs().sum(2) > 0
    assert moved.tolist() == functional.one_hot(only, 3).bool().tolist()
    full, plain = (network.look(glanced, actions, gradient=g) for g in ("lattice", None))
    chosen = functional.one_hot(only, 3).bool()[..., None]
    wanted = torch.where(chosen, full.cube_logits, plain.cube_logits)
    torch.testing.assert_close(looked.cube_logits, wanted)


# --- 4 and 5: prefixes ------------------------------------------------------------------------


def test_4_no_cube_is_the_glance():
    network, bare = network_of(TINY), make_network(replace(TINY, num_cubes=0)).eval()
    bare.load_state_dict({n: network.state_dict()[n] for n in bare.state_dict()})
    clips = clips_of(TINY, 4)
    rows = network(torch.from_numpy(clips)).logits
    alone = bare(torch.from_numpy(clips)).logits
    assert alone.shape == (4, 1, 8)
    torch.testing.assert_close(alone[:, 0], rows[:, 0])
    at_once = ExitRule(thresholds=(-np.inf,), criterion="neg_entropy")
    for one, stopped, logits in zip(
        run(bare, clips), run(network, clips, exit_rule=at_once), alone, strict=True
    ):
        assert np.abs(one.answer.probs - softmax(logits[0].detach().numpy())).max() < 1e-6
        assert np.abs(one.answer.probs - stopped.answer.probs).max() < 1e-6
        assert one.cost.total_macs == stopped.cost.total_macs
        assert set(stopped.cost.macs) == {"glance"}


def test_4_one_cube_of_everything_is_the_whole_volume():
    cfg = replace(TINY, num_cubes=1, cube_frames=8, focus_size=64)
    network = network_of(cfg)
    frames = torch.from_numpy(clips_of(cfg, 3))
    glanced = network.glance_at(frames)
    _, vectors = network.focus(network.normalise(frames.flatten(0, 1)))
    whole = network.classifier(vectors.unflatten(0, (3, 8)).mean(1)[:, None], glanced.best)
    torch.testing.assert_close(network(frames).logits[:, 1:], whole)
    moved = network.look(glanced, torch.rand(3, 1, 3), gradient="lattice")
    torch.testing.assert_close(moved.logits[:, 1:], whole)


@BOTH
def test_4_a_prefix_does_not_know_what_comes_after_it(cfg):
    network = network_of(cfg)
    frames = torch.from_numpy(clips_of(cfg, 3))
    before = network(frames)
    glanced_at = set(protocol.glance_indices(cfg))
    others = torch.from_numpy(clips_of(cfg, 3, seed=9))
    compared = 0
    for clip in range(3):
        for seen in range(cfg.num_cubes):
            known = set(before.indices[clip, :seen].flatten().tolist()) | glanced_at
            later = [i for i in range(cfg.num_frames) if i not in known]
            changed = frames.clone()
            changed[clip, later] = others[clip, later]
            after = network(changed)
            rows = slice(0, seen + 1)
            torch.testing.assert_close(after.logits[clip, rows], before.logits[clip, rows])
            compared += not torch.equal(after.logits[clip], before.logits[clip])
    assert compared > 0


def test_5_the_order_of_cubes_does_not_change_what_is_known_in_the_end():
    network = network_of(TINY)
    glanced = network.glance_at(torch.from_numpy(clips_of(TINY, 3)))
    actions = network.place(glanced)
    straight = network.look(glanced, actions).logits
    for order in permutations(range(3)):
        turned = network.look(glanced, actions[:, list(order)]).logits
        torch.testing.assert_close(turned[:, -1], straight[:, -1], rtol=0, atol=1e-5)
        if order[0] != 0:
            assert not torch.allclose(turned[:, 1], straight[:, 1], atol=1e-3)


# --- 6: exits ---------------------------------------------------------------------------------


@BOTH
def test_6_stopping_for_real_is_stopping_on_paper(cfg):
    network = network_of(cfg)
    clips = clips_of(cfg, 32)
    with torch.no_grad():
        probs = softmax(network(torch.from_numpy(clips)).logits.numpy())
    answers = 1 + cfg.num_cubes
    sure = np.array([[confidence(p, criterion="neg_entropy") for p in row] for row in probs]).T
    runner = runner_of(network)
    price = {n: runner.macs(n, shapes_of(spec)) for n, spec in runner.specs.items()}
    costs = np.array(
        [price["glance"] + (k > 0) * price["policy"] + k * price["focus"] for k in range(answers)]
    )
    point = exit_curve(sure, costs, rs=[0.9])[0]
    loose = tuple(t - 1e-5 for t in rule_of(np.array(point.thresholds)).thresholds)
    rule = ExitRule(thresholds=loose, criterion="neg_entropy")
    on_paper = exit_indices(sure, np.array([*loose, -np.inf]))
    assert len(set(on_paper.tolist())) == answers
    for index, outcome in enumerate(run(network, clips, exit_rule=rule)):
        left = int(on_paper[index])
        assert outcome.trace.exit_index == left
        assert outcome.answer.probs.argmax() == probs[index, left].argmax()
        assert outcome.cost.total_macs == costs[left]
        focused = [e for e in outcome.trace.events if e.kind == "call"]
        assert sum(e.detail["part"] == "focus" for e in focused) == left


def test_6_budgets_are_kept_and_costs_rise_with_r():
    rng = np.random.default_rng(3)
    sure = rng.random((4, 200)).cumsum(axis=0)
    costs = np.array([1.0, 2.5, 3.5, 4.5])
    points = exit_curve(sure, costs, rs=np.arange(1, 40) / 20)
    spent = [point.mean_cost for point in points]
    assert all(b >= a - 1e-9 for a, b in pairwise(spent))
    for budget in (1.5, 2.5, 4.0):
        kept = [p for p in points if p.mean_cost <= budget]
        best = max(kept, key=lambda p: p.mean_cost)
        left = exit_indices(sure, np.array(best.thresholds))
        assert costs[left].mean() <= budget
        wanted = np.floor(np.float32(200) * exit_shares(best.r, num_exits=4))[:-1]
        assert np.bincount(left, minlength=4)[:-1].tolist() == wanted.tolist()


# --- 8: frames by weight ----------------------------------------------------------------------


def test_8_frames_are_taken_in_order_whatever_the_weights():
    assert take_frames(np.full(16, 1 / 16), num_frames=48, count=16).tolist() == list(
        range(1, 48, 3)
    )
    rng = np.random.default_rng(0)
    for _ in range(1000):
        logits = rng.normal(size=16) * rng.uniform(1, 30)
        weights = np.exp(logits - logits.max())
        found = take_frames(
            weights / weights.sum(), num_frames=48, count=16, offsets=rng.random(16)
        )
        assert (np.diff(found) > 0).all()
        assert 0 <= found[0] <= found[-1] < 48
    one = np.zeros(16)
    one[5] = 1.0
    assert take_frames(one, num_frames=48, count=6).tolist() == [15, 16, 17, 18, 19, 20]


def test_8_the_estimate_is_that_of_draws_without_replacement():
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    wanted = torch.zeros(3, dtype=torch.float64)
    for order in permutations(range(4), 3):
        chance, left = 1.0, 1.0
        for i in order:
            chance *= float(weights[i]) / left
            left -= float(weights[i])
        wanted += chance * logits[list(order)].mean(0)
    draws = torch.stack(
        [
            recipe.mc_temporal(
                logits[None], weights[None], num_draws=3, num_samples=500, generator=generator
            )[0]
            for _ in range(40)
        ]
    )
    error = draws.std(0) / 40**0.5
    assert ((draws.mean(0) - wanted).abs() <= 3 * error).all()
    assert error.max() < 0.01


# --- what it shows, and what is refused -------------------------------------------------------


@BOTH
def test_cubes_are_drawn_at_their_times(cfg):
    network = network_of(cfg)
    (outcome,) = run(network, clips_of(cfg, 1))
    prediction = Prediction(
        path="clip",
        predictions=(Label(label="it", prob=1.0, start_seconds=0.0, end_seconds=2.0),),
        trace=outcome.trace,
        cost=outcome.cost,
        model="adafocus_v3",
        clip=outcome.clip,
        answer=outcome.answer,
    )
    shown = {round(frame.seconds * FPS): frame.boxes for frame in read(prediction).frames}
    with torch.no_grad():
        looked = network(torch.from_numpy(clips_of(cfg, 1)))
    for index in looked.indices.flatten().tolist():
        assert shown[index]
    boxes = [box for frame in shown.values() for box in frame]
    assert all(min(box) >= 0 and max(box) <= 1 for box in boxes)
    bare = set(shown) - set(looked.indices.flatten().tolist())
    assert bare <= set(protocol.glance_indices(cfg))
    assert not any(shown[index] for index in bare)


@pytest.mark.export
@pytest.mark.parametrize("cfg", [REGION, SLOT], ids=["region", "slot"])
def test_the_light_run_decides_the_same(cfg, tmp_path):
    """The contract tests do the same with cubes."""
    network = network_of(cfg)
    modules = build(network, cfg)
    bundle, _ = export_bundle(
        tmp_path / "tiny.foveal",
        system="adafocus_v3",
        config=cfg,
        modules=modules,
        specs=protocol.parts(cfg),
        class_names=[str(k) for k in range(cfg.num_classes)],
        licence="Apache-2.0",
    )
    for name, module in modules.items():
        inputs = bundle.specs[name].inputs
        zeros = [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in inputs]
        assert bundle.macs(name, {}) == pytest.approx(count_torch_macs(module, *zeros), rel=0.01)
    clips = clips_of(cfg, 6)
    light = run(network, clips, runner=OnnxRunner(Bundle.open(bundle.path), threads=1))
    for one, other in zip(light, run(network, clips), strict=True):
        assert np.abs(one.answer.probs - other.answer.probs).max() < 1e-4
        assert one.trace.frame_seconds() == other.trace.frame_seconds()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focus_size": 65}, "canvas"),
        ({"num_glances": 9}, "glanced at"),
        ({"cube_frames": 9}, "taken"),
        ({"num_classes": 0}, "positive"),
        ({"place": "slot"}, "divide"),
        ({"place": "region"}, "global_map"),
        ({"lattice": 1}, "lattice"),
        ({"dropout": 1.0}, "dropout"),
        ({"shift": True}, "MobileNetV2"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_parts_are_of_one_network():
    with pytest.raises(ValueError, match="no such parts"):
        build(make_network(TINY), REGION)


def test_slots_keep_their_times():
    network = network_of(SLOT)
    looked = network(torch.from_numpy(clips_of(SLOT, 2)))
    assert looked.indices[..., 0].tolist() == [list(protocol.slot_starts(SLOT))] * 2
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    batch = {"frames": torch.from_numpy(clips_of(SLOT, 2)), "label": torch.tensor([0, 1])}
    assert torch.isfinite(recipe.cube_loss(network, batch, context)["loss"])


def test_weights_that_underflow_leave_no_nan() -> None:
    weights = torch.tensor([[200.0, 0.0, 0.0, 0.0]]).softmax(dim=1)
    removed = torch.tensor([[[True, False, False, False]]])
    assert recipe.mixed_without(torch.randn(1, 4, 3), weights, removed).isfinite().all()


@pytest.mark.parametrize("make", [recipe.small, recipe.small_uni, recipe.paper])
def test_without_cubes_nothing_is_trained(make) -> None:
    with pytest.raises(ValueError, match="num_cubes=0"):
        make(cfg=replace(make().config, num_cubes=0))
