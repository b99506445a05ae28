"""What a fresh network is given before its first step, and that it stays through checkpoints."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.backbones import create
from foveal.recipe import ClassNames, Group, Recipe, Stage
from foveal.train import PrepareError, Progress, Running, fit, prepared
from foveal.types import Array
from tests.unit.train import toy

CLASSES = ("red", "green", "blue")


class Named(toy.Network):
    """The toy, with a vector for every class that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("words", torch.zeros(toy.NUM_CLASSES, 2))
        self.words: Tensor


def lengths(texts: list[str]) -> Array:
    """Return how long a text is, and one: a sentence encoder that needs nothing."""
    return np.array([[len(text), 1] for text in texts], np.float32)


def read(network: nn.Module, names: ClassNames) -> None:
    assert isinstance(network, Named)
    network.words.copy_(torch.from_numpy(names.encoder()(list(names.classes))))


def named() -> Recipe:
    return replace(toy.recipe(), network=Named, named=read)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a sentence encoder in place of the real one; tell which model was asked for."""
    found: list[str] = []

    class Encoder:
        def __init__(self, model: str, *, device: str, **_how: bool) -> None:
            found.append(model)

        def encode(self, texts: list[str], *, show_progress_bar: bool) -> Array:
            return lengths(texts)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("foveal.backbones.text.reachable", lambda url: True)
    return found


def test_a_recipe_gets_the_names_and_the_encoder_that_was_asked_for(asked: list[str]) -> None:
    network = Named()
    prepared(named(), class_names=CLASSES, text_model="folder")(network)
    assert network.words.tolist() == [[3, 1], [5, 1], [4, 1]]
    assert asked == ["folder"]
    prepared(named(), class_names=CLASSES)(network)
    assert asked[1] == "sentence-transformers/all-MiniLM-L6-v2"


def test_no_encoder_is_loaded_for_a_recipe_that_reads_nothing(asked: list[str]) -> None:
    prepared(toy.recipe(), class_names=CLASSES)(toy.Network())
    names: list[ClassNames] = []
    classes_alone = replace(named(), named=lambda network, given: names.append(given))
    prepared(classes_alone, class_names=list(CLASSES))(Named())
    assert [one.classes for one in names] == [CLASSES]
    assert asked == []


def test_what_a_recipe_has_no_use_for_is_refused() -> None:
    with pytest.raises(PrepareError, match="'toy' reads no class names; leave --text-model out"):
        prepared(toy.recipe(), class_names=CLASSES, text_model="folder")
    with pytest.raises(PrepareError, match="'toy' has no network that pretrained weights fit"):
        prepared(toy.recipe(), class_names=CLASSES, pretrained="auto")


class Big(nn.Module):
    """A published network and a layer of our own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = create("resnet18")
        self.head = nn.Linear(512, 3)


def stage(*prefixes: str) -> Stage:
    return replace(toy.recipe().stages[1], eval_modules=(), trains=(Group(prefixes=prefixes),))


@pytest.mark.parametrize(
    ("prefixes", "refused"),
    [(("head",), True), (("head", "backbone.net.layer4"), False), (("",), False)],
)
def test_what_no_stage_trains_must_not_stay_random(
    prefixes: tuple[str, ...], refused: bool
) -> None:
    recipe = Recipe(
        name="big",
        network=Big,
        stages=(stage(*prefixes),),
        pretrained={"backbone": "resnet18"},
    )
    if not refused:
        assert prepared(recipe, class_names=CLASSES) is not None
        return
    with pytest.raises(
        PrepareError, match=r"nothing of backbone, .* of resnet18; add --pretrained"
    ):
        prepared(recipe, class_names=CLASSES)


def test_published_weights_are_told(tmp_path: Path) -> None:
    backbone = create("resnet18")
    torch.save(backbone.net.state_dict(), tmp_path / "resnet18.pth")
    recipe = Recipe(
        name="big", network=Big, stages=(stage("head"),), pretrained={"backbone": "resnet18"}
    )
    lines: list[str] = []
    network = Big()
    prepared(recipe, class_names=CLASSES, pretrained=str(tmp_path), tell=lines.append)(network)
    assert lines == [f"resnet18: weights of {tmp_path}/resnet18.pth (path)"]
    wanted = backbone.net.state_dict()
    assert all(torch.equal(t, wanted[key]) for key, t in network.backbone.net.state_dict().items())


def stop_at(step: int) -> Callable[[Progress], None]:
    def log(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return log


def test_names_are_in_the_checkpoint_and_are_not_read_again(
    tmp_path: Path, asked: list[str]
) -> None:
    ready = prepared(named(), class_names=CLASSES)
    running = Running(device="cpu", checkpoint_steps=1)

    def run(**options: object) -> nn.Module:
        return fit(
            named(),
            toy.data(),
            out=tmp_path / "run",
            seed=0,
            running=running,
            prepare=ready,
            **options,  # type: ignore[arg-type]
        ).network

    with pytest.raises(KeyboardInterrupt):
        run(log=stop_at(3))
    network = run(resume=True)
    assert isinstance(network, Named)
    assert network.words.tolist() == [[3, 1], [5, 1], [4, 1]]
    assert len(asked) == 1
