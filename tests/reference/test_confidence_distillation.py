"""Each equation of confidence distillation once more, in plain NumPy, loop by loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from foveal.recipe import StepContext
from foveal.systems.confidence_distillation import protocol, recipe
from foveal.systems.confidence_distillation.model import make_network

RNG = np.random.default_rng(5)


def softmax(z):
    e = [math.exp(x - max(z)) for x in z]
    return [x / sum(e) for x in e]


def torched(array):
    return torch.from_numpy(np.asarray(array))


def test_the_soft_loss_is_tau_squared_times_the_divergence_and_0_where_both_agree():
    teacher, student = RNG.normal(size=(2, 7, 5)) * 3
    for tau in (1.0, 2.0, 5.0):
        total = 0.0
        for a, b in zip(teacher, student, strict=True):
            p, q = softmax(a / tau), softmax(b / tau)
            total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        found = recipe.soft_loss(torched(teacher), torched(student), temperature=tau)
        assert float(found) == pytest.approx(tau**2 * total / 7, rel=1e-12)
        same = recipe.soft_loss(torched(teacher), torched(teacher + 3.0), temperature=tau)
        assert float(same) == pytest.approx(0.0, abs=1e-12)


def test_targets():
    logits, labels = RNG.normal(size=(20, 4)) * 2, RNG.integers(0, 4, 20)
    temperature = 1.7
    for target in ("tcp", "correct", "margin", "scaled", "energy"):
        wanted = []
        for z, y in zip(logits, labels, strict=True):
            p = softmax(z)
            others = max(p[c] for c in range(4) if c != y)
            warm = softmax(z / temperature)
            energy = temperature * math.log(sum(math.exp(x / temperature) for x in z))
            wanted.append(
                {
                    "tcp": p[y],
                    "correct": float(max(range(4), key=lambda c: z[c]) == y),
                    "margin": (p[y] - others + 1) / 2,
                    "scaled": max(warm),
                    "energy": 1 / (1 + math.exp(-(energy - temperature * math.log(4)))),
                }[target]
            )
        found = recipe.trust_target(
            torched(logits), torched(labels), target=target, temperature=temperature
        )
        assert np.abs(found.numpy() - wanted).max() < 1e-12, target


def test_the_target_by_dropout():
    draws = RNG.normal(size=(10, 6, 4)) * 2
    found = recipe.trust_target(torched(draws), torch.zeros(6, dtype=torch.int64), target="mc")
    for m in range(6):
        mean = np.mean([softmax(z) for z in draws[:, m]], axis=0)
        entropy = -sum(p * math.log(p) for p in mean)
        assert float(found[m]) == pytest.approx(1 - entropy / math.log(4), abs=1e-12)


def test_the_order_of_confidences():
    u, t = RNG.random((2, 3, 6))
    costs = [
        math.log1p(math.exp(-(u[b, i] - u[b, j])))
        for b in range(3)
        for i in range(6)
        for j in range(6)
        if t[b, i] - t[b, j] > 0.2
    ]
    found = recipe.ranking_loss(torched(u), torched(t), gap=0.2)
    assert float(found) == pytest.approx(np.mean(costs), rel=1e-12)


def test_the_loss_of_the_student_is_the_weighted_sum_of_its_terms():
    cfg = protocol.tiny(num_classes=4, num_clips=3)
    torch.manual_seed(0)
    net = make_network(cfg).eval()
    rng = np.random.default_rng(1)
    frames = torched(rng.integers(0, 256, (4, 12, 3, 16, 16)).astype(np.uint8))
    batch = {"frames": frames, "label": torch.arange(4), "number": torch.arange(4)}
    options = recipe.Distillation(
        label_weight=0.3, soft_weight=0.7, trust_weight=1.1, ranking_weight=0.5, ranking_gap=0.0
    )
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = recipe.student_loss(net, batch, context, options=options)
        taught = recipe.taught_logits(net, batch).double().numpy()
        logits, trust = net.student(net.student_clips(frames).flatten(0, 1))
    logits, u = logits.double().numpy(), trust.double().numpy()[:, 0]
    label = np.arange(4).repeat(3)
    t = np.array([softmax(z)[y] for z, y in zip(taught, label, strict=True)])
    ce = np.mean([-math.log(softmax(z)[y]) for z, y in zip(logits, label, strict=True)])
    bce = np.mean(-(t * np.log(u) + (1 - t) * np.log(1 - u)))
    kl = float(recipe.soft_loss(torched(taught), torched(logits), temperature=2.0))
    order = float(recipe.ranking_loss(torched(u.reshape(4, 3)), torched(t.reshape(4, 3)), gap=0.0))
    want = 0.3 * ce + 0.7 * kl + 1.1 * bce + 0.5 * order
    assert float(told["loss"]) == pytest.approx(want, abs=1e-5)
    assert float(told["trust"]) == pytest.approx(bce, abs=1e-5)


def test_the_vote_and_the_video_confidence():
    probs = np.array([softmax(z) for z in RNG.normal(size=(5, 3))])
    u = RNG.random(5)
    vote = [sum(u[i] * probs[i][c] for i in range(5)) / sum(u) for c in range(3)]
    found = protocol.weighted_mean(probs, u)
    assert np.abs(found - vote).max() < 1e-15
    sure = protocol.video_confidence(u, found, num_chosen=2)
    assert sure == pytest.approx(sum(sorted(u)[-2:]) / 2 * max(vote), rel=1e-12)
    assert protocol.weighted_mean(probs, np.zeros(5)) == pytest.approx(probs.mean(axis=0))


def test_the_joint_answer_of_the_network():
    cfg = replace(protocol.tiny(num_classes=4, num_clips=5), num_chosen=2, rho=0.3)
    torch.manual_seed(1)
    net = make_network(cfg).eval()
    rng = np.random.default_rng(2)
    frames = torched(rng.integers(0, 256, (1, 20, 3, 16, 16)).astype(np.uint8))
    with torch.no_grad():
        output = net(frames)
        taught = net.teacher(frames.reshape(5, 4, 3, 16, 16)).double().numpy()
        logits, trust = net.student(frames.reshape(5, 4, 3, 16, 16)[:, ::2])
    u, q = trust.double().numpy()[:, 0], [softmax(z) for z in logits.double().numpy()]
    best = sorted(range(5), key=lambda i: -u[i])[:2]
    vote = np.sum([u[i] * np.array(q[i]) for i in range(5)], axis=0) / u.sum()
    seen = np.sum([u[i] * np.array(softmax(taught[i])) for i in best], axis=0) / u[best].sum()
    answers = output.logits[0].double().exp().numpy()
    assert np.abs(answers[0] - vote).max() < 1e-6
    assert np.abs(answers[1] - (0.7 * seen + 0.3 * vote)).max() < 1e-6
    assert np.flatnonzero(output.called[0].numpy()).tolist() == sorted(best)
