"""HCMS's equations once more in plain NumPy: mel pictures, cells, gates, memories."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.systems.hcms import protocol
from foveal.systems.hcms.model import LogMel, Network, Sensed, by_threshold
from foveal.systems.hcms.protocol import Ear

EARS = [Ear(), protocol.tiny().ear, protocol.small().ear]


def log_mel(sound, ear):
    """Return (frames, bands) of samples (S,), by a fast Fourier transform of every frame."""
    hann = np.hanning(ear.window + 1)[:-1]
    frames = [sound[i * ear.hop : i * ear.hop + ear.window] * hann for i in range(ear.num_frames)]
    spectrum = np.abs(np.fft.rfft(frames, ear.fft_size, axis=1))

    def mel(hz):
        return 2595 * np.log10(1 + hz / 700)

    points = np.linspace(mel(ear.low_hz), mel(ear.high_hz), ear.num_bands + 2)
    bins = mel(np.fft.rfftfreq(ear.fft_size, 1 / ear.rate))
    bands = [
        np.interp(bins, points[b : b + 3], [0, 1, 0], left=0, right=0) for b in range(ear.num_bands)
    ]
    return np.log(spectrum @ np.array(bands).T + 0.01)


@pytest.mark.parametrize("ear", EARS, ids=["paper", "tiny", "small"])
def test_the_mel_picture_is_that_of_a_fourier_transform(ear):
    rng = np.random.default_rng(0)
    t = np.arange(ear.num_samples) / ear.rate
    sound = np.stack([0.3 * np.sin(2 * np.pi * 700 * t), rng.uniform(-1, 1, len(t)), 0 * t])
    found = LogMel(ear)(torch.from_numpy(sound.astype(np.float32))).numpy()
    assert found.shape == (3, 1, ear.num_frames, ear.num_bands)
    want = np.stack([log_mel(row, ear) for row in sound])
    assert np.abs(found[:, 0] - want).max() < 5e-3
    assert np.allclose(found[2], np.log(0.01))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(module, x, state):
    """Return h and c of one LSTM step; gates stand as input, forget, cell, output."""
    h, c = state
    w, u, b, d = (
        p.detach().double().numpy()
        for p in (module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh)
    )
    i, f, g, o = np.split(w @ x + u @ h + b + d, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def opening(module, x):
    shut, wide = module.weight.detach().double().numpy() @ x + module.bias.detach().double().numpy()
    return np.exp(wide) / (np.exp(shut) + np.exp(wide))


def reference(network, a, v, m, thetas):
    """Return logits and gates of one clip whose senses say a, v, m (T, features)."""
    d1, d2, d3 = network.cfg.widths
    s1, s2, s3 = ((np.zeros(d), np.zeros(d)) for d in (d1, d2, d3))
    gates = []
    for t in range(len(a)):
        s1 = cell(network.level1, a[t], s1)
        open2 = opening(network.gate2, np.concatenate([a[t], s1[0], s2[0]])) > thetas[0]
        s2 = tuple(np.concatenate([low, own[d1:]]) for low, own in zip(s1, s2, strict=True))
        if open2:
            s2 = cell(network.level2, np.concatenate([a[t], v[t]]), s2)
        open3 = opening(network.gate3, np.concatenate([a[t], s2[0], s3[0]])) > thetas[1]
        s3 = tuple(np.concatenate([low, own[d2:]]) for low, own in zip(s2, s3, strict=True))
        if open3:
            seen = v[t] if open2 else np.zeros_like(v[t])
            s3 = cell(network.level3, np.concatenate([a[t], seen, m[t]]), s3)
        gates.append((open2, open3))
    head = network.classifier
    logits = head.weight.detach().double().numpy() @ s3[0] + head.bias.detach().double().numpy()
    return logits, np.array(gates)


def test_the_network_is_that_of_the_equations():
    torch.manual_seed(1)
    cfg = protocol.tiny()
    network = Network(cfg).eval()
    for gate in (network.gate2, network.gate3):
        torch.nn.init.normal_(gate.weight, std=0.7)
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((12, cfg.num_steps, size)) for size in cfg.features]
    with torch.no_grad():
        sensed = Sensed(*(torch.from_numpy(row.astype(np.float32)) for row in rows))
        ran = network.run(sensed, by_threshold(cfg))
    share = ran.gates.mean(dim=(0, 1))
    assert ((share > 0.1) & (share < 0.9)).all()
    for i in range(12):
        logits, gates = reference(network, *(row[i] for row in rows), cfg.thetas)
        assert (gates == ran.gates[i].numpy()).all()
        assert np.abs(logits - ran.logits[i].numpy()).max() < 1e-5
