"""The textual branch knows what classes and objects are called, and needs no encoder to run."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from foveal.api import Model
from foveal.backbones import imagenet_names
from foveal.backbones.text import TextError, name_vectors
from foveal.bundle import Bundle
from foveal.cli.app import main
from foveal.export import export_bundle
from foveal.recipe import ClassNames
from foveal.sampling.protocol import CLASS_NAMES
from foveal.systems import index
from foveal.systems.tsqnet import protocol, recipe
from foveal.systems.tsqnet.model import Network, Words, arbitrary_words, build, set_words
from foveal.train import make_optimizer, set_modes
from foveal.types import Array, Canvas
from tests.helpers_bundle import COLOURS, write_clip

LITE0 = "tf_efficientnet_lite0"
WIDTH = 24
SMALL = replace(
    protocol.lite(num_classes=3, num_frames=3),
    canvas=Canvas(height=32, width=32),
    preview_size=8,
    object_size=32,
    word_width=WIDTH,
)


def letters(texts: list[str]) -> Array:
    """Count letters: an encoder that needs nothing."""
    return np.array([[1 + text.count(c) for c in "abcdefghijklmnopqrstuvwx"] for text in texts])


def names_of(*classes: str, encode=letters) -> ClassNames:
    return ClassNames(classes=classes, encoder=lambda: encode)


# --- what a configuration and a recipe may be -------------------------------------------------


def test_objects_are_seen_at_their_own_size() -> None:
    with torch.device("meta"):
        network = Network(SMALL)
    textual, visual = network.sampler.textual, network.sampler.visual
    seen = []
    textual.encoder.net.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    visual.encoder.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    frames = torch.empty(1, 16, 3, 32, 32, dtype=torch.uint8, device="meta")
    for branch in (visual, textual):
        branch.memory(frames)
    assert [tuple(shape) for shape in seen] == [(16, 3, 8, 8), (16, 3, 32, 32)]
    assert replace(SMALL, object_size=None).objects_at == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"object_size": 30}, r"multiple of object_size \(30 px\)"),
        ({"object_size": 0}, "object_size is px of pictures"),
        ({"num_objects": 20}, "knows ImageNet's 1000 objects, got num_objects=20"),
        ({"networks": "lit"}, "networks must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(change, said) -> None:
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)


def test_stored_features_have_no_object_size() -> None:
    with pytest.raises(ValueError, match="object_size is px of pictures"):
        replace(protocol.features(), object_size=8)


def test_the_small_recipe_refuses_a_branch_that_would_know_nothing() -> None:
    with pytest.raises(ValueError, match="no network that names objects; recipe 'lite' has one"):
        recipe.small(cfg=replace(protocol.small(), branches="both"))
    with pytest.raises(ValueError, match="recipe 'lite' is for networks=lite, got small"):
        recipe.lite(cfg=protocol.small())


@pytest.mark.parametrize("make", [recipe.lite, recipe.paper])
def test_names_are_read_where_a_textual_branch_needs_them(make) -> None:
    cfg = make().config
    assert make().named is recipe.read_names
    assert (
        make().pretrained[recipe.OBJECTS]
        == {"lite": LITE0, "paper": "efficientnet_b0"}[cfg.networks]
    )
    visual = make(cfg=replace(cfg, branches="visual"))
    assert visual.named is None
    assert recipe.OBJECTS not in visual.pretrained


def test_words_that_are_given_are_not_read_again() -> None:
    made = recipe.paper(words=arbitrary_words(protocol.paper()))
    assert made.named is None


def test_the_object_network_stands_still_while_the_sampler_learns() -> None:
    with torch.device("meta"):
        network = Network(SMALL)
    stage = recipe.lite(cfg=SMALL).stages[1]
    make_optimizer(network, stage)
    set_modes(network, stage)
    textual = network.sampler.textual
    assert not any(p.requires_grad for p in textual.encoder.parameters())
    assert not any(module.training for module in textual.encoder.modules())
    others = [p for n, p in textual.named_parameters() if not n.startswith("encoder.")]
    assert all(p.requires_grad for p in others)
    assert textual.training


def test_probabilities_of_objects_are_the_same_whether_the_network_learns() -> None:
    torch.manual_seed(0)
    textual = Network(protocol.tiny()).eval().sampler.textual
    frames = torch.randint(0, 256, (2, 16, 3, 24, 24), dtype=torch.uint8)
    learning = textual.objects(textual.encoder, frames)
    assert learning.requires_grad
    textual.encoder.requires_grad_(False)
    still = textual.objects(textual.encoder, frames)
    assert not still.requires_grad
    assert torch.allclose(still, learning, atol=1e-6)
    assert torch.allclose(still.sum(-1), torch.ones(2, 16))


# --- names become vectors ---------------------------------------------------------------------


def test_names_fill_the_buffers_in_the_order_of_labels_and_of_imagenet() -> None:
    network = Network(SMALL)
    recipe.read_names(network, names_of("HighJump", "high_jump", "run"))
    textual = network.sampler.textual
    assert torch.equal(textual.class_words[0], textual.class_words[1])
    assert not torch.equal(textual.class_words[0], textual.class_words[2])
    wanted = letters(["goldfish"])[0]
    wanted = wanted / np.linalg.norm(wanted)
    assert np.allclose(textual.object_words[imagenet_names().index("goldfish")], wanted, atol=1e-6)
    assert {"sampler.textual.class_words", "sampler.textual.object_words"} <= set(
        network.state_dict()
    )


def test_vectors_of_another_width_say_what_to_set() -> None:
    def narrow(texts: list[str]) -> Array:
        return letters(texts)[:, :7]

    with pytest.raises(TextError, match=r"gives 7 numbers a name.*24; add --set word_width=7"):
        recipe.read_names(Network(SMALL), names_of("a", "b", "c", encode=narrow))


def test_words_go_to_a_textual_branch_of_their_shape_alone() -> None:
    network = Network(SMALL)
    words = arbitrary_words(SMALL)
    with pytest.raises(ValueError, match=r"words must be \(3, 24\), got \(2, 24\)"):
        set_words(network, Words(words.classes[:2], words.objects))
    with pytest.raises(ValueError, match="no textual branch"):
        set_words(Network(replace(SMALL, branches="visual")), words)


# --- the trace says names ---------------------------------------------------------------------


def test_the_class_that_asked_has_a_name_where_it_is_known() -> None:
    cfg = replace(protocol.features(num_classes=3), classes_asked=2)
    rows = np.eye(3, 16, dtype=np.float32)
    told = (rows, np.array([0.5, 2.0, -1.0], np.float32))
    assert protocol.fused(cfg, told)[1] == "class 1, class 0 (visual branch)"
    names = np.array(["run", "walk", "jump"])
    assert protocol.fused(cfg, told, class_names=names)[1] == "walk, run (visual branch)"
    both = replace(
        protocol.features(num_classes=3, objects="objects", branches="both"), classes_asked=1
    )
    other = (rows, np.array([0.0, 0.0, 3.0], np.float32))
    text = protocol.fused(both, told + other, class_names=names)[1]
    assert text == "walk (visual branch) and jump (textual branch)"


# --- from the command line to a bundle --------------------------------------------------------

RUN_LIGHT = """
import json, sys
import foveal
bundle, video = sys.argv[1:]
record = foveal.load(bundle).recognize(video)
heavy = {"torch", "sentence_transformers", "timm", "torchvision"} & set(sys.modules)
assert not heavy, heavy
json.dump(record.to_json(), sys.stdout)
"""


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Six clips of each of three colours, no two alike."""
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(6):
            shade = tuple(int(c) for c in np.clip(colour + chance.integers(-20, 20, 3), 0, 255))
            write_clip(tmp_path / "colours" / name / f"{i}.mp4", [shade], frames_each=6)
    return tmp_path / "colours"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """What might be published: a whole EfficientNet-Lite0, classifier and all."""
    torch.manual_seed(1)
    path = tmp_path / f"{LITE0}.pth"
    torch.save(timm.create_model(LITE0).state_dict(), path)
    return path


def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder:
        def __init__(self, model: str, *, device: str) -> None:
            assert model == "letters"

        def encode(self, texts: list[str], *, show_progress_bar: bool) -> Array:
            return letters(texts)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("foveal.backbones.text.reachable", lambda url: True)


TRAIN = (
    *("train", "--system", "tsqnet", "--recipe", "lite", "--cache", "0"),
    *("--set", "canvas.height=32", "--set", "canvas.width=32"),
    *("--set", "preview_size=8", "--set", "object_size=32"),
    *("--set", "steps=2", "--set", "batch_size=2", "--set", "validations=1"),
    *("--set", "workers=0", "--set", "device=cpu", "--set", "num_frames=3"),
)


def check_given(run: Path, weights: Path) -> None:
    """Check that what a run left has the published classifier, backbone and vectors of names."""
    published = torch.load(weights, weights_only=True)
    trained = load_file(run / "sampler.safetensors")
    pairs = {
        "head.weight": "classifier.weight",
        "head.bias": "classifier.bias",
        "encoder.net.net.conv_stem.weight": "conv_stem.weight",
        "encoder.net.net.bn1.running_mean": "bn1.running_mean",
    }
    for own, theirs in pairs.items():
        assert torch.equal(trained[f"{recipe.OBJECTS}.{own}"], published[theirs])
    vectors = letters(sorted(COLOURS))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(trained["sampler.textual.class_words"], vectors, atol=1e-6)


def check_light(bundle: Path, video: Path, names: Sequence[str]) -> None:
    """Check that a bundle runs without PyTorch or encoder, and says by name which class asked."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_LIGHT, str(bundle), str(video)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    record = json.loads(done.stdout)
    assert record["status"] == "ok"
    (note,) = [e["text"] for e in record["trace"]["events"] if "asked by" in str(e.get("text"))]
    asked = note.partition("asked by ")[2].partition(";")[0].split(" and ")
    by_name = [f"{name} ({branch} branch)" for branch in protocol.BRANCHES for name in names]
    assert len(asked) == 2
    assert set(asked) <= set(by_name)


def test_the_command_gives_objects_and_names_to_the_network(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_encoder(monkeypatch)
    monkeypatch.setattr("foveal.cli.train.finish", lambda *_: None)  # another test exports
    command = (*TRAIN, str(clips), "--out", str(tmp_path / "run"), "--set", f"word_width={WIDTH}")
    assert main([*command, "--pretrained", str(weights), "--text-model", "letters"]) == 0
    check_given(tmp_path / "run", weights)


@pytest.mark.slow
@pytest.mark.export
def test_the_command_leaves_a_bundle_that_runs_without_an_encoder(
    clips: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_encoder(monkeypatch)
    out = tmp_path / "run"
    command = (*TRAIN, str(clips), "--out", str(out), "--set", f"word_width={WIDTH}")
    assert main([*command, "--pretrained", str(weights), "--text-model", "letters"]) == 0
    check_given(out, weights)
    video = clips / sorted(COLOURS)[0] / "0.mp4"
    check_light(out / "model.foveal", video, sorted(COLOURS))


@pytest.mark.export
def test_a_bundle_tells_names_and_runs_without_an_encoder(tmp_path: Path) -> None:
    cfg = replace(protocol.tiny(num_classes=3), word_width=WIDTH)
    names = ("run", "walk", "jump")
    torch.manual_seed(0)
    network = Network(cfg).eval()
    vectors = torch.from_numpy(name_vectors([*names, *imagenet_names()[:20]], encode=letters))
    set_words(network, Words(vectors[:3], vectors[3:]))
    export_bundle(
        tmp_path / "names.foveal",
        system="tsqnet",
        config=cfg,
        modules=build(network, cfg),
        specs=protocol.parts(cfg),
        class_names=names,
        licence="Apache-2.0",
    )
    write_clip(tmp_path / "clip.mp4", [(200, 30, 30), (30, 200, 30)], frames_each=12)
    check_light(tmp_path / "names.foveal", tmp_path / "clip.mp4", names)


def test_weights_and_encoder_are_asked_for_in_one_line(
    clips: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*TRAIN, str(clips), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"trains nothing of {recipe.OBJECTS}, which needs the published weights of {LITE0}" in (
        error
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert main([*command, "--pretrained", str(weights)]) == 2
    assert "vectors of names need the package sentence_transformers; pip install" in (
        capsys.readouterr().err
    )


def test_a_protocol_finds_the_class_names_of_its_bundle() -> None:
    row = next(row for row in index.ALL if row.kind == "tagger")
    model = Model(Bundle.open(files(row.module) / f"{row.name}.foveal"))
    assert model.context[CLASS_NAMES].tolist() == list(model.class_names)
    assert tuple(model.class_names) == imagenet_names()  # its words are those of the textual branch
