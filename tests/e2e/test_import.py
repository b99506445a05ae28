"""Official weights become a bundle, tensor by tensor, or it is said what does not fit."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

import foveal.systems
from foveal.backbones.weight_file import (
    WeightsFileError,
    WeightsMisfitError,
    fill,
    read_weights,
)
from foveal.bundle import Bundle
from foveal.cli import import_choice
from foveal.cli.app import main
from foveal.engine.runners import OnnxRunner
from foveal.systems import index
from foveal.types import FovealError

ROOT = Path(__file__).resolve().parents[2]

FILES = {
    "__init__.py": "",
    "protocol.py": """
from dataclasses import dataclass
from foveal.types import Canvas, PartSpec, TensorSpec

@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    canvas: Canvas
    num_classes: int
    width: int = 4

def paper(*, num_classes: int = 3) -> Config:
    return Config(canvas=Canvas(height=8, width=8), num_classes=num_classes)

def wide(*, num_classes: int) -> Config:
    return Config(canvas=Canvas(height=8, width=8), num_classes=num_classes, width=6)

def _hidden() -> Config:
    raise AssertionError

def parts(cfg: Config) -> tuple[PartSpec, ...]:
    frame = TensorSpec("frame", (3, 8, 8), "uint8")
    logits = TensorSpec("logits", (cfg.num_classes,))
    return (PartSpec(name="net", inputs=(frame,), outputs=(logits,)),)
""",
    "model.py": """
from torch import nn

class Network(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, cfg.width, 3), nn.BatchNorm2d(cfg.width))
        self.head = nn.Linear(cfg.width, cfg.num_classes)

    def forward(self, frame):
        return self.head(self.body(frame.float() / 255).relu().mean((2, 3)))

def make_network(cfg):
    return Network(cfg)

def build(network, cfg):
    return {"net": network}
""",
    "weights.py": """
from foveal.types import FovealError

def convert(state, cfg):
    if "module.optimizer" in state:
        raise FovealError("'optimizer' is unknown", hint="leave it out")
    names = {"conv": "body.0", "bn": "body.1", "fc": "head"}
    found = {}
    for name, tensor in state.items():
        module, _, leaf = name.removeprefix("module.").rpartition(".")
        found[f"{names.get(module, module)}.{leaf}"] = tensor
    return found
""",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the package one more system, ``made_up``, a paper whose weights are known."""
    folder = tmp_path / "systems" / "made_up"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    path = [*foveal.systems.__path__, str(folder.parent)]
    monkeypatch.setattr(foveal.systems, "__path__", path)
    row = replace(index.PAPERS[0], name="made_up", title="Made up", paper="Nobody, 2026")
    monkeypatch.setattr(import_choice, "PAPERS", (*index.PAPERS, row))
    # Set and deleted, so that what is imported during the test is forgotten after it.
    for module in ("", ".protocol", ".model", ".weights"):
        monkeypatch.setitem(sys.modules, f"foveal.systems.made_up{module}", None)
        del sys.modules[f"foveal.systems.made_up{module}"]


def state(*, width: int = 4, num_classes: int = 3) -> dict[str, Tensor]:
    """Return what the official code of the system would save."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "module.conv.weight": drawn(width, 3, 3, 3),
        "module.conv.bias": drawn(width),
        "module.bn.weight": drawn(width),
        "module.bn.bias": drawn(width),
        "module.bn.running_mean": drawn(width),
        "module.bn.running_var": drawn(width).abs() + 0.1,
        "module.fc.weight": drawn(num_classes, width),
        "module.fc.bias": drawn(num_classes),
    }


def saved(path: Path, tensors: Mapping[str, object], *, inside: str | None = "state_dict") -> Path:
    torch.save({inside: dict(tensors), "epoch": 50} if inside else dict(tensors), path)
    return path


def classes(path: Path, *names: str) -> Path:
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def run(*arguments: str | Path) -> int:
    return main(["import", "made_up", *map(str, arguments)])


def expected(frames: np.ndarray, tensors: Mapping[str, Tensor]) -> np.ndarray:
    """Return the logits of the official network, written once more."""
    own = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    x = torch.from_numpy(frames).float() / 255
    x = torch.nn.functional.conv2d(x, own["conv.weight"], own["conv.bias"])
    norm = [own[f"bn.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
    x = torch.nn.functional.batch_norm(x, *norm).relu().mean((2, 3))
    return (x @ own["fc.weight"].T + own["fc.bias"]).numpy()


# --- what goes well -------------------------------------------------------------------------


def test_a_checkpoint_becomes_a_bundle_with_its_answers(
    made: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = state(width=5)
    file, out = saved(tmp_path / "official.pth", tensors), tmp_path / "made.foveal"
    names = classes(tmp_path / "names.txt", "run", "jump", "wave", "")
    options = ("--config", "wide", "--set", "width=5", "--classes", names, "--licence", "MIT")
    assert run(file, "-o", out, *options) == 0
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sha256 in capsys.readouterr().out
    bundle = Bundle.open(out)
    manifest = bundle.manifest
    assert (manifest.system, manifest.licence) == ("made_up", "MIT")
    assert manifest.class_names == ("run", "jump", "wave")
    assert manifest.config["width"] == 5
    assert manifest.provenance["weights_sha256"] == sha256
    assert manifest.provenance["weights"] == "official.pth"
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)
    ((logits,),) = OnnxRunner(bundle, threads=1).run("net", [(frames,)])
    np.testing.assert_allclose(logits, expected(frames, tensors), atol=1e-5)


@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_tensors_are_found_in_whatever_is_around_them(tmp_path: Path, inside: str | None) -> None:
    file = saved(tmp_path / "official.pth", state(), inside=inside)
    found = read_weights(file)
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    torch.testing.assert_close(dict(found.tensors), state())


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(state(), tmp_path / "official.safetensors")
    found = read_weights(tmp_path / "official.safetensors")
    torch.testing.assert_close(dict(found.tensors), state())


def test_one_of_several_sets_is_named(tmp_path: Path) -> None:
    file = tmp_path / "official.pth"
    torch.save({"model": state(), "average": state(width=2)}, file)
    with pytest.raises(WeightsFileError, match="several sets") as refused:
        read_weights(file)
    assert "--key: model, average" in refused.value.hint
    with pytest.raises(WeightsFileError, match="no set of tensors under 'ema'"):
        read_weights(file, key="ema")
    torch.testing.assert_close(dict(read_weights(file, key="average").tensors), state(width=2))


def test_the_number_of_classes_comes_from_names_settings_or_preset(made: None) -> None:
    protocol = import_module("foveal.systems.made_up.protocol")

    def counted(preset: str, given: int | None, **settings: int) -> int:
        config = import_choice.make_config(
            protocol, preset=preset, settings=settings, num_classes=given
        )
        number: int = config.num_classes
        return number

    assert counted("paper", None) == 3
    assert counted("paper", 5) == 5
    assert counted("wide", None, num_classes=4) == 4
    assert import_choice.numbered_names(2) == ("class 0", "class 1")


# --- what is refused ------------------------------------------------------------------------


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    """Return the official tensors, some (dots as ``__``) replaced or, with ``None``, left out."""
    tensors: dict[str, Tensor | None] = {**state()}
    tensors.update({f"module.{name.replace('__', '.')}": t for name, t in changes.items()})
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (changed(fc__bias=None), "1 missing (head.bias)"),
        (changed(gru__weight=torch.ones(1)), "1 left over (gru.weight)"),
        (
            changed(fc__weight=torch.ones(5, 4)),
            "1 of another shape (head.weight (5, 4) instead of (3, 4))",
        ),
        (changed(fc__bias=torch.full((3,), torch.nan)), "1 not finite (head.bias)"),
        (
            changed(fc__bias=None, fc__weight=None, x__y=torch.ones(1)),
            "2 missing (head.bias, head.weight); 1 left over (x.y)",
        ),
        (
            changed(**{f"x__{i}": torch.ones(1) for i in range(7)}),
            "7 left over (x.0, x.1, x.2, x.3, x.4 and 2 more)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    made: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tensors: dict[str, Tensor],
    said: str,
) -> None:
    file, out = saved(tmp_path / "official.pth", tensors), tmp_path / "made.foveal"
    assert run(file, "-o", out, "--config", "paper", "--numbered-classes") == 2
    error = capsys.readouterr().err
    assert f"official.pth: the tensors do not fit the network: {said};" in error
    assert "Traceback" not in error
    assert not out.exists()


def test_what_a_system_says_of_its_tensors_is_said_with_the_file(
    made: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = saved(tmp_path / "official.pth", changed(optimizer=torch.ones(1)))
    out = tmp_path / "made.foveal"
    assert run(file, "-o", out, "--config", "paper", "--numbered-classes") == 2
    said = f"foveal: {file}: 'optimizer' is unknown; leave it out\n"
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "paper"], "class names are missing; give --classes FILE"),
        (["--numbered-classes"], "weights are of is not said; --config takes paper, wide"),
        (["--config", "papr", "--numbered-classes"], "'papr'; did you mean 'paper'?"),
        (["--config", "_hidden", "--numbered-classes"], "no configuration '_hidden'"),
        (["--config", "parts", "--numbered-classes"], "no configuration 'parts'"),
        (["--config", "wide", "--numbered-classes"], "how many classes; add --set num_classes=N"),
        (["--config", "paper", "--numbered-classes", "--set", "width"], "--set width: no value"),
        (["--config", "paper", "--numbered-classes", "--set", "wdth=5"], "did you mean 'width'?"),
        (["--config", "paper", "--numbered-classes", "--set", "width=x"], "config.width: expected"),
        (
            ["--config", "paper", "--classes", "three.txt", "--set", "num_classes=4"],
            "3 class names for num_classes=4",
        ),
        (["--config", "paper", "--classes", "twice.txt"], "twice.txt:3: 'run' stands there twice"),
        (["--config", "paper", "--classes", "gap.txt"], "gap.txt:2: no name"),
        (["--config", "paper", "--classes", "empty.txt"], "empty.txt: no class names inside"),
        (["--config", "paper", "--classes", "bytes.txt"], "bytes.txt: not UTF-8 text"),
        (["--config", "paper", "--classes", "four.txt"], "head.weight (3, 4) instead of (4, 4)"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(
    made: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    classes(Path("three.txt"), "run", "jump", "wave")
    classes(Path("four.txt"), "run", "jump", "wave", "skip")
    classes(Path("twice.txt"), "run", "jump", "run")
    classes(Path("gap.txt"), "run", "", "wave")
    classes(Path("empty.txt"))
    Path("bytes.txt").write_bytes(b"caf\xe9\n")
    file = saved(Path("official.pth"), state())
    assert run(file, "-o", "made.foveal", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert not Path("made.foveal").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made_upp", "no system 'made_upp'; did you mean 'made_up'?"),
        ("hcms", "no official weights are known for 'hcms'; there are "),
        ("tagger", "no system 'tagger'; there are "),
    ],
)
def test_a_system_without_official_weights_is_refused(
    made: None, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert main(["import", name, "a.pth", "-o", "a.foveal", "--numbered-classes"]) == 2
    assert said in capsys.readouterr().err


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    cases = {
        "none.pth": (None, "No such file"),
        "empty.pth": (b"", "not a PyTorch checkpoint"),
        "text.pth": (b"hello, I am text", "not a PyTorch checkpoint"),
        "text.safetensors": (b"hello, I am text", "not a safetensors file"),
    }
    whole = saved(tmp_path / "whole.pth", state()).read_bytes()
    cases["cut.pth"] = (whole[: len(whole) // 2], "not a PyTorch checkpoint")
    for name, (content, said) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsFileError, match=said) as refused:
            read_weights(tmp_path / name)
        assert name in refused.value.message
    for content in ({"epoch": 1}, {}, [torch.ones(1)], {"a": {"b": {"c": torch.ones(1)}}}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(WeightsFileError, match="no set of tensors"):
            read_weights(tmp_path / "other.pth")


def test_a_file_that_would_run_a_program_is_not_read(tmp_path: Path) -> None:
    torch.save({"state_dict": state(), "args": Namespace(lr=0.1)}, tmp_path / "args.pth")
    with pytest.raises(WeightsFileError, match=r"holds argparse\.Namespace beside tensors"):
        read_weights(tmp_path / "args.pth")


def test_counters_may_be_missing_and_halves_are_widened() -> None:
    network = torch.nn.BatchNorm1d(2)
    halves = {n: t.half() + 1 for n, t in network.state_dict().items() if "num_" not in n}
    fill(network, halves, place="a.pth")
    assert network.weight.dtype == torch.float32
    assert network.weight.tolist() == [2.0, 2.0]
    with pytest.raises(WeightsMisfitError, match="4 missing"):
        fill(network, {}, place="a.pth")


def test_without_pytorch_one_line_says_what_to_install(tmp_path: Path) -> None:
    known = import_choice.importable()
    assert known, "no system knows official weights"
    protocol = import_module(f"{known[0].module}.protocol")
    preset = next(iter(import_choice.presets(protocol)))
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from check_light import Blocker, lint_settings\n"
        "sys.meta_path.insert(0, Blocker(lint_settings()[1]))\n"
        "from foveal.cli.app import main\n"
        f"raise SystemExit(main(['import', {known[0].name!r}, 'a.pth', '-o', 'a.foveal',"
        f" '--config', {preset!r}, '--set', 'num_classes=3', '--numbered-classes']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "which the light install lacks; pip install 'foveal[train]'" in done.stderr


# --- the convention -------------------------------------------------------------------------


@pytest.mark.parametrize("row", import_choice.importable(), ids=lambda row: row.name)
def test_a_system_with_official_weights_keeps_the_convention(row: index.System) -> None:
    protocol, model = (import_module(f"{row.module}.{name}") for name in ("protocol", "model"))
    convert = import_module(f"{row.module}.weights").convert
    assert list(inspect.signature(convert).parameters) == ["state", "cfg"]
    assert next(iter(inspect.signature(model.make_network).parameters)) == "cfg"
    known = import_choice.presets(protocol)
    assert "tiny" in known
    said = []
    for name in known:
        cfg = import_choice.make_config(protocol, preset=name, settings={}, num_classes=7)
        assert cfg.num_classes == 7
        with pytest.raises(FovealError) as caught:
            convert({}, cfg)
        said.append(str(caught.value))
    # Some settings never had published weights; for the others every tensor is missing.
    assert any("missing" in words for words in said)
    with pytest.raises(FovealError):
        convert({"no_such_module.weight": torch.zeros(1)}, cfg)
