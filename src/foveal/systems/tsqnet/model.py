"""TSQNet: classes that ask the frames, by how they look and by what they are called.

Source: arXiv 2207.10379. Letters: B videos, T candidates, K frames kept, D width of a frame's
features, d width of queries, O objects, W width of a word's vector, C classes, h heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from foveal.backbones import frame_recogniser, object_network, preview_encoder
from foveal.backbones.text import Encode, name_vectors
from foveal.layers import (
    FrameClassifier,
    SelfAttention,
    TemporalEncoder,
    mean_answer,
    most_salient,
    scaled_rows,
    taken,
)
from foveal.systems.tsqnet.protocol import RECOGNISER, SAMPLER, Config
from foveal.types import Canvas, Features

WORD_SEED = 5

OBJECT_NETWORKS = {"paper": "efficientnet_b0", "lite": "tf_efficientnet_lite0"}
"""What names objects, by ``networks``: published weights fit these, classifier and all."""


class Words(NamedTuple):
    """Vectors of names: any sentence encoder or word table gives them.

    Args:
        classes: (C,W); the tokens of a name averaged.
        objects: (O,W).
    """

    classes: Tensor
    objects: Tensor


def arbitrary_words(cfg: Config) -> Words:
    """Return unit vectors that mean nothing, the same at every call: for tests."""
    generator = torch.Generator().manual_seed(WORD_SEED)
    drawn = torch.randn(cfg.num_classes + cfg.num_objects, cfg.word_width, generator=generator)
    drawn = nn.functional.normalize(drawn, dim=1)
    return Words(classes=drawn[: cfg.num_classes], objects=drawn[cfg.num_classes :])


def words_of(class_names: Sequence[str], object_names: Sequence[str], *, encode: Encode) -> Words:
    """Return vectors of length 1 for the names of classes and of objects.

    Args:
        class_names: in the order of the labels; ``BaseballPitch`` is read as two words.
        object_names: in the order of the object network's answers, e.g. the tagger's.
        encode: e.g. :func:`foveal.backbones.text.sentence_encoder`'s, of the extra ``text``.

    Raises:
        TextError: a name cannot be encoded.
    """
    tensors = torch.from_numpy(name_vectors([*class_names, *object_names], encode=encode))
    return Words(classes=tensors[: len(class_names)], objects=tensors[len(class_names) :])


class Asked(NamedTuple):
    """What a branch says.

    Args:
        saliency: (B,C,T), each row a distribution over the frames.
        logits: (B,C), of every class by itself.
    """

    saliency: Tensor
    logits: Tensor


class Output(NamedTuple):
    """What the network says of B videos.

    Args:
        saliency: (B,T) in [0, 1].
        chosen: int64 (B,K), ascending.
        logits: (B,C), whose probabilities are the mean of those of the chosen frames.
    """

    saliency: Tensor
    chosen: Tensor
    logits: Tensor


# --- queries -----------------------------------------------------------------------------------


class QueryLayer(nn.Module):
    """Queries attend over the frames, then think.

    Args:
        cfg: widths, heads, dropout.
        residual: whether the answer holds the query.
    """

    def __init__(self, cfg: Config, *, residual: bool) -> None:
        super().__init__()
        self.heads = cfg.heads
        self.residual = residual
        self.among = (
            SelfAttention(cfg.width, heads=cfg.heads, dropout=cfg.dropout)
            if cfg.query_attention
            else None
        )
        self.query = nn.Linear(cfg.width, cfg.width)
        self.key = nn.Linear(cfg.width, cfg.width)
        self.value = nn.Linear(cfg.width, cfg.width)
        self.after = nn.LayerNorm(cfg.width)
        self.think = nn.Sequential(
            nn.Linear(cfg.width, cfg.query_ffn), nn.ReLU(), nn.Linear(cfg.query_ffn, cfg.width)
        )
        self.after_think = nn.LayerNorm(cfg.width)
        self.dropout = nn.Dropout(cfg.dropout)

    def forward(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return saliency (B,C,T), its heads averaged, and answers (B,C,d).

        Args:
            queries: (B,C,d).
            memory: (B,T,d).
        """
        if self.among is not None:
            queries = queries + self.among(queries)
        shape = (self.heads, queries.shape[2] // self.heads)
        q, k, v = (
            layer(rows).unflatten(2, shape).transpose(1, 2)
            for layer, rows in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        weights = (q @ k.transpose(2, 3) * shape[1] ** -0.5).softmax(dim=-1)
        seen = (weights @ v).transpose(1, 2).flatten(2)
        answer = self.after(self.dropout(queries) + seen if self.residual else seen)
        answer = self.after_think(answer + self.dropout(self.think(answer)))
        return weights.mean(dim=1), answer


def _residuals(cfg: Config) -> list[bool]:
    """Return for each query layer whether its answer holds the query."""
    keeps = {"all": [True, True], "first": [True, False], "none": [False, False]}[cfg.residual]
    return keeps[-cfg.query_layers :]


class ReadOut(nn.Module):
    """Answers (B,C,d) to logits (B,C): a vector and a bias for each class."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, width))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        nn.init.uniform_(self.weight, -(width**-0.5), width**-0.5)

    def forward(self, answers: Tensor) -> Tensor:
        """Return logits (B,C)."""
        return (answers * self.weight).sum(dim=2) + self.bias


class Branch(nn.Module):
    """Frames to a memory, class by class asked by one or two query layers.

    Args:
        cfg: sizes.
        features: width of a frame as it comes.
    """

    def __init__(self, cfg: Config, *, features: int) -> None:
        super().__init__()
        self.context = TemporalEncoder(
            features,
            num_frames=cfg.num_candidates,
            width=cfg.width,
            heads=cfg.heads,
            ffn=cfg.ffn,
            layers=cfg.layers,
            dropout=cfg.dropout,
            position=cfg.position,
        )
        self.layers = nn.ModuleList(QueryLayer(cfg, residual=keeps) for keeps in _residuals(cfg))
        self.read = ReadOut(cfg.num_classes, cfg.width)
        self.from_other: nn.Linear | None = None
        if cfg.interaction == "add" and cfg.branches == "both" and cfg.query_layers == 2:
            self.from_other = nn.Linear(cfg.width, cfg.width, bias=False)
            nn.init.zeros_(self.from_other.weight)  # starts as two branches of their own


class Visual(Branch):
    """How a class looks: queries that begin as the mean of its frames, then are learnt."""

    def __init__(self, cfg: Config) -> None:
        encoder, width = _preview(cfg)
        super().__init__(cfg, features=width)
        self.encoder = encoder
        self.queries = nn.Parameter(torch.randn(cfg.num_classes, cfg.width) * cfg.width**-0.5)

    def memory(self, seen: Tensor) -> Tensor:
        """Return (B,T,d) of candidates (B,T,3,H,W), or of features (B,T,D)."""
        vectors: Tensor = self.encoder(seen.flatten(0, 1))
        found: Tensor = self.context(vectors.reshape(*seen.shape[:2], vectors.shape[1]))
        return found

    def questions(self, memory: Tensor) -> Tensor:
        """Return the queries (B,C,d)."""
        return self.queries[None].repeat(memory.shape[0], 1, 1)


class Textual(Branch):
    """What a class is called: its name asks the names of the objects in a frame."""

    def __init__(self, cfg: Config, words: Words) -> None:
        super().__init__(cfg, features=cfg.word_width)
        self.top_objects, self.least_object = cfg.top_objects, cfg.least_object
        self.encoder = None if isinstance(cfg.canvas, Features) else _object_network(cfg)
        self.ask = nn.Linear(cfg.word_width, cfg.width)
        self.nothing = nn.Parameter(torch.zeros(cfg.word_width))
        wanted = ((cfg.num_classes, cfg.word_width), (cfg.num_objects, cfg.word_width))
        if (tuple(words.classes.shape), tuple(words.objects.shape)) != wanted:
            raise ValueError(
                f"words must be {wanted[0]} for classes and {wanted[1]} for objects, got "
                f"{tuple(words.classes.shape)} and {tuple(words.objects.shape)}"
            )
        self.register_buffer("class_words", words.classes.clone().float())
        self.register_buffer("object_words", words.objects.clone().float())
        self.class_words: Tensor
        self.object_words: Tensor

    def memory(self, seen: Tensor) -> Tensor:
        """Return (B,T,d) of candidates (B,T,3,H,W), or of probabilities of objects (B,T,O)."""
        probs = seen
        if self.encoder is not None:
            probs = self.objects(self.encoder, seen)
        found: Tensor = self.context(self.frame_words(probs))
        return found

    def objects(self, encoder: nn.Module, pictures: Tensor) -> Tensor:
        """Return probabilities of objects (B,T,O) in pictures (B,T,3,H,W)."""
        rows = pictures.flatten(0, 1)
        if any(p.requires_grad for p in encoder.parameters()):
            logits: Tensor = encoder(rows)
        else:
            with torch.no_grad():  # what stands still need not keep its maps
                logits = encoder(rows)
        return logits.softmax(dim=1).reshape(*pictures.shape[:2], logits.shape[1])

    def frame_words(self, probs: Tensor) -> Tensor:
        """Return the mean word (B,T,W) of the likeliest objects (B,T,O) of each frame.

        A frame without a confident object has the learnt vector ``nothing``.
        """
        best, index = probs.topk(self.top_objects, dim=-1)
        words = self.object_words[index]
        mean = (best[..., None] * words).sum(dim=2) / best.sum(dim=2, keepdim=True).clamp(min=1e-6)
        sure = (best[..., :1] >= self.least_object).to(mean)
        return sure * mean + (1 - sure) * self.nothing

    def questions(self, memory: Tensor) -> Tensor:
        """Return the queries (B,C,d)."""
        queries: Tensor = self.ask(self.class_words)
        return queries[None].repeat(memory.shape[0], 1, 1)


def ask(branches: list[Visual | Textual], memories: list[Tensor], cfg: Config) -> list[Asked]:
    """Return what each branch says, the branches telling each other between two layers."""
    queries = [b.questions(m) for b, m in zip(branches, memories, strict=True)]
    asked = [b.layers[0](q, m) for b, q, m in zip(branches, queries, memories, strict=True)]
    if cfg.query_layers == 2:
        answers = [answer for _, answer in asked]
        seen = memories
        if len(branches) == 2 and cfg.interaction == "swap":
            seen = memories[::-1]
        if len(branches) == 2 and cfg.interaction == "add":
            answers = [
                own if branch.from_other is None else own + branch.from_other(other)
                for branch, own, other in zip(branches, answers, answers[::-1], strict=True)
            ]
        asked = [b.layers[1](q, m) for b, q, m in zip(branches, answers, seen, strict=True)]
    return [Asked(s, b.read(a)) for b, (s, a) in zip(branches, asked, strict=True)]


# --- the network -------------------------------------------------------------------------------


class Sampler(nn.Module):
    """One branch or both."""

    def __init__(self, cfg: Config, words: Words) -> None:
        super().__init__()
        self.cfg = cfg
        self.visual = Visual(cfg) if "visual" in cfg.asking else None
        self.textual = Textual(cfg, words) if "textual" in cfg.asking else None

    @property
    def branches(self) -> list[Visual | Textual]:
        """Those there are, the visual one first."""
        return [branch for branch in (self.visual, self.textual) if branch is not None]

    def forward(self, *seen: Tensor) -> list[Asked]:
        """Return what each branch says.

        Args:
            seen: one for each branch; pictures (B,T,3,H,W) are the same for both.
        """
        rows = list(seen) if len(seen) == len(self.branches) else [seen[0]] * len(self.branches)
        memories = [b.memory(one) for b, one in zip(self.branches, rows, strict=True)]
        return ask(self.branches, memories, self.cfg)


class Network(nn.Module):
    """Sampler and recogniser.

    Args:
        cfg: sizes and networks.
        words: of classes and objects, for the textual branch; arbitrary ones mean nothing.
        recogniser: another one, whose weights are trained already.
    """

    def __init__(
        self,
        cfg: Config,
        *,
        words: Words | None = None,
        recogniser: FrameClassifier | None = None,
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.sampler = Sampler(cfg, arbitrary_words(cfg) if words is None else words)
        self.recogniser = _recogniser(cfg) if recogniser is None else recogniser

    def forward(
        self, frames: Tensor, preview: Tensor | None = None, objects: Tensor | None = None
    ) -> Output:
        """Return what the protocol answers, but for ``mass`` and ``min_gap``.

        Args:
            frames: uint8 (B,T,3,H,W), or stored features (B,T,D).
            preview: stored features (B,T,D) that the visual branch sees instead.
            objects: stored probabilities (B,T,O).
        """
        saliency = self.saliency(self.sampler(*self.seen(frames, preview, objects)))
        chosen = most_salient(saliency, num_frames=self.cfg.num_frames)
        frame_logits = self.recogniser.clip_logits(taken(frames, chosen))
        logits = mean_answer(frame_logits, several=self.cfg.several_labels)
        return Output(saliency=saliency, chosen=chosen, logits=logits)

    def seen(
        self, frames: Tensor, preview: Tensor | None, objects: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return what the branches see, in their order."""
        if isinstance(self.cfg.canvas, Canvas):
            return (frames,)
        rows = {"visual": frames if preview is None else preview, "textual": objects}
        found = [rows[branch] for branch in self.cfg.asking]
        return tuple(row for row in found if row is not None)

    def saliency(self, asked: list[Asked]) -> Tensor:
        """Return (B,T), as :func:`foveal.systems.tsqnet.protocol.fused` has it."""
        rows, sure = [], []
        for one in asked:
            probs = one.logits.double().sigmoid()
            best, index = probs.sort(dim=1, descending=True, stable=True)
            best, index = best[:, : self.cfg.num_asked], index[:, : self.cfg.num_asked]
            picked = scaled_rows(taken(one.saliency, index))
            rows.append((best[..., None] * picked).sum(dim=1) / best.sum(dim=1, keepdim=True))
            sure.append(best[:, :1])
        if len(rows) == 1:
            return rows[0]
        share: Tensor | float = sure[0] / (sure[0] + sure[1])
        if self.cfg.visual_share is not None:
            share = self.cfg.visual_share
        return share * rows[0] + (1 - share) * rows[1]


class SamplerPart(nn.Module):
    """Candidates to saliency (B,C,T) and logits (B,C) of each branch."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, *seen: Tensor) -> tuple[Tensor, ...]:
        """Return two tensors a branch."""
        return tuple(tensor for one in self.sampler(*seen) for tensor in one)


def make_network(cfg: Config) -> Network:
    """Return the training network of ``cfg``, with fresh weights."""
    return Network(cfg)


def build(network: Network, cfg: Config) -> dict[str, nn.Module]:
    """Return the parts of ``network``, which they share their weights with."""
    return {SAMPLER: SamplerPart(network.sampler), RECOGNISER: network.recogniser}


def set_words(network: nn.Module, words: Words) -> None:
    """Give the textual branch of ``network`` the vectors of names, in place.

    Args:
        network: a :class:`Network`.
        words: of its classes and objects.

    Raises:
        ValueError: there is no textual branch, or the shapes are others.
    """
    textual = cast(Network, network).sampler.textual
    if textual is None:
        raise ValueError("there is no textual branch to give words to")
    for own, given in ((textual.class_words, words.classes), (textual.object_words, words.objects)):
        if own.shape != given.shape:
            raise ValueError(f"words must be {tuple(own.shape)}, got {tuple(given.shape)}")
        own.copy_(given)


def _blocks(cfg: Config, size: int) -> tuple[int, int]:
    assert isinstance(cfg.canvas, Canvas)
    return cfg.canvas.height // size, cfg.canvas.width // size


def _preview(cfg: Config) -> tuple[nn.Module, int]:
    """Return what makes a vector of a candidate, and its width."""
    if isinstance(cfg.canvas, Features):
        return nn.Identity(), cfg.preview_width or cfg.feature_width
    name = "mobilenetv2" if cfg.networks == "paper" else cfg.networks
    return preview_encoder(name, size=cfg.preview_size, blocks=_blocks(cfg, cfg.preview_size))


def _object_network(cfg: Config) -> nn.Module:
    """Return what gives the logits of objects: EfficientNet where it is to know ImageNet's."""
    name = OBJECT_NETWORKS.get(cfg.networks, cfg.networks)
    blocks = _blocks(cfg, cfg.objects_at)
    return object_network(name, num_objects=cfg.num_objects, blocks=blocks)


def _recogniser(cfg: Config) -> FrameClassifier:
    return frame_recogniser(
        {"paper": "resnet50", "lite": "small"}.get(cfg.networks, cfg.networks),
        num_classes=cfg.num_classes,
        feature_width=cfg.feature_width,
        dropout=cfg.dropout,
        several=cfg.several_labels,
    )
