"""``foveal evaluate`` from clips whose colours are known to figures, and what it refuses."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.bundle import Bundle, BundleInvalidError, Part, write_bundle
from foveal.cli.app import main
from foveal.dataset import fingerprint, read_dataset
from foveal.evaluation import EvaluationError, evaluate, prepare
from tests.e2e.conftest import environment
from tests.helpers_bundle import COLOURS, MACS_PER_FRAME, write_clip, write_colour_bundle

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Twelve clips in class folders, one of them in the wrong one, and the bundle they are for."""

    root: Path
    bundle: Path

    @property
    def clips(self) -> Path:
        return self.root / "clips"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Set:
    root = tmp_path_factory.mktemp("evaluate")
    made = Set(root=root, bundle=root / "colour.foveal")
    write_colour_bundle(made.bundle, answer="mean", threshold=None)
    chance = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for i in range(4):
            red, green, blue = (int(np.clip(c + chance.integers(-20, 20), 0, 255)) for c in colour)
            write_clip(made.clips / name / f"{name}{i}.mp4", [(red, green, blue)], frames_each=6)
    (made.clips / "red" / "red3.mp4").rename(made.clips / "blue" / "red3.mp4")
    return made


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines(out: Path) -> list[dict[str, Any]]:
    """The lines of an evaluation without what a clock or a folder decides."""
    rows = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    for row in rows:
        del row["path"]
        row.get("cost", {}).pop("ms", None)
    return rows


def figures(out: Path) -> dict[str, Any]:
    """All figures without milliseconds."""
    found: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    del found["cost"]["ms"], found["cost"]["ms_by_stage"]
    return found


def copied(colours: Set, to: Path) -> Path:
    shutil.copytree(colours.clips, to / "clips")
    return to / "clips"


# --- the figures ----------------------------------------------------------------------------


def test_figures_of_clips_that_are_known(colours: Set, capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(colours.bundle), str(colours.clips), "--out", str(out)]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found == json.loads((out / "evaluation.json").read_text())
    assert found["accuracy"] == {
        "top1": round(11 / 12, 6),
        "top5": None,
        "mean_class": round((1 + 1 + 4 / 5) / 3, 6),
    }
    assert {"label": "blue", "predicted": "red", "num_clips": 1} in found["confusion"]
    assert found["class_names"] == list(COLOURS)
    assert found["cost"]["macs"] == dict.fromkeys(("mean", "p50", "p95"), 4 * MACS_PER_FRAME)
    assert found["cost"]["frames_used"]["p95"] == 4
    assert [one["sample"] for one in found["mistakes"]] == ["blue/red3.mp4"]
    assert found["data"]["trained_on"] == "unknown"
    assert "12 clips for test (no splits are given, so all is test)" in captured.err
    names = [row["sample"] for row in lines(out)]
    assert names == sorted(names)
    assert len(names) == 12
    page = (out / "report.html").read_text()
    assert "blue/red3.mp4" in page
    assert page.count("data:image/jpeg;base64,") == 4


def test_words_for_people(colours: Set, capsys: Capture) -> None:
    assert main(["evaluate", str(colours.bundle), str(colours.clips)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("12 clips of 3 classes\ntop-1 91.7 %, mean class accuracy 93.3 %, mAP ")
    assert "in 1 x 1 views (clips x crops)" in out
    assert "frames used 4.0, 4.0, 4.0" in out
    assert Path("evaluations/colour-test-clips/report.html").is_file()


def test_one_is_one_in_words(colours: Set, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "one" / "red").mkdir(parents=True)
    clip = next(colours.clips.rglob("*.mp4"))
    (tmp_path / "one" / "red" / "a.mp4").write_bytes(clip.read_bytes())
    assert main(["evaluate", str(colours.bundle), str(tmp_path / "one")]) == 0
    assert capsys.readouterr().out.startswith("1 clip of 1 class\n")


def test_a_broken_clip_is_a_failed_line_and_the_others_count(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    clips = copied(colours, tmp_path)
    (clips / "green" / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert main(["evaluate", str(colours.bundle), str(clips), "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("12 clips of 3 classes, 1 clip could not be read\n")
    assert captured.err.count("failed: ") == 1
    (row,) = [row for row in lines(out) if row["status"] == "error"]
    assert (row["sample"], row["label"], row["error"]["kind"]) == (
        "green/broken.mp4",
        "green",
        "not_video",
    )
    found = figures(out)
    assert (found["num_clips"], found["num_judged"]) == (13, 12)
    assert found["failed"] == {"not_video": 1}
    assert "green/broken.mp4: not a video" in (out / "report.html").read_text()


def test_where_nothing_can_be_read_one_line_says_why(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    for name in COLOURS:
        (tmp_path / "clips" / name).mkdir(parents=True)
        (tmp_path / "clips" / name / "a.mp4").write_bytes(f"no video, {name}".encode())
    assert main(["evaluate", str(colours.bundle), "clips"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "foveal: none of the 3 clips could be read: clips/blue/a.mp4: not a" in captured.err


def test_no_pytorch_is_loaded_or_needed(colours: Set, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from check_light import Blocker, lint_settings\n"
        "sys.meta_path.insert(0, Blocker(lint_settings()[1]))\n"
        "from foveal.cli.app import main\n"
        f"raise SystemExit(main(['evaluate', {str(colours.bundle)!r}, {str(colours.clips)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "12 clips of 3 classes")


# --- stopping and going on ------------------------------------------------------------------


def test_killed_and_started_again_it_leaves_the_same(colours: Set, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    evaluate(colours.bundle, colours.clips, out=whole)
    code = (
        "import os, signal\n"
        "from foveal.evaluation import prepare\n"
        f"bundle, clips, out = {[str(p) for p in (colours.bundle, colours.clips, out)]!r}\n"
        "rows = prepare(bundle, clips, out=out).rows()\n"
        "for _ in range(5):\n"
        "    next(rows)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment())
    assert done.returncode == -9
    assert len(lines(out)) == 5
    with (out / "clips.jsonl").open("a") as file:
        file.write('{"schema":1,"path":"half a li')  # what a full disk or a power cut leaves
    judging = prepare(colours.bundle, colours.clips, out=out)
    assert judging.num_done == 5
    assert len(list(judging.rows())) == 7
    judging.finish()
    assert lines(out) == lines(whole)
    assert figures(out) == figures(whole)
    assert list(prepare(colours.bundle, colours.clips, out=out).rows()) == []


def test_a_folder_of_something_else_is_refused(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(colours.bundle), str(colours.clips), "--out", str(out)]
    assert main(command) == 0
    before = (out / "clips.jsonl").read_bytes()
    capsys.readouterr()
    other = tmp_path / "other.foveal"
    write_colour_bundle(other, answer="mean", num_frames=2)
    clips = copied(colours, tmp_path)
    (clips / "red" / "red0.mp4").unlink()

    def refused(bundle: Path, data: Path, place: Path) -> str:
        assert main(["evaluate", str(bundle), str(data), "--out", str(place)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    assert "the evaluation in it is of another bundle;" in refused(other, colours.clips, out)
    assert "the evaluation in it is of other clips;" in refused(colours.bundle, clips, out)
    assert "of another bundle and is of other clips;" in refused(other, clips, out)
    assert "holds no evaluation" in refused(colours.bundle, colours.clips, clips)
    assert (out / "clips.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{}", "line 13: this is no line of an evaluation"),
        (None, "line 13: blue/.* is there twice"),
    ],
)
def test_a_line_that_is_none_is_named(
    colours: Set, tmp_path: Path, line: str | None, said: str
) -> None:
    out = tmp_path / "out"
    evaluate(colours.bundle, colours.clips, out=out)
    written = (out / "clips.jsonl").read_text()
    extra = written.splitlines()[0] if line is None else line
    (out / "clips.jsonl").write_text(f"{written}{extra}\n")
    with pytest.raises(EvaluationError, match=said):
        prepare(colours.bundle, colours.clips, out=out)


# --- labels and classes ---------------------------------------------------------------------


def test_the_order_of_a_list_or_of_its_classes_changes_nothing(
    colours: Set, tmp_path: Path
) -> None:
    """Names live in the bundle; a list in another order is matched by name."""
    clips = copied(colours, tmp_path)
    names = list(COLOURS)
    rows = [(f"{p.parent.name}/{p.name}", p.parent.name) for p in sorted(clips.rglob("*.mp4"))]
    wanted = lines(evaluate(colours.bundle, clips, out="folder").out)

    def judged(out: str, rows: list[tuple[str, Any]]) -> dict[str, Any]:
        with (clips / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *rows])
        done = evaluate(colours.bundle, clips / "labels.csv", out=out)
        assert lines(done.out) == wanted
        return done.figures["accuracy"]

    ordered = judged("ordered", rows)
    assert ordered["top1"] == round(11 / 12, 6)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        assert judged(f"shuffled{seed}", rows) == ordered
        random.Random(seed).shuffle(names)
        (clips / "classes.txt").write_text("\n".join(names) + "\n")
        numbered = [(path, names.index(name)) for path, name in rows]
        assert judged(f"numbered{seed}", numbered) == ordered
        (clips / "classes.txt").unlink()
    # A shuffled list is the same clips: what is done is not done again.
    random.Random(9).shuffle(rows)
    with (clips / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    assert prepare(colours.bundle, clips / "labels.csv", out="ordered").num_done == 12


def test_a_class_the_model_does_not_know_is_one_line(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    clips = copied(colours, tmp_path)
    shutil.copytree(clips / "green", clips / "greene")
    for i in range(4):  # not copies of those
        write_clip(clips / "greene" / f"green{i}.mp4", [(10, 100 + i, 10)], frames_each=2)
    assert main(["evaluate", str(colours.bundle), str(clips)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert (
        "no class 'greene' (did you mean 'green'?), nor for 3 more; the model knows" in captured.err
    )
    assert "3 classes: red, green, blue" in captured.err


def test_classes_without_clips_are_no_trouble(colours: Set, tmp_path: Path) -> None:
    clips = copied(colours, tmp_path)
    shutil.rmtree(clips / "green")
    found = evaluate(colours.bundle, clips).figures
    assert [one["class"] for one in found["classes"]] == ["red", "blue"]
    assert found["class_names"] == list(COLOURS)
    assert found["accuracy"]["top1"] == round(7 / 8, 6)


def test_a_model_that_says_when_and_not_what_is_refused(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    bundle = tmp_path / "each.foveal"
    write_colour_bundle(bundle, answer="each")
    assert main(["evaluate", str(bundle), str(colours.clips)]) == 2
    assert "does not put a clip into one class; name a bundle that classifies" in (
        capsys.readouterr().err
    )


def test_more_names_than_the_model_has_classes_are_refused(
    colours: Set, capsys: Capture, tmp_path: Path
) -> None:
    """A bundle that says which output the classes are cannot be written so at all."""
    given = Bundle.open(colours.bundle)
    (spec,) = given.specs.values()
    part = Part(spec=spec, model=given.part_bytes(spec.name), macs={(): MACS_PER_FRAME})

    def write(class_output: str | None) -> None:
        write_bundle(
            tmp_path / "more.foveal",
            system="baselines",
            config=given.manifest.config,
            class_names=[*COLOURS, "grey"],
            parts=[part],
            licence="Apache-2.0",
            class_output=class_output,
        )

    with pytest.raises(BundleInvalidError, match=r"4 names, but 'colour.probs' has shape \(3,\)"):
        write("colour.probs")
    write(None)
    assert main(["evaluate", "more.foveal", str(colours.clips)]) == 2
    err = capsys.readouterr().err
    assert "more.foveal: it answers with 3 probabilities and has 4 class names;" in err


# --- which clips ----------------------------------------------------------------------------


@pytest.fixture
def trained(colours: Set, tmp_path: Path) -> Path:
    """A folder as ``foveal train`` leaves one, of a set that it split itself."""
    data = read_dataset(colours.clips)
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(colours.bundle, run / "model.foveal")
    told = {
        "name": data.name,
        "class_names": list(COLOURS),
        "clips": {name: len(part) for name, part in data.samples.items()},
        "how_split": data.how_split,
    }
    (run / "result.json").write_text(json.dumps({"data": told}))
    return run


def test_what_it_was_trained_on_is_split_as_it_was_then(
    colours: Set, trained: Path, capsys: Capture
) -> None:
    """The names of the classes stand in another order in the bundle; the split does not mind."""
    told = json.loads((trained / "result.json").read_text())
    told["data"]["sha256"] = fingerprint(read_dataset(colours.clips, class_names=list(COLOURS)))
    (trained / "result.json").write_text(json.dumps(told))
    data = read_dataset(colours.clips, class_names=list(COLOURS))
    for split in ("test", "validation", "train"):
        assert main(["evaluate", str(trained), str(colours.clips), "--split", split]) == 0
        found = figures(trained / f"{split}-clips")
        wanted = {Path(sample.path).name for sample in data.samples[split]}
        assert {Path(row["sample"]).name for row in lines(trained / f"{split}-clips")} == wanted
        assert found["data"]["trained_on"] == "own"
        assert found["data"]["warnings"] == []
    assert "warning" not in capsys.readouterr().err


def test_a_run_is_judged_again_as_its_training_judged_it(
    colours: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))
    settings = ("steps=4", "batch_size=4", "workers=0", "device=cpu")
    chosen = ("--system", "baselines", "--recipe", "tiny", "--out", "run", "--cache", "0")
    options = [word for setting in settings for word in ("--set", setting)]
    assert main(["train", str(colours.clips), *chosen, *options]) == 0
    told = json.loads(Path("run/result.json").read_text())
    found = evaluate("run", colours.clips).figures
    assert found["data"]["trained_on"] == "own"
    assert found["num_judged"] == told["test"]["num_clips"] == told["data"]["clips"]["test"]
    assert found["accuracy"]["top1"] == pytest.approx(told["test"]["accuracy"], abs=1e-6)
    gmacs = told["test"]["gmacs_per_clip"]
    assert found["cost"]["macs"]["mean"] / 1e9 == pytest.approx(gmacs, abs=1e-6)


def test_stored_features_are_judged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    labels = np.arange(40) % 2
    rows = chance.normal(size=(40, 3, 6)) + 3 * labels[:, None, None]
    np.savez("set.npz", features=rows.astype(np.float32), label=labels)
    command = ["train", "set.npz", "--out", "run", "--set", "steps=30", "--set", "workers=0"]
    assert main([*command, "--set", "device=cpu"]) == 0
    told = json.loads(Path("run/result.json").read_text())
    found = evaluate("run", "set.npz").figures
    assert found["data"]["trained_on"] == "own"
    assert found["num_judged"] == told["data"]["clips"]["test"] > 2
    assert found["accuracy"]["top1"] == pytest.approx(told["test"]["accuracy"], abs=1e-6)
    assert found["cost"]["frames_decoded"]["mean"] == 0


def test_a_run_from_before_sets_had_a_fingerprint_is_known_by_its_counts(
    colours: Set, trained: Path
) -> None:
    told = json.loads((trained / "result.json").read_text())
    told["data"]["how_split"] = read_dataset(colours.clips, class_names=list(COLOURS)).how_split
    (trained / "result.json").write_text(json.dumps(told))
    assert evaluate(trained, colours.clips).figures["data"]["trained_on"] == "own"


def test_clips_it_may_have_learnt_from_are_warned_of(
    colours: Set, trained: Path, capsys: Capture, tmp_path: Path
) -> None:
    clips = copied(colours, tmp_path)
    write_clip(clips / "red" / "new.mp4", [(190, 0, 10)], frames_each=6)
    assert main(["evaluate", str(trained), str(clips), "--out", "all"]) == 0
    err = capsys.readouterr().err
    assert "warning: the model was trained on a set named clips, and its clips are not" in err
    found = figures(Path("all"))
    assert (found["num_clips"], found["data"]["trained_on"]) == (13, "changed")
    assert len(found["data"]["warnings"]) == 1
    assert "may be among those it is judged by" in Path("all/report.html").read_text()
    moved = clips.rename(tmp_path / "another")
    assert main(["evaluate", str(trained / "model.foveal"), str(moved)]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_split_without_clips_is_refused(colours: Set, capsys: Capture) -> None:
    command = ["evaluate", str(colours.bundle), str(colours.clips), "--split", "validation"]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "foveal: clips: no clip is for validation (no splits are given, so all is test); "
        "it has 12 test; choose with --split\n"
    )


@pytest.mark.parametrize(
    ("files", "said", "code"),
    [
        ({}, "run: there is no model.foveal in this folder", 1),
        ({"model.foveal": "x", "result.json": "{}"}, "result.json: this is no result of a run", 2),
    ],
)
def test_a_folder_that_is_no_run_is_refused(
    colours: Set, files: dict[str, str], said: str, code: int, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name, content in files.items():
        (tmp_path / "run" / name).write_text(content)
    assert main(["evaluate", "run", str(colours.clips)]) == code
    assert said in capsys.readouterr().err


def test_a_damaged_bundle_is_a_file_that_failed(colours: Set, tmp_path: Path) -> None:
    raw = bytearray(colours.bundle.read_bytes())
    (tmp_path / "cut.foveal").write_bytes(raw[: len(raw) // 2])
    for command in ("evaluate", "calibrate", "verify"):
        for subject in ("cut.foveal", "missing.foveal", str(tmp_path)):
            assert main([command, subject, str(colours.clips)]) == 1
        assert main([command, str(colours.bundle), "missing"]) == 2


def test_clips_of_several_classes_from_training_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three classes, each of which adds its own vector; every clip shows one or two of them."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    labels = np.zeros((90, 3), bool)
    labels[np.arange(90), np.arange(90) % 3] = labels[::2, 1] = True
    shown = labels[:, None] @ (6 * np.eye(3, 6)) + chance.normal(0, 0.5, (90, 4, 6))
    names = np.array(["ace", "lob", "slice"])
    np.savez("set.npz", features=shown.astype(np.float32), labels=labels, class_names=names)
    command = ["train", "set.npz", "--out", "run", "--set", "steps=400", "--set", "workers=0"]
    assert main([*command, "--set", "device=cpu", "--set", "lr=0.02"]) == 0
    told = capsys.readouterr()
    assert "clips have up to 2 labels" in told.err
    assert "mAP" in told.out
    assert "nothing it knows" not in told.out
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["config"]["several_labels"]
    assert result["test"]["mean_average_precision"] > 0.95

    assert main(["evaluate", "run", "set.npz", "--out", "judged"]) == 0
    assert "mAP" in capsys.readouterr().out
    found = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert found["mean_average_precision"] == pytest.approx(
        result["test"]["mean_average_precision"], abs=1e-5
    )
    assert found["calibration"] is None
    lines = (tmp_path / "judged" / "clips.jsonl").read_text().splitlines()
    both = [row for row in map(json.loads, lines) if len(row["labels"]) == 2]
    assert both
    assert all(len(row["predictions"]) >= 1 for row in both)

    assert main(["calibrate", "run", "set.npz"]) == 0
    measured = Bundle.open(tmp_path / "run" / "model.foveal").manifest.calibration
    assert measured is not None
    assert {point.temperature for point in measured.points} == {1.0}
    told = capsys.readouterr()
    assert "no temperature fits" not in told.out
    assert " mAP " in told.out
    assert measured.points[0].accuracy > 0.9

    one = np.array(["ace", "lob", "slice"])[labels.argmax(axis=1)]
    np.savez("one.npz", features=shown.astype(np.float32), label=one, class_names=names)
    assert main(["evaluate", "run", "one.npz", "--out", "one"]) == 0
    assert "whatever else a clip shows counts as wrong" in capsys.readouterr().err


def test_a_system_of_one_class_a_clip_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(8):
        write_clip(tmp_path / f"{i}.mp4", [(20 * i, 60, 200)])
    rows = "".join(f"{i}.mp4,{('ace', 'ace|lob')[i % 2]}\n" for i in range(8))
    (tmp_path / "list.csv").write_text("path,labels\n" + rows)
    command = ["train", str(tmp_path / "list.csv"), "--out", str(tmp_path / "run")]
    assert main([*command, "--system", "ocsampler"]) == 2
    told = capsys.readouterr().err
    assert "ocsampler learns one class a clip, and here clips have several" in told
    assert "nsnet" in told
