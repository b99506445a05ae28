"""OCSampler's networks, and the probability of a set that its sampler is trained by.

Source: Lin et al., CVPR 2022, arXiv 2201.04388, sections 3.2 and 3.3. The classifier is that of
FrameExit (Ghodrati et al., CVPR 2021, arXiv 2104.13400), which the headline numbers use.
Letters: B videos, T candidates, N chosen frames, D features, K classes, H height, W width.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.backbones import ImageBackbone, conv_stack, create, insert_temporal_shift
from foveal.layers import TemporalShift, most_salient, taken
from foveal.systems.ocsampler.protocol import CLASSIFIER, SKIM, Config, count_of

HIDDEN = 4096
"""Features of a frame in the paper's classifier."""

SMALL_HIDDEN = 128
COUNT_HIDDEN = 256

SKIM_LAYERS = {"small": ((1, 8, 16, 32), (2, 2, 2)), "tiny": ((1, 6, 12), (2, 2))}
CLASSIFIER_LAYERS = {
    "small": ((1, 16, 32, 64, 96), (2, 2, 2, 1)),
    "tiny": ((1, 16, 32, 64), (2, 2, 2)),
}
"""Channels and strides where the networks are a few convolutions on grey pictures."""


class Output(NamedTuple):
    """What the network says of B videos.

    Args:
        frame_logits: (B,T), before the softmax over T.
        chosen: int64 (B,N), the frames classified, strictly increasing; where the video decides,
            those of the largest number.
        logits: (B,K) of the set, before the softmax.
    """

    frame_logits: Tensor
    chosen: Tensor
    logits: Tensor


class Network(nn.Module):
    """Sampler and classifier; the classifier is any module that scores sets of frames.

    Args:
        cfg: sizes and networks.
        sampler: uint8 (B,T,3,H,W) to frame logits (B,T); by default the one ``cfg`` names.
        classifier: uint8 (B,N,3,H,W) to logits (B,K); another one needs no new sampler.
    """

    def __init__(
        self,
        cfg: Config,
        *,
        sampler: nn.Module | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.num_frames = cfg.num_frames
        self.sampler = Sampler(cfg) if sampler is None else sampler
        self.classifier = classifier_of(cfg) if classifier is None else classifier
        self.counter = CountHead(cfg) if cfg.budget == "video" else None

    def forward(self, frames: Tensor, chosen: Tensor | None = None) -> Output:
        """Return what the system says of candidates uint8 (B,T,3,H,W).

        Args:
            frames: the candidates on the canvas.
            chosen: sets to classify, int64 (B,N) ascending; by default the N most salient.
        """
        frame_logits: Tensor = self.sampler(frames)
        if chosen is None and self.counter is not None:
            counts = self.counts(frames)
            chosen = most_salient(frame_logits, num_frames=self.num_frames)
            return Output(frame_logits, chosen, self._by_count(frames, frame_logits, counts))
        if chosen is None:
            chosen = most_salient(frame_logits, num_frames=self.num_frames)
        return Output(frame_logits, chosen, self.classifier(taken(frames, chosen)))

    def counts(self, frames: Tensor) -> Tensor:
        """Return the logits (B,counts) of how many of the candidates a video needs.

        Raises:
            ValueError: the budget is fixed.
        """
        if self.counter is None or not isinstance(self.sampler, Sampler):
            raise ValueError("only a budget that the video decides has a head for it")
        logits: Tensor = self.counter(self.sampler.features(frames))
        return logits

    def _by_count(self, frames: Tensor, frame_logits: Tensor, counts: Tensor) -> Tensor:
        """Return the logits (B,K) of each video on as many frames as it is given."""
        wanted = [count_of(self.cfg, row) for row in counts.detach().cpu().numpy()]
        found = []
        for i, count in enumerate(wanted):
            chosen = most_salient(frame_logits[i : i + 1], num_frames=count)
            found.append(self.classifier(taken(frames[i : i + 1], chosen)))
        return torch.cat(found)


class CountHead(nn.Module):
    """How many frames a video needs: the paper's budget, of which only the idea is published.

    Source: two linear layers on the mean of the skim features, one logit for each of
    ``frame_counts``; layers and targets are ours.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        width = _skim_backbone(cfg).num_features
        self.net = nn.Sequential(
            nn.Linear(width, COUNT_HIDDEN),
            nn.ReLU(),
            nn.Linear(COUNT_HIDDEN, len(cfg.frame_counts)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B,counts) of skim features (B,T,D)."""
        logits: Tensor = self.net(features.mean(dim=1))
        return logits


class SkimPart(nn.Module):
    """Candidates to frame logits and count logits, the features computed once."""

    def __init__(self, sampler: Sampler, counter: CountHead) -> None:
        super().__init__()
        self.sampler = sampler
        self.counter = counter

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,T) and (B,counts)."""
        features = self.sampler.features(frames)
        return self.sampler.logit(features).squeeze(2), self.counter(features)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which they share their weights with."""
    skim: nn.Module = network.sampler
    if network.counter is not None:
        assert isinstance(skim, Sampler)
        skim = SkimPart(skim, network.counter)
    return {SKIM: skim, CLASSIFIER: network.classifier}


# --- the two networks ------------------------------------------------------------------------


class Sampler(nn.Module):
    """Skims all candidates at low resolution: one logit a frame, each seeing its neighbours."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.num_candidates = cfg.num_candidates
        # The resize is the nearest pixel, as published weights expect it. Written as two look-ups
        # every runner takes the same pixels.
        for name, size in (("rows", cfg.canvas.height), ("columns", cfg.canvas.width)):
            self.register_buffer(name, nearest(size, cfg.skim_size), persistent=False)
        self.rows: Tensor
        self.columns: Tensor
        paper = cfg.networks == "paper"
        self.backbone = _skim_backbone(cfg)
        self.norm = self.backbone.pixel_norm() if paper else GreyNorm()
        self.pool = nn.AdaptiveAvgPool2d(1) if paper else nn.AdaptiveMaxPool2d(1)
        self.logit = nn.Linear(self.backbone.num_features, 1)
        nn.init.normal_(self.logit.weight, std=0.01)
        nn.init.zeros_(self.logit.bias)

    def features(self, frames: Tensor) -> Tensor:
        """Return features (B,T,D) of candidates uint8 (B,T,3,H,W)."""
        small = frames.flatten(0, 1).index_select(2, self.rows).index_select(3, self.columns)
        pooled: Tensor = self.pool(self.backbone(self.norm(small))).flatten(1)
        return pooled.reshape(-1, self.num_candidates, pooled.shape[1])

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,T) of candidates uint8 (B,T,3,H,W)."""
        logits: Tensor = self.logit(self.features(frames)).squeeze(2)
        return logits


def nearest(size: int, wanted: int) -> Tensor:
    """Return for each of ``wanted`` pixels the one of ``size`` it is copied from, int64.

    PyTorch's rule for mode ``nearest``: ``floor(j * (size / wanted))`` in float32, whose rounding
    counts (96 of 224).
    """
    ratio = np.float32(size) / np.float32(wanted)
    places = np.floor(np.arange(wanted, dtype=np.float32) * ratio).astype(np.int64)
    return torch.tensor(np.minimum(places, size - 1).tolist())


def _skim_backbone(cfg: Config) -> ImageBackbone:
    num_frames, fold_div = cfg.num_candidates, cfg.shift_div
    if cfg.networks == "paper":
        backbone = create("mobilenetv2_100")
        insert_temporal_shift(backbone, num_frames=num_frames, fold_div=fold_div)
        return backbone
    channels, strides = SKIM_LAYERS[cfg.networks]
    backbone = conv_stack(channels, strides=strides)
    *first, last = backbone.net.children()
    shifted = TemporalShift(last, num_frames=num_frames, fold_div=fold_div)
    backbone.net = nn.Sequential(*first, shifted)
    return backbone


class GreyNorm(nn.Module):
    """uint8 pictures (M,3,H,W) to their mean over colours, float32 (M,1,H,W), about -2 to 2."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the grey pictures."""
        grey = pixels.float().mean(dim=1, keepdim=True)
        return (grey - 127.5) / 64.0


class SetClassifier(nn.Module):
    """Scores a set of frames: features of each, their element-wise maximum, a last layer.

    Args:
        backbone: float (M,3,H,W), as ``norm`` gives it, to a map (M,D,h,w).
        pool: the map to (M,D,1,1).
        head: features (B,N,D) to logits.
        norm: uint8 pixels to what the backbone takes.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        pool: nn.Module,
        head: SetHead,
        norm: nn.Module,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.backbone = backbone
        self.pool = pool
        self.head = head

    def features(self, frames: Tensor) -> Tensor:
        """Return (B,N,D) of frames uint8 (B,N,3,H,W)."""
        num_frames = frames.shape[1]
        pooled: Tensor = self.pool(self.backbone(self.norm(frames.flatten(0, 1)))).flatten(1)
        return pooled.reshape(-1, num_frames, pooled.shape[1])

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B,K) of the sets of frames uint8 (B,N,3,H,W)."""
        logits: Tensor = self.head(self.features(frames))
        return logits

    def each(self, frames: Tensor) -> Tensor:
        """Return logits (B,N,K) of every frame as a set of its own."""
        features = self.features(frames)
        logits: Tensor = self.head(features.flatten(0, 1)[:, None])
        return logits.reshape(*features.shape[:2], -1)


class SetHead(nn.Module):
    """Features (B,N,D) of the frames of a set to logits (B,K); N is free.

    Args:
        num_features: D.
        hidden: features of a frame before the maximum.
        num_classes: K.
        num_counts: 1 scores sets of any size alike; otherwise there is a last layer for each N
            from 1 to ``num_counts``.
    """

    def __init__(
        self, num_features: int, *, hidden: int, num_classes: int, num_counts: int = 1
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(num_features, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        # Stacked by count, so that the layer can be looked up with N free in an exported graph.
        self.weight = nn.Parameter(torch.empty(num_counts, num_classes, hidden))
        self.bias = nn.Parameter(torch.empty(num_counts, num_classes))
        bound = 1 / math.sqrt(hidden)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B,K) of features (B,N,D)."""
        num_frames = features.shape[1]
        hidden = functional.relu(self.norm(self.embed(features.flatten(0, 1))))
        best = hidden.reshape(-1, num_frames, hidden.shape[1]).amax(dim=1)
        place = num_frames - 1 if len(self.weight) > 1 else 0
        return functional.linear(best, self.weight[place], self.bias[place])


def classifier_of(cfg: Config) -> SetClassifier:
    """Return the classifier ``cfg`` names, with fresh weights."""
    paper = cfg.networks == "paper"
    if cfg.networks == "paper":
        backbone = create("resnet50")
    else:
        channels, strides = CLASSIFIER_LAYERS[cfg.networks]
        backbone = conv_stack(channels, strides=strides)
    head = SetHead(
        backbone.num_features,
        hidden=HIDDEN if paper else SMALL_HIDDEN,
        num_classes=cfg.num_classes,
        num_counts=1 if cfg.head == "shared" else cfg.num_candidates,
    )
    pool = nn.AdaptiveAvgPool2d(1) if paper else nn.AdaptiveMaxPool2d(1)
    norm = backbone.pixel_norm() if paper else GreyNorm()
    return SetClassifier(backbone=backbone, pool=pool, head=head, norm=norm)


# --- drawing sets, and how likely a set is -----------------------------------------------------
#
# All in float64 and from log-probabilities. Where N frames are drawn one after the other, the
# denominator of a draw is what the frames not yet drawn add up to. Summed, and not subtracted
# from 1, it loses no digit when one frame has nearly all the probability, so nothing is clamped.


def draw_sets(log_probs: Tensor, *, num_frames: int, generator: torch.Generator) -> Tensor:
    """Return N draws without replacement for each row of ``log_probs`` (B,T), in draw order.

    The N largest of log-probability plus Gumbel noise: in distribution the same as drawing one
    after the other, and it cannot run out of frames whose probability rounds to zero.

    Returns:
        int64 (B,N); sort it before looking.
    """
    noise = torch.empty(log_probs.shape, dtype=torch.float64).exponential_(generator=generator)
    keys = log_probs.detach().double() - noise.log().to(log_probs.device)
    return keys.topk(num_frames, dim=1).indices


def uniform_sets(
    num_sets: int, *, num_candidates: int, num_frames: int, generator: torch.Generator
) -> Tensor:
    """Return ``num_sets`` sets with a frame from each of N windows, int64 (sets,N) ascending.

    The windows are ``T // N`` long and begin at ``trunc(linspace(0, T - T // N, N))``.
    """
    window = num_candidates // num_frames
    last = max(num_frames - 1, 1)
    base = [i * (num_candidates - window) // last for i in range(num_frames)]
    offset = torch.randint(window, (num_sets, num_frames), generator=generator)
    return torch.tensor(base) + offset


def log_set_prob(log_probs: Tensor, index: Tensor) -> Tensor:
    """Return the log-probability (B,) that N draws without replacement give the sets ``index``.

    The sum over all orders of drawing, by the recursion over subsets M of the set
    ``f[M] = sum over j in M of f[M - j] p_j / (what is left after M - j)``, f of nothing being 1.

    Args:
        log_probs: (B,T) finite; rows need not add up to 1 as probabilities.
        index: int64 (B,N), the members of each set in any order.

    Returns:
        float64, differentiable, finite.
    """
    member, outside = _split(log_probs, index)
    so_far = torch.zeros_like(member[:, :1])
    for table in _subset_tables(index.shape[1]):
        left = torch.logsumexp(_append(member[:, table.rest], outside), dim=3)
        so_far = torch.logsumexp(so_far[:, table.before] + member[:, table.last] - left, dim=2)
    return so_far[:, 0]


def log_set_prob_by_orders(log_probs: Tensor, index: Tensor) -> Tensor:
    """Return what :func:`log_set_prob` does, as a plain sum over all N! orders (N up to 7)."""
    member, outside = _split(log_probs, index)
    orders = torch.tensor(list(permutations(range(index.shape[1]))), device=index.device)
    return torch.logsumexp(_log_order_prob(member[:, orders], outside), dim=1)


def log_set_prob_by_integral(log_probs: Tensor, index: Tensor, *, nodes: int = 200) -> Tensor:
    """Return what :func:`log_set_prob` does, for N < T, at a cost that grows with N alone.

    ``P(S) = integral over v from 0 to 1 of prod over i in S of (1 - v ** (p_i / q))``, q being
    what the frames outside the set add up to; by Gauss-Legendre quadrature. With v = u ** 8 the
    logarithm's pole at 0 is gone, and 200 nodes agree to 1e-6 and better.
    """
    member, outside = _split(log_probs, index)
    x, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    u, weight = ((x + 1) / 2).to(member.device), (weight / 2).to(member.device)
    power = 8 * (member - outside).exp()
    factors = -torch.expm1(power[:, :, None] * u.log())
    return (factors.prod(dim=1) * weight * 8 * u**7).sum(dim=1).log()


def log_draw_prob(log_probs: Tensor, index: Tensor) -> Tensor:
    """Return the log-probability (B,) of drawing ``index`` (B,N) in just this order.

    The official code's cheap stand-in for :func:`log_set_prob`: the same set has another
    gradient when it was drawn in another order.
    """
    member, outside = _split(log_probs, index)
    return _log_order_prob(member[:, None], outside)[:, 0]


def log_set_prob_by_two_orders(log_probs: Tensor, index: Tensor) -> Tensor:
    """Return log of N! times the mean probability of the ascending and the descending order.

    The official code's stand-in for :func:`log_set_prob` on the path of clip classifiers.
    """
    member, outside = _split(log_probs, index)
    ascending = member.sort(dim=1).values
    orders = torch.stack([ascending, ascending.flip(1)], dim=1)
    num_orders = math.factorial(index.shape[1])
    return torch.logsumexp(_log_order_prob(orders, outside), dim=1) + math.log(num_orders / 2)


def entropy(log_probs: Tensor) -> Tensor:
    """Return ``-sum p log p`` (B,) of log-probabilities (B,T)."""
    return -(log_probs.exp() * log_probs).sum(dim=1)


def _split(log_probs: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return float64 log-probabilities of the members (B,N), and of all others together (B,1)."""
    log_probs = log_probs.double()
    is_member = torch.zeros_like(log_probs, dtype=torch.bool).scatter(1, index, value=True)
    others = log_probs.masked_fill(is_member, -math.inf)
    if index.shape[1] == log_probs.shape[1]:  # the gradient of a sum over nothing is not a number
        return log_probs.gather(1, index), others[:, :1]
    return log_probs.gather(1, index), torch.logsumexp(others, dim=1, keepdim=True)


def _log_order_prob(ordered: Tensor, outside: Tensor) -> Tensor:
    """Return the log-probability (B,O) of O orders (B,O,N) of drawing the members."""
    left = torch.logcumsumexp(_append(ordered, outside).flip(2), dim=2).flip(2)
    return (ordered - left[..., :-1]).sum(dim=2)


def _append(members: Tensor, outside: Tensor) -> Tensor:
    """Return ``members`` (B,...,N) with ``outside`` (B,1) as one more of them."""
    shape = (len(members), *(1,) * (members.ndim - 2), 1)
    return torch.cat([members, outside.reshape(shape).expand(*members.shape[:-1], 1)], dim=-1)


class _Subsets(NamedTuple):
    """The subsets of one size: which came before, which member was drawn last, which were left.

    Args:
        before: (subsets,size) places in the list of subsets one smaller.
        last: (subsets,size) the member added to each of those.
        rest: (subsets,size,N-size+1) the members not in those.
    """

    before: Tensor
    last: Tensor
    rest: Tensor


@cache
def _subset_tables(size: int) -> tuple[_Subsets, ...]:
    """Return the steps of the recursion for sets of ``size`` members, smallest subsets first."""
    members = range(size)
    tables: list[_Subsets] = []
    for count in range(1, size + 1):
        smaller = {subset: i for i, subset in enumerate(combinations(members, count - 1))}
        before, last, rest = [], [], []
        for subset in combinations(members, count):
            without = [tuple(m for m in subset if m != j) for j in subset]
            before.append([smaller[w] for w in without])
            last.append(list(subset))
            rest.append([[m for m in members if m not in w] for w in without])
        tables.append(_Subsets(torch.tensor(before), torch.tensor(last), torch.tensor(rest)))
    return tuple(tables)
