"""The training network of every trained system: what it builds on, gives, and lets move."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foveal.backbones import ImageBackbone, ImageClassifier, VideoBackbone
from foveal.recipe import Recipe, Stage, StepContext
from foveal.train import load_weights, make_optimizer, save_weights, set_modes
from foveal.train.data import stack
from foveal.train.project import planned_times
from foveal.types import Canvas, ClipInfo
from tests.contract.subjects import (
    TRAINED,
    clips,
    frames_of,
    lively,
    logits_of,
    module_of,
    planned_pictures,
    recipe_of,
    recipes_of,
)

BATCH = 4
SYSTEMS = pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
RECIPES = pytest.mark.parametrize(
    ("row", "name"),
    [(row, name) for row in TRAINED for name in recipes_of(row)],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
STAGES = pytest.mark.parametrize(
    ("row", "stage"),
    [(row, stage) for row in TRAINED for stage in recipe_of(row).stages],
    ids=lambda value: value.name,
)


def frames_for(row, num: int = BATCH) -> Tensor:
    return torch.from_numpy(planned_pictures(row, clips(row, num)))


def named(stage: Stage, network: nn.Module) -> set[str]:
    """Return the parameters that the groups of a stage name, by the rule of their docstring."""
    return {
        name
        for name, _ in network.named_parameters()
        for group in stage.trains
        for prefix in group.prefixes
        if prefix in ("", name) or name.startswith(prefix + ".")
    }


@cache
def on_meta(row, name: str) -> nn.Module:
    """Return the network of a recipe without memory, made once."""
    with torch.device("meta"):
        return recipes_of(row)[name]().network()


@SYSTEMS
def test_the_table_has_the_recipes_that_every_system_has(row) -> None:
    assert {"paper", "small", "tiny"} <= set(recipes_of(row))


@RECIPES
def test_recipes_build_without_memory(row, name) -> None:
    recipe = recipes_of(row)[name]()
    assert recipe.name == name
    assert isinstance(recipe.config, module_of(row, "protocol").Config)
    network = on_meta(row, name)
    parameters = list(network.parameters())
    assert parameters
    assert all(parameter.is_meta for parameter in parameters)
    for stage in recipe.stages:
        assert named(stage, network)


@RECIPES
def test_a_recipe_takes_a_configuration(row, name) -> None:
    make = recipes_of(row)[name]
    config = replace(make().config, num_classes=7)
    assert make(cfg=config).config == config


@SYSTEMS
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_a_network_is_made_for_any_number_of_classes(row, name) -> None:
    make = recipes_of(row)[name]
    with torch.device("meta"):
        theirs = make().network().state_dict()
        ours = make(cfg=replace(make().config, num_classes=7)).network().state_dict()
    changed = {key for key in ours if ours[key].shape != theirs[key].shape}
    assert changed
    assert all(7 in ours[key].shape for key in changed)


@RECIPES
def test_what_is_drawn_fits_what_is_planned(row, name) -> None:
    """As many frames, of which the network takes any number where it looks at each alone."""
    recipe, protocol = recipes_of(row)[name](), module_of(row, "protocol")
    config: Any = recipe.config
    clip = ClipInfo(name="clip", duration_seconds=60.0, num_frames=1500, fps=25.0)
    planned = len(planned_times(protocol.steps, config, clip))
    drawn = sum(draw.num_frames for draw in recipe.draws)
    assert drawn == planned or (row.kind == "baseline" and 0 < drawn <= planned)
    assert all(isinstance(draw.view, type(config.canvas)) for draw in recipe.draws)
    assert len({draw.name for draw in recipe.draws}) == len(recipe.draws)
    assert "frames" not in recipe.judged


def drawn_batch(recipe: Recipe, num_classes: int) -> dict[str, Tensor]:
    """Return two made-up clips as the recipe draws and changes them."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(2):
        sample = {
            draw.name: torch.from_numpy(frames_of(i, draw.view, num_frames=draw.num_frames))
            for draw in recipe.draws
            if isinstance(draw.view, Canvas)
        }
        sample["label"] = torch.tensor(i % num_classes)
        sample["number"] = torch.tensor(i)
        samples.append(sample if recipe.augment is None else recipe.augment(sample, generator))
    return stack(samples)


@SYSTEMS
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_what_is_drawn_is_what_the_losses_take(row, name) -> None:
    recipe = recipe_of(row, name)
    config: Any = recipe.config
    batch = drawn_batch(recipe, config.num_classes)
    assert all(t.dtype == torch.uint8 for key, t in batch.items() if key not in ("label", "number"))
    torch.manual_seed(0)
    network = recipe.network()
    for stage in recipe.stages:
        make_optimizer(network, stage)
        set_modes(network, stage)
        context = StepContext(progress=0.5, generator=torch.Generator().manual_seed(0))
        values = stage.loss(network, batch, context)
        assert all(torch.isfinite(value) for value in values.values())


@SYSTEMS
def test_every_stage_can_be_judged(row) -> None:
    """On the pictures the protocol plans, on the canvas and through what else is named."""
    recipe, network = recipe_of(row), lively(row)
    config: Any = recipe.config
    batch = {"frames": frames_for(row), "label": torch.zeros(BATCH, dtype=torch.int64)}
    for name, view in recipe.judged.items():
        assert isinstance(view, Canvas)
        num = batch["frames"].shape[1]
        pictures = [torch.from_numpy(frames_of(i, view, num_frames=num)) for i in range(BATCH)]
        batch[name] = torch.stack(pictures)
    for stage in recipe.stages:
        with torch.no_grad():
            logits = stage.judge(network, batch)
        assert logits.shape == (BATCH, config.num_classes)
        assert torch.isfinite(logits).all()
    last = logits_of(network, batch["frames"])[:, -1]
    assert torch.equal(logits, last)  # the last stage is judged by what the system will answer


@pytest.mark.parametrize(
    ("row", "name"),
    [(row, name) for row in TRAINED for name in recipes_of(row)],
    ids=lambda value: getattr(value, "name", value),
)
def test_pretrained_names_all_published_backbones_of_a_network_or_none(row, name) -> None:
    recipe, network = recipe_of(row, name), on_meta(row, name)
    kinds = (ImageBackbone, VideoBackbone, ImageClassifier)
    there: dict[str, str] = {}
    for dotted, module in network.named_modules():
        inside = any(dotted.startswith(f"{outer}.") for outer in there)  # a classifier, as a whole
        if isinstance(module, kinds) and module.name is not None and not inside:
            there[dotted] = module.name
    assert recipe.pretrained in (there, {})
    assert recipe.pretrained or name != "paper" or not there  # some papers begin from nothing


@SYSTEMS
def test_logits_are_finite_and_of_the_right_shape(row) -> None:
    cfg = module_of(row, "protocol").tiny()
    logits = logits_of(lively(row), frames_for(row))
    assert logits.shape[::2] == (BATCH, cfg.num_classes)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert logits.std(dim=0).min() > 0  # the clips differ, and so do the answers


@SYSTEMS
def test_evaluation_is_deterministic_and_draws_nothing(row) -> None:
    network, frames = lively(row), frames_for(row)
    state = torch.get_rng_state()
    first = logits_of(network, frames)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits_of(network, frames), first)


@SYSTEMS
def test_a_clip_does_not_depend_on_its_batch_mates(row) -> None:
    network, frames = lively(row), frames_for(row)
    together = logits_of(network, frames)
    alone = torch.cat([logits_of(network, frames[i : i + 1]) for i in range(BATCH)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-5)
    turned = logits_of(network, frames.flip(0)).flip(0)
    assert torch.allclose(together, turned, rtol=0, atol=1e-5)


@STAGES
def test_exactly_what_a_stage_names_gets_a_gradient(row, stage) -> None:
    network = lively(row).requires_grad_()
    before = copy.deepcopy(network.state_dict())
    optimizer = make_optimizer(network, stage)
    set_modes(network, stage)
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(BATCH) % module_of(row, "protocol").tiny().num_classes
    batch = {"frames": frames_for(row), "label": label, "number": torch.arange(BATCH)}
    values = stage.loss(network, batch, StepContext(progress=0.5, generator=generator))
    assert all(value.ndim == 0 and torch.isfinite(value.detach()) for value in values.values())
    values["loss"].backward()
    got = {name for name, p in network.named_parameters() if p.grad is not None}
    assert got == named(stage, network)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    moved = {
        name for name, p in network.named_parameters() if not torch.equal(p.detach(), before[name])
    }
    assert moved <= got
    assert moved


@SYSTEMS
def test_weights_survive_being_stored(row, tmp_path) -> None:
    network, frames = lively(row), frames_for(row)
    save_weights(network, tmp_path / "weights.safetensors")
    fresh = recipe_of(row).network().eval()
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(logits_of(fresh, frames), logits_of(network, frames))


@SYSTEMS
def test_an_unknown_option_is_refused(row) -> None:
    for function in (module_of(row, "protocol").tiny, module_of(row, "recipe").tiny):
        with pytest.raises(TypeError, match="no_such_option"):
            function(no_such_option=1)
