"""HCMS's networks: an ear, an eye, an eye for motion, and three LSTMs stacked by cost.

Source: arXiv 2104.09760; the overwritten memories are those of Wu et al., "LiteEval: A
Coarse-to-Fine Framework for Resource Efficient Video Recognition", NeurIPS 2019, arXiv 1912.01601;
the mel picture and the network for sound are those of Hershey et al., "CNN Architectures for
Large-Scale Audio Classification", ICASSP 2017, arXiv 1609.09430, with MobileNetV1 (arXiv
1704.04861). Letters: B samples, T steps, M frames of a burst, S samples of a window of sound, N
windows, frames or bursts, A, V, D features of the senses, d1, d2, d3 widths of the memories, K
classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import (
    ImageBackbone,
    conv_stack,
    create,
    insert_temporal_shift,
    small_mobilenet,
    small_resnet,
)
from foveal.layers import PixelNorm
from foveal.systems.hcms.protocol import (
    APPEAR,
    CLASSIFY,
    GATE,
    LISTEN,
    MOVE,
    SENSES,
    Config,
    Ear,
)
from foveal.types import Array

MEL_FLOOR = 0.01
"""Added before the logarithm."""

OPEN_BIAS = 1.0
"""Logit of opening that a fresh gate begins with."""

DIFFERENCE_LEVELS = 32.0
"""Grey levels from one frame to the next that count as 1."""

State: TypeAlias = tuple[Tensor, Tensor]
"""What a level remembers: h and c, (B,d)."""

GateRule: TypeAlias = Callable[[int, Tensor], Tensor]
"""Number of the gate (0: appearance, 1: motion) and logits (B,2) of closed and open to (B,1): 1
where it opens, else 0."""


# --- sound ------------------------------------------------------------------------------------


def mel_matrix(ear: Ear) -> Array:
    """Return float64 (fft_size // 2 + 1, bands): triangles of equal width on the mel scale."""
    mel = 1127.0 * np.log1p(np.array([ear.low_hz, ear.high_hz]) / 700.0)
    edges = np.linspace(mel[0], mel[1], ear.num_bands + 2)
    hz = np.arange(ear.fft_size // 2 + 1) * ear.rate / ear.fft_size
    at = 1127.0 * np.log1p(hz / 700.0)[:, None]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


class LogMel(nn.Module):
    """Windows of sound to pictures of mel bands over time: ``log(mel + 0.01)`` of the magnitudes.

    The spectrum is a convolution with cosines and sines under a Hann window, at the frequencies
    that some band holds; so it is part of the graph and of the bill.
    """

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        bands = mel_matrix(ear)
        used = np.flatnonzero(bands.any(axis=1))
        time = np.arange(ear.window)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / ear.window)
        turn = 2 * np.pi * used[:, None] * time / ear.fft_size
        waves = np.concatenate([np.cos(turn), np.sin(turn)]) * hann
        self.hop = ear.hop
        # Constants of the graph, not weights: they are in no checkpoint.
        self.register_buffer("waves", _float(waves[:, None]), persistent=False)
        self.register_buffer("bands", _float(bands[used]), persistent=False)
        self.waves: Tensor
        self.bands: Tensor

    def forward(self, window: Tensor) -> Tensor:
        """Return pictures (N,1,frames,bands) of windows (N,S)."""
        parts = functional.conv1d(window[:, None], self.waves, stride=self.hop)
        real, imaginary = parts.chunk(2, dim=1)
        magnitude = (real.square() + imaginary.square()).sqrt().transpose(1, 2)
        return torch.log(magnitude @ self.bands + MEL_FLOOR)[:, None]


class SoundNet(nn.Module):
    """A window of sound to features; the last one is 1 where the window holds no sound at all.

    The others are 0 then, and nothing is learnt from such a window: statistics of silence would
    make a network that no sound can go through.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.mel = LogMel(cfg.ear)
        match cfg.networks:
            case "paper":
                self.net = mobilenet_v1()
            case "small":
                self.net = small_mobilenet(width=8, in_channels=1)
            case "tiny":
                self.net = conv_stack((1, 8, 16), strides=(1, 2))

    def forward(self, window: Tensor) -> Tensor:
        """Return (N,A) for windows (N,S)."""
        heard = window.abs().amax(dim=1, keepdim=True) > 0
        rows = heard[:, 0]
        if self.training and not bool(rows.all()):
            vector = window.new_zeros(len(window), self.net.num_features)
            if bool(rows.any()):
                vector[rows] = self.vectors(window[rows]).to(vector)
            else:  # zeros, and not none: every process must have a gradient for what moves
                vector = vector + 0 * sum(p.sum() for p in self.net.parameters())
        else:
            vector = self.vectors(window) * heard
        return torch.cat([vector, 1 - heard.to(vector)], dim=1)

    def vectors(self, window: Tensor) -> Tensor:
        """Return what the network makes of windows (N,S)."""
        return self.net.features(self.mel(window)).mean((2, 3))


def mobilenet_v1() -> ImageBackbone:
    """Return MobileNetV1 for pictures of one channel: 1024 features at 1/32 of the size."""
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    plan += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    layers: list[nn.Module] = [_conv(1, 32, stride=2)]
    before = 32
    for after, stride in plan:
        layers += [
            _conv(before, before, stride=stride, groups=before),
            _conv(before, after, size=1),
        ]
        before = after
    return ImageBackbone(nn.Sequential(*layers), num_features=before, stride=32)


def _conv(
    before: int, after: int, *, size: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _float(values: Array) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


# --- pictures ---------------------------------------------------------------------------------


class AppearanceNet(nn.Module):
    """A frame to features."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        match cfg.networks:
            case "paper":
                self.net = create("resnet50")
            case "small":
                self.net = small_resnet()
            case "tiny":
                self.net = conv_stack((3, 16, 32, 32), strides=(2, 1, 2))
        self.norm = PixelNorm()

    def forward(self, frame: Tensor) -> Tensor:
        """Return (N,V) for frames uint8 (N,3,H,W)."""
        return self.net.features(self.norm(frame)).mean((2, 3))


class MotionNet(nn.Module):
    """What changes from frame to frame of a burst, to features; changes are shifted in time."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        match cfg.networks:
            case "paper":
                self.net = create("resnet50")
            case "small":
                self.net = small_resnet()
            case "tiny":
                self.net = conv_stack((3, 24, 48, 48), strides=(2, 1, 2))
        self.num_changes = cfg.burst - 1
        if cfg.networks != "tiny":
            insert_temporal_shift(self.net, num_frames=self.num_changes)

    def forward(self, frames: Tensor) -> Tensor:
        """Return (N,D) for bursts uint8 (N,M,3,H,W)."""
        pixels = frames.float()
        change = (pixels[:, 1:] - pixels[:, :-1]) / DIFFERENCE_LEVELS
        vectors = self.net.features(change.flatten(0, 1)).mean((2, 3))
        return vectors.reshape(-1, self.num_changes, vectors.shape[1]).mean(dim=1)


# --- the levels -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sensed:
    """What the senses make of a batch.

    Args:
        sound: (B,T,A).
        appearance: (B,T,V).
        motion: (B,T,D).
    """

    sound: Tensor
    appearance: Tensor
    motion: Tensor


@dataclass(frozen=True, slots=True)
class Ran:
    """What all steps give.

    Args:
        logits: (B,K).
        gates: (B,T,2), 1 where appearance and motion were used, else 0.
        opens: (B,T,2), the probability of opening.
        memories: of the three levels after the last step.
    """

    logits: Tensor
    gates: Tensor
    opens: Tensor
    memories: tuple[State, State, State]


def overwritten(state: State, below: State) -> State:
    """Return ``state`` with its first units those of the level below, h and c."""
    h, c = (
        torch.cat([low, own[:, low.shape[1] :]], dim=1)
        for low, own in zip(below, state, strict=True)
    )
    return h, c


def mixed(gate: Tensor, new: State, old: State) -> State:
    """Return ``gate * new + (1 - gate) * old``, for h and c; ``gate`` (B,1) is 0 or 1."""
    h, c = (gate * a + (1 - gate) * b for a, b in zip(new, old, strict=True))
    return h, c


class Senses(nn.Module):
    """The senses, and what each alone says of the class."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.sound = SoundNet(cfg)
        self.appearance = AppearanceNet(cfg)
        self.motion = MotionNet(cfg)
        self.heads = nn.ModuleList(nn.Linear(size, cfg.num_classes) for size in cfg.features)

    def forward(self, frames: Tensor, sound: Tensor | None = None) -> Sensed:
        """Return what all senses make of everything; see :meth:`Network.forward`."""
        cfg = self.cfg
        bursts = frames.reshape(-1, cfg.num_steps, cfg.burst, *frames.shape[2:])
        shape = bursts.shape[:2]

        def by_step(rows: Tensor) -> Tensor:
            return rows.reshape(*shape, rows.shape[1])

        if sound is None:
            sound = next(self.parameters()).new_zeros(*shape, cfg.ear.num_samples)
        return Sensed(
            sound=by_step(self.sound(sound.flatten(0, 1))),
            appearance=by_step(self.appearance(bursts[:, :, cfg.middle].flatten(0, 1))),
            motion=by_step(self.motion(bursts.flatten(0, 1))),
        )

    def each(self, sensed: Sensed) -> Tensor:
        """Return the logits (3,B,K) of every sense alone, the mean over the steps of its head's."""
        rows = (sensed.sound, sensed.appearance, sensed.motion)
        return torch.stack(
            [head(row).mean(dim=1) for head, row in zip(self.heads, rows, strict=True)]
        )


class Network(nn.Module):
    """HCMS as it is trained: both branches of every gate are computed, and the gate mixes them.

    Beside the senses stand those of each fold, which have learnt from the clips of the other folds
    and teach the levels what it is like to meet a clip for the first time.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        heard, seen, moving = cfg.features
        d1, d2, d3 = cfg.widths
        self.cfg = cfg
        self.senses = Senses(cfg)
        self.level1 = nn.LSTMCell(heard, d1)
        self.level2 = nn.LSTMCell(heard + seen, d2)
        self.level3 = nn.LSTMCell(heard + seen + moving, d3)
        self.gate2 = nn.Linear(heard + d1 + d2, 2)
        self.gate3 = nn.Linear(heard + d2 + d3, 2)
        self.classifier = nn.Linear(d3, cfg.num_classes)
        self.fold_senses = nn.ModuleList(Senses(cfg) for _ in range(cfg.num_folds))
        with torch.no_grad():
            for gate in (self.gate2, self.gate3):
                gate.bias.copy_(torch.tensor([0.0, OPEN_BIAS]))

    def forward(self, frames: Tensor, sound: Tensor | None = None) -> Tensor:
        """Return logits (B,K) with the gates of the configuration, without noise.

        Args:
            frames: uint8 (B,T*M,3,H,W), bursts in the order of the steps.
            sound: (B,T,S); none is silence.
        """
        return self.run(self.sense(frames, sound), by_threshold(self.cfg)).logits

    def sense(self, frames: Tensor, sound: Tensor | None = None) -> Sensed:
        """Return what the senses make of everything; see :meth:`forward`."""
        found: Sensed = self.senses(frames, sound)
        return found

    def sense_unseen(self, frames: Tensor, sound: Tensor | None, fold: Tensor) -> Sensed:
        """Return what senses that have not learnt from the clips make of them.

        Args:
            frames: see :meth:`forward`.
            sound: likewise.
            fold: int64 (B,), in which each clip is.
        """
        size, steps = len(frames), self.cfg.num_steps
        weight = self.classifier.weight
        rows = [weight.new_zeros(size, steps, width) for width in self.cfg.features]
        for i, senses in enumerate(self.fold_senses):
            mine = fold == i
            if bool(mine.any()):
                found = senses(frames[mine], None if sound is None else sound[mine])
                for row, some in zip(
                    rows, (found.sound, found.appearance, found.motion), strict=True
                ):
                    row[mine] = some
        return Sensed(*rows)

    def run(self, sensed: Sensed, rule: GateRule) -> Ran:
        """Run all steps; of what is not among the senses in use, nothing counts."""
        senses = self.cfg.senses
        rows = {"sound": sensed.sound, "appearance": sensed.appearance, "motion": sensed.motion}
        a, v, m = (
            rows[name] if name in senses else torch.zeros_like(rows[name]) for name in SENSES
        )
        size = a.shape[0]
        first, second, third = (self._empty(a, width) for width in self.cfg.widths)
        gates, opens, told = [], [], []
        for k in range(a.shape[1]):
            if "sound" in senses:
                first = self.level1(a[:, k], first)
            logits2 = self.gate2(torch.cat([a[:, k], first[0], second[0]], dim=1))
            gate2 = rule(0, logits2) if "appearance" in senses else a.new_zeros(size, 1)
            second = overwritten(second, first) if "sound" in senses else second
            new = self.level2(torch.cat([a[:, k], v[:, k]], dim=1), second)
            second = mixed(gate2, new, second)

            logits3 = self.gate3(torch.cat([a[:, k], second[0], third[0]], dim=1))
            gate3 = rule(1, logits3) if "motion" in senses else a.new_zeros(size, 1)
            gate3 = gate3 * gate2 if self.cfg.strict and self.cfg.gates == "learned" else gate3
            third = third if senses == ("motion",) else overwritten(third, second)
            new = self.level3(torch.cat([a[:, k], gate2 * v[:, k], m[:, k]], dim=1), third)
            third = mixed(gate3, new, third)

            gates.append(torch.cat([gate2, gate3], dim=1))
            opens.append(torch.stack([logits2.softmax(1)[:, 1], logits3.softmax(1)[:, 1]], dim=1))
            told.append(self.classifier(third[0]))
        logits = torch.stack(told).mean(dim=0) if self.cfg.readout == "mean" else told[-1]
        return Ran(
            logits=logits,
            gates=torch.stack(gates, dim=1),
            opens=torch.stack(opens, dim=1),
            memories=(first, second, third),
        )

    @staticmethod
    def _empty(like: Tensor, width: int) -> State:
        zeros = like.new_zeros(like.shape[0], width)
        return zeros, zeros


# --- when gates open --------------------------------------------------------------------------


def always_open(number: int, logits: Tensor) -> Tensor:
    """Open every gate (B,1), whatever its logits (B,2) say."""
    return torch.ones_like(logits[:, :1])


def by_threshold(cfg: Config) -> GateRule:
    """Return the rule of the protocol: open above theta; 0 opens always, as does ``open``."""
    if cfg.gates == "open":
        return always_open

    def rule(number: int, logits: Tensor) -> Tensor:
        theta = cfg.thetas[number]
        if theta == 0:
            return always_open(number, logits)
        return (logits.softmax(dim=1)[:, 1:] > theta).to(logits.dtype)

    return rule


def by_gumbel(*, temperature: float, generator: torch.Generator) -> GateRule:
    """Return the rule of training: hard Gumbel-softmax, with the gradient of the soft one.

    Source: Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017,
    arXiv 1611.01144. Forward values are exactly 0 or 1.

    Args:
        temperature: tau.
        generator: of the noise, on the CPU.
    """

    def rule(number: int, logits: Tensor) -> Tensor:
        drawn = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1 - 1e-7)
        noise = -torch.log(-torch.log(drawn)).to(logits)
        soft = ((logits + noise) / temperature).softmax(dim=1)[:, 1:]
        hard = (soft > 0.5).to(soft.dtype)
        return hard + (soft - soft.detach())

    return rule


def by_chance(usage: tuple[float, float], *, generator: torch.Generator) -> GateRule:
    """Return the baseline that opens gates at random, as often as ``usage`` says."""

    def rule(number: int, logits: Tensor) -> Tensor:
        drawn = torch.rand(logits.shape[0], 1, generator=generator)
        return (drawn < usage[number]).to(logits)

    return rule


# --- parts ------------------------------------------------------------------------------------


class Listen(nn.Module):
    """A window of sound, the memory of sound, and whether to look at a frame."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.sound = network.senses.sound
        self.level1 = network.level1
        self.gate2 = network.gate2

    def forward(self, window: Tensor, h1: Tensor, c1: Tensor, h2: Tensor) -> tuple[Tensor, ...]:
        """Return features (B,A), the memory (B,d1) twice and the probability of opening (B,1)."""
        sound = self.sound(window)
        h1, c1 = self.level1(sound, (h1, c1))
        logits = self.gate2(torch.cat([sound, h1, h2], dim=1))
        return sound, h1, c1, logits.softmax(dim=1)[:, 1:]


class Appear(nn.Module):
    """A frame, and the memory of appearance."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.appearance = network.senses.appearance
        self.level2 = network.level2

    def forward(self, frame: Tensor, sound: Tensor, h2: Tensor, c2: Tensor) -> tuple[Tensor, ...]:
        """Return features (B,V) and the memory (B,d2) twice."""
        appearance = self.appearance(frame)
        return appearance, *self.level2(torch.cat([sound, appearance], dim=1), (h2, c2))


class Gate(nn.Module):
    """Whether to look at motion."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.gate3 = network.gate3

    def forward(self, sound: Tensor, h2: Tensor, h3: Tensor) -> Tensor:
        """Return the probability of opening (B,1)."""
        logits: Tensor = self.gate3(torch.cat([sound, h2, h3], dim=1))
        return logits.softmax(dim=1)[:, 1:]


class Move(nn.Module):
    """A burst of frames, and the memory of motion."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.motion = network.senses.motion
        self.level3 = network.level3

    def forward(
        self, frames: Tensor, sound: Tensor, appearance: Tensor, h3: Tensor, c3: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the memory (B,d3) twice."""
        seen = torch.cat([sound, appearance, self.motion(frames)], dim=1)
        memory: State = self.level3(seen, (h3, c3))
        return memory


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``parts(cfg)``, sharing the weights of ``network``."""
    return {
        LISTEN: Listen(network),
        APPEAR: Appear(network),
        GATE: Gate(network),
        MOVE: Move(network),
        CLASSIFY: network.classifier,
    }


def make_network(cfg: Config) -> Network:
    """Return the training network with fresh weights."""
    return Network(cfg)
