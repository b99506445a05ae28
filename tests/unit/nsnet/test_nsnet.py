"""What the sheet asks of NSNet: targets, both modules, what is kept, what it costs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.torch_runner import TorchRunner
from foveal.recipe import StepContext
from foveal.sampling.salient import kept_by
from foveal.systems.nsnet import protocol, recipe
from foveal.systems.nsnet.model import Network, build, weighted_mean
from foveal.train import ArrayData, Running, fit
from foveal.types import ClipInfo
from foveal.video import FeatureSource

CFG = protocol.features(
    num_classes=5, num_frames=3, feature_width=8, preview="preview", preview_width=6
)


def batch_of(num=7, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "frames": torch.from_numpy(rng.normal(size=(num, 16, 8)).astype(np.float32)),
        "preview": torch.from_numpy(rng.normal(size=(num, 16, 6)).astype(np.float32)),
        "label": torch.from_numpy(rng.integers(0, 5, num)),
    }


def network_of(cfg=CFG, seed=0):
    torch.manual_seed(seed)
    return Network(cfg).eval()


def of_label(scores, label):
    """What (B,T,C) says of the one class of each video, (B,T)."""
    return torch.stack([row[:, k] for row, k in zip(scores, label, strict=True)])


def context(seed=0):
    return StepContext(progress=0.5, generator=torch.Generator().manual_seed(seed))


# --- line 1: targets ---------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["confidence", "prototype"])
def test_a_target_sums_to_one_best_has_no_background_worst_nothing_else(source) -> None:
    network, batch = network_of(), batch_of()
    scores = recipe.frame_scores(network, batch, source=source)
    target = recipe.frame_targets(scores, batch["label"], told=recipe.PAPER_SUPERVISION)
    scores = of_label(scores, batch["label"])
    assert torch.allclose(target.sum(dim=-1), torch.ones(7, 16))
    rows = torch.arange(7)
    assert target[rows, scores.argmax(dim=1), -1].max() < 1e-6
    assert torch.equal(target[rows, scores.argmin(dim=1), -1], torch.ones(7))
    others = torch.ones(7, 6, dtype=torch.bool)
    others[rows, batch["label"]] = others[:, -1] = False
    assert target.transpose(1, 2)[others].abs().max() == 0


def test_hard_targets_and_damped_ones() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.5, 0.5, 0.5]])[..., None]
    hard = recipe.normalised(scores, told=recipe.Supervision(hard=True))[..., 0]
    assert hard.tolist() == [[1, 1, 0], [0, 0, 0]]
    damped = recipe.normalised(scores, told=recipe.Supervision(damp=True))[..., 0]
    assert damped[0].tolist() == pytest.approx([1.0, 0.9, 0.2])
    assert damped[1].tolist() == [1, 1, 1]  # nothing stands out: nothing is background


def test_prototypes_are_confidence_weighted_means() -> None:
    network, batch = network_of(), batch_of()
    with torch.no_grad():
        vectors = network.recogniser.clip_vectors(batch["frames"])
        probs = network.recogniser.head(vectors).softmax(dim=-1)
    every = recipe.frame_scores(network, batch, source="prototype")
    found = of_label(every, batch["label"])
    for i, label in enumerate(batch["label"]):
        same = batch["label"] == label
        weights = probs[same][..., label]
        mean = (weights[..., None] * vectors[same]).sum((0, 1)) / weights.sum()
        near = functional.cosine_similarity(vectors[i], mean[None], dim=-1)
        assert torch.allclose(found[i], near, atol=1e-5)


# --- line 2: the video module ------------------------------------------------------------------


def test_full_attention_is_the_mean_and_its_rest_is_finite() -> None:
    frames = torch.randn(2, 16, 4, requires_grad=True)
    whole = torch.ones(2, 16, requires_grad=True)
    assert torch.allclose(weighted_mean(frames, whole), frames.mean(dim=1), atol=1e-6)
    rest = weighted_mean(frames, 1 - whole)
    assert rest.isfinite().all()
    functional.cross_entropy(rest, torch.tensor([3, 3])).backward()
    assert whole.grad.isfinite().all()
    assert frames.grad.isfinite().all()


def test_loss_is_what_it_says() -> None:
    network, batch = network_of(), batch_of()
    told = recipe.Supervision(mu=0.3, guidance=0.2, sparsity=0.1)
    found = recipe.sampler_loss(network, batch, context(), told=told)
    scored = network.sampler(batch["preview"])
    every = recipe.frame_scores(network, batch, source="confidence")
    scores = of_label(every, batch["label"])
    salient = (scores - scores.amin(1, keepdim=True)) / (
        scores.amax(1, keepdim=True) - scores.amin(1, keepdim=True)
    )
    logs = scored.frame_logits.log_softmax(-1)
    frame = -(salient * of_label(logs, batch["label"]) + (1 - salient) * logs[..., -1]).mean()
    video = functional.cross_entropy(scored.salient, batch["label"])
    rest = functional.cross_entropy(scored.rest, torch.full((7,), 5))
    guided = (scored.attention - salient).square().sum(1).mean()
    wanted = frame + video + 0.3 * rest + 0.2 * guided + 0.1 * scored.attention.mean()
    assert found["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_without_background_no_frame_is_pushed_away() -> None:
    network, batch = network_of(), batch_of()
    told = recipe.Supervision(background=False)
    found = recipe.sampler_loss(network, batch, context(), told=told)
    scored = network.sampler(batch["preview"])
    labels = batch["label"].repeat_interleave(16)
    frame = functional.cross_entropy(scored.frame_logits.flatten(0, 1), labels)
    video = functional.cross_entropy(scored.salient, batch["label"])
    assert found["loss"].item() == pytest.approx((frame + video).item(), rel=1e-5)


# --- lines 3 and 5: what is kept ---------------------------------------------------------------


def test_saliency_follows_a_permutation_without_the_position_code() -> None:
    network = network_of(replace(CFG, position=False))
    preview = batch_of()["preview"]
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = network.saliency(network.sampler(preview))
        moved = network.saliency(network.sampler(preview[:, order]))
        with_code = network_of().sampler(preview[:, order]).attention
    assert torch.allclose(moved, plain[:, order], atol=1e-5)
    assert not torch.allclose(with_code, network_of().sampler(preview).attention[:, order])


@pytest.mark.parametrize("fusion", ["sum", "product"])
@pytest.mark.parametrize("which", ["foreground", "class"])
def test_network_and_protocol_agree_on_what_is_salient(fusion, which) -> None:
    cfg = replace(CFG, fusion=fusion, frame_saliency=which, beta=0.3)
    network, batch = network_of(cfg), batch_of()
    with torch.no_grad():
        rows = build(network, cfg)["sampler"](batch["preview"])
        output = network(batch["frames"], batch["preview"])
    for i in range(7):
        saliency = protocol.fused(cfg, *(row[i].numpy() for row in rows))
        assert np.allclose(saliency, output.saliency[i], atol=1e-6)
        kept = kept_by(saliency, num_frames=3)
        assert kept.tolist() == output.chosen[i].tolist()
        assert len(set(kept.tolist())) == 3


def test_all_frames_kept_are_the_dense_answer() -> None:
    network, batch = network_of(replace(CFG, num_frames=16)), batch_of()
    with torch.no_grad():
        output = network(batch["frames"], batch["preview"])
        probs = network.recogniser.clip_logits(batch["frames"]).softmax(-1).mean(1)
    assert output.chosen.tolist() == [list(range(16))] * 7
    assert torch.allclose(output.logits.softmax(1), probs, atol=1e-6)


def test_a_long_file_is_previewed_by_its_keyframes() -> None:
    keys = tuple(float(t) for t in range(0, 600, 4))
    clip = ClipInfo(
        name="long",
        duration_seconds=600.0,
        num_frames=15_000,
        fps=25.0,
        height=240,
        width=320,
        keyframe_seconds=keys,
    )
    plan = next(protocol.steps(protocol.tiny(), {}, clip))
    assert plan.keyframes
    assert len(plan.times) == 16
    assert set(plan.times) <= set(keys)


# --- lines 4 and 6: whose weights move, what it costs -------------------------------------------


def test_the_recogniser_is_not_touched_by_the_sampler() -> None:
    network, batch = network_of(), batch_of()
    sampler = recipe.features().stages[1]
    assert [group.prefixes for group in sampler.trains] == [("sampler",)]
    assert sampler.eval_modules == ("recogniser",)
    recipe.sampler_loss(network, batch, context())["loss"].backward()
    assert all(p.grad is None for p in network.recogniser.parameters())
    assert any(p.grad.abs().sum() > 0 for p in network.sampler.parameters() if p.grad is not None)


def test_another_recogniser_may_be_given() -> None:
    given = network_of().recogniser
    assert Network(CFG, recogniser=given).recogniser is given


def test_the_papers_networks_cost_what_is_published() -> None:
    cfg = protocol.paper()
    with torch.device("meta"):
        network = Network(cfg)
        parts = build(network, cfg)
        shape = (3, cfg.canvas.height, cfg.canvas.width)
        candidates = torch.empty(1, 16, *shape, dtype=torch.uint8)
        sampler = count_torch_macs(parts["sampler"], candidates)
        recogniser = count_torch_macs(parts["recogniser"], candidates[:, 0])
    assert sampler + 6 * recogniser == pytest.approx(26.0e9, abs=0.3e9)
    assert sampler < 0.2 * 16 * recogniser


@pytest.mark.parametrize("kept", [1, 6, 16])
def test_the_sampler_is_asked_once_however_many_are_kept(kept) -> None:
    cfg = replace(CFG, num_frames=kept)
    network, batch = network_of(cfg), batch_of()
    parts = build(network, cfg)
    seconds = np.arange(16) + 0.5
    views = {
        "features": (seconds, batch["frames"][0].numpy()),
        "preview": (seconds, batch["preview"][0].numpy()),
    }
    source = FeatureSource(views, duration_seconds=16.0, name="clip")
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    runner = TorchRunner(parts, specs, {name: {(): 1} for name in specs})
    job = Job(name="clip", open=lambda: source, steps=partial(protocol.steps, cfg, {}))
    (done,) = Executor(runner, fetch_threads=0).run([job])
    assert done.cost.macs == {"sampler": 1, "recogniser": kept}


def test_keyframes_are_previewed_only_where_there_is_one_for_each_candidate() -> None:
    keys = tuple(float(t) for t in range(0, 120, 10))
    clip = ClipInfo(
        name="sparse",
        duration_seconds=120.0,
        num_frames=3_000,
        fps=25.0,
        height=480,
        width=640,
        keyframe_seconds=keys,
    )
    plan = next(protocol.steps(protocol.tiny(), {}, clip))
    assert not plan.keyframes
    assert len(set(plan.times)) == 16


def test_rounding_is_no_saliency() -> None:
    cfg = replace(CFG, beta=1.0)
    network = network_of(cfg)
    scored = network.sampler(batch_of()["preview"])
    logits = torch.zeros_like(scored.frame_logits)
    logits[..., 0] = 20 + torch.rand(logits.shape[:2]) * 15  # no frame looks like background
    saliency = network.saliency(scored._replace(frame_logits=logits))
    assert saliency.abs().max() == 0
    probs = logits.softmax(dim=-1).numpy()
    told = protocol.fused(cfg, probs[0], scored.attention[0].detach().numpy(), np.zeros(6))
    assert np.abs(told).max() == 0


# --- pseudo labels by who has not seen the video ------------------------------------------------

FOLDED = replace(CFG, num_folds=2)


def numbered(numbers: list[int]) -> dict[str, torch.Tensor]:
    return {**batch_of(len(numbers)), "number": torch.tensor(numbers)}


def test_a_folds_recogniser_learns_from_the_videos_of_the_other_folds_alone() -> None:
    network = network_of(FOLDED)
    recipe.folds_loss(network, numbered([0, 2, 4]), context())["loss"].backward()
    first, second = network.fold_recognisers
    assert all(p.grad is None for p in first.parameters())
    assert all(p.grad.abs().sum() > 0 for p in second.parameters())
    assert all(p.grad is None for p in network.recogniser.parameters())


@pytest.mark.parametrize("source", ["confidence", "prototype"])
def test_a_video_is_labelled_by_the_recogniser_that_never_saw_it(source) -> None:
    """Each fold is scored as if its recogniser and its videos were all there is."""
    network, batch = network_of(FOLDED), numbered([4, 1, 2, 8, 3, 7, 6])
    found = recipe.frame_scores(network, batch, source=source)
    for i, recogniser in enumerate(network.fold_recognisers):
        mine = batch["number"] % 2 == i
        alone = Network(CFG, recogniser=recogniser).eval()
        some = {name: rows[mine] for name, rows in batch.items()}
        assert torch.equal(found[mine], recipe.frame_scores(alone, some, source=source))
    plain = network_of()
    plain.recogniser = network.recogniser
    assert not torch.allclose(found, recipe.frame_scores(plain, batch, source=source))


def test_folds_are_a_stage_between_recogniser_and_sampler() -> None:
    plain, folded = recipe.features(cfg=CFG), recipe.features(cfg=FOLDED)
    assert [stage.name for stage in plain.stages] == ["recogniser", "sampler"]
    assert [stage.name for stage in folded.stages] == ["recogniser", "folds", "sampler"]
    assert folded.stages[2].eval_modules == ("recogniser", "fold_recognisers")
    with pytest.raises(ValueError, match="num_folds"):
        replace(CFG, num_folds=1)
    pretrained = recipe.paper(cfg=replace(protocol.paper(), num_folds=2)).pretrained
    assert sum(name.startswith("fold_recognisers.") for name in pretrained) == 2


def test_a_run_with_folds_moves_in_each_stage_what_that_names(tmp_path: Path) -> None:
    batch = batch_of(12)
    data = ArrayData({name: rows.numpy() for name, rows in batch.items()})
    run = recipe.features(cfg=FOLDED, recogniser_steps=3, sampler_steps=3)
    stages = tuple(replace(stage, batch_size=4, warmup_steps=0) for stage in run.stages)
    fit(
        replace(run, stages=stages),
        data,
        out=tmp_path / "run",
        seed=0,
        validation=data,
        running=Running(device="cpu", tensorboard=False),
    )
    left = [
        load_file(tmp_path / "run" / f"{name}.safetensors")
        for name in ("recogniser", "folds", "sampler")
    ]
    for (before, after), prefix in zip(
        pairwise(left), ("fold_recognisers", "sampler"), strict=True
    ):
        moved = {name.partition(".")[0] for name in before if not before[name].equal(after[name])}
        assert moved == {prefix}


# --- several labels ----------------------------------------------------------------------------


def several_of(batch):
    label = functional.one_hot(batch["label"], 5).float()
    label[::2, 0] = 1
    return {**batch, "label": label}


def test_of_several_labels_each_has_its_mass_and_the_background_the_rest() -> None:
    scores = torch.tensor([[[0.9, 0.1, 0.5], [0.1, 0.6, 0.9], [0.5, 0.35, 0.1]]])
    label = torch.tensor([[1.0, 1.0, 0.0]])
    target = recipe.frame_targets(scores, label, told=recipe.PAPER_SUPERVISION)
    wanted = [[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0.5]]
    assert target[0].tolist() == [pytest.approx(row) for row in wanted]


def test_one_label_told_as_several_has_the_targets_of_one() -> None:
    network, batch = network_of(), batch_of()
    scores = recipe.frame_scores(network, batch, source="confidence")
    told = recipe.PAPER_SUPERVISION
    hot = functional.one_hot(batch["label"], 5).float()
    one = recipe.frame_targets(scores, batch["label"], told=told)
    assert torch.equal(recipe.frame_targets(scores, hot, told=told), one)


def test_the_loss_of_several_is_binary_for_classes_and_background() -> None:
    network = network_of(replace(CFG, several_labels=True))
    batch = several_of(batch_of())
    label = batch["label"]
    found = recipe.sampler_loss(network, batch, context(), told=recipe.Supervision(mu=0.3))
    scored = network.sampler(batch["preview"])
    with torch.no_grad():
        scores = network.recogniser.clip_logits(batch["frames"]).sigmoid()
    lowest, highest = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    salient = (scores - lowest) / (highest - lowest) * label[:, None]
    target = torch.cat([salient, 1 - salient.amax(2, keepdim=True)], dim=2)
    binary = functional.binary_cross_entropy_with_logits
    frame = binary(scored.frame_logits, target, reduction="sum") / (7 * 16)
    video = binary(scored.salient[:, :5], label, reduction="sum") / 7
    video = video + functional.softplus(scored.salient[:, 5]).mean()
    rest = functional.softplus(scored.rest[:, :5]).sum(1).mean()
    rest = rest + functional.softplus(-scored.rest[:, 5]).mean()
    assert found["loss"].item() == pytest.approx((frame + video + 0.3 * rest).item(), rel=1e-5)


@pytest.mark.parametrize("source", ["confidence", "prototype"])
def test_prototypes_of_several_labels_take_every_video_that_shows_them(source) -> None:
    network = network_of(replace(CFG, several_labels=True))
    batch = several_of(batch_of())
    found = recipe.frame_scores(network, batch, source=source)
    assert found.shape == (7, 16, 5)
    with torch.no_grad():
        vectors = network.recogniser.clip_vectors(batch["frames"])
        probs = network.recogniser.head(vectors).sigmoid()
    if source == "confidence":
        assert torch.allclose(found, probs)
        return
    weights = probs[..., 0] * batch["label"][:, None, 0]
    mean = (weights[..., None] * vectors).sum((0, 1)) / weights.sum()
    near = functional.cosine_similarity(vectors, mean[None, None], dim=-1)
    assert torch.allclose(found[..., 0], near, atol=1e-5)
