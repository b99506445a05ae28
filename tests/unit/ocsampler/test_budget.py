"""The budget that a video decides: what it learns, what it takes, that it never exceeds the cap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.export.bundle import export_parts
from foveal.recipe import StepContext
from foveal.sampling.choose import top_k_in_order
from foveal.systems.ocsampler import protocol, recipe
from foveal.systems.ocsampler.model import Network, build
from foveal.train import configure
from foveal.video import ArraySource

CFG = replace(protocol.tiny(num_classes=5, num_frames=4), budget="video", frame_counts=(1, 2, 3, 4))


def frames_of(num=6, seed=0):
    rng = np.random.default_rng(seed)
    brightest = np.linspace(20, 255, num)[:, None, None, None, None]
    return (rng.random((num, 10, 3, 32, 32)) * brightest).astype(np.uint8)


def network_of(cfg=CFG, seed=0):
    torch.manual_seed(seed)
    network = Network(cfg).eval()
    if network.counter is not None:
        with torch.no_grad():
            for module in network.counter.modules():
                if isinstance(module, nn.Linear):
                    module.weight.mul_(8)  # so that videos differ in what they are given
    return network


class Told(nn.Module):
    """A classifier that is as sure of class 0 as there are frames, and right from three on."""

    def forward(self, frames):
        sure = 0.2 * frames.shape[1]
        rest = (1 - sure) / 4
        probs = torch.full((len(frames), 5), rest)
        probs[:, 0] = sure
        return probs.log()


@pytest.mark.parametrize(
    ("label", "enough", "wanted"),
    [
        (0, 0.3, 2),  # right and sure with two
        (0, 0.7, 4),
        (0, 0.9, 4),  # never: where it gives the label most
        (1, 0.3, 1),  # never right: likewise
    ],
)
def test_a_video_needs_the_fewest_frames_that_do(label, enough, wanted) -> None:
    frames = torch.from_numpy(frames_of(num=1))
    target = recipe.count_targets(
        Told(),
        frames,
        torch.randn(1, 10),
        torch.tensor([label]),
        counts=(1, 2, 3, 4),
        enough=enough,
    )
    assert (1, 2, 3, 4)[int(target)] == wanted


def test_only_the_head_learns_in_its_stage() -> None:
    stages = recipe.tiny(cfg=CFG).stages
    assert [stage.name for stage in stages] == ["classifier", "sampler", "budget"]
    assert [stage.name for stage in recipe.tiny().stages] == ["classifier", "sampler"]
    assert stages[-1].trains[0].prefixes == ("counter",)
    network = network_of()
    batch = {"frames": torch.from_numpy(frames_of()), "label": torch.arange(6) % 5}
    context = StepContext(progress=0.0, generator=torch.Generator())
    recipe.count_loss(network, batch, context)["loss"].backward()
    assert all(p.grad is None for p in network.classifier.parameters())
    assert any(p.grad.abs().sum() > 0 for p in network.counter.parameters())


@pytest.fixture(scope="module")
def tables():
    exported = export_parts(build(network_of(), CFG), protocol.parts(CFG))
    return {one.part.spec.name: one.part.macs for one in exported}


def run(cfg, network, tables):
    modules, specs = build(network, cfg), protocol.parts(cfg)
    runner = TorchRunner(modules, {spec.name: spec for spec in specs}, tables)
    jobs = [
        Job(
            name=str(i),
            open=lambda clip=clip: ArraySource(clip, fps=10.0),
            steps=lambda clip: protocol.steps(cfg, {}, clip),
        )
        for i, clip in enumerate(frames_of())
    ]
    found = [one for one in Executor(runner).run(jobs) if isinstance(one, Outcome)]
    return sorted(found, key=lambda one: one.index)


@pytest.mark.parametrize("mass", [0.0, 0.3, 0.9, 1.0])
def test_every_video_pays_for_what_it_is_given_and_none_exceeds_the_cap(mass, tables) -> None:
    cfg = replace(CFG, count_mass=mass)
    network = network_of(cfg)
    outcomes = run(cfg, network, tables)
    with torch.no_grad():
        frames = torch.from_numpy(frames_of())
        output = network(frames)
        counts = network.counts(frames).numpy()
    given = [protocol.count_of(cfg, row) for row in counts]
    skim = tables["skim"][()]
    classifier = {dict(key)["frames"]: macs for key, macs in tables["classifier"].items()}
    for i, one in enumerate(outcomes):
        assert 1 <= given[i] <= cfg.num_frames
        assert one.cost.total_macs == skim + classifier[given[i]]
        looked = [e.detail for e in one.trace.events if e.kind == "look"][-1]["seconds"]
        chosen = top_k_in_order(output.frame_logits[i].numpy(), given[i])
        assert [int(t * 10) for t in looked] == chosen.tolist()
        probs = output.logits[i].softmax(0).numpy()
        assert np.allclose(one.answer.probs, probs, atol=1e-5)
    if mass == 0.9:
        assert len(set(given)) > 1
    if mass == 1.0:
        assert given == [cfg.num_frames] * 6


def test_more_certainty_is_never_fewer_frames() -> None:
    points = protocol.operating_points(CFG)
    masses = [p.settings["count_mass"] for p in points if p.family == "policy"]
    assert masses == sorted(masses, reverse=True)
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.normal(size=4)
        given = [protocol.count_of(replace(CFG, count_mass=mass), logits) for mass in masses]
        assert given == sorted(given, reverse=True)


def test_a_fixed_budget_has_no_head() -> None:
    network = network_of(protocol.tiny())
    assert network.counter is None
    with pytest.raises(ValueError, match="head"):
        network.counts(torch.from_numpy(frames_of()))


@pytest.mark.parametrize("settings", [{"budget": "video"}, {"budget": "video", "budget.steps": 7}])
def test_the_command_line_can_ask_for_it(settings) -> None:
    found = configure(recipe.tiny, num_classes=3, num_samples=50, settings=settings)
    steps = {stage.name: stage.steps for stage in found.recipe.stages}
    assert list(steps) == ["classifier", "sampler", "budget"]
    assert steps["budget"] == settings.get("budget.steps", 600)


def test_the_papers_settings_can_give_a_video_a_single_frame() -> None:
    cfg = replace(protocol.activitynet(), budget="video")
    assert cfg.frame_counts[0] == 1
    assert cfg.num_frames in cfg.frame_counts
    given = [spec for spec in protocol.parts(cfg) if spec.axes]
    assert any(1 in values for spec in given for values in spec.axes.values())
