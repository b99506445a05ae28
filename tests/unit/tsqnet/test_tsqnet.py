"""What the sheet asks of TSQNet: rows of saliency, branches, words, what is kept, what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.cost.torch_counter import count_torch_macs
from foveal.recipe import StepContext
from foveal.sampling.salient import kept_by
from foveal.systems.tsqnet import protocol, recipe
from foveal.systems.tsqnet.model import Network, QueryLayer, Words, ask, build, words_of
from foveal.types import Features

VISUAL = protocol.features(
    num_classes=5, num_frames=3, feature_width=8, preview="preview", preview_width=6
)
TEXTUAL = replace(
    VISUAL,
    preview=None,
    preview_width=0,
    branches="textual",
    objects=Features(name="objects"),
    num_objects=12,
)
BOTH = replace(VISUAL, branches="both", objects=Features(name="objects"), num_objects=12)


def batch_of(num=7, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(num, 16, 12)).astype(np.float32)
    return {
        "frames": torch.from_numpy(rng.normal(size=(num, 16, 8)).astype(np.float32)),
        "preview": torch.from_numpy(rng.normal(size=(num, 16, 6)).astype(np.float32)),
        "objects": torch.from_numpy(logits).softmax(dim=-1),
        "label": torch.from_numpy(rng.integers(0, 5, num)),
    }


def network_of(cfg=BOTH, seed=0):
    torch.manual_seed(seed)
    return Network(cfg).eval()


def asked_of(network, batch):
    with torch.no_grad():
        seen = network.seen(batch["frames"], batch["preview"], batch["objects"])
        return network.sampler(*seen)


def context(progress=0.5):
    return StepContext(progress=progress, generator=torch.Generator().manual_seed(0))


# --- line 1: rows ------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 4])
def test_rows_sum_to_one_and_equal_a_loop_over_classes(heads) -> None:
    torch.manual_seed(0)
    cfg = replace(VISUAL, heads=heads)
    layer = QueryLayer(cfg, residual=True).eval()
    queries, memory = torch.randn(2, 5, 48), torch.randn(2, 16, 48)
    with torch.no_grad():
        rows, answers = layer(queries, memory)
        for c in range(5):
            row, answer = layer(queries[:, c : c + 1], memory)
            assert torch.allclose(row[:, 0], rows[:, c], atol=1e-6)
            assert torch.allclose(answer[:, 0], answers[:, c], atol=1e-5)
        if heads == 1:
            scores = layer.query(queries) @ layer.key(memory).transpose(1, 2) / 48**0.5
            assert torch.allclose(rows, scores.softmax(dim=-1), atol=1e-6)
    assert torch.allclose(rows.sum(dim=-1), torch.ones(2, 5), atol=1e-6)


def test_an_answer_without_its_query_comes_from_the_frames_alone() -> None:
    torch.manual_seed(0)
    layer = QueryLayer(VISUAL, residual=False).eval()
    memory = torch.randn(1, 1, 48).repeat(1, 16, 1)  # all frames alike
    with torch.no_grad():
        _, answers = layer(torch.randn(1, 5, 48), memory)
    assert torch.allclose(answers, answers[:, :1].expand(-1, 5, -1), atol=1e-5)


# --- line 2: interaction -----------------------------------------------------------------------


def test_an_interaction_of_zeros_leaves_two_branches_of_their_own() -> None:
    network, batch = network_of(), batch_of()
    both = asked_of(network, batch)
    with torch.no_grad():
        for branch, together, seen in zip(
            network.sampler.branches, both, (batch["preview"], batch["objects"]), strict=True
        ):
            (alone,) = ask([branch], [branch.memory(seen)], network.cfg)
            assert torch.equal(alone.saliency, together.saliency)
            assert torch.equal(alone.logits, together.logits)
        network.sampler.visual.from_other.weight.normal_()
    assert not torch.allclose(asked_of(network, batch)[0].logits, both[0].logits)
    assert torch.equal(asked_of(network, batch)[1].logits, both[1].logits)


def test_swap_asks_the_other_memory() -> None:
    network, batch = network_of(replace(BOTH, interaction="swap")), batch_of()
    first = asked_of(network, batch)
    other = {**batch, "objects": batch_of(seed=1)["objects"]}
    assert not torch.allclose(asked_of(network, other)[0].saliency, first[0].saliency)
    plain = network_of(replace(BOTH, interaction="none"))
    assert torch.equal(asked_of(plain, other)[0].saliency, asked_of(plain, batch)[0].saliency)


# --- lines 3 and 4: classes by themselves ------------------------------------------------------


def test_permuting_classes_permutes_logits_and_rows() -> None:
    network, batch = network_of(), batch_of()
    before = asked_of(network, batch)
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.no_grad():
        for branch in network.sampler.branches:
            branch.read.weight.copy_(branch.read.weight[order])
            branch.read.bias.copy_(branch.read.bias[order])
        network.sampler.visual.queries.copy_(network.sampler.visual.queries[order])
        words = network.sampler.textual.class_words
        words.copy_(words[order])
    for old, new in zip(before, asked_of(network, batch), strict=True):
        assert torch.allclose(new.logits, old.logits[:, order], atol=1e-5)
        assert torch.allclose(new.saliency, old.saliency[:, order], atol=1e-6)


def test_permuting_frames_permutes_columns_without_the_position_code() -> None:
    network, batch = network_of(replace(BOTH, position=False)), batch_of()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    moved = {**batch, **{n: batch[n][:, order] for n in ("preview", "objects")}}
    for old, new in zip(asked_of(network, batch), asked_of(network, moved), strict=True):
        assert torch.allclose(new.saliency, old.saliency[..., order], atol=1e-5)
        assert torch.allclose(new.logits, old.logits, atol=1e-4)


def test_the_read_out_is_of_a_class() -> None:
    network, batch = network_of(VISUAL), batch_of()
    (before,) = asked_of(network, batch)
    with torch.no_grad():
        network.sampler.visual.read.weight[2] += 1
    (after,) = asked_of(network, batch)
    changed = (after.logits != before.logits).any(dim=0)
    assert changed.tolist() == [False, False, True, False, False]


# --- line 5: words -----------------------------------------------------------------------------


def test_a_name_counts_by_its_vector_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    words = Words(torch.randn(5, 16, generator=generator), torch.randn(12, 16, generator=generator))
    torch.manual_seed(0)
    network, batch = Network(TEXTUAL, words=words).eval(), batch_of()
    (before,) = asked_of(network, batch)
    with torch.no_grad():
        network.sampler.textual.class_words[1] = words.classes[1].clone()  # a synonym
    assert torch.equal(asked_of(network, batch)[0].logits, before.logits)
    with pytest.raises(ValueError, match="words must be"):
        Network(TEXTUAL, words=Words(words.classes[:4], words.objects))


def test_frames_with_the_same_objects_are_equally_salient() -> None:
    network, batch = network_of(replace(TEXTUAL, position=False)), batch_of()
    same = batch["objects"][:, :1].repeat(1, 16, 1)
    (asked,) = asked_of(network, {**batch, "objects": same})
    assert torch.allclose(asked.saliency, torch.full_like(asked.saliency, 1 / 16), atol=1e-7)


def test_a_frame_without_a_confident_object_has_the_learnt_vector() -> None:
    textual = network_of(replace(TEXTUAL, least_object=0.5)).sampler.textual
    with torch.no_grad():
        textual.nothing.normal_()
        probs = torch.full((1, 2, 12), 0.4 / 11)
        probs[0, 0, 3] = 0.6
        probs[0, 1] = 1 / 12
        words = textual.frame_words(probs)
    best = probs[0, 0].topk(5)
    mean = (best.values[:, None] * textual.object_words[best.indices]).sum(0) / best.values.sum()
    assert torch.allclose(words[0, 0], mean, atol=1e-6)
    assert torch.equal(words[0, 1], textual.nothing)


# --- line 6 and the protocol: what is kept -----------------------------------------------------


@pytest.mark.parametrize("cfg", [VISUAL, TEXTUAL, BOTH], ids=["visual", "textual", "both"])
@pytest.mark.parametrize(("asked", "share"), [(1, None), (3, None), (1, 0.25)])
def test_network_and_protocol_agree_on_what_is_salient(cfg, asked, share) -> None:
    cfg = replace(cfg, classes_asked=asked, visual_share=share)
    network, batch = network_of(cfg), batch_of()
    with torch.no_grad():
        seen = network.seen(batch["frames"], batch["preview"], batch["objects"])
        rows = build(network, cfg)["sampler"](*seen)
        output = network(batch["frames"], batch["preview"], batch["objects"])
    for i in range(7):
        saliency, _ = protocol.fused(cfg, tuple(row[i].numpy() for row in rows))
        assert np.allclose(saliency, output.saliency[i], atol=1e-6)
        kept = kept_by(saliency, num_frames=3)
        assert kept.tolist() == output.chosen[i].tolist()


def test_all_frames_kept_are_the_dense_answer() -> None:
    network, batch = network_of(replace(VISUAL, num_frames=16)), batch_of()
    with torch.no_grad():
        output = network(batch["frames"], batch["preview"])
        probs = network.recogniser.clip_logits(batch["frames"]).softmax(-1).mean(1)
    assert torch.allclose(output.logits.softmax(1), probs, atol=1e-6)


# --- training ----------------------------------------------------------------------------------


def test_the_class_loss_is_binary_and_its_asymmetric_form_forgives() -> None:
    logits = torch.tensor([[2.0, -3.0, 0.5]])
    label = torch.tensor([0])
    target = functional.one_hot(label, 3).float()
    plain = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    found = recipe.class_loss(logits, label, told=recipe.PLAIN)
    assert found.item() == pytest.approx(plain.item(), rel=1e-6)
    told = recipe.QueryLoss(focus=4.0, clip=0.05)
    p = np.maximum(1 / (1 + np.exp([3.0, -0.5])) - 0.05, 0)
    wanted = np.log1p(np.exp(-2.0)) - (p**4 * np.log(1 - p)).sum()
    assert recipe.class_loss(logits, label, told=told).item() == pytest.approx(wanted, rel=1e-5)


def test_disagreement_is_zero_for_equals_and_log_two_for_strangers() -> None:
    one = torch.eye(16)[:2]
    assert recipe.disagreement(one, one).item() == pytest.approx(0, abs=1e-7)
    assert recipe.disagreement(one[:1], one[1:]).item() == pytest.approx(np.log(2), rel=1e-5)


def test_queries_begin_as_the_means_of_their_classes() -> None:
    network, batch = network_of(), batch_of()
    before = network.sampler.visual.queries.detach().clone()
    recipe.sampler_loss(network, batch, context(progress=0.5))
    assert torch.equal(network.sampler.visual.queries, before)
    recipe.sampler_loss(network, batch, context(progress=0.0))
    with torch.no_grad():
        memory = network.sampler.visual.memory(batch["preview"]).mean(dim=1)
    for label in range(5):
        rows = memory[batch["label"] == label]
        wanted = functional.normalize(rows.sum(0), dim=0) if len(rows) else before[label]
        assert torch.allclose(network.sampler.visual.queries[label], wanted, atol=1e-5)


def test_the_recogniser_is_not_touched_and_no_frame_needs_a_label() -> None:
    network, batch = network_of(), batch_of()
    told = recipe.QueryLoss(agreement=0.1)
    loss = recipe.sampler_loss(network, batch, context(), told=told)
    assert set(loss) == {"loss", "visual", "textual", "disagreement"}
    loss["loss"].backward()
    assert all(p.grad is None for p in network.recogniser.parameters())
    for name in ("visual", "textual"):
        branch = getattr(network.sampler, name)
        assert branch.read.weight.grad.abs().sum() > 0


# --- line 10: what it costs --------------------------------------------------------------------


def test_cost_of_the_papers_networks_adds_up() -> None:
    cfg = protocol.paper()
    with torch.device("meta"):
        network = Network(cfg)
        parts = build(network, cfg)
        candidates = torch.empty(1, 16, 3, 224, 224, dtype=torch.uint8)
        whole = count_torch_macs(parts["sampler"], candidates)
        sampler = network.sampler
        previews = sum(
            count_torch_macs(net, candidates[0])
            for net in (sampler.visual.encoder, sampler.textual.encoder)
        )
        recogniser = count_torch_macs(parts["recogniser"], candidates[:, 0])
    asking = 16 * 512 * (1280 + 384)  # the linear layers before the transformer
    asking += 2 * (16 * (4 * 512**2 + 2 * 512 * 2048) + 2 * 16**2 * 512)
    layer = 200 * 512**2 + 2 * 16 * 512**2 + 2 * 200 * 16 * 512 + 2 * 200 * 512 * 512
    asking += 4 * layer + 2 * 200 * 512**2 + 200 * 384 * 512
    assert whole - previews == pytest.approx(asking, rel=0.01)
    assert previews == pytest.approx(16 * (0.082e9 + 0.107e9), rel=0.05)
    assert recogniser == pytest.approx(4.1e9, rel=0.01)


def test_words_of_names_fill_the_textual_branch() -> None:
    def encode(texts):
        rng = np.random.default_rng(0)
        table = {text: rng.normal(size=16) for text in sorted(set(texts))}
        return np.stack([table[text] for text in texts])

    names = ["HighJump", "run", "walk", "sit", "high_jump"]
    words = words_of(names, [f"object {i}" for i in range(12)], encode=encode)
    assert torch.equal(words.classes[0], words.classes[4])
    network = Network(TEXTUAL, words=words)
    assert torch.equal(network.sampler.textual.class_words, words.classes)
    assert torch.equal(network.sampler.textual.object_words, words.objects)


# --- several labels ----------------------------------------------------------------------------


def several_of(batch):
    label = functional.one_hot(batch["label"], 5).float()
    label[::2, 0] = 1
    return {**batch, "label": label}


def test_of_several_classes_the_three_likeliest_ask() -> None:
    cfg = replace(VISUAL, several_labels=True)
    assert (VISUAL.num_asked, cfg.num_asked) == (1, 3)
    assert replace(cfg, classes_asked=2).num_asked == 2
    network, batch = network_of(cfg), batch_of()
    with torch.no_grad():
        seen = network.seen(batch["frames"], batch["preview"], None)
        rows = build(network, cfg)["sampler"](*seen)
        output = network(batch["frames"], batch["preview"])
    saliency, asked = protocol.fused(cfg, tuple(row[0].numpy() for row in rows))
    assert asked.count("class") == 3
    assert np.allclose(saliency, output.saliency[0], atol=1e-6)


def test_the_class_loss_of_several_counts_every_class_as_it_is() -> None:
    logits = torch.tensor([[2.0, -3.0, 0.5]])
    label = torch.tensor([[1.0, 0.0, 1.0]])
    plain = functional.binary_cross_entropy_with_logits(logits, label, reduction="sum")
    found = recipe.class_loss(logits, label, told=recipe.PLAIN)
    assert found.item() == pytest.approx(plain.item(), rel=1e-6)


def test_branches_agree_on_every_class_and_queries_begin_with_every_video() -> None:
    network, batch = network_of(), several_of(batch_of())
    label = batch["label"]
    told = recipe.QueryLoss(agreement=1.0)
    found = recipe.sampler_loss(network, batch, context(progress=0.0), told=told)
    with torch.no_grad():
        memory = network.sampler.visual.memory(batch["preview"]).mean(dim=1)
        asked = network.sampler(*network.seen(batch["frames"], batch["preview"], batch["objects"]))
    wanted = functional.normalize(memory[label[:, 0] > 0].sum(0), dim=0)
    assert torch.allclose(network.sampler.visual.queries[0], wanted, atol=1e-5)
    pairs = [(i, k) for i in range(7) for k in range(5) if label[i, k] > 0]
    each = [
        recipe.disagreement(*(one.saliency[i, k][None] for one in asked)).item() for i, k in pairs
    ]
    assert found["disagreement"].item() == pytest.approx(np.mean(each), rel=1e-4)
