"""The sheet's lines of "it counts as working when", by number.

Lines 1 and 2 are of the crop (tests/unit/layers), 7 of the solver (tests/properties), 9 and 10 are
measured (results/adafocus_v2).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from foveal.cost.torch_counter import count_torch_macs
from foveal.recipe import StepContext
from foveal.sampling.budget import exit_curve, exit_indices
from foveal.sampling.confidence import ExitRule, softmax
from foveal.systems.adafocus_v2 import protocol, recipe
from foveal.systems.adafocus_v2.model import build, make_network
from foveal.types import Canvas
from tests.unit.adafocus_v2 import runs

TINY = protocol.tiny(num_classes=8, num_frames=4)


def frames_of(cfg, count, *, seed=0):
    return torch.from_numpy(runs.clips_of(cfg, count, seed=seed))


def test_3_a_square_as_large_as_the_frame_is_the_static_two_stream_network():
    cfg = replace(TINY, focus_size=64)
    network = runs.network_of(cfg)
    frames = frames_of(cfg, 3)
    actions = torch.rand(3, 4, 2, requires_grad=True)
    looked = network(frames, actions)
    looked.logits.sum().backward()
    assert not actions.grad.any()
    ordered = network.normalise(frames[:, list(network.order)]).flatten(0, 1)
    vectors = [network.glance(ordered)[1], network.focus(ordered)[1]]
    static = network.classifier(torch.cat(vectors, dim=1).unflatten(0, (3, 4)))
    torch.testing.assert_close(looked.logits, static, rtol=0, atol=1e-5)


def test_4_gradients_flow_where_the_paper_says():
    network = runs.network_of(TINY).train()
    labels = torch.tensor([0, 3, 5])
    glanced = network.glance_at(frames_of(TINY, 3))
    actions = network.place(glanced)
    parts = {
        "policy": network.look(glanced, actions),
        "random": network.look(glanced, torch.rand(3, 4, 2)),
    }

    def reached(loss):
        network.zero_grad()
        loss.backward(retain_graph=True)
        named = network.named_parameters()
        return {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.any()}

    assert reached(recipe.rows_loss(parts["policy"].focus_logits, labels)) == {
        "policy",
        "focus",
        "focus_head",
    }
    assert reached(recipe.rows_loss(parts["policy"].logits, labels)) == {
        "glance",
        "policy",
        "focus",
        "classifier",
    }
    both = parts["random"].logits, parts["random"].focus_logits
    assert "policy" not in reached(sum(recipe.rows_loss(logits, labels) for logits in both))
    # Only the ablation lets the policy's gradient into the glance.
    attached = network.look(glanced, network.place(glanced, detach=False))
    assert "glance" in reached(recipe.rows_loss(attached.focus_logits, labels))


def test_4_the_shift_variant_too():
    cfg = replace(TINY, place="video", num_focus_frames=6)
    network = runs.network_of(cfg).train()
    clips = frames_of(cfg, 3), frames_of(replace(cfg, num_frames=6), 3)
    batch = {"frames": clips[0], "focus_frames": clips[1], "label": torch.tensor([0, 3, 5])}
    looked = network(*clips)
    torch.nn.functional.cross_entropy(looked.logits, batch["label"]).backward()
    moved = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    heads = {f"{part}.final.{kind}" for part in ("glance", "focus") for kind in ("weight", "bias")}
    assert moved == heads
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    recipe.shift_loss(network, batch, context)["loss"].backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before batch normalisation has no effect, so its gradient is rounding at most.
    assert all(n.endswith("bias") for n in still)


def test_5_a_prefix_does_not_know_what_comes_after_it():
    network = runs.network_of(TINY)
    frames = frames_of(TINY, 3)
    looked = network(frames)
    for seen in range(1, 4):
        later = list(network.order[seen:])
        changed = frames.clone()
        changed[:, later] = frames_of(TINY, 3, seed=9)[:, later]
        again = network(changed)
        assert torch.equal(again.logits[:, :seen], looked.logits[:, :seen])
        assert torch.equal(again.actions[:, :seen], looked.actions[:, :seen])
        assert not torch.equal(again.logits[:, seen:], looked.logits[:, seen:])


def test_6_stopping_for_real_is_stopping_on_paper():
    network = runs.network_of(TINY)
    clips = runs.clips_of(TINY, 24)
    with torch.no_grad():
        probs = softmax(network(torch.from_numpy(clips)).logits.numpy())
    sure = probs.max(axis=-1).T
    point = exit_curve(sure, np.arange(1, 5) / 4, rs=[0.9])[0]
    # A hair below, so that rounding in another batch does not decide.
    rule = ExitRule(thresholds=tuple(t - 1e-6 for t in point.thresholds))
    on_paper = exit_indices(sure, np.array(rule.thresholds))
    assert len(set(on_paper.tolist())) == 4
    runner = runs.runner_of(network, TINY)
    per_frame = sum(runner.macs(n, shapes_of(s)) for n, s in runner.specs.items())
    for index, outcome in enumerate(runs.run(network, TINY, clips, exit_rule=rule)):
        left = int(on_paper[index])
        assert outcome.trace.exit_index == left
        assert outcome.trace.stopped_early
        assert outcome.answer.probs.argmax() == probs[index, left].argmax()
        assert outcome.cost.total_macs == (left + 1) * per_frame
        assert outcome.cost.frames_used == left + 1


def shapes_of(spec):
    return tuple((1, *t.shape) for t in spec.inputs)


GMACS = {
    ("mobilenetv2", 96): 17.6,
    ("mobilenetv2", 128): 27.0,
    ("mobilenetv2", 160): 39.0,
    ("resnet50", 96): 24.8,
    ("resnet50", 128): 34.1,
    ("resnet50", 160): 46.1,
}
SHIFT_GMACS = {128: 18.45, 144: 23.5, 160: 27.5, 176: 33.7}


def meta_gmacs(cfg, network):
    parts = build(network, cfg)
    total = 0
    for spec in protocol.parts(cfg):
        inputs = [torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs]
        total += count_torch_macs(parts[spec.name], *inputs)
    return total / 1e9


@pytest.mark.parametrize(("glance", "size"), GMACS)
def test_8_the_papers_networks_cost_what_the_paper_says(glance, size):
    cfg = protocol.paper(focus_size=size, glance=glance)
    with torch.device("meta"):
        found = 16 * meta_gmacs(cfg, recipe.paper(cfg=cfg).network())
    assert found == pytest.approx(GMACS[glance, size], rel=0.005)


@pytest.mark.parametrize("size", SHIFT_GMACS)
def test_8_the_shift_variant_costs_what_the_paper_says(size):
    cfg = protocol.paper_tsm(focus_size=size)
    with torch.device("meta"):
        found = meta_gmacs(cfg, recipe.paper_tsm(cfg=cfg).network())
    assert found == pytest.approx(SHIFT_GMACS[size], rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "paper_tsm"])
def test_a_paper_recipe_takes_one_step(name):
    made = {"paper": recipe.paper, "paper_tsm": recipe.paper_tsm}[name]()
    cfg = {"paper": protocol.paper, "paper_tsm": protocol.paper_tsm}[name]()
    torch.manual_seed(0)
    network = make_network(cfg).train()
    batch = {"frames": frames_of(cfg, 2), "label": torch.tensor([1, 2])}
    if cfg.place == "video":
        batch["focus_frames"] = frames_of(replace(cfg, num_frames=cfg.num_focus_frames), 2)
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    values = made.stages[0].loss(network, batch, context)
    values["loss"].backward()
    assert torch.isfinite(values["loss"])
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_small_networks_train_all_parts_and_square_is_cheaper_than_frame():
    cfg = protocol.small(num_classes=8)
    network = make_network(cfg).train()
    clips = np.random.default_rng(0).integers(0, 256, (2, 8, 3, 96, 96), np.uint8)
    batch = {"frames": torch.from_numpy(clips), "label": torch.tensor([0, 5])}
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    whole = {"glance", "focus", "classifier"}
    reached = []
    for stage in recipe.small(cfg=cfg).stages:
        network.zero_grad()
        stage.loss(network, batch, context)["loss"].backward()
        named = network.named_parameters()
        reached.append({n.split(".")[0] for n, p in named if p.grad is not None and p.grad.any()})
    assert reached == [whole, whole | {"glance_head", "focus_head", "policy"}]
    focus = network.eval().focus
    square, frame = (count_torch_macs(focus, torch.zeros(1, 3, side, side)) for side in (40, 96))
    assert square < frame / 5


def test_a_canvas_that_pools_unevenly_is_refused():
    with pytest.raises(ValueError, match="multiple of 32 px"):
        replace(protocol.small(), canvas=Canvas(height=100, width=100))
