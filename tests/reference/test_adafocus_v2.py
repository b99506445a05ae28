"""AdaFocusV2's equations once more, written from the paper in plain NumPy (float64).

Letters: B samples, T frames, S side of a frame, P side of the square, K classes.
"""

from __future__ import annotations

import numpy as np
import torch

from foveal.layers import PrefixClassifier, RecurrentPolicy
from foveal.recipe import StepContext
from foveal.systems.adafocus_v2 import protocol, recipe
from foveal.systems.adafocus_v2.model import make_network

RNG = np.random.default_rng(0)


def bilinear_square(image, action, size):
    """Equation of the crop, pixel by pixel: image (S,S), action (y,x)."""
    side = image.shape[0]
    square = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            y, x = action[0] * (side - size) + i, action[1] * (side - size) + j
            top, left = min(int(y), side - 2), min(int(x), side - 2)
            beta, alpha = y - top, x - left
            square[i, j] = (
                (1 - alpha) * (1 - beta) * image[top, left]
                + alpha * (1 - beta) * image[top, left + 1]
                + (1 - alpha) * beta * image[top + 1, left]
                + alpha * beta * image[top + 1, left + 1]
            )
    return square


def test_the_square_and_its_gradient():
    cfg = protocol.tiny(num_classes=3, focus_size=5)
    network = make_network(cfg).double()
    network.normalise = torch.nn.Identity()
    frames = RNG.random((2, 3, 9, 9))
    actions = np.array([[0.31, 0.77], [0.62, 0.11]])
    given = torch.tensor(actions, requires_grad=True)
    squares = network.cut(torch.from_numpy(frames), given)
    weights = RNG.standard_normal(squares.shape)

    def value(actions):
        return sum(
            (weights[n, c] * bilinear_square(frames[n, c], actions[n], 5)).sum()
            for n in range(2)
            for c in range(3)
        )

    for n in range(2):
        for c in range(3):
            wanted = bilinear_square(frames[n, c], actions[n], 5)
            np.testing.assert_allclose(squares[n, c].detach().numpy(), wanted, atol=1e-12)
    (squares * torch.from_numpy(weights)).sum().backward()
    step = 1e-6
    for index in np.ndindex(2, 2):
        up, down = actions.copy(), actions.copy()
        up[index] += step
        down[index] -= step
        slope = (value(up) - value(down)) / (2 * step)
        np.testing.assert_allclose(given.grad[index].item(), slope, rtol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalised(x, norm, axes):
    """Batch normalisation with the statistics of the batch, over ``axes``."""
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    shape = [1, -1] + [1] * (x.ndim - 2)
    scale, shift = (p.detach().numpy().reshape(shape) for p in (norm.weight, norm.bias))
    return (x - mean) / np.sqrt(variance + norm.eps) * scale + shift


def gru(x, h, cell):
    """One step of a GRU: reset and update gate, then the candidate."""
    w_x, w_h, b_x, b_h = (
        p.detach().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    )
    (r_x, z_x, n_x), (r_h, z_h, n_h) = (
        np.split(v, 3, axis=1) for v in (x @ w_x.T + b_x, h @ w_h.T + b_h)
    )
    reset, update = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    candidate = np.tanh(n_x + reset * n_h)
    return (1 - update) * candidate + update * h


def test_the_policy():
    policy = RecurrentPolicy(in_channels=4, side=3, channels=5, width=6).double().train()
    maps = RNG.standard_normal((2, 3, 4, 3, 3))
    conv, norm, _, _, linear, second, _ = policy.encode
    weight = conv.weight.detach().numpy()[:, :, 0, 0]
    rows = np.einsum("nchw,dc->ndhw", maps.reshape(6, 4, 3, 3), weight)
    rows = np.tanh(normalised(rows, norm, (0, 2, 3))).reshape(6, -1)
    rows = rows @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    states = np.tanh(normalised(rows, second, (0,))).reshape(2, 3, 6)
    memory, out = np.zeros((2, 6)), policy.place[0]
    found = policy(torch.from_numpy(maps)).detach().numpy()
    for t in range(3):
        memory = gru(states[:, t], memory, policy.memory)
        wanted = sigmoid(memory @ out.weight.detach().numpy().T + out.bias.detach().numpy())
        np.testing.assert_allclose(found[:, t], wanted, atol=1e-12)


def test_the_prefix_classifier():
    classifier = PrefixClassifier(
        in_width=5, width=7, num_frames=3, num_classes=4, dropout=0.0
    ).double()
    vectors = RNG.standard_normal((2, 3, 5))
    linear, norm, _ = classifier.fuse
    rows = vectors.reshape(6, 5) @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    fused = np.maximum(normalised(rows, norm, (0,)), 0).reshape(2, 3, 7)
    found = classifier(torch.from_numpy(vectors)).detach().numpy()
    for t in range(3):
        best = fused[:, : t + 1].max(axis=1)
        head = classifier.weight[t].detach().numpy(), classifier.bias[t].detach().numpy()
        np.testing.assert_allclose(found[:, t], best @ head[0].T + head[1], atol=1e-12)


def cross_entropy(logits, labels):
    """Mean over B·T rows, every row with its clip's label."""
    rows = logits - logits.max(axis=-1, keepdims=True)
    logs = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    picked = [logs[b, t, labels[b]] for b, t in np.ndindex(logs.shape[:2])]
    return -np.mean(picked)


def test_the_loss_of_two_passes():
    cfg = protocol.tiny(num_classes=3)
    network = make_network(cfg).eval()
    frames = torch.from_numpy(RNG.integers(0, 256, (2, 2, 3, 64, 64)).astype(np.uint8))
    labels = np.array([2, 0])
    context = StepContext(progress=0.0, generator=torch.Generator().manual_seed(7))
    batch = {"frames": frames, "label": torch.from_numpy(labels)}
    values = recipe.two_pass_loss(network, batch, context)
    drawn = torch.rand((2, 2, 2), generator=torch.Generator().manual_seed(7))
    passes = []
    with torch.no_grad():
        glance = network.glance_at(frames).logits.numpy()
        for actions in (None, drawn):
            looked = network(frames, actions)
            terms = (looked.logits.numpy(), glance, looked.focus_logits.numpy())
            passes.append(sum(cross_entropy(logits.astype(np.float64), labels) for logits in terms))
    np.testing.assert_allclose(values["policy_pass"].item(), passes[0], rtol=1e-5)
    np.testing.assert_allclose(values["random_pass"].item(), passes[1], rtol=1e-5)
    np.testing.assert_allclose(values["loss"].item(), sum(passes) / 2, rtol=1e-5)
