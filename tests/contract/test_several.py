"""Systems that learn clips of several classes: the table, the losses, the answer, the words."""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from foveal.api import NOTHING, SHOWN, Model
from foveal.bundle import Bundle
from foveal.engine.executor import Executor, Job
from foveal.explain import page
from foveal.explain.figures import told
from foveal.export import export_bundle
from foveal.recipe import StepContext
from foveal.train import set_modes
from foveal.types import Answer
from tests.contract.subjects import (
    TRAINED,
    clips,
    logits_of,
    module_of,
    planned_pictures,
    recipes_of,
)
from tests.contract.test_training import drawn_batch

ABLE = [row for row in TRAINED if row.several_labels]
SYSTEMS = pytest.mark.parametrize("row", ABLE, ids=lambda row: row.name)


def config_of(row) -> Any:
    return replace(module_of(row, "protocol").tiny(), several_labels=True)


def network_of(row) -> nn.Module:
    """Return a network whose answers differ by clip and class."""
    torch.manual_seed(0)
    network = recipes_of(row)["tiny"](cfg=config_of(row)).network()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=2 * module.in_features**-0.5)
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.from_numpy(planned_pictures(row, clips(row, 6))))
    return network.eval()


def model_of(row, network: nn.Module, folder: Path) -> Model:
    cfg = config_of(row)
    bundle, _ = export_bundle(
        folder / f"{row.name}.foveal",
        system=row.name,
        config=cfg,
        modules=module_of(row, "model").build(network, cfg),
        specs=module_of(row, "protocol").parts(cfg),
        class_names=[f"class {i}" for i in range(cfg.num_classes)],
        licence="Apache-2.0",
    )
    return Model(Bundle.open(bundle.path), threads=1)


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_the_table_says_whose_configuration_knows_several_labels(row) -> None:
    known = {field.name for field in fields(module_of(row, "protocol").Config)}
    assert ("several_labels" in known) == row.several_labels


@SYSTEMS
def test_every_stage_learns_every_class_of_a_clip(row) -> None:
    cfg = config_of(row)
    recipe = recipes_of(row)["tiny"](cfg=cfg)
    batch = drawn_batch(recipe, cfg.num_classes)
    label = torch.zeros(2, cfg.num_classes)
    label[0, [0, 2]] = label[1, 1] = 1
    for stage in recipe.stages:
        losses = []
        for shown in (label, label.roll(1, dims=1)):
            torch.manual_seed(0)
            network = recipe.network()
            set_modes(network, stage)
            context = StepContext(progress=0.5, generator=torch.Generator().manual_seed(0))
            loss = stage.loss(network, {**batch, "label": shown}, context)["loss"]
            loss.backward()
            moved = [p.grad for p in network.parameters() if p.grad is not None]
            assert moved
            assert all(grad.isfinite().all() for grad in moved)
            losses.append(float(loss.detach()))
        assert losses[0] != losses[1]


@SYSTEMS
def test_each_class_has_a_probability_of_its_own(row, tmp_path) -> None:
    """The protocol's answer is that of the network, class by class, and need not sum to 1."""
    network = network_of(row)
    model = model_of(row, network, tmp_path)
    sources = clips(row, 6)
    with torch.no_grad():
        frames = torch.from_numpy(planned_pictures(row, sources))
        wanted = logits_of(network, frames)[:, -1].sigmoid().numpy()
    jobs = [Job(name=one.info.name, open=partial(copy, one), steps=model.steps) for one in sources]
    done = sorted(Executor(model.runner).run(jobs), key=lambda one: one.index)
    found = np.stack([np.asarray(one.answer.probs) for one in done])
    assert found == pytest.approx(wanted, abs=1e-3)
    assert np.abs(found.sum(axis=1) - 1).max() > 0.05


@SYSTEMS
def test_all_that_a_clip_shows_is_told(row, tmp_path) -> None:
    model = model_of(row, network_of(row), tmp_path)
    assert model.several
    (clip,) = clips(row, 1)
    probs = np.full(len(model.class_names), 0.1)
    probs[[1, 3]] = 0.9, SHOWN
    told = model.labels(Answer(probs=probs), clip.info, top_k=1)
    assert [(one.label, one.prob) for one in told] == [("class 1", 0.9), ("class 3", SHOWN)]
    told = model.labels(Answer(probs=probs / 2), clip.info, top_k=1)
    assert [(one.label, one.guess) for one in told] == [(NOTHING, "class 1")]
    assert len(model.labels(Answer(probs=probs), clip.info, top_k=3)) == 3


@SYSTEMS
def test_the_page_names_all_that_a_clip_shows(row, tmp_path) -> None:
    model = model_of(row, network_of(row), tmp_path)
    (clip,) = clips(row, 1)
    (done,) = Executor(model.runner).run(
        [Job(name="clip", open=partial(copy, clip), steps=model.steps)]
    )
    probs = np.full(len(model.class_names), 0.1)
    probs[[1, 3]] = 0.9, 0.8
    prediction = model.prediction(replace(done, answer=Answer(probs=probs)), top_k=3)
    assert prediction.several
    assert [label.label for label in told(prediction)] == ["class 1", "class 3"]
    shown = page([prediction]).partition('class="headline">')[2].partition("</p>")[0]
    assert "class 1" in shown
    assert "class 3" in shown
    assert "class 0" not in shown


@SYSTEMS
@pytest.mark.parametrize("several", [False, True])
def test_every_stage_learns_in_half_precision(row, several) -> None:
    cfg = replace(config_of(row), several_labels=several)
    recipe = recipes_of(row)["tiny"](cfg=cfg)
    batch = drawn_batch(recipe, cfg.num_classes)
    if several:
        batch["label"] = torch.eye(cfg.num_classes)[:2]
    if recipe.heard:
        (name,) = recipe.heard
        sound = torch.randn(2, cfg.num_steps, cfg.ear.num_samples)
        sound[0, 0] = 0
        batch[name] = sound
    torch.manual_seed(0)
    network = recipe.network()
    for stage in recipe.stages:
        set_modes(network, stage)
        context = StepContext(progress=0.5, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16):
            loss = stage.loss(network, batch, context)["loss"]
        loss.backward()
        assert loss.isfinite()
