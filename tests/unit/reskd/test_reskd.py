"""ResKD as its sheet asks: the teacher gets no gradient, the student pays alone, sizes add up."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job, Outcome
from foveal.engine.torch_runner import TorchRunner
from foveal.recipe import Recipe, StepContext
from foveal.systems.reskd import model, protocol, recipe
from foveal.systems.reskd.model import Network
from foveal.systems.reskd.protocol import Config
from foveal.train import make_optimizer, set_modes
from foveal.types import Canvas
from foveal.video import ArraySource

SMALL_BACKBONES = ("conv4", "conv4_shift", "conv4_3d", "swin_toy")
CONFIGS = (
    protocol.paper,
    protocol.mini_kinetics,
    protocol.something_something,
    protocol.kinetics_slowonly,
    protocol.kinetics_swin,
    protocol.tiny,
)
RECIPES = (
    recipe.paper,
    recipe.mini_kinetics,
    recipe.something_something,
    recipe.kinetics_slowonly,
    recipe.kinetics_swin,
    recipe.tiny,
)
CONTEXT = StepContext(progress=0.0, generator=torch.Generator())


def make_batch(cfg: Config, *, size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    large = cfg.train_canvas
    shape = (size, cfg.num_frames, 3, large.height, large.width)
    frames = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    label = torch.randint(0, cfg.num_classes, (size,), generator=generator)
    return {"frames": frames, "label": label}


def make_network(cfg: Config | None = None, *, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(cfg or protocol.tiny())


# --- the teacher ------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_the_teacher_gets_no_gradient_and_moves_only_its_statistics(norm: Any) -> None:
    network = make_network()
    stage = recipe.tiny(teacher_norm=norm).stages[1]
    before = copy.deepcopy(network.teacher.state_dict())
    optimizer = make_optimizer(network, stage)
    set_modes(network, stage)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in network.student.parameters()}
    stage.loss(network, make_batch(network.cfg), CONTEXT)["loss"].backward()
    optimizer.step()
    for name, parameter in network.teacher.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    running = [k for k in before if k.endswith("running_mean")]
    moved = [not torch.equal(network.teacher.state_dict()[k], before[k]) for k in running]
    assert len(moved) == 4
    assert all(moved) if norm == "batch" else not any(moved)
    assert all(p.grad is not None for p in network.student.parameters())


def test_weight_zero_is_the_undistilled_student_bit_for_bit() -> None:
    cfg = replace(protocol.tiny(), dropout=0.5)
    seen = []
    for loss in (recipe.train_alone, recipe.distil(weight=0.0)):
        network = make_network(cfg)
        optimizer = torch.optim.SGD(network.student.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(7)
        for step in range(3):
            optimizer.zero_grad()
            loss(network, make_batch(cfg, seed=step), CONTEXT)["loss"].backward()
            optimizer.step()
        seen.append(network.student.state_dict())
    assert all(torch.equal(seen[0][key], seen[1][key]) for key in seen[0])


def test_the_part_is_the_student_alone() -> None:
    network = make_network().eval()
    (part,) = model.build(network, network.cfg).values()
    assert not [key for key in part.state_dict() if "teacher" in key]
    assert {id(p) for p in part.parameters()} == {id(p) for p in network.student.parameters()}
    small = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(part.eval()(small), network(small))


def test_large_pictures_are_made_small_as_the_canvas_does() -> None:
    """The area canvas is the paper's resize, but for the rounding of its levels."""
    network = make_network().eval()
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    blocks = frames.reshape(4, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    source = ArraySource(frames, fps=4.0)
    (outcome,) = run(network, [source])
    large = network(torch.from_numpy(frames)[None])
    small = network(torch.from_numpy(np.floor(blocks + 0.5).astype(np.uint8))[None])
    assert torch.allclose(large, small, atol=1e-3)
    probs = torch.from_numpy(outcome.answer.probs)[None]
    assert torch.allclose(large.double().softmax(dim=1), probs, atol=1e-3)


def run(network: Network, sources: list[ArraySource]) -> list[Outcome]:
    specs = {spec.name: spec for spec in protocol.parts(network.cfg)}
    parts = model.build(network, network.cfg)
    runner = TorchRunner(parts, specs, {name: {(): 1} for name in specs})
    jobs = [
        Job(
            name=str(i),
            open=lambda source=source: source,
            steps=lambda clip: protocol.steps(network.cfg, {}, clip),
        )
        for i, source in enumerate(sources)
    ]
    done = list(Executor(runner).run(jobs))
    assert all(isinstance(outcome, Outcome) for outcome in done)
    return done  # type: ignore[return-value]


def test_one_plan_one_look_one_call_one_answer() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 3, 48, 64), dtype=np.uint8)
    (outcome,) = run(make_network(), [ArraySource(frames, fps=10.0)])
    assert [event.kind for event in outcome.trace.events] == ["plan", "look", "call", "answer"]
    look = outcome.trace.events[1].detail
    assert look["size"] == [32, 32]
    assert look["seconds"] == [0.2, 0.7, 1.2, 1.7]
    assert outcome.cost.frames_used == 4


# --- what is compared -------------------------------------------------------------------------


def test_classes_come_from_the_small_map_not_from_the_enlarged_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A map of 7x7, as in the paper: doubling 4x4 would leave the mean as it is.
    large = replace(protocol.tiny().train_canvas, height=56, width=56)
    network = make_network(replace(protocol.tiny(), train_canvas=large)).eval()
    nn.init.normal_(network.student.head.weight)
    frames = make_batch(network.cfg)["frames"]
    seen = network.distil(frames)
    mixed_up = network.student.classify(seen.upsampled)
    assert float((mixed_up - seen.logits).abs().max().detach()) > 1e-3
    plain = model.resize

    def nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
        if size == (32, 32):
            return plain(maps, size)
        flat = F.interpolate(maps.flatten(1, 2), size=size, mode="nearest")
        return flat.reshape(*maps.shape[:3], *size)

    monkeypatch.setattr(model, "resize", nearest)
    other = network.distil(frames)
    assert torch.equal(other.logits, seen.logits)
    assert not torch.equal(other.upsampled, seen.upsampled)


def test_the_feature_loss_as_an_equation() -> None:
    u = torch.randn(2, 3, 4, 7, 7)
    assert float(recipe.feature_loss(u, u, weight=100.0)) == 0.0
    apart = recipe.feature_loss(u, u + 0.5, weight=100.0)
    assert float(apart) == pytest.approx(100.0 * 0.25, rel=1e-4)
    twice = recipe.feature_loss(u, u + 0.5, weight=200.0)
    assert float(twice) == pytest.approx(2 * float(apart), rel=1e-6)


@pytest.mark.parametrize("distil", ["features", "logits"])
@pytest.mark.parametrize("name", SMALL_BACKBONES)
def test_any_backbone_with_a_map_can_teach_and_be_taught(name: Any, distil: Any) -> None:
    cfg = replace(protocol.tiny(), student=name, teacher=name, distil=distil)
    network = make_network(cfg)
    values = recipe.distil(weight=1.0)(network, make_batch(cfg, size=2), CONTEXT)
    assert set(values) == {"loss", "loss_label", "loss_teacher"}
    values["loss"].backward()
    assert all(torch.isfinite(value.detach()) for value in values.values())
    assert all(p.grad is not None for p in network.student.parameters())
    assert all(p.grad is None for p in network.teacher.parameters())
    seen = network.eval().distil(make_batch(cfg)["frames"])
    assert seen.student_map.shape[3:] == (4, 4)
    assert seen.upsampled.shape == seen.teacher_map.shape
    assert seen.teacher_map.shape[3:] == (8, 8)


def test_frames_see_each_other_only_where_they_should() -> None:
    """Changing the last frame changes the map of the first only through shifts and 3-D kernels."""
    frames = make_batch(protocol.tiny())["frames"]
    other = frames.clone()
    other[:, 1] = 255 - other[:, 1]
    changed = {}
    for name in SMALL_BACKBONES:
        cfg = replace(protocol.tiny(), student=name, teacher=name)
        network = make_network(cfg).eval()
        a, b = (network.distil(x).teacher_map[:, :, 0] for x in (frames, other))
        changed[name] = not torch.equal(a, b)
    assert changed == {"conv4": False, "conv4_shift": True, "conv4_3d": True, "swin_toy": True}


def test_slow_only_looks_over_time_in_its_last_two_stages_only() -> None:
    cfg = replace(protocol.tiny(), student="slowonly50", teacher="slowonly50")
    with torch.device("meta"):
        backbone, _ = model.make_backbone(cfg, "slowonly50")
    kernels = {n: t.shape[2] for n, t in backbone.state_dict().items() if t.ndim == 5}
    assert len(kernels) == 53
    wide = [name for name, frames in kernels.items() if frames == 3]
    assert len(wide) == 6 + 3
    assert all(name.split(".")[2] in ("layer3", "layer4") for name in wide), wide
    assert all(name.endswith(".conv1.weight") for name in wide)


def test_a_convolution_over_time_starts_as_the_one_it_was() -> None:
    """On a still clip, away from its ends, it gives what the convolution of pictures gave."""
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
    volume = model._volume_conv(conv, frames=3)
    picture = torch.randn(2, 3, 8, 8)
    still = volume(picture[:, :, None].expand(-1, -1, 4, -1, -1))
    assert torch.allclose(still[:, :, 1], conv(picture), atol=1e-5)
    assert torch.allclose(still[:, :, 0], conv(picture) * 2 / 3, atol=1e-5)


# --- costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side", "gmacs"),
    [
        ("resnet18", 112, 0.49),
        ("resnet18", 224, 1.81),
        ("resnet50", 72, 0.52),
        ("resnet50", 96, 0.75),
        ("resnet50", 112, 1.078),
        ("resnet50", 128, 1.34),
        ("resnet50", 160, 2.09),
        ("resnet50", 224, 4.089),
        ("resnet152", 112, 2.93),
        ("resnet152", 224, 11.51),
    ],
)
def test_one_frame_costs_what_the_sheet_says(name: Any, side: int, gmacs: float) -> None:
    assert student_macs(name, side=side, num_frames=1) / 1e9 == pytest.approx(gmacs, rel=0.012)


def student_macs(name: Any, *, side: int, num_frames: int) -> int:
    canvas = Canvas(height=side, width=side)
    cfg = replace(
        protocol.paper(), canvas=canvas, train_canvas=canvas, num_frames=num_frames,
        student=name, teacher=name,
    )  # fmt: skip
    return part_macs(cfg)


def part_macs(cfg: Config) -> int:
    with torch.device("meta"):
        (part,) = model.build(Network(cfg), cfg).values()
        shape = (1, cfg.num_frames, 3, cfg.canvas.height, cfg.canvas.width)
        return count_torch_macs(part, torch.zeros(shape, dtype=torch.uint8))


def test_half_the_size_costs_more_than_a_quarter() -> None:
    """The last map is 4x4 of 7x7, not 3.5x3.5."""
    ratio = student_macs("resnet50", side=112, num_frames=1) / student_macs(
        "resnet50", side=224, num_frames=1
    )
    assert ratio == pytest.approx(0.264, abs=0.001)


@pytest.mark.parametrize(
    ("make", "gmacs"),
    [
        (protocol.paper, 17.2),
        (protocol.mini_kinetics, 8.6),
        # The sheet's 8.2 and 13.7 are a quarter of a published figure; counted it is this.
        (protocol.something_something, 8.6),
        (protocol.kinetics_slowonly, 11.0),
    ],
)
def test_the_pairs_of_the_paper_cost_what_the_sheet_says(
    make: Callable[[], Config], gmacs: float
) -> None:
    assert part_macs(make()) / 1e9 == pytest.approx(gmacs, rel=0.01)


def test_slow_only_costs_the_published_figure_at_the_size_it_was_published_for() -> None:
    """54.75 G is at 256 px: at 224 it is 41.9, and a quarter of that stands in the test above."""
    macs = student_macs("slowonly50", side=256, num_frames=8)
    assert macs / 1e9 == pytest.approx(54.75, rel=0.01)


def test_video_swin_ends_in_maps_of_seven_and_four() -> None:
    with torch.device("meta"):
        cfg = protocol.kinetics_swin()
        seen = Network(cfg).distil(make_meta_frames(cfg))
    assert seen.student_map.shape == (1, 768, 16, 4, 4)
    assert seen.teacher_map.shape == (1, 1024, 16, 7, 7)
    assert seen.upsampled.shape == (1, 768, 16, 7, 7)


def make_meta_frames(cfg: Config, *, size: int = 1) -> Tensor:
    large = cfg.train_canvas
    shape = (size, cfg.num_frames, 3, large.height, large.width)
    return torch.zeros(shape, dtype=torch.uint8, device="meta")


# --- configurations and recipes -----------------------------------------------------------------


@pytest.mark.parametrize("make", CONFIGS, ids=lambda make: make.__name__)
def test_the_small_canvas_shows_half_of_what_the_large_one_does(make: Callable[[], Config]) -> None:
    cfg = make()
    small, large = cfg.canvas, cfg.train_canvas
    assert (2 * small.height, 2 * small.width) == (large.height, large.width)
    assert small.kernel == "area"
    if large.short_side is not None:
        assert 2 * (small.short_side or 0) == large.short_side


@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_every_recipe_builds_without_memory_and_names_each_parameter_once(
    make: Callable[[], Recipe],
) -> None:
    made = make()
    with torch.device("meta"):
        network = made.network()
    for stage in made.stages:
        optimizer = make_optimizer(network, stage)
        who = network.get_submodule(stage.name.partition("_")[0])
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in who.parameters())


def test_the_groups_are_the_official_ones() -> None:
    stage = recipe.paper().stages[1]
    biases, norms, weights = stage.trains
    assert biases.prefixes == ("student.head.bias",)  # a ResNet's convolutions have none
    assert (biases.lr_scale, biases.weight_decay) == (2.0, 0.0)
    assert (norms.lr_scale, norms.weight_decay) == (1.0, 0.0)
    assert len(norms.prefixes) == 2 * 53
    assert (weights.lr_scale, weights.weight_decay) == (1.0, None)
    assert (stage.epochs, stage.clip_norm, stage.optimizer.lr) == (200, 20.0, 0.01)


def test_without_a_teacher_there_is_one_stage() -> None:
    assert [stage.name for stage in recipe.tiny(weight=None).stages] == ["student"]
    assert [stage.name for stage in recipe.tiny().stages] == ["teacher", "student"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "resnet51"}, "a backbone is one of"),
        ({"num_frames": 0}, "must be >= 1"),
        ({"distil": "both"}, "distil must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"canvas": Canvas(height=96, width=96)}, "must not be larger"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(protocol.tiny(), **change)


def test_maps_that_cannot_be_compared_are_refused() -> None:
    cfg = replace(protocol.tiny(), teacher="swin_toy")
    with pytest.raises(ValueError, match="cannot be compared"):
        Network(cfg)
    Network(replace(cfg, distil="logits"))
    with pytest.raises(ValueError, match="teacher_norm must be"):
        recipe.tiny(teacher_norm="eval")  # type: ignore[arg-type]


def test_every_backbone_is_one_that_is_made() -> None:
    for name in get_args(protocol.Backbone):
        cfg = replace(protocol.tiny(), student=name, teacher=name)
        with torch.device("meta"):
            backbone, channels = model.make_backbone(cfg, name)
            assert backbone(torch.zeros(1, 4, 3, 64, 64)).shape[1] == channels


@pytest.mark.slow
@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_one_real_step_at_batch_two(make: Callable[[], Recipe]) -> None:
    """Every stage moves what it names and nothing else, at full size; Swin takes 15 GB."""
    made = make()
    torch.manual_seed(0)
    network = made.network()
    assert isinstance(network, Network)
    batch = make_batch(network.cfg, size=2)
    for stage in made.stages:
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        optimizer = make_optimizer(network, stage)
        set_modes(network, stage)
        stage.loss(network, batch, CONTEXT)["loss"].backward()
        optimizer.step()
        who = stage.name.partition("_")[0]
        changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
        assert changed
        assert all(name.startswith(f"{who}.") for name in changed)
