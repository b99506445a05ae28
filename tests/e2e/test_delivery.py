"""``foveal export`` and ``foveal verify``: a run is taken away, and its number had again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.bundle import Bundle
from foveal.cli.app import main
from foveal.export import ExportError
from tests.e2e.conftest import environment
from tests.helpers_bundle import COLOURS, write_clip

Capture = pytest.CaptureFixture[str]
TRAIN = ("train", "--system", "baselines", "--recipe", "tiny", "--set", "steps=30", "--set",
         "batch_size=6", "--set", "workers=0", "--set", "device=cpu")  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "colours"
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(8):
            shades = [tuple(np.clip(colour + chance.integers(-20, 20, 3), 0, 255))] * 2
            write_clip(folder / name / f"{i}.mp4", shades, frames_each=4)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main([*TRAIN, str(clips), "--out", str(out)]) == 0
    return out


@pytest.fixture(autouse=True)
def own_places(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "frames"))


def test_a_bundle_says_where_it_comes_from_and_gives_its_number_again(
    clips: Path, run: Path, capsys: Capture
) -> None:
    assert main(["export", str(run), "-o", "my.foveal"]) == 0
    assert "Try it: foveal recognize FILE --model my.foveal" in capsys.readouterr().out
    manifest = Bundle.open("my.foveal").manifest
    told = json.loads((run / "result.json").read_text())
    assert manifest.tested is not None
    assert manifest.tested.accuracy == told["test"]["accuracy"]
    assert manifest.provenance["data_sha256"] == told["data"]["sha256"]
    assert "torch" in manifest.provenance["versions"]
    assert "classifier: batch 6" in manifest.provenance["stages"]

    assert main(["verify", "my.foveal", str(clips), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"]
    assert found["network"] is None
    assert found["accuracy"]["stored"] == found["accuracy"]["found"]


def test_a_run_is_compared_with_its_network(clips: Path, run: Path, capsys: Capture) -> None:
    assert main(["verify", str(run), str(clips)]) == 0
    assert "0 of 3 clips decided otherwise" in capsys.readouterr().out


def test_other_weights_than_those_of_the_bundle_are_found_out(
    clips: Path, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    from safetensors.torch import load_file, save_file

    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    weights = load_file(copied / "classifier.safetensors")
    name = next(n for n, t in weights.items() if t.ndim == 4)
    torch.manual_seed(0)
    weights[name] = weights[name] + torch.randn_like(weights[name]) * 0.05
    save_file(weights, copied / "classifier.safetensors")
    assert main(["verify", str(copied), str(clips)]) == 1
    assert "from the network on one trace" in capsys.readouterr().err


def test_verifying_needs_no_pytorch(clips: Path, run: Path) -> None:
    assert main(["export", str(run), "-o", "my.foveal"]) == 0
    code = (
        "import sys; sys.modules['torch'] = None; from foveal.cli.app import main; "
        f"sys.exit(main(['verify', 'my.foveal', {str(clips)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a bundle, as nobody should."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["bundle.json"])
    change(manifest)
    files["bundle.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("accuracy", 0.123, "12.30% then"),
        ("mean_macs", 5.0, "GMACs, 5e-09 then"),
        ("num_clips", 4, "3 clips could be read, 4 then"),
    ],
)
def test_a_number_that_cannot_be_had_again_fails(
    clips: Path, run: Path, capsys: Capture, key: str, value: float, said: str
) -> None:
    assert main(["export", str(run), "-o", "my.foveal"]) == 0
    edited(Path("my.foveal"), lambda manifest: manifest["tested"].update({key: value}))
    assert main(["verify", "my.foveal", str(clips)]) == 1
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_other_clips_are_told_from_a_wrong_number(
    clips: Path, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["export", str(run), "-o", "my.foveal"]) == 0
    fewer = tmp_path / "fewer"
    shutil.copytree(clips, fewer)
    (fewer / "red" / "0.mp4").unlink()
    assert main(["verify", "my.foveal", str(fewer)]) == 2
    assert "not the set of the stored number, colours" in capsys.readouterr().err


def test_a_bundle_without_a_number_says_so(clips: Path, run: Path, capsys: Capture) -> None:
    assert main(["verify", str(run / "model.foveal"), str(clips)]) == 2
    assert "no number is stored in it" in capsys.readouterr().err


def test_int8_is_measured_beside_float(clips: Path, run: Path, capsys: Capture) -> None:
    assert main(["export", str(run), "-o", "small.foveal", "--int8", str(clips)]) == 0
    said = capsys.readouterr().err
    assert "int8 against float: " in said
    assert "ms instead of" in said
    small, large = Bundle.open("small.foveal"), Bundle.open(run / "model.foveal")
    assert small.manifest.tested is not None
    assert small.manifest.tested.float_accuracy is not None
    assert "test clips right" in small.manifest.provenance["int8"]
    for name in small.specs:
        model = small.part_bytes(name)
        assert b"QuantizeLinear" in model
        assert b"QuantizeLinear" not in large.part_bytes(name)
    assert main(["verify", "small.foveal", str(clips)]) == 0


def test_what_was_calibrated_goes_along(clips: Path, run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    assert main(["calibrate", str(copied), str(clips), "--split", "train"]) == 0
    assert main(["export", str(copied), "-o", "my.foveal"]) == 0
    assert Bundle.open("my.foveal").manifest.calibration is not None
    assert main(["verify", "my.foveal", str(clips)]) == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda run, to: None, "no such folder"),
        (lambda run, to: to.mkdir(), "there is no run in it"),
        (lambda run, to: to.write_text(""), "a file, not a run"),
        (lambda run, to: shutil.copytree(run, to) and (to / "result.json").unlink(),
         "this run has not finished; go on with it by `foveal train ... --resume`"),
        (lambda run, to: shutil.copytree(run, to) and (to / "result.json").write_text("[]"),
         "this is no result of a run"),
        (lambda run, to: shutil.copytree(run, to) and (to / "result.json").write_text("{}"),
         "this is no result of a run"),
    ],
)  # fmt: skip
def test_what_is_no_finished_run_is_one_line(
    run: Path, tmp_path: Path, capsys: Capture, make: Callable[[Path, Path], object], said: str
) -> None:
    make(run, tmp_path / "other")
    assert main(["export", str(tmp_path / "other"), "-o", "my.foveal"]) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert not Path("my.foveal").exists()


def test_nothing_is_lost_by_a_name(run: Path, tmp_path: Path, capsys: Capture) -> None:
    Path("there.foveal").write_text("mine")
    Path("folder").mkdir()
    own = str(run / "model.foveal")
    for out, said in [
        ("there.foveal", "there is such a file already; name another one, or add --force"),
        ("folder", "this is a folder"),
        ("nowhere/my.foveal", "its folder does not exist"),
        (own, "this is the run's own bundle"),
    ]:
        assert main(["export", str(run), "-o", out]) == 2
        assert said in capsys.readouterr().err
    assert Path("there.foveal").read_text() == "mine"
    assert main(["export", str(run), "-o", "there.foveal", "--force"]) == 0
    assert Bundle.open("there.foveal").manifest.system == "baselines"


def test_a_model_that_cannot_be_exported_is_marked(
    clips: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise ExportError("part 'x' loops", hint="write it without")

    monkeypatch.setattr("foveal.export.export_bundle", refuse)
    out = tmp_path / "run"
    assert main([*TRAIN, str(clips), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "trained, but the model cannot be exported (part 'x' loops); its weights are in" in said
    assert (out / "classifier.safetensors").is_file()
    assert main(["export", str(out), "-o", "my.foveal"]) == 2
    assert "this model could not be exported (part 'x' loops)" in capsys.readouterr().err
