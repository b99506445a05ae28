"""What EAN looks at, what it notes, and how it is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.systems.ean import protocol, recipe
from foveal.systems.ean.model import Network, build
from foveal.systems.ean.protocol import PART, Config
from foveal.train import make_optimizer
from foveal.types import Canvas, ClipInfo, Look, Plan
from foveal.video import ArraySource

CLIP = ClipInfo(name="clip", duration_seconds=10.0, num_frames=100, fps=10.0)


def looked_at(cfg: Config, clip: ClipInfo) -> tuple[float, ...]:
    steps = protocol.steps(cfg, {}, clip)
    plan = next(steps)
    look = steps.send(None)
    assert isinstance(plan, Plan)
    assert isinstance(look, Look)
    assert look.times == plan.times
    return look.times


def test_five_frames_in_succession_from_the_middle_of_each_segment():
    frames = [round(t * 10 - 0.5, 6) for t in looked_at(protocol.tiny(), CLIP)]
    starts = [12, 36, 60, 84]  # the middles of four parts of the 96 places a burst may begin at
    assert frames == [start + i for start in starts for i in range(5)]


def test_without_a_motion_code_only_middles_are_looked_at():
    cfg = replace(protocol.tiny(), motion="off")
    assert [round(t * 10 - 0.5, 6) for t in looked_at(cfg, CLIP)] == [14, 38, 62, 86]


def test_a_clip_shorter_than_a_burst_repeats_its_last_frame():
    short = ClipInfo(name="clip", duration_seconds=0.3, num_frames=3, fps=10.0)
    frames = [round(t * 10 - 0.5, 6) for t in looked_at(protocol.tiny(), short)]
    assert frames == [0, 1, 2, 2, 2] * 4


def test_objects_are_noted_with_the_frame_they_are_in():
    cfg = protocol.tiny()
    torch.manual_seed(0)
    network = Network(cfg).eval()
    modules, (spec,) = build(network, cfg), protocol.parts(cfg)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 64, 64), np.uint8)
    runner = TorchRunner(modules, {PART: spec}, {PART: {(): 1}})
    job = Job(
        name="clip",
        open=lambda: ArraySource(pixels, fps=10.0),
        steps=partial(protocol.steps, cfg, {}),
    )
    (done,) = Executor(runner).run([job])
    assert isinstance(done, Outcome)
    notes = [event.detail for event in done.trace.events if event.kind == "note"]
    times = looked_at(cfg, ArraySource(pixels, fps=10.0).info)
    assert [one["time"] for one in notes] == [t for t in times[2::5] for _ in range(2)]
    with torch.no_grad():
        frames = pixels[[int(t * 10) for t in times]]
        maps = network(torch.from_numpy(frames)[None]).maps[0].numpy()
    for number, one in enumerate(notes):
        heat = np.array(one["heat"])
        assert heat.shape == (8, 8)
        assert np.abs(heat - maps[number % 2, number // 2]).max() < 1e-3
        assert heat.sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"canvas": Canvas(height=60, width=64)}, "multiples of 16 and 8 px, got 60x64"),
        ({"num_segments": 1}, "segments at least 2"),
        ({"num_heads": 5}, "no 5 equal heads"),
        ({"motion_groups": 5}, "groups must fit"),
        ({"compress": 8}, "compress must divide"),
        ({"motion": "some"}, "no such choice"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(protocol.tiny(), **changes)


# --- training -----------------------------------------------------------------------------------


def test_a_mirror_turns_left_into_right():
    mirror = recipe.Mirror(pairs=recipe.SOMETHING_PAIRS)
    frames = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    for before, after in ((86, 87), (87, 86), (93, 94), (167, 166), (5, 5)):
        turned = mirror.mirrored({"frames": frames, "label": torch.tensor(before)})
        assert int(turned["label"]) == after
        assert torch.equal(turned["frames"], frames.flip(-1))
    plain = recipe.Mirror().mirrored({"frames": frames, "label": torch.tensor(86)})
    assert int(plain["label"]) == 86


def test_the_paper_s_recipe_mirrors_half_of_the_clips_and_their_labels():
    augment = recipe.paper().augment
    frames = torch.zeros(5, 3, 240, 240, dtype=torch.uint8)
    frames[..., 120:] = 255
    labels = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        made = augment({"frames": frames, "label": torch.tensor(86)}, generator)
        assert made["frames"].shape == (5, 3, 224, 224)
        dark_left = made["frames"][..., 0].float().mean() < made["frames"][..., -1].float().mean()
        assert int(made["label"]) == (86 if dark_left else 87)
        labels.append(int(made["label"]))
    assert 10 < labels.count(87) < 30


def test_the_paper_s_groups():
    run = recipe.paper()
    (stage,) = run.stages
    with torch.device("meta"):
        network = run.network()
    optimizer = make_optimizer(network, stage)
    norms, biases, others = optimizer.param_groups
    assert (norms["lr_scale"], norms["weight_decay"]) == (1.0, 0.0)
    assert (biases["lr_scale"], biases["weight_decay"]) == (2.0, 0.0)
    assert (others["lr_scale"], others["weight_decay"]) == (1.0, 5e-4)
    names = {id(p): name for name, p in network.named_parameters()}
    in_group = [[names[id(p)] for p in group["params"]] for group in (norms, biases, others)]
    assert "transformer.position" in in_group[2]
    assert "backbone.net.layer1.0.bn1.bias" in in_group[0]
    assert "transformer.scorer.0.bias" in in_group[1]
    assert all(name.endswith("bias") for name in in_group[1])
    assert sum(map(len, in_group)) == len(names)


def test_the_learning_rate_follows_the_batch():
    (eight,), (sixteen,) = recipe.paper().stages, recipe.paper_16().stages
    assert (eight.batch_size, eight.optimizer.lr) == (64, 0.01)
    assert (sixteen.batch_size, sixteen.optimizer.lr) == (16, 0.0025)
