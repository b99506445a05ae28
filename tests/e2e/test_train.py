"""``foveal train`` from a folder of clips to a bundle that runs, and what it says of slips."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from foveal.bundle import Bundle
from foveal.cli import command
from foveal.cli.app import main
from foveal.cli.train import last_validation
from foveal.dataset import Format, Sample, read_dataset
from foveal.systems import index
from foveal.tasks.trainable import trainable
from foveal.train import Point, Progress, TrainResult
from tests.e2e.conftest import environment, records
from tests.helpers_bundle import COLOURS, write_clip

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
BASELINES = ("train", "--system", "baselines", "--recipe", "tiny")
QUICK = ("--set", "steps=4", "--set", "batch_size=4", "--set", "workers=0", "--set", "device=cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of each colour, no two alike."""
    folder = tmp_path_factory.mktemp("data") / "colours"
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(8):
            shades = [tuple(np.clip(colour + chance.integers(-20, 20, 3), 0, 255))] * 2
            write_clip(folder / name / f"{i}.mp4", shades, frames_each=4)  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "frames"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_formats_are_those_of_the_dataset() -> None:
    assert get_args(Format) == command.FORMATS


# --- from clips to a bundle -------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run of the baselines."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main([*BASELINES, str(clips), "--out", str(out), *QUICK]) == 0
    return out


@pytest.mark.parametrize(
    "row",
    [
        # the contract tests export all of them, this takes each some ten seconds more
        pytest.param(row, marks=() if row.kind == "baseline" else pytest.mark.slow, id=row.name)
        for row in trainable()
    ],
)
def test_every_system_leaves_a_bundle_that_runs(
    row: index.System, clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    """What it says of the test split is what `foveal recognize` finds there."""
    out = tmp_path / "run"
    command = ["train", str(clips), "--system", row.name, "--recipe", "tiny", "--out", str(out)]
    assert main([*command, *QUICK]) == 0
    captured = capsys.readouterr()
    assert f"system {row.name}, recipe tiny: asked for" in captured.err
    assert "3 classes; 18 to learn from, 3 to choose by, 3 to judge by" in captured.err
    told = json.loads((out / "result.json").read_text())
    assert told["system"] == row.name
    assert told["data"]["class_names"] == sorted(COLOURS)
    test = read_dataset(clips).samples["test"]
    right = count_right(out / "model.foveal", test, capsys)
    assert told["test"]["num_clips"] == len(test) == 3
    assert told["test"]["accuracy"] == right / len(test)
    assert told["validation"]["accuracy"] in (0, 1 / 3, 2 / 3, 1)
    assert f"of {len(test)} clips right" in captured.out
    assert "Try it: foveal recognize FILE --model" in captured.out
    assert "'nothing it knows' is fitted by foveal calibrate, which takes 8" in captured.out
    assert not (out / "bad.jsonl").exists()


def test_the_command_that_fits_when_nothing_is_known_is_the_right_one(
    tmp_path: Path, capsys: Capture
) -> None:
    """As it is printed, options of DATA and all, it calibrates the run."""
    for i in range(32):
        for name in ("red", "green"):
            shade = tuple(np.clip(COLOURS[name] + np.array((0, 0, 3 * i)), 0, 255))
            write_clip(tmp_path / "my clips" / f"{name}{i}.mp4", [shade], frames_each=2)
    rows = [f"{name}{i}.mp4,{name}" for i in range(32) for name in ("red", "green")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    videos = ["--videos", str(tmp_path / "my clips")]
    out = ["--out", str(tmp_path / "run")]
    assert main([*BASELINES, str(tmp_path / "list.csv"), *videos, *out, *QUICK]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    said, _, command = line.partition(" is fitted by foveal ")
    assert said == "It names a class for whatever it sees: when to say 'nothing it knows'"
    assert main(shlex.split(command)) == 0
    assert Bundle.open(tmp_path / "run" / "model.foveal").manifest.calibration is not None


def count_right(bundle: Path, samples: tuple[Sample, ...], capsys: Capture) -> int:
    """Return how often the label that the command prints is that of the clip's folder."""
    paths = [sample.path for sample in samples]
    assert main(["recognize", *paths, "--model", str(bundle), "--json"]) == 0
    found = records(capsys.readouterr().out)
    assert set(found) == set(paths)
    return sum(found[path]["predictions"][0]["label"] == Path(path).parent.name for path in paths)


# --- stopped by force -------------------------------------------------------------------------

DIES = """
import os, signal, sys
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from foveal.cli.app import main

where, left = sys.argv[1], [int(sys.argv[2])]

def count():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def as_it_writes(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("checkpoint.json"):
        count()

def as_it_steps(optimizer, arguments, options):
    count()

if where == "writes":
    sys.addaudithook(as_it_writes)
else:
    register_optimizer_step_pre_hook(as_it_steps)
torch.set_num_threads(1)
raise SystemExit(main(sys.argv[3:]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Long:
    """A run of some length: how it is started."""

    clips: Path

    def command(self, out: Path, *, workers: int, resume: bool = False) -> list[str]:
        settings = (
            "steps=40", "batch_size=4", "checkpoint_steps=3", "validations=8", "ema_decay=0.8",
            "device=cpu", f"workers={workers}",
        )  # fmt: skip
        return [
            *("train", str(self.clips), "--system", "baselines", "--recipe", "tiny"),
            *("--out", str(out), *(word for one in settings for word in ("--set", one))),
            *(("--resume",) if resume else ()),
        ]


def state(out: Path) -> tuple[int, int]:
    told = json.loads((out / "checkpoint.json").read_text())
    return told["stage"], told["step"]


def numbers(out: Path) -> list[list[str]]:
    """Return what ``metrics.csv`` has, but for the clock."""
    with (out / "metrics.csv").open(newline="") as file:
        return [row for row in csv.reader(file) if row[3] not in ("ms_per_step", "data_wait")]


def test_a_run_killed_twice_goes_on_exactly(clips: Path, tmp_path: Path, capsys: Capture) -> None:
    """By SIGKILL: as a checkpoint is put in its place, and in the middle of a step."""
    run, whole, out = Long(clips=clips), tmp_path / "whole", tmp_path / "killed"
    assert main(run.command(whole, workers=0)) == 0
    for resume, where, number in ((False, "writes", 4), (True, "steps", 11)):
        command = run.command(out, workers=1, resume=resume)
        with (tmp_path / "said").open("w") as said:  # a worker may hold on to a pipe
            done = subprocess.run(
                [sys.executable, "-c", DIES, where, str(number), *command],
                stdout=said,
                stderr=said,
                env=environment({"OMP_NUM_THREADS": "1"}),
                timeout=120,
                check=False,
            )
        assert done.returncode == -signal.SIGKILL, (tmp_path / "said").read_text()
        assert not (out / "model.foveal").exists()
        assert state(out) == ((0, 6) if where == "writes" else (0, 15))
    assert main(run.command(out, workers=0, resume=True)) == 0
    capsys.readouterr()
    assert (out / "history.jsonl").read_bytes() == (whole / "history.jsonl").read_bytes()
    assert numbers(out) == numbers(whole)
    for name in ("classifier.safetensors", "classifier.last.safetensors"):
        ours, theirs = load_file(out / name), load_file(whole / name)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    verdicts = [json.loads((folder / "result.json").read_text()) for folder in (out, whole)]
    for verdict in verdicts:
        verdict.pop("minutes")
        verdict["test"].pop("ms_per_clip")
    assert verdicts[0] == verdicts[1]
    assert verdicts[0]["test"]["accuracy"] > 0.8  # it learned, so the weights say something


@pytest.mark.parametrize(("keep", "wanted"), [("best", 2), ("last", 3)])
def test_the_result_names_the_validation_of_the_weights_that_were_kept(
    keep: Literal["best", "last"], wanted: int
) -> None:
    found = [("a", 0.9, 0.1), ("b", 0.5, 0.7), ("b", 0.5, 0.6), ("b", 0.4, 0.2)]
    history = tuple(
        Point(stage=s, step=i, lr=0.1, values={}, validation={"accuracy": a, "loss": x})
        for i, (s, a, x) in enumerate(found)
    )
    result = TrainResult(network=torch.nn.Identity(), history=history, weights=Path("w"))
    assert last_validation(result, keep=keep) == history[wanted].validation
    unjudged = tuple(replace(point, validation=None) for point in history)
    assert last_validation(replace(result, history=unjudged), keep=keep) is None


# --- what is refused --------------------------------------------------------------------------


def spoilt(clips: Path, folder: Path, num: int) -> Path:
    """Return a copy of the clips in which ``num`` are no videos."""
    for i, path in enumerate(sorted(clips.glob("*/*.mp4"))):
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes() if i >= num else b"no video" * 30 + bytes([i]))
    return folder


def test_broken_videos_are_said_and_listed(clips: Path, tmp_path: Path, capsys: Capture) -> None:
    data, out = spoilt(clips, tmp_path / "data", 3), tmp_path / "run"
    more = ("--set", "epochs=6", "--set", "batch_size=4", "--set", "workers=0", "--cache", "0")
    command = ("train", str(data), "--system", "baselines", "--recipe", "tiny", "--out", str(out))
    assert main([*command, *more, "--set", "max_bad_share=0.5"]) == 0
    err = capsys.readouterr().err
    rows = [json.loads(line) for line in (out / "bad.jsonl").read_text().splitlines()]
    assert 1 <= len(rows) <= 3
    assert err.count("another clip takes its place\n") == len(rows)
    assert {row["kind"] for row in rows} == {"not_video"}
    other = tmp_path / "other"
    assert main([*command[:-1], str(other), *more, "--set", "max_bad_share=0"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("foveal: 1 of 21 clips cannot be read (5%, the limit is 0%); ")
    assert not (other / "model.foveal").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--system", "baseline"), "no system 'baseline'; did you mean 'baselines'?"),
        (("--system", "xyz"), "no system 'xyz'; there are "),
        (("--system", "tagger"), "tagger cannot be trained here yet; "),
        (("--system", "baselines", "--recipe", "smal"), "no recipe 'smal'; did you mean 'small'?"),
        (("--recipe", "xyz"), "has no recipe 'xyz'; there are "),
        (("--set", "bach_size=3"), "no setting 'bach_size'; did you mean batch_size"),
        (("--set", "lr=fast"), "--set "),
        (("--set", "lr"), "--set lr: no value; write --set NAME=VALUE"),
        (("--set", "steps=1", "--set", "epochs=1"), "steps and epochs are both set"),
        (("--system", "baselines", "--recipe", "tiny", "--pretrained"), "leave --pretrained out"),
        (("--format", "csv"), "colours"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_two(
    clips: Path, tmp_path: Path, capsys: Capture, words: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(clips), "--out", str(out), *words]) == 2
    captured = capsys.readouterr()
    complaint = [line for line in captured.err.splitlines() if line.startswith("foveal: ")]
    assert len(complaint) == 1
    assert captured.err.endswith(complaint[0] + "\n")
    assert message in complaint[0]
    assert captured.out == ""
    assert not out.exists()


def test_a_wrong_system_is_told_before_the_data_is_read(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", str(tmp_path / "nowhere"), "--system", "ocsampel"]) == 2
    assert "no system 'ocsampel'; did you mean 'ocsampler'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--recipe", "smol"), ("--set", "bach_size=3"), ("--system", "baselines", "--recipe", "x")],
)
def test_a_wrong_recipe_or_setting_is_told_before_the_data_is_read(
    tmp_path: Path, capsys: Capture, words: tuple[str, ...]
) -> None:
    (tmp_path / "labels.csv").write_text("this is no list")
    assert main(["train", str(tmp_path / "labels.csv"), *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "labels.csv" not in captured.err


def test_of_several_processes_one_complains(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["train", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == ""


def test_weights_for_a_system_without_a_recipe_for_them(
    clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    without = next(row.name for row in trainable() if row.kind != "baseline")
    command = ["train", str(clips), "--out", str(tmp_path / "run"), "--pretrained", "/nope"]
    assert main([*command, "--system", without]) == 2
    assert f"{without} has no small recipe that published weights fit" in capsys.readouterr().err


def test_data_that_is_not_there_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "nowhere: no such file or folder; " in captured.err


def test_a_folder_with_a_run_is_left_alone_unless_it_goes_on(
    clips: Path, trained: Path, capsys: Capture
) -> None:
    before = {f.name: f.read_bytes() for f in trained.iterdir()}
    capsys.readouterr()
    command = (*BASELINES, str(clips), "--out", str(trained), *QUICK)
    assert main([*command]) == 2
    assert {f.name: f.read_bytes() for f in trained.iterdir()} == before
    refused = f"{trained} holds a run already; resume it, or choose another folder"
    assert refused in capsys.readouterr().err
    assert main([*command, "--set", "lr=0.5", "--resume"]) == 2
    assert "stages.classifier.optimizer.lr: 0.00212132 there, 0.5 now" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    for name in ("history.jsonl", "metrics.csv", "classifier.safetensors"):
        assert (trained / name).read_bytes() == before[name]


def test_a_finished_run_keeps_what_was_done_to_its_bundle_since(
    trained: Path, clips: Path, tmp_path: Path, capsys: Capture
) -> None:
    bundle = trained / "model.foveal"
    before = bundle.read_bytes()
    bundle.write_bytes(before + b"calibrated since")
    command = [*BASELINES, str(clips), *QUICK, "--resume", "--out"]
    assert main([*command, str(trained)]) == 0
    assert "this run is finished, and what it left stays as it is" in capsys.readouterr().err
    assert bundle.read_bytes() == before + b"calibrated since"
    bundle.write_bytes(before)
    assert main([*command, str(tmp_path / "nowhere")]) == 0
    assert "to go on with: a new one begins" in capsys.readouterr().err


def stopping(at: int) -> Callable[[], Callable[[Progress], None]]:
    """Return what shows progress until Ctrl-C comes with step ``at``."""

    def log(progress: Progress) -> None:
        if progress.step == at:
            raise KeyboardInterrupt

    return lambda: log


@pytest.mark.parametrize(("at", "kept"), [(2, False), (3, True)])
def test_ctrl_c_says_what_can_be_gone_on_with(
    clips: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    kept: bool,
) -> None:
    out = tmp_path / "run"
    command = [*BASELINES, str(clips), "--out", str(out), *QUICK]
    command += ["--set", "checkpoint_steps=3", "--set", "validations=1"]
    with monkeypatch.context() as patched:
        patched.setattr("foveal.train.terminal_line", stopping(at))
        assert main(command) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    if kept:
        place = f"{out}: stage 1 of 1 (classifier), after step 3"
        assert said == f"stopped; the same command with --resume goes on in {place}"
        assert main(command) == 2  # as it was said: without --resume the run is left alone
        assert main([*command, "--resume"]) == 0
        assert f"  going on in {place}\n" in capsys.readouterr().err
    else:
        nothing = f"stopped before the first checkpoint, so nothing in {out} can be gone on with"
        assert said.startswith(nothing)
        assert main(command) == 0  # as it was said: the same command begins anew


def test_ctrl_c_after_the_last_step_leaves_what_resume_finishes(
    clips: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    command = [*BASELINES, str(clips), "--out", str(out), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr("foveal.cli.train.finish", stopped)
        assert main(command) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"--resume goes on in {out}: after the last step of the last stage")
    assert main([*command, "--resume"]) == 0
    assert "Try it: foveal recognize" in capsys.readouterr().out


def test_a_run_does_not_lie_in_its_data(clips: Path, capsys: Capture) -> None:
    assert main([*BASELINES, str(clips), *QUICK, "--out", str(clips / "train")]) == 2
    assert "lies inside the data" in capsys.readouterr().err
    assert not (clips / "train").exists()


def test_without_pytorch_one_line_says_what_to_install(clips: Path) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from check_light import Blocker, lint_settings\n"
        "sys.meta_path.insert(0, Blocker(lint_settings()[1]))\n"
        "from foveal.cli.app import main\n"
        f"raise SystemExit(main(['train', {str(clips)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "which the light install lacks; pip install 'foveal[train]'" in done.stderr


@pytest.mark.slow
def test_two_processes_speak_with_one_voice(clips: Path, tmp_path: Path) -> None:
    data, out = spoilt(clips, tmp_path / "data", 2), tmp_path / "run"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ("--system", "baselines", "--recipe", "tiny", "--out", str(out), *QUICK)
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "foveal", "train", str(data), *words,
         "--set", "max_bad_share=0.5"],
        env={**environment({"OMP_NUM_THREADS": "1"})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("3 classes; ") == 1
    assert done.stdout.count("Try it: ") == 1
    rows = [json.loads(line) for line in (out / "bad.jsonl").read_text().splitlines()]
    assert len({row["path"] for row in rows}) == len(rows) == done.stderr.count("takes its place")


def test_stored_features_are_classified_by_one_layer(tmp_path: Path, capsys: Capture) -> None:
    """From an .npz: 40 clips of three vectors, in which the class is the largest number."""
    chance = np.random.default_rng(0)
    labels = np.arange(40) % 4
    features = chance.normal(0, 0.3, (40, 3, 6)).astype(np.float32)
    features[np.arange(40), :, labels] += 3
    data, out = tmp_path / "seen.npz", tmp_path / "run"
    np.savez(data, features=features, label=labels, class_names=np.array(list("abcd")))
    settings = ("steps=60", "batch_size=8", "lr=0.05", "workers=0", "num_frames=3", "device=cpu")
    words = [word for one in settings for word in ("--set", one)]
    assert main(["train", str(data), "--out", str(out), *words]) == 0
    captured = capsys.readouterr()
    assert "system baselines, recipe features" in captured.err
    told = json.loads((out / "result.json").read_text())
    assert told["config"]["feature_width"] == 6
    assert told["data"]["class_names"] == list("abcd")
    assert told["test"]["accuracy"] == told["validation"]["accuracy"] == 1.0
    assert told["test"]["num_clips"] == len(read_dataset(data).samples["test"])
