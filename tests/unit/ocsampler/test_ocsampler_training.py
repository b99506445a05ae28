"""The probability of a set, the policy gradient, and who learns in which stage."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from foveal.cost.torch_counter import count_torch_macs
from foveal.recipe import StepContext
from foveal.systems.ocsampler import protocol, recipe, weights
from foveal.systems.ocsampler.model import (
    Network,
    build,
    draw_sets,
    log_draw_prob,
    log_set_prob,
    log_set_prob_by_integral,
    log_set_prob_by_orders,
    log_set_prob_by_two_orders,
)
from foveal.train import ArrayData, Running, fit


def subsets(num_candidates, size):
    return torch.tensor(list(itertools.combinations(range(num_candidates), size)))


def distribution(num_candidates, *, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(num_candidates, generator=generator, dtype=torch.float64)
    return torch.log_softmax(logits, 0)


def every_set(log_probs, size, log_prob=log_set_prob):
    sets = subsets(len(log_probs), size)
    return log_prob(log_probs.expand(len(sets), -1), sets)


# --- the probability of a set ------------------------------------------------------------------


def test_all_sets_together_have_probability_one():
    assert abs(every_set(distribution(7), 3).exp().sum().item() - 1) < 1e-9


@pytest.mark.parametrize("drawn_by", ["multinomial", "draw_sets"])
def test_sets_are_as_frequent_as_they_are_likely(drawn_by):
    count, log_probs = 20_000, distribution(7)
    generator = torch.Generator().manual_seed(1)
    rows = log_probs.expand(count, -1)
    if drawn_by == "multinomial":
        drawn = torch.multinomial(rows.exp(), 3, generator=generator)
    else:
        drawn = draw_sets(rows, num_frames=3, generator=generator)
    names = (drawn.sort(dim=1).values * torch.tensor([49, 7, 1])).sum(dim=1)
    expected = every_set(log_probs, 3).exp()
    found = torch.stack(
        [(names == name).sum() for name in (subsets(7, 3) * torch.tensor([49, 7, 1])).sum(dim=1)]
    )
    deviation = (found - count * expected) / (count * expected * (1 - expected)).sqrt()
    assert found.sum() == count
    # Of 35 sets one in ten runs has one beyond 3 sigma; their squares add up to about 35.
    assert deviation.abs().max() < 4
    assert (deviation**2).sum() < 35 + 3 * (2 * 35) ** 0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_orders_subsets_and_integral_agree(size, scale):
    log_probs = distribution(8, scale=scale)
    exact = every_set(log_probs, size)
    orders = every_set(log_probs, size, log_set_prob_by_orders)
    integral = every_set(log_probs, size, log_set_prob_by_integral)
    assert (orders - exact).abs().max() < 1e-6
    assert (integral - exact).abs().max() < 1e-3


def test_one_frame_and_all_frames():
    log_probs = distribution(6)
    assert torch.allclose(every_set(log_probs, 1), log_probs)
    for log_prob in (log_set_prob, log_set_prob_by_orders):
        assert every_set(log_probs, 6, log_prob).abs().max() < 1e-12


def test_nine_of_ten_need_no_table_of_orders():
    assert abs(every_set(distribution(10), 9).exp().sum().item() - 1) < 1e-9


def test_the_order_of_the_index_does_not_matter():
    log_probs = distribution(7).expand(6, -1)
    orders = torch.tensor(list(itertools.permutations([1, 4, 6])))
    found = log_set_prob(log_probs, orders)
    assert (found - found[0]).abs().max() < 1e-12
    assert log_draw_prob(log_probs, orders).std() > 0.01
    # The sum over all orders of drawing is the probability of the set.
    assert torch.allclose(log_draw_prob(log_probs, orders).exp().sum(), found[0].exp())


def test_two_orders_are_exact_for_two_frames():
    log_probs = distribution(6)
    approximate = every_set(log_probs, 2, log_set_prob_by_two_orders)
    assert torch.allclose(approximate, every_set(log_probs, 2))


@pytest.mark.parametrize("log_prob", [log_set_prob, log_set_prob_by_orders, log_draw_prob])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_one_hot_distribution_keeps_value_and_gradient_finite(log_prob, size):
    probs = torch.full((7, 7), 1e-8) + torch.eye(7) * (1 - 7e-8)
    assert probs.dtype == torch.float32
    probs.requires_grad_()
    index = torch.stack([torch.randperm(7)[:size] for _ in range(7)])
    found = log_prob(probs.log(), index)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(probs.grad).all()


def test_drawing_never_runs_out_of_frames():
    log_probs = torch.tensor([[0.0, -2000.0, -3000.0, -1000.0]])
    drawn = draw_sets(log_probs, num_frames=3, generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [[0, 3, 1]]


@pytest.mark.parametrize("baseline", [0.0, 0.7, -3.0])
def test_a_baseline_leaves_the_gradient_as_it_is(baseline):
    reward = torch.linspace(-1, 2, 10, dtype=torch.float64)

    def gradient(surrogate):
        logits = distribution(5, seed=4).clone().requires_grad_()
        surrogate(every_set(torch.log_softmax(logits, 0), 2)).backward()
        return logits.grad

    expected = gradient(lambda log_p: (log_p.exp() * reward).sum())
    found = gradient(lambda log_p: (log_p.exp().detach() * (reward - baseline) * log_p).sum())
    assert (found - expected).abs().max() < 1e-10


def test_ramps_fall_to_their_end():
    for shape in ("linear", "cosine"):
        ramp = recipe.Ramp(start=0.1, end=0.02, shape=shape)
        rates = [ramp.at(i / 10) for i in range(11)]
        assert rates[0] == pytest.approx(0.1)
        assert rates[-1] == pytest.approx(0.02)
        assert all(a > b for a, b in itertools.pairwise(rates))
    assert recipe.Ramp().at(0.3) == 0


# --- stages ------------------------------------------------------------------------------------


def data(count=60, side=32):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (count, 10, 3, side, side)).astype(np.uint8)
    return ArrayData({"frames": frames, "label": rng.integers(0, 8, count)})


def shortened(made, *, steps=1, stages=None):
    kept = [s for s in made.stages if stages is None or s.name in stages]
    return replace(made, stages=tuple(replace(s, steps=steps, epochs=None) for s in kept))


@pytest.mark.parametrize(
    "reward",
    [recipe.CONFIDENCE, recipe.SIGNED_FRAMES, recipe.BEST_TRUE_FRAME, recipe.SIGNED_CLIP],
)
def test_the_sampler_learns_and_the_classifier_stands_still(tmp_path, reward):
    made = shortened(recipe.tiny(reward=reward), stages=["sampler"])
    torch.manual_seed(0)
    before = Network(protocol.tiny()).eval()
    started = replace(made, network=lambda: before)
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    frames = torch.from_numpy(data().arrays["frames"][:2])
    logits = before(frames).logits.detach()

    result = fit(started, data(), out=tmp_path, seed=0, running=Running(device="cpu"))
    after = result.network.state_dict()
    moved = {n.split(".")[0] for n in after if not torch.equal(after[n], kept[n])}
    assert moved == {"sampler"}
    first, second = result.network(frames), result.network(frames)
    everything = torch.arange(10).expand(2, -1)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.frame_logits, second.frame_logits)
    assert logits.shape == first.logits.shape
    assert torch.equal(result.network(frames, everything).logits, result.network.classifier(frames))


def test_only_the_sampler_gets_a_gradient():
    network = Network(protocol.tiny()).train()
    network.classifier.eval()
    batch = {k: torch.from_numpy(v[:40]) for k, v in data().arrays.items()}
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    recipe.policy_loss(network, batch, context)["loss"].backward()
    assert all(p.grad is None for p in network.classifier.parameters())
    assert all(p.grad is not None for p in network.sampler.parameters())
    network.zero_grad()
    recipe.policy_loss(network, batch, context, joint=True)["loss"].backward()
    assert all(p.grad is not None for p in network.classifier.parameters())


def test_the_classifier_stage_leaves_the_sampler_alone(tmp_path):
    made = shortened(recipe.tiny(), steps=2, stages=["classifier"])
    torch.manual_seed(0)
    before = Network(protocol.tiny())
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    fitted = fit(replace(made, network=lambda: before), data(80), out=tmp_path, seed=0)
    after = fitted.network.state_dict()
    moved = {n.split(".")[0] for n in after if not torch.equal(after[n], kept[n])}
    assert moved == {"classifier"}


def test_the_same_seed_draws_the_same_sets(tmp_path):
    made = shortened(recipe.tiny(), steps=3, stages=["sampler"])
    runs = [
        fit(made, data(), out=tmp_path / str(i), seed=5, running=Running(device="cpu"))
        for i in range(2)
    ]
    assert runs[0].history == runs[1].history


def test_another_classifier_needs_no_new_sampler():
    class Clip(torch.nn.Module):
        def forward(self, frames):
            return frames.float().mean(dim=(1, 3, 4))

    cfg = protocol.tiny(num_classes=3)
    network = Network(cfg, classifier=Clip()).eval()
    frames = torch.from_numpy(data(2).arrays["frames"])
    assert network(frames).logits.shape == (2, 3)
    assert build(network, cfg)["classifier"] is network.classifier


def test_the_shift_moves_a_fold_each_way():
    """One frame alone is lit: its channels arrive one frame earlier and one later."""
    (shifted,) = [
        m for m in Network(protocol.tiny()).sampler.modules() if type(m).__name__ == "TemporalShift"
    ]
    shifted.conv = torch.nn.Identity()
    rows = torch.zeros(10, 6, 2, 2)
    rows[4] = 1.0
    moved = shifted(rows)
    lit = {(t, c) for t, c in moved.amax(dim=(2, 3)).nonzero().tolist()}
    assert lit == {(3, 0), (5, 1), (4, 2), (4, 3), (4, 4), (4, 5)}
    rows = torch.ones(10, 6, 2, 2)
    assert shifted(rows)[9, 0].abs().max() == 0
    assert shifted(rows)[0, 1].abs().max() == 0


def test_the_small_networks_train_and_skimming_costs_less_than_a_frame():
    """Four frames must be dearer than the skim and three of them, or no claim can hold."""
    cfg = protocol.small(num_classes=8)
    network = Network(cfg)
    clips = np.random.default_rng(0).integers(0, 256, (2, 10, 3, 96, 96), np.uint8)
    batch = {"frames": torch.from_numpy(clips), "label": torch.tensor([0, 5])}
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    for stage in recipe.small(cfg=cfg).stages:
        network.zero_grad()
        stage.loss(network, batch, context)["loss"].backward()
        prefix = stage.trains[0].prefixes[0]
        assert getattr(network, prefix).get_parameter(FIRST[prefix]).grad.any()
    network.eval()
    skim = count_torch_macs(network.sampler, torch.zeros(1, 10, 3, 96, 96, dtype=torch.uint8))
    frame = count_torch_macs(network.classifier, torch.zeros(1, 1, 3, 96, 96, dtype=torch.uint8))
    assert 0 < skim < frame / 2


FIRST = {"classifier": "head.embed.weight", "sampler": "logit.weight"}


# --- the paper's size --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper_parts():
    cfg = protocol.activitynet()
    with torch.device("meta"):
        return build(Network(cfg), cfg)


@pytest.mark.parametrize(
    ("num_frames", "gmacs"), [(3, 13.3), (4, 17.4), (5, 21.5), (6, 25.6), (8, 33.7), (10, 41.9)]
)
def test_the_paper_network_costs_what_the_sheet_says(paper_parts, num_frames, gmacs):
    frames = torch.zeros(1, 10, 3, 224, 224, dtype=torch.uint8, device="meta")
    skim = count_torch_macs(paper_parts["skim"], frames)
    classifier = count_torch_macs(paper_parts["classifier"], frames[:, :num_frames])
    assert skim / 1e9 == pytest.approx(0.978, rel=0.01)
    assert (skim + classifier) / 1e9 == pytest.approx(gmacs, rel=0.01)


def test_the_paper_recipe_has_the_released_numbers():
    made = recipe.paper()
    sampler = made.stages[-1]
    assert sampler.optimizer.lr == pytest.approx(0.001 / 8 * 40)
    assert (sampler.batch_size, sampler.epochs, sampler.clip_norm) == (320, 50, 40.0)
    assert (sampler.optimizer.momentum, sampler.optimizer.weight_decay) == (0.9, 1e-4)
    assert (sampler.schedule, sampler.eval_modules) == ("cosine", ("classifier",))


@pytest.mark.slow
@pytest.mark.parametrize("made", [recipe.paper(), recipe.paper(joint=True), recipe.skim()])
def test_a_paper_recipe_takes_a_real_step(tmp_path, made):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 10, 3, 256, 320)).astype(np.uint8)
    clips = ArrayData({"frames": frames, "label": np.array([3, 9])}, augment=made.augment)
    stages = tuple(replace(s, batch_size=2, steps=1, epochs=None) for s in made.stages)
    result = fit(
        replace(made, stages=stages), clips, out=tmp_path, seed=0, running=Running(device="cpu")
    )
    assert [point.stage for point in result.history] == [s.name for s in made.stages]
    assert all(np.isfinite(list(point.values.values())).all() for point in result.history)


# --- official weights --------------------------------------------------------------------------


def official(head="shared", device="cpu"):
    """Return a checkpoint with the official names, and the network it must become."""
    cfg = replace(protocol.activitynet(num_classes=12), head=head)
    torch.manual_seed(0)
    with torch.device(device):
        network = Network(cfg)
    ours = network.state_dict()
    state = {}
    for name, theirs in weights.sampler_names().items():
        wrapped = ".conv_pw.conv." in name
        theirs = theirs.replace(".conv.weight", ".conv.net.weight") if wrapped else theirs
        state[f"sampler.{theirs}"] = ours[f"sampler.{name}"]
    state["sampler.conv1.bn.num_batches_tracked"] = torch.tensor(3)
    for name, theirs in weights.head_names().items():
        state[f"cls_head.{theirs}"] = ours[f"classifier.head.{name}"]
    for kind in ("weight", "bias"):
        for i, layer in enumerate(ours[f"classifier.head.{kind}"]):
            place = "fc" if head == "shared" else f"fc_list.{i}"
            state[f"cls_head.{place}.{kind}"] = layer
    children = {
        "conv1": "0",
        "bn1": "1",
        "layer1": "4",
        "layer2": "5",
        "layer3": "6",
        "layer4": "7",
    }
    for name, value in ours.items():
        if name.startswith("classifier.backbone.net."):
            child, _, rest = name.removeprefix("classifier.backbone.net.").partition(".")
            state[f"backbone.model.{children[child]}.{rest}"] = value
    return state, network


@pytest.mark.parametrize("head", ["shared", "per_count"])
def test_official_tensors_arrive_in_their_places(head):
    state, network = official(head)
    assert "sampler.layer2.1.conv.0.conv.net.weight" in state
    assert "sampler.layer2.0.conv.0.conv.weight" in state
    assert "backbone.model.4.0.downsample.0.weight" in state
    cfg = replace(protocol.mini_kinetics(num_classes=12), head=head)
    found = weights.convert(state, cfg)
    want = network.state_dict()
    assert found.keys() == want.keys()
    assert all(torch.equal(found[name], want[name]) for name in want)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    assert all(torch.equal(a, found[n]) for n, a in weights.convert(wrapped, cfg).items())


def test_what_is_no_such_checkpoint_is_refused():
    state, _ = official(device="meta")
    cfg = protocol.activitynet(num_classes=12)
    without = {k: v for k, v in state.items() if k != "sampler.logit.bias"}
    with pytest.raises(weights.WeightsError, match=r"1 tensors: sampler.logit.bias is missing"):
        weights.convert(without, cfg)
    with pytest.raises(weights.WeightsError, match=r"extra.weight is unknown"):
        weights.convert({**state, "extra.weight": torch.zeros(1)}, cfg)
    with pytest.raises(weights.WeightsError, match=r"is \(2, 1280\) where \(1, 1280\)"):
        weights.convert({**state, "sampler.logit.weight": torch.zeros(2, 1280)}, cfg)
    with pytest.raises(weights.WeightsError, match=r"\(12, 4096\) where \(200, 4096\)"):
        weights.convert(state, protocol.activitynet())
    with pytest.raises(weights.WeightsError, match=r"fc_list.0.weight is missing"):
        weights.convert(state, replace(cfg, head="per_count"))
    with pytest.raises(weights.WeightsError, match=r"not of the tiny ones"):
        weights.convert(state, protocol.tiny())
