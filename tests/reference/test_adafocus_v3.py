"""AdaFocusV3's equations once more, written from the papers in plain NumPy (float64).

Letters: B samples, V candidate frames, T glanced at, M cubes, L frames and P side of a cube.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from foveal.recipe import StepContext
from foveal.systems.adafocus_v3 import protocol, recipe
from foveal.systems.adafocus_v3.model import CubePolicy, make_network

RNG = np.random.default_rng(0)
TINY = protocol.tiny(num_classes=3)


def volume(count=2):
    return RNG.integers(0, 256, (count, TINY.num_frames, 3, 64, 64)).astype(np.uint8)


def encoded(network, cube):
    """Return the mean vector of one cube (L,3,P,P)."""
    rows = network.normalise(torch.from_numpy(cube))
    return network.focus(rows)[1].mean(0).detach().numpy().astype(np.float64)


def test_interpolated_features():
    """The sum over the eight cubes of the lattice around a place, one loop an axis."""
    network = make_network(TINY).eval()
    frames = volume()
    actions = RNG.random((2, 3, 3))
    found = network.lattice_vectors(torch.from_numpy(frames), torch.from_numpy(actions).float())
    counts, reach = (5, 5, 4), (48, 48, 6)
    for b, m in np.ndindex(2, 3):
        wanted = np.zeros(64)
        u = actions[b, m] * (np.array(counts) - 1)
        lower = np.minimum(np.floor(u), np.array(counts) - 2)
        for corner in np.ndindex(2, 2, 2):
            share, place = 1.0, []
            for axis in range(3):
                upper = u[axis] - lower[axis]
                share *= upper if corner[axis] else 1 - upper
                place.append(round((lower[axis] + corner[axis]) * reach[axis] / (counts[axis] - 1)))
            y, x, t = place
            wanted += share * encoded(network, frames[b, t : t + 2, :, y : y + 16, x : x + 16])
        np.testing.assert_allclose(found[b, m].detach().numpy(), wanted, atol=1e-4)


def test_the_gradient_of_a_place_compares_whole_cubes():
    network = make_network(TINY).eval()
    frames = torch.from_numpy(volume(1))
    actions = torch.tensor([[[0.3, 0.6, 0.4]] * 3], requires_grad=True)
    cot = torch.randn(1, 3, 64)
    (network.lattice_vectors(frames, actions) * cot).sum().backward()

    def value(place):
        with torch.no_grad():
            return float((network.lattice_vectors(frames, place) * cot).sum())

    # Linear along each axis within a cell, so that any step inside gives the slope.
    for m, axis in np.ndindex(3, 3):
        up, down = (actions.detach().clone() for _ in range(2))
        up[0, m, axis] += 0.02
        down[0, m, axis] -= 0.02
        slope = (value(up) - value(down)) / 0.04
        np.testing.assert_allclose(actions.grad[0, m, axis].item(), slope, rtol=2e-3, atol=2e-3)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(x, h, cell):
    """One step of a GRU: reset and update gate, then the candidate."""
    w_x, w_h, b_x, b_h = (
        p.detach().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    )
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (
        np.split(v, 3, axis=1) for v in (x @ w_x.T + b_x, h @ w_h.T + b_h)
    )
    reset, update = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return (1 - update) * np.tanh(n_x + reset * n_h) + update * h


def test_the_policy_of_cubes():
    policy = CubePolicy(TINY, in_channels=4).double().eval()
    maps = torch.from_numpy(RNG.standard_normal((2, 4, 4, 8, 8)))
    states = policy.encode(maps.flatten(0, 1)).detach().numpy().reshape(2, 4, -1)
    memory = np.zeros((2, TINY.policy_width))
    for t in range(4):
        memory = gru(states[:, t], memory, policy.memory)
    found = policy(maps).detach().numpy()
    weight, bias = policy.place.weight.detach().numpy(), policy.place.bias.detach().numpy()
    for m in range(3):
        number = np.tile(policy.number[m].detach().numpy(), (2, 1))
        memory = gru(number, memory, policy.order)
        wanted = sigmoid(memory @ weight.T + bias + policy.spread[m].detach().numpy())
        np.testing.assert_allclose(found[:, m], wanted, atol=1e-9)
    # Fresh cubes stand in the middle of the picture and spread over the clip.
    np.testing.assert_allclose(found[..., :2], 0.5, atol=0.1)
    np.testing.assert_allclose(found[..., 2].mean(0), [1 / 6, 3 / 6, 5 / 6], atol=0.1)


def inverse_cdf(weights, num_frames, count, offsets):
    """Step through the cumulated weights, then push later whoever comes second."""
    taken = []
    for i in range(count):
        query, cumulated = (i + offsets[i]) / count, 0.0
        for part, weight in enumerate(weights):
            if cumulated + weight >= query or part == len(weights) - 1:
                inside = (query - cumulated) / weight
                index = int((part + inside) / len(weights) * num_frames)
                break
            cumulated += weight
        taken.append(max(index, taken[-1] + 1) if taken else index)
    return [min(index, num_frames - count + i) for i, index in enumerate(taken)]


def test_frames_by_weight():
    for _ in range(200):
        weights = RNG.dirichlet(np.full(8, 0.5)) + 1e-6
        weights /= weights.sum()
        offsets = RNG.random(6)
        found = protocol.take_frames(weights, num_frames=28, count=6, offsets=offsets)
        assert found.tolist() == inverse_cdf(weights, 28, 6, offsets)


def cross_entropy(logits, labels):
    """Mean over B·T rows, every row with its clip's label."""
    rows = logits - logits.max(axis=-1, keepdims=True)
    logs = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return -np.mean([logs[b, t, labels[b]] for b, t in np.ndindex(logs.shape[:2])])


def test_the_loss_of_two_passes():
    cfg = replace(TINY, num_glances=8)  # all frames, so that none is drawn
    network = make_network(cfg).eval()
    frames, labels = torch.from_numpy(volume()), np.array([2, 0])
    batch = {"frames": frames, "label": torch.from_numpy(labels)}
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(7))
    values = recipe.cube_loss(network, batch, context)
    generator = torch.Generator().manual_seed(7)
    torch.rand(2, 8, generator=generator)
    drawn = torch.rand((2, 3, 3), generator=generator)
    passes = []
    with torch.no_grad():
        glanced = network.glance_at(frames)
        actions = network.place(glanced)
        vectors = [
            network.lattice_vectors(frames, actions),
            network.cube_vectors(frames, torch.round(drawn * torch.tensor([48.0, 48, 6])).long()),
        ]
        for rows in vectors:
            after = network.classifier(rows, glanced.best)
            prefixes = torch.cat([glanced.logits, after], 1)
            terms = (prefixes, glanced.frame_logits, network.focus_head(rows))
            passes.append(sum(cross_entropy(x.numpy().astype(np.float64), labels) for x in terms))
    np.testing.assert_allclose(values["policy_pass"].item(), passes[0], rtol=1e-5)
    np.testing.assert_allclose(values["random_pass"].item(), passes[1], rtol=1e-5)
    np.testing.assert_allclose(values["loss"].item(), sum(passes) / 2, rtol=1e-5)
