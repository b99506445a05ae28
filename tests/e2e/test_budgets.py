"""``foveal calibrate``, ``recognize`` with a budget and ``curve``, on votes for a colour."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foveal
from foveal.api import NOTHING, SampleError
from foveal.budget import Budget, BudgetError
from foveal.bundle import Bundle, Calibration, MeasuredPoint
from foveal.calibration import prepare
from foveal.cli.app import main
from foveal.cli.calibrate import alike
from foveal.dataset import fingerprint, read_dataset
from foveal.metrics import cooled
from foveal.records import Prediction
from tests.e2e.conftest import environment
from tests.helpers_bundle import (
    COLOURS,
    MACS_PER_FRAME,
    NUM_EXITS,
    write_colour_bundle,
    write_exits_bundle,
    write_votes,
)

Capture = pytest.CaptureFixture[str]
EACH = MACS_PER_FRAME
"""MACs of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Clips in two splits, and a bundle that was calibrated on one of them."""

    root: Path
    bare: Path
    bundle: Path

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def held_out(self) -> list[Path]:
        return sorted(self.clips.glob("test/*/*.mp4"))

    @property
    def calibration(self) -> Calibration:
        found = Bundle.open(self.bundle).manifest.calibration
        assert found is not None
        return found


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Votes:
    root = tmp_path_factory.mktemp("votes")
    made = Votes(root=root, bare=root / "bare.foveal", bundle=root / "votes.foveal")
    write_exits_bundle(made.bare)
    write_votes(made.clips / "validation", num_clips=90, seed=0)
    write_votes(made.clips / "test", num_clips=60, seed=1)
    arguments = ["calibrate", str(made.bare), str(made.clips), "-o", str(made.bundle)]
    assert main([*arguments, "--threads", "1"]) == 0
    return made


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def counted(point: MeasuredPoint) -> MeasuredPoint:
    """A point without what a clock decides."""
    return replace(point, p50_ms=0.0, p95_ms=0.0, held_ms=0.0, p95_compute_ms=0.0)


# --- calibrate ------------------------------------------------------------------------------


def test_every_stop_and_a_ladder_of_exits_is_measured(votes: Votes) -> None:
    found = votes.calibration
    assert (found.split, found.num_clips, found.data) == ("validation", 90, "clips")
    points = {measured.point.name: measured for measured in found.points}
    for count, name in ((6, "all 6"), (4, "first 4"), (3, "first 3"), (1, "first 1")):
        assert points[name].mean_macs == points[name].max_macs == count * EACH
        assert points[name].rows == {"colour": count}
    exits = [measured for measured in found.points if measured.point.family == "exits"]
    assert len(exits) >= 6
    for measured in exits:
        assert EACH <= measured.mean_macs <= measured.held_macs <= NUM_EXITS * EACH
        assert measured.max_macs == NUM_EXITS * EACH
    costs = [measured.mean_macs for measured in found.points]
    assert costs == sorted(costs, reverse=True)
    assert any(measured.is_on_front for measured in exits)


def test_the_table_marks_the_front_and_the_measured_bundle_stays(
    votes: Votes, capsys: Capture, tmp_path: Path
) -> None:
    before = votes.bare.read_bytes()
    out = tmp_path / "again.foveal"
    assert main(["calibrate", str(votes.bare), str(votes.clips), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    legend = next(i for i, line in enumerate(lines) if line.startswith("* no other point is"))
    rows = lines[1:legend]
    named = [name for row in rows for name in re.findall(r"exits at [^.]* %(?=  )", row)]
    rungs = [f"exits at {rung}" for name in named for rung in name[9:].split(", ")]
    exits = [p.point.name for p in votes.calibration.points if p.point.family == "exits"]
    assert rungs == exits
    assert len(rows) == len(votes.calibration.points) - len(exits) + len(named)
    assert len({row[2:] for row in rows}) == len(rows)
    assert any(line.startswith("* exits at") for line in rows)
    assert "90 clips for validation" in captured.err
    assert "only roughly" in captured.err
    assert votes.bare.read_bytes() == before


def test_rungs_that_came_out_alike_share_a_line(votes: Votes) -> None:
    """Neighbours with the same figures; not another ladder's, nor plain points."""

    def named(name: str, like: MeasuredPoint, **figures: float) -> MeasuredPoint:
        return replace(like, point=replace(like.point, name=name), **figures)  # type: ignore[arg-type]

    rung = next(p for p in votes.calibration.points if p.point.family == "exits")
    plain = next(p for p in votes.calibration.points if p.point.family != "exits")
    points = [
        named("exits at 90 %", rung),
        named("exits at 80 %", rung, p50_ms=rung.p50_ms / 2),
        named("exits at 70 %", rung),
        named("others at 70 %", rung),
        named("others at 60 %", rung, accuracy=rung.accuracy / 2),
        named("plain at 2", plain),
        named("plain at 1", plain),
    ]
    assert [name for name, _ in alike(points)] == [
        "exits at 90 %, 80 %, 70 %", "others at 70 %", "others at 60 %", "plain at 2", "plain at 1"
    ]  # fmt: skip
    assert alike([]) == []


def test_without_an_out_the_bundle_takes_its_curve_up(votes: Votes, tmp_path: Path) -> None:
    shutil.copy(votes.bare, tmp_path / "mine.foveal")
    assert main(["calibrate", "mine.foveal", str(votes.clips)]) == 0
    found = Bundle.open(tmp_path / "mine.foveal").manifest.calibration
    assert found is not None
    assert [counted(p) for p in found.points] == [counted(p) for p in votes.calibration.points]


def test_what_is_fitted_does_not_depend_on_the_test_clips(votes: Votes, tmp_path: Path) -> None:
    shutil.copytree(votes.clips / "validation", tmp_path / "clips" / "validation")
    write_votes(tmp_path / "clips" / "test", num_clips=9, seed=5, right=0.0)
    assert main(["calibrate", str(votes.bare), "clips", "-o", "other.foveal"]) == 0
    found = Bundle.open("other.foveal").manifest.calibration
    assert found is not None
    assert [counted(p) for p in found.points] == [counted(p) for p in votes.calibration.points]
    assert found.clips_sha256 == votes.calibration.clips_sha256


def test_a_run_is_calibrated_on_the_clips_it_was_validated_on(tmp_path: Path) -> None:
    write_votes(tmp_path / "clips", num_clips=90, seed=0)
    run = tmp_path / "run"
    run.mkdir()
    write_exits_bundle(run / "model.foveal")
    dataset = read_dataset("clips", class_names=list(COLOURS))
    told = {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "how_split": dataset.how_split,
        "sha256": fingerprint(dataset),
    }
    (run / "result.json").write_text(json.dumps({"data": told}))
    assert 8 <= len(dataset.samples["validation"]) < 30
    work = prepare("run", "clips")
    assert set(work.samples.values()) == set(dataset.samples["validation"])
    assert not any("judge this bundle" in line for line in work.warnings)
    assert main(["calibrate", "run", "clips"]) == 0
    found = Bundle.open(run / "model.foveal").manifest.calibration
    assert found is not None
    assert found.num_clips == len(dataset.samples["validation"])


def test_calibrating_needs_no_pytorch(votes: Votes, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from foveal.cli.app import main\n"
        f"code = main(['calibrate', {str(votes.bare)!r}, {str(votes.clips)!r}, '-o', 'a.foveal'])\n"
        "assert code == 0, code\n"
        "assert not {'onnx', 'timm', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert Bundle.open(tmp_path / "a.foveal").manifest.calibration is not None


def test_a_clip_that_cannot_be_read_is_told_and_left_out(
    votes: Votes, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(votes.clips / "validation", tmp_path / "clips" / "validation")
    (tmp_path / "clips" / "validation" / "red" / "broken.mp4").write_bytes(b"nothing at all")
    assert (
        main(["calibrate", str(votes.bare), "clips", "--split", "test", "-o", "left.foveal"]) == 1
    )
    assert "broken.mp4" in capsys.readouterr().err
    found = Bundle.open("left.foveal").manifest.calibration
    assert found is not None
    assert found.num_clips == 90


def test_a_static_point_that_dominates_is_told(tmp_path: Path, capsys: Capture) -> None:
    # Every frame tells, so that the first answer is right and exits have nothing to win.
    write_exits_bundle(tmp_path / "sure.foveal")
    write_votes(tmp_path / "clips" / "validation", num_clips=12, seed=0, right=1.0)
    assert main(["calibrate", "sure.foveal", "clips", "--split", "test"]) == 0
    captured = capsys.readouterr()
    assert "judge this bundle by other ones" in captured.err
    out = captured.out
    assert "Static points dominate exits" in out
    assert "'first 1' is 100.0 % right" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{each}", "{clips}"], "says when things happen"),
        (["{bare}", "{clips}", "--split", "train"], "no clip is for train"),
        (["{bare}", "{few}", "--split", "test"], "it takes 8 to measure anything"),
        (["{bare}", "{clips}", "-o", "kept.txt"], "kept.txt"),
        (["{bare}", "{clips}", "-o", "nowhere/a.foveal"], "no bundle can be written there"),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(
    votes: Votes, tmp_path: Path, capsys: Capture, arguments: list[str], told: str
) -> None:
    write_colour_bundle(tmp_path / "each.foveal", answer="each")
    write_votes(tmp_path / "few" / "validation", num_clips=3, seed=0)
    (tmp_path / "kept.txt").write_text("kept")
    places = {"each": "each.foveal", "few": "few", "clips": votes.clips, "bare": votes.bare}
    assert main(["calibrate", *(word.format(**places) for word in arguments)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("foveal: ")
    assert told in error
    assert (tmp_path / "kept.txt").read_text() == "kept"


# --- a budget -------------------------------------------------------------------------------


def run(votes: Votes, budget: Budget) -> list[Prediction]:
    """Recognise the clips that nothing was fitted on."""
    model = foveal.load(votes.bundle, threads=1).within(budget)
    done = list(model.recognize_many(votes.held_out))
    assert len(done) == 60
    found = [one for one in done if isinstance(one, Prediction)]
    assert len(found) == 60
    return found


@pytest.mark.parametrize("share", [0.17, 0.25, 0.33, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
def test_macs_are_held_in_the_mean_on_clips_it_was_not_fitted_on(
    votes: Votes, share: float
) -> None:
    allowed = share * NUM_EXITS * EACH
    found = run(votes, Budget(max_gmacs=allowed / 1e9))
    assert np.mean([one.cost.total_macs for one in found]) <= allowed
    assert len({one.operating_point for one in found}) == 1


def test_some_budgets_are_held_by_exits_and_more_of_it_is_no_worse(votes: Votes) -> None:
    shares = np.linspace(0.17, 1.0, 12)
    model = foveal.load(votes.bundle)
    choices = [
        model.within(Budget(max_gmacs=float(share) * NUM_EXITS * EACH / 1e9)).choice
        for share in shares
    ]
    picked = [choice.measured for choice in choices if choice is not None]
    assert len(picked) == 12
    assert "exits" in {measured.point.family for measured in picked}
    accuracy = [measured.accuracy for measured in picked]
    assert accuracy == sorted(accuracy)


@pytest.mark.parametrize("calls", [1.0, 1.5, 2.2, 3.9, 5.0, 6.0])
def test_a_hard_cap_holds_for_every_clip(votes: Votes, calls: float) -> None:
    cap = calls * EACH
    found = run(votes, Budget(max_gmacs=cap / 1e9, hard=True))
    assert max(one.cost.total_macs for one in found) <= cap


def test_a_cap_cuts_exits_short_with_the_answer_they_had(votes: Votes) -> None:
    # Only the dearest exits are left, so that the cap has to do the work.
    found = votes.calibration
    exits = next(m for m in found.points if m.point.family == "exits")
    curve = replace(found, points=(exits,))
    bundle = Bundle.open(votes.bundle).calibrated(votes.root / "capped.foveal", curve)
    free = {p.path: p for p in run(votes, Budget(max_gmacs=1.0))}
    capped = run(
        replace(votes, bundle=Path(str(bundle.path))),
        Budget(max_gmacs=3.5 * EACH / 1e9, hard=True),
    )
    assert len(free) == 60
    cut = [one for one in capped if any("cap" in warning for warning in one.warnings)]
    assert cut
    for one in capped:
        assert one.cost.total_macs <= 3.5 * EACH
        assert one.trace.exit_index <= 2
    for one in cut:
        assert (one.trace.exit_index, one.trace.stopped_early) == (2, True)


def test_the_record_names_the_point_and_only_with_a_budget(votes: Votes, capsys: Capture) -> None:
    clip = str(votes.held_out[0])
    assert main(["recognize", clip, "--model", str(votes.bundle), "--json"]) == 0
    assert "operating_point" not in json.loads(capsys.readouterr().out)
    budget = ["--max-gmacs", "0.0000024"]
    assert main(["recognize", clip, "--model", str(votes.bundle), "--json", *budget]) == 0
    captured = capsys.readouterr()
    point = json.loads(captured.out)["operating_point"]
    assert f"Operating point {point!r}" in captured.err


def test_many_clips_end_with_what_they_cost(votes: Votes, capsys: Capture) -> None:
    folder = str(votes.clips / "test")
    budget = ["--max-gmacs", "0.0000031", "--hard", "--json"]
    assert main(["recognize", folder, "--model", str(votes.bundle), *budget]) == 0
    captured = capsys.readouterr()
    spent = [json.loads(line)["cost"]["macs"] for line in captured.out.splitlines()]
    assert max(spent) <= 3100
    last = captured.err.splitlines()[-1]
    assert last.startswith("Budget, 60 clips: ")
    assert "of 3.1e-06 GMACs in the mean" in last


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (["--max-gmacs", "0.0000005"], "ask for --max-gmacs 0.000000768"),
        (["--max-gmacs", "0.0000005", "--hard"], "ask for --max-gmacs 0.000000768"),
        (["--min-confidence", "1"], "ask for --min-confidence 0.9"),
        (["--max-ms", "0.000001"], "ask for --max-ms "),
        (["--hard"], "give --max-gmacs, --max-ms or --min-confidence"),
        (["--reprofile"], "need a budget"),
        (["--max-ms", "5", "--hard"], "; give --max-gmacs with it"),
        (["--min-confidence", "2"], "at most 1"),
        (["--max-gmacs", "1", "--check"], "contradict each other"),
    ],
)
def test_a_refusal_is_one_line_and_two(
    votes: Votes, capsys: Capture, budget: list[str], told: str
) -> None:
    clip = str(votes.held_out[0])
    assert main(["recognize", clip, "--model", str(votes.bundle), *budget]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert told in line
    assert ("--reprofile times it again" in line) == ("ask for --max-ms" in line)


def test_the_milliseconds_that_a_refusal_names_are_granted(votes: Votes, capsys: Capture) -> None:
    command = ["recognize", str(votes.held_out[0]), "--model", str(votes.bundle), "--max-ms"]
    assert main([*command, "0.000001"]) == 2
    named = re.search(r"ask for --max-ms ([\d.]+) ", capsys.readouterr().err)
    assert named is not None
    assert main([*command, named[1]]) == 0


def test_what_was_never_measured_holds_no_budget(votes: Votes, capsys: Capture) -> None:
    clip = str(votes.held_out[0])
    assert main(["recognize", clip, "--model", str(votes.bare), "--max-gmacs", "1"]) == 2
    assert f"`foveal calibrate {votes.bare} DATA`" in capsys.readouterr().err
    assert main(["recognize", clip, "--max-gmacs", "1"]) == 2  # nor does the embedded tagger


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf", "many"])
def test_a_budget_is_a_number_above_nothing(number: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as left:
        main(["recognize", "a.mp4", f"--max-gmacs={number}"])
    assert left.value.code == 2
    assert "must be a number above 0" in capsys.readouterr().err


def test_milliseconds_take_one_profile(votes: Votes, tmp_path: Path, capsys: Capture) -> None:
    command = ["recognize", str(votes.held_out[0]), "--model", str(votes.bundle), "--threads", "1"]
    assert main([*command, "--max-ms", "100000"]) == 0
    assert "95 of 100 clips within" in capsys.readouterr().err
    (kept,) = (tmp_path / "cache" / "foveal" / "profiles").iterdir()
    before = kept.stat().st_mtime_ns
    assert main([*command, "--max-ms", "100000"]) == 0
    assert kept.stat().st_mtime_ns == before
    assert main([*command, "--max-ms", "100000", "--reprofile"]) == 0
    assert kept.stat().st_mtime_ns > before
    assert len(list(kept.parent.iterdir())) == 1


def test_in_python_a_budget_is_an_argument(votes: Votes) -> None:
    model = foveal.load(votes.bundle)
    one = model.recognize(votes.held_out[0], max_gmacs=EACH / 1e9, hard=True)
    assert (one.operating_point, one.cost.total_macs) == ("first 1", EACH)
    assert model.recognize(votes.held_out[0]).operating_point is None
    with pytest.raises(BudgetError, match="smallest feasible"):
        model.recognize(votes.held_out[0], max_gmacs=EACH / 2e9)
    with pytest.raises(SampleError):
        model.recognize("absent.mp4", max_gmacs=1.0)


def test_the_surest_asks_for_the_cheapest_that_is_sure_enough(votes: Votes) -> None:
    model = foveal.load(votes.bundle)
    choice = model.within(Budget(min_confidence=0.9)).choice
    assert choice is not None
    for other in votes.calibration.points:
        if other.confidence >= 0.9:
            assert choice.measured.held_macs <= other.held_macs


def test_without_a_budget_nothing_of_it_is_loaded(votes: Votes) -> None:
    clip = str(votes.held_out[0])
    script = (
        "import sys\n"
        "from foveal.cli.app import main\n"
        f"assert main(['recognize', {clip!r}, '--model', {str(votes.bundle)!r}]) == 0\n"
        "new = ('budget', 'calibration', 'dataset', 'evaluation', 'results', 'tasks')\n"
        "loaded = [m for m in sys.modules if m.startswith(tuple(f'foveal.{n}' for n in new))]\n"
        "print(loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# --- scores that mean something ------------------------------------------------------------


def test_probabilities_are_those_after_the_temperature(votes: Votes) -> None:
    plain, measured = foveal.load(votes.bare), foveal.load(votes.bundle)
    found = next(p for p in votes.calibration.points if p.point.name == f"all {NUM_EXITS}")
    assert measured.measured == found
    assert found.temperature != 1.0
    for clip in votes.held_out[:8]:
        a, b = plain.recognize(clip, top_k=3), measured.recognize(clip, top_k=3)
        raw = np.array([label.prob for label in a.predictions])
        shown = np.array([label.prob for label in b.predictions])
        wanted = cooled(raw[None], found.temperature)[0]
        assert shown == pytest.approx(wanted, abs=1e-6)
        names = [label.guess or label.label for label in b.predictions]
        assert names == [label.label for label in a.predictions]


def test_nineteen_of_twenty_right_answers_stay_known(votes: Votes) -> None:
    """On the clips it was fitted on; an unsure answer keeps its class as a guess."""
    model = foveal.load(votes.bundle)
    right = known = 0
    for clip in sorted(votes.clips.glob("validation/*/*.mp4")):
        (best,) = model.recognize(clip).predictions
        if (best.guess or best.label) == clip.parent.name:
            right += 1
            known += best.known
        if not best.known:
            assert best.label == NOTHING
            assert best.guess in COLOURS
    assert 0.9 < known / right < 1.0


def test_who_never_says_nothing_says_how_to_fit_it(votes: Votes, capsys: Capture) -> None:
    """Once, below what is shown; not in records, and not once it is fitted."""
    clips = [str(clip) for clip in votes.held_out[:2]]
    said = (
        f"It names a class for whatever it sees; `foveal calibrate {votes.bare} DATA` fits when to "
        f"say {NOTHING!r}."
    )
    for inputs in (clips[:1], clips):
        assert main(["recognize", *inputs, "--model", str(votes.bare)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == said
        for words in (["--model", str(votes.bundle)], ["--model", str(votes.bare), "--json"], []):
            assert main(["recognize", *inputs, *words]) == 0
            assert "names a class for whatever" not in capsys.readouterr().out
    gone = str(votes.held_out[0].with_name("gone.mp4"))
    for inputs, advised in (([gone], 0), ([gone, clips[0]], 1)):
        assert main(["recognize", *inputs, "--model", str(votes.bare)]) == 1
        assert capsys.readouterr().out.count(said) == advised


def test_exits_stop_where_they_did_before_the_temperature(votes: Votes) -> None:
    """They compare the network's own probabilities, which they were solved on."""
    model = foveal.load(votes.bundle)
    point = next(p for p in votes.calibration.points if p.point.family == "exits")
    chosen = model.at_named(point.point.name)
    macs = [chosen.recognize(clip).cost.total_macs for clip in votes.held_out]
    bare = foveal.load(votes.bare).at(point.point)
    assert macs == [bare.recognize(clip).cost.total_macs for clip in votes.held_out]


# --- evaluate at a point -------------------------------------------------------------------


def test_a_point_is_judged_by_its_name_or_by_a_budget(votes: Votes, capsys: Capture) -> None:
    bundle, clips = str(votes.bundle), str(votes.clips)
    for option, name in (
        (("--point", "first 3"), "first 3"),
        (("--max-gmacs", f"{EACH / 1e9}"), "first 1"),
    ):
        assert main(["evaluate", bundle, clips, *option, "--json"]) == 0
        captured = capsys.readouterr()
        found = json.loads(captured.out)
        assert found["model"]["operating_point"] == name
        assert found["cost"]["macs"]["mean"] == int(name[-1]) * EACH
        assert f"operating point {name!r}" in captured.err
        assert Path("evaluations", f"votes-test-clips-{name.replace(' ', '-')}").is_dir()


def test_a_wrong_point_names_what_is_near(votes: Votes, capsys: Capture) -> None:
    assert main(["evaluate", str(votes.bundle), str(votes.clips), "--point", "frist 3"]) == 2
    assert "no operating point 'frist 3'; did you mean 'first 3'?" in capsys.readouterr().err
    assert main(["evaluate", str(votes.bare), str(votes.clips), "--point", "first 3"]) == 2
    assert "measure them first: foveal calibrate" in capsys.readouterr().err


def test_what_was_judged_before_the_calibration_stays(
    votes: Votes, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copy(votes.bare, "mine.foveal")
    assert main(["evaluate", "mine.foveal", str(votes.clips)]) == 0
    shutil.copy(votes.bundle, "mine.foveal")
    assert main(["evaluate", "mine.foveal", str(votes.clips)]) == 0
    assert sorted(path.name for path in Path("evaluations").iterdir()) == [
        "mine-test-clips",
        "mine-test-clips-calibrated",
    ]
    before = "evaluations/mine-test-clips"
    assert main(["evaluate", "mine.foveal", str(votes.clips), "--out", before]) == 2
    assert "was made before the bundle was calibrated as it is now" in capsys.readouterr().err


# --- curve ----------------------------------------------------------------------------------


def test_several_models_in_one_picture(votes: Votes, tmp_path: Path, capsys: Capture) -> None:
    write_colour_bundle(tmp_path / "uniform.foveal", answer="mean", threshold=None)
    write_votes(tmp_path / "few" / "test", num_clips=12, seed=0)
    assert main(["calibrate", "uniform.foveal", "few", "--split", "test"]) == 0
    assert main(["evaluate", str(votes.bundle), "few", "--out", "judged"]) == 0
    capsys.readouterr()
    results = [str(votes.bundle), "uniform.foveal", "judged"]
    assert main(["curve", *results, "-o", "all.svg"]) == 0
    captured = capsys.readouterr()
    assert "that nothing else here is better than" in captured.out
    rows = (tmp_path / "all.csv").read_text().splitlines()
    families = {row.split(",")[1] for row in rows[1:]}
    assert {"exits", "static", "uniform", "random", "dense", "evaluated", "answers"} <= families
    assert (tmp_path / "all.svg").read_text().count('class="mark"') == len(rows) - 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{bare}"], "holds no curve"),
        (["{bundle}", "-o", "a.pdf"], "ends in .svg or .png"),
        (["{bundle}", "-o", "nowhere/a.svg"], "no picture can be written there"),
        (["absent"], "no such file"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    votes: Votes, capsys: Capture, arguments: list[str], told: str
) -> None:
    places: dict[str, Any] = {"bare": votes.bare, "bundle": votes.bundle}
    assert main(["curve", *(word.format(**places) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_png_without_matplotlib_says_what_to_install(
    votes: Votes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an absent package looks like
    assert main(["curve", str(votes.bundle), "-o", "a.png"]) == 2
    assert "pip install 'foveal[plot]'" in capsys.readouterr().err
