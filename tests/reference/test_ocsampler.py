"""OCSampler against the official code's numbers, and its equations once more in plain NumPy."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foveal.layers import most_salient
from foveal.sampling.choose import top_k_in_order
from foveal.systems.ocsampler import recipe
from foveal.systems.ocsampler.model import (
    Sampler,
    SetClassifier,
    SetHead,
    entropy,
    log_draw_prob,
    log_set_prob,
    log_set_prob_by_integral,
    log_set_prob_by_orders,
    log_set_prob_by_two_orders,
    nearest,
    uniform_sets,
)
from foveal.systems.ocsampler.protocol import Config, candidate_indices
from foveal.systems.ocsampler.weights import sampler_names
from foveal.types import Canvas

GOLDEN = Path(__file__).parent.parent / "golden" / "ocsampler" / "official.npz"
BOTH = pytest.mark.parametrize("case", ["0", "1"])
LOG_PROBS = {"all": log_set_prob, "approximate": log_draw_prob}
REWARDS = {"1": recipe.CONFIDENCE, "2": recipe.SIGNED_FRAMES, "3": recipe.BEST_TRUE_FRAME}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {key: file[key] for key in file.files}


def tensor(array):
    return torch.from_numpy(np.asarray(array, np.float32))


def sets(array):
    return torch.from_numpy(array.astype(np.int64))


def u01(count, stream):
    """Return ``count`` numbers in [0, 1): the fill rule of the golden numbers."""
    x = (np.arange(count, dtype=np.uint64) + (0x9E3779B9 * (stream + 1)) % 2**32) % 2**32
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= x >> 15
    x = x * 0x735A2D97 % 2**32
    x ^= x >> 15
    return x / 2.0**32


def filled(role, shape, stream, gain):
    numbers = u01(math.prod(shape), stream).reshape(shape)
    if role == "w":
        return gain * math.sqrt(3 / math.prod(shape[1:])) * (2 * numbers - 1)
    return {"g": 0.8 + 0.4 * numbers, "v": 0.6 + 0.8 * numbers}.get(role, 0.2 * (2 * numbers - 1))


# --- which frames ------------------------------------------------------------------------------


@BOTH
def test_candidates_are_the_official_ones(golden, case):
    rows = {
        "test": golden[f"frames.{case}.test10_start1"],
        "train": golden[f"frames.{case}.train10_seed7_start1"],
        "two": golden[f"frames.{case}.test8x2_start0"],
    }
    for i, total in enumerate(golden[f"frames.{case}.total"].astype(int)):
        assert (
            candidate_indices(total, 10, np.random.RandomState(255)) + 1 == rows["test"][i]
        ).all()
        rng = np.random.RandomState(7)
        start = int(rng.randint(total)) if total < 10 else 0
        assert (candidate_indices(total, 10, rng, start=start) + 1 == rows["train"][i]).all()
        rng = np.random.RandomState(255)
        two = [candidate_indices(total, 8, rng, start=c * total // 2) for c in range(2)]
        assert (np.concatenate(two) == rows["two"][i]).all()


@BOTH
def test_the_resize_takes_the_official_pixels(golden, case):
    before, after = golden[f"resize.{case}.size"].astype(int)
    found = nearest(before, after).numpy()
    assert (found == golden[f"resize.{case}.source_index"]).all()
    ruler = torch.arange(float(before))[None, None, None].expand(1, 1, before, before)
    resized = nn.functional.interpolate(ruler, size=(after, after))
    assert (found == resized[0, 0, 0].numpy()).all()


@BOTH
def test_the_most_salient_frames_are_the_official_ones(golden, case):
    probs = golden[f"select.{case}.probs"]
    for n in range(1, probs.shape[1] + 1):
        want = golden[f"select.{case}.index_for_each_N"][n - 1, :, :n]
        assert (most_salient(tensor(probs), num_frames=n).numpy() == want).all()
        assert all((top_k_in_order(row, n) == w).all() for row, w in zip(probs, want, strict=True))
    ties = golden[f"select_ties.{case}.probs"]
    count = int(golden[f"select_ties.{case}.N"].item())
    clear = golden[f"select_ties.{case}.unambiguous"] == 1
    found = most_salient(tensor(ties), num_frames=count).numpy()
    assert (found == golden[f"select_ties.{case}.index"])[clear].all()
    for row, indices in zip(ties, found, strict=True):
        assert (top_k_in_order(row, count) == indices).all()


@BOTH
def test_a_draw_is_sorted_before_looking(golden, case):
    drawn = golden[f"draw.{case}.draw"]
    assert (np.sort(drawn, axis=1) == golden[f"draw.{case}.index"]).all()


@BOTH
def test_uniform_sets_lie_in_the_official_windows(golden, case):
    generator = torch.Generator().manual_seed(0)
    for row in golden[f"baseline.{case}.table"].astype(int):
        num_candidates, num_frames, window = row[:3]
        lowest, highest = row[3 : 3 + num_frames], row[11 : 11 + num_frames]
        found = uniform_sets(
            500, num_candidates=num_candidates, num_frames=num_frames, generator=generator
        ).numpy()
        assert window == num_candidates // num_frames
        assert (found.min(axis=0) == lowest).all()
        assert (found.max(axis=0) == highest).all()
        assert (np.diff(found, axis=1) > 0).all()


# --- networks ----------------------------------------------------------------------------------


@BOTH
def test_the_skim_network_computes_the_official_logits(golden, case):
    videos, frames, shift_div, size = golden[f"skim.{case}.dims"].astype(int).tolist()
    sampler = Sampler(
        Config(
            canvas=Canvas(height=size, width=size),
            num_classes=2,
            num_candidates=frames,
            num_frames=3,
            frame_counts=(3,),
            skim_size=size,
            shift_div=shift_div,
        )
    ).eval()
    ours = {official: name for name, official in sampler_names().items()}
    state = sampler.state_dict()
    gain, first = golden[f"skim.{case}.gain"].item(), int(golden[f"skim.{case}.k0"].item())
    total = np.zeros(2)
    for i, (name, role) in enumerate(zip(golden["skim.names"], golden["skim.roles"], strict=True)):
        own = state[ours.pop(str(name))]
        values = filled(role, tuple(own.shape), first + i, gain)
        values = values * (2 if name == "logit.weight" else 1)
        own.copy_(torch.from_numpy(values))
        total += [own.double().sum().item(), own.double().abs().sum().item()]
    assert not ours
    assert np.allclose(total, golden[f"skim.{case}.checksum_total"], rtol=1e-6)

    shape = (videos * frames, 3, size, size)
    noise = 2 * u01(math.prod(shape), int(golden[f"skim.{case}.x_k"].item())).reshape(shape) - 1
    pixels = tensor(1.5 * noise) * tensor(golden[f"skim.{case}.frame_amp"])[:, None, None, None]
    with torch.inference_mode():
        pooled = sampler.pool(sampler.backbone(pixels)).flatten(1)
        logits = sampler.logit(pooled).reshape(videos, frames)
    want = golden[f"skim.{case}.pooled"]
    assert np.abs(pooled[:, ::4].numpy() - want).max() < 1e-4 * np.abs(want).max()
    want = golden[f"skim.{case}.logit"]
    assert np.abs(logits.numpy() - want).max() < 1e-4 * np.abs(want).max()
    assert np.allclose(logits.softmax(1), golden[f"skim.{case}.probs"], atol=1e-4)
    shifts = [m for m in sampler.modules() if type(m).__name__ == "TemporalShift"]
    assert len(shifts) == golden[f"skim.{case}.n_shift"].item()


def official_head(golden, kind, case):
    videos, frames, channels, hidden, classes = golden[f"{kind}.{case}.dims"].astype(int).tolist()
    count = 10 if kind == "head_percount" else 1
    head = SetHead(channels, hidden=hidden, num_classes=classes, num_counts=count).eval()
    w = [tensor(golden[f"{kind}.{case}.w{i}"]) for i in range(8)]
    first = int(golden["head_percount.0.k0"].item()) if case == "0" else 680
    gain = golden[f"head_percount.{case}.gain"].item()
    last = [(w[6], w[7])]
    for i in range(1, count):
        weight = filled("w", (classes, hidden), first + 6 + 2 * i, gain)
        bias = filled("b", (classes,), first + 7 + 2 * i, gain)
        last.append((tensor(weight), tensor(bias)))
    head.load_state_dict(
        {
            "embed.weight": w[0],
            "embed.bias": w[1],
            "norm.weight": w[2],
            "norm.bias": w[3],
            "norm.running_mean": w[4],
            "norm.running_var": w[5],
            "norm.num_batches_tracked": torch.tensor(0),
            "weight": torch.stack([weight for weight, _ in last]),
            "bias": torch.stack([bias for _, bias in last]),
        }
    )
    return head, (videos, frames)


@BOTH
@pytest.mark.parametrize("kind", ["head_shared", "head_percount"])
def test_the_heads_compute_the_official_scores(golden, kind, case):
    head, (videos, frames) = official_head(golden, kind, case)
    features = tensor(golden[f"{kind}.{case}.feat"]).mean(dim=(2, 3))
    with torch.inference_mode():
        logits = head(features.reshape(videos, frames, -1))
        single = head(features[:, None]).softmax(1)
    assert np.allclose(logits, golden[f"{kind}.{case}.logit"], atol=1e-5)
    assert np.allclose(logits.softmax(1), golden[f"{kind}.{case}.prob"], atol=1e-5)
    assert np.allclose(single, golden[f"{kind}.{case}.prob_single"], atol=1e-5)


# --- how the sampler learns --------------------------------------------------------------------


def official_classifier(golden, case):
    """Return the toy classifier of ``train2d``; its images are normalised already."""
    *_, classes = golden[f"train2d.{case}.dims"].astype(int).tolist()
    conv = nn.Conv2d(3, 6, 4, stride=4)
    w = [tensor(golden[f"train2d.{case}.w{i}"]) for i in range(10)]
    conv.load_state_dict({"weight": w[0], "bias": w[1]})
    head = SetHead(6, hidden=8, num_classes=classes)
    names = ["embed.weight", "embed.bias", "norm.weight", "norm.bias", "norm.running_mean"]
    values = dict(zip([*names, "norm.running_var"], w[2:8], strict=True))
    values |= {"norm.num_batches_tracked": torch.tensor(0)}
    head.load_state_dict({**values, "weight": w[8][None], "bias": w[9][None]})
    return SetClassifier(
        backbone=nn.Sequential(conv, nn.Tanh()),
        pool=nn.AdaptiveAvgPool2d(1),
        head=head,
        norm=nn.Identity(),
    ).eval()


def step(golden, inputs, case, classifier, reward, log_prob, beta):
    """Return scores of both sets, the terms of the loss, and the gradient for the frame logits."""
    given = {k: golden[f"{inputs}.{case}.{k}"] for k in ("images", "label", "draw")}
    frame_logits = tensor(golden[f"{inputs}.{case}.frame_logits"]).requires_grad_()
    drawn = sets(given["draw"])
    num_candidates, num_frames = frame_logits.shape[1], drawn.shape[1]
    base = np.linspace(0, num_candidates - num_candidates // num_frames, num_frames).astype(int)
    uniform = sets(base + golden[f"{inputs}.{case}.baseline_shift"])
    score, baseline = recipe.scores(
        classifier, tensor(given["images"]), sets(given["label"]), drawn, uniform, reward=reward
    )
    log_probs = torch.log_softmax(frame_logits.double(), dim=1)
    terms = recipe.policy_terms(log_probs, drawn, score - baseline, beta=beta, log_prob=log_prob)
    terms["loss"].backward()
    return score, baseline, terms["loss"].item(), frame_logits.grad.numpy()


@BOTH
@pytest.mark.parametrize("kind", ["all_1", "all_2", "all_3", "approximate_1"])
def test_a_step_has_the_official_loss_and_gradient(golden, kind, case):
    name, number = kind.split("_")
    key = f"train2d_{kind}.{case}"
    score, baseline, loss, gradient = step(
        golden,
        "train2d",
        case,
        official_classifier(golden, case),
        REWARDS[number],
        LOG_PROBS[name],
        golden[f"train2d.{case}.explore_rate"].item(),
    )
    assert (score - baseline).mean().item() == pytest.approx(
        golden[f"{key}.reward"].item(), rel=1e-4
    )
    if number != "3":
        assert score.mean().item() == pytest.approx(golden[f"{key}.origin_reward"].item(), rel=1e-4)
        assert baseline.mean().item() == pytest.approx(golden[f"{key}.bs_reward"].item(), rel=1e-4)
    assert loss == pytest.approx(golden[f"{key}.total"].item(), rel=1e-4)
    want = golden[f"{key}.dlogits"]
    assert np.abs(gradient - want).max() < 1e-4 * np.abs(want).max()


@BOTH
@pytest.mark.parametrize("kind", ["all_1", "approximate_2"])
def test_joint_training_has_the_official_policy_part(golden, kind, case):
    """The released joint mode has no entropy; its cross-entropy is of a second softmax."""
    name, number = kind.split("_")
    key = f"train2d_{kind}_joint.{case}"
    classifier = official_classifier(golden, case)
    *_, loss, gradient = step(
        golden, "train2d", case, classifier, REWARDS[number], LOG_PROBS[name], 0.0
    )
    assert loss == pytest.approx(golden[f"{key}.sampler_loss"].item(), rel=1e-4)
    want = golden[f"{key}.dlogits"]
    assert np.abs(gradient - want).max() < 1e-4 * np.abs(want).max()
    images, drawn = tensor(golden[f"train2d.{case}.images"]), sets(golden[f"train2d.{case}.draw"])
    chosen = torch.stack([x[i] for x, i in zip(images, drawn.sort(dim=1).values, strict=True)])
    twice = nn.functional.cross_entropy(
        classifier(chosen).softmax(1), sets(golden[f"train2d.{case}.label"])
    )
    assert twice.item() == pytest.approx(golden[f"{key}.entropy_fc"].item(), rel=1e-5)
    total = golden[f"{key}.total"].item()
    assert total == pytest.approx(2 * loss + twice.item(), rel=1e-4)  # it logs its part twice


class ClipClassifier(nn.Module):
    """The toy clip classifier of ``train3d``: (B,N,3,8,8) to logits."""

    def __init__(self, w):
        super().__init__()
        self.conv = nn.Conv3d(3, 6, (1, 4, 4), stride=(1, 4, 4))
        self.conv.load_state_dict({"weight": w[0], "bias": w[1]})
        self.fc = nn.Linear(6, len(w[3]))
        self.fc.load_state_dict({"weight": w[2], "bias": w[3]})

    def forward(self, frames):
        return self.fc(torch.tanh(self.conv(frames.transpose(1, 2))).mean(dim=(2, 3, 4)))


@BOTH
@pytest.mark.parametrize("kind", ["all", "approximate"])
def test_a_step_with_a_clip_classifier_is_the_official_one(golden, kind, case):
    w = [tensor(golden[f"train3d.{case}.w{i}"]) for i in range(4)]
    log_prob = log_set_prob if kind == "all" else log_set_prob_by_two_orders
    key = f"train3d_{kind}.{case}"
    score, baseline, loss, gradient = step(
        golden,
        "train3d",
        case,
        ClipClassifier(w),
        recipe.SIGNED_CLIP,
        log_prob,
        golden[f"train3d.{case}.explore_rate"].item(),
    )
    assert (score - baseline).mean().item() == pytest.approx(
        golden[f"{key}.reward"].item(), rel=1e-4
    )
    assert loss == pytest.approx(golden[f"{key}.total"].item(), rel=1e-4)
    want = golden[f"{key}.dlogits"]
    assert np.abs(gradient - want).max() < 1e-4 * np.abs(want).max()


@BOTH
@pytest.mark.parametrize(
    "log_prob", [log_set_prob, log_set_prob_by_orders, log_set_prob_by_integral]
)
def test_peaked_distributions_keep_their_exact_probability(golden, log_prob, case):
    """The released formula is 30 % off at logit 16 and infinite at logit 25."""
    logits = torch.from_numpy(golden[f"peaked.{case}.frame_logits"]).double()
    logits.requires_grad_()
    probs = log_prob(torch.log_softmax(logits, 1), sets(golden[f"peaked.{case}.draw"])).exp()
    # The exact column subtracts from 1 and so has 5 digits left where the logit is 25.
    assert np.allclose(probs.detach(), golden[f"peaked.{case}.set_prob_exact_f64"], rtol=2e-5)
    probs.log().sum().backward()
    assert torch.isfinite(logits.grad).all()


@BOTH
def test_the_exploration_ramp_is_the_official_one(golden, case):
    start, end = golden[f"ramp.{case}.base_min"].tolist()
    total = int(golden[f"ramp.{case}.total"].item())
    shape = "cosine" if golden[f"ramp.{case}.cosine"].item() else "linear"
    ramp = recipe.Ramp(start=start, end=end, shape=shape)
    found = [ramp.at(i / total) for i in range(total + 1)]
    assert np.allclose(found, golden[f"ramp.{case}.rate"], atol=1e-12)


# --- the equations in plain NumPy --------------------------------------------------------------


def plackett_luce(probs, members):
    """Return P(S) as the sheet writes it: a sum over orders, in float64."""
    total = 0.0
    for order in itertools.permutations(members):
        taken, product = 0.0, 1.0
        for i in order:
            product *= probs[i] / (1 - taken)
            taken += probs[i]
        total += product
    return total


def test_the_probability_of_a_set_is_the_sum_over_orders():
    rng = np.random.default_rng(0)
    for size in (1, 2, 4):
        logits = rng.normal(size=(3, 6))
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        index = np.stack([rng.permutation(6)[:size] for _ in range(3)])
        want = [plackett_luce(p, i) for p, i in zip(probs, index, strict=True)]
        found = log_set_prob(torch.from_numpy(np.log(probs)), torch.from_numpy(index))
        assert np.allclose(found.exp(), want, rtol=1e-12)


def test_entropy_and_signed_confidence_in_numpy():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(5), size=6)
    found = entropy(torch.from_numpy(np.log(probs)))
    assert np.allclose(found, [-sum(p * math.log(p) for p in row) for row in probs])
    labels = rng.integers(0, 5, 6)
    want = [
        row[y] if row.argmax() == y else row[y] - row.max()
        for row, y in zip(probs, labels, strict=True)
    ]
    signed = recipe.signed_confidence(torch.from_numpy(probs), torch.from_numpy(labels))
    assert np.allclose(signed, want)
