"""A system leaves with all that is its own, and everything else stays as it was, and green."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foveal.systems import index
from scripts import remove_system
from scripts.remove_system import (
    make_plan,
    need_pattern,
    needs,
    owner,
    rows_of,
    without_figures,
    without_marked,
    without_row,
)

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ROOT / "src" / "foveal" / "systems"
FOLDERS = [row.name for row in index.PAPERS if (SYSTEMS / row.name).is_dir()]
GREEN = (
    "tests/contract/test_index.py",
    "tests/unit/test_figures.py",
    "tests/unit/test_repo.py",
    "tests/unit/cli/test_systems.py",
)
"""The cheap tests that look at all systems and all files."""

NAME = "planted"
"""Never written out in a path here: this file stays, and would be taken to need the system."""

ROW = f"""    System(
        name="{NAME}",
        title="Planted",
        kind="classifier",
        task="classification",
        question="which frames?",
        paper="none",
        licence="none",
        status="working",
    ),
"""


def run(copy: Path, *command: str, ok: bool = True) -> str:
    """Return what a command in the copy prints, both streams; it must end as ``ok`` says."""
    done = subprocess.run(
        command,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == ok, done.stdout
    return done.stdout


def remove(copy: Path, *arguments: str, ok: bool = True) -> str:
    return run(copy, sys.executable, "scripts/remove_system.py", *arguments, ok=ok)


def commit(copy: Path) -> str:
    """Commit all there is and return the name of the commit."""
    me = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    run(copy, "git", "add", "--all")
    run(copy, "git", *me, "commit", "--quiet", "--allow-empty", "--message", "as it was")
    return run(copy, "git", "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository of its own with every tracked file."""
    copy = tmp_path_factory.mktemp("repository") / "foveal"
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    run(copy, "git", "init", "--quiet")
    commit(copy)
    return copy


@pytest.fixture
def copy(repository: Path) -> Iterator[Path]:
    """Give the repository as it was, to every test."""
    start = run(repository, "git", "rev-parse", "HEAD").strip()
    yield repository
    run(repository, "git", "reset", "--quiet", "--hard", start)
    run(repository, "git", "clean", "--quiet", "--force", "-dx")


def plant(copy: Path) -> None:
    """Add a system in all the places where one leaves something."""
    result = {"claim": {"system": NAME, "text": "t", "holds": True}}
    for path, text in {
        f"src/foveal/systems/{NAME}/protocol.py": '"""Planted."""\n',
        f"src/foveal/systems/{NAME}/README.md": "# Planted\n",
        f"tests/golden/{NAME}/a.json": "{}\n",
        f"tests/unit/{NAME}/test_it.py": f"from foveal.systems.{NAME} import protocol\n",
        f"tests/reference/test_{NAME}.py": f"from foveal.systems import {NAME}\n",
        f"scripts/claim_{NAME}.py": '"""Measure the claim."""\n',
        f"scripts/{NAME}_figures.py": '"""Draw its figures."""\n',
        f"results/{NAME}/speed.json": "{}\n",
        f"results/classification/haystack/{NAME}_beside_others.json": "{}\n",
        "results/classification/haystack/claim.json": json.dumps(result),
    }.items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(text)
    put_before(copy / remove_system.INDEX, ')\n"""What Foveal adds', ROW)
    run(copy, sys.executable, "scripts/make_claims.py")
    assert NAME in (copy / "src/foveal/systems/claims.json").read_text()
    section = f"<!-- figures: scripts/{NAME}_figures.py -->\n1\n<!-- end of figures -->\n\n"
    marked = f"<!-- system: {NAME} -->\nA word on it.\n<!-- end of system -->\n"
    put_before(copy / "README.md", "## Dive", section + marked)
    row = f"    # system: {NAME}\n    rows.append(measured({NAME + '/speed'!r}))\n"
    put_before(copy / "scripts/readme_figures.py", "    table = [", f"{row}    # end of system\n")


def put_before(path: Path, place: str, text: str) -> None:
    """Write ``text`` before the one ``place`` of a file."""
    whole = path.read_text(encoding="utf-8")
    assert whole.count(place) == 1
    path.write_text(whole.replace(place, text + place), encoding="utf-8")


# --- in a copy ------------------------------------------------------------------------------


def test_what_was_added_for_a_system_is_gone_and_nothing_else(copy: Path) -> None:
    before = run(copy, "git", "rev-parse", "HEAD").strip()
    plant(copy)
    commit(copy)
    cache = copy / f"src/foveal/systems/{NAME}/__pycache__/protocol.pyc"
    cache.parent.mkdir()
    cache.touch()
    said = remove(copy, NAME)
    assert run(copy, "git", "diff", "--stat", before) == ""
    assert run(copy, "git", "status", "--porcelain", "--untracked-files=all").count(" D ") == 10
    assert said.count("removed ") == 10
    assert said.count("changed ") == 3
    assert not (copy / f"src/foveal/systems/{NAME}").exists()
    assert not (copy / f"results/{NAME}").exists()


def test_the_rest_is_green_without_a_paper(copy: Path) -> None:
    if not FOLDERS:  # nothing left to take out: one of our own stands in
        plant(copy)
        commit(copy)
    name = FOLDERS[0] if FOLDERS else NAME
    said = remove(copy, name)
    assert f"removed src/foveal/systems/{name}/protocol.py" in said
    commit(copy)
    left = run(copy, "git", "ls-files")
    assert not [path for path in left.split() if name in path]
    run(copy, sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    run(copy, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")
    linter = "from importlinter.cli import lint_imports_command as run; run()"
    run(copy, sys.executable, "-c", linter, "--no-cache")
    quiet = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not wheel and not contact")
    tested = run(copy, sys.executable, "-m", "pytest", *quiet, *GREEN)
    assert " passed" in tested
    if FOLDERS:
        assert f"{name} has no files" in remove(copy, name, ok=False)


def test_what_is_in_no_commit_is_kept_unless_forced(copy: Path) -> None:
    plant(copy)
    commit(copy)
    card = copy / f"src/foveal/systems/{NAME}/README.md"
    card.write_text("# Planted, and a word more\n")
    new = copy / f"src/foveal/systems/{NAME}/idea.py"
    new.touch()
    said = remove(copy, NAME, ok=False)
    assert "nothing was removed; in no commit" in said
    assert f"{NAME}/README.md" in said
    assert f"{NAME}/idea.py" in said
    assert card.exists()
    assert new.exists()
    remove(copy, NAME, "--force")
    assert not card.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gfnett"], "no system 'gfnett'; did you mean gfnet"),
        (["zzz"], "no system 'zzz'; there are "),
        (["tagger"], "nothing was removed; tagger is still needed:\n"),
        ([], "required: NAME"),
    ],
)
def test_what_cannot_be_removed_is_refused(copy: Path, arguments: list[str], said: str) -> None:
    assert said in remove(copy, *arguments, ok=False)
    assert run(copy, "git", "status", "--porcelain") == ""


# --- here, without changing anything --------------------------------------------------------


def test_nothing_that_stays_needs_a_paper() -> None:
    rows = {row.name: row for row in rows_of((ROOT / remove_system.INDEX).read_text("utf-8"))}
    plans = {name: make_plan(rows[name], list(rows)) for name in FOLDERS}
    assert all(plan.gone for plan in plans.values())
    needed = {name: plan.needed for name, plan in plans.items() if plan.needed}
    assert needed == {}, "move it, or mark it with `system: NAME` and `end of system`"


def test_the_rows_are_those_of_the_index() -> None:
    rows = rows_of((ROOT / remove_system.INDEX).read_text("utf-8"))
    assert [row.name for row in rows] == [row.name for row in index.ALL]
    assert [row.name for row in rows if row.own] == [row.name for row in index.OWN]


def test_a_paper_is_planned_again_and_a_row_of_our_own_goes() -> None:
    source = (
        "PAPERS: tuple[System, ...] = (\n"
        '    System(\n        name="a",\n        status="working",\n    ),\n'
        '    System(\n        name="b",\n    ),\n)\n'
        'OWN: tuple[System, ...] = (\n    System(\n        name="c",\n    ),\n)\n'
    )
    a, b, c = rows_of(source)
    assert without_row(source, a) == source.replace('        status="working",\n', "")
    assert without_row(source, b) == source
    assert without_row(source, c) == source.replace('    System(\n        name="c",\n    ),\n', "")


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("claim_near_v2", "near_v2"),
        ("near_v2_figures", "near_v2"),
        ("test_near", "near"),
        ("near_v22", "near"),
        ("clean", None),
    ],
)
def test_a_name_is_a_word_and_the_longest_counts(word: str, name: str | None) -> None:
    assert owner(word, ["near", "near_v2", "ean"]) == name


def test_marked_lines_go_and_a_mark_needs_its_end() -> None:
    text = "a\n  # system: x\n  b\n  # end of system\nc\n<!-- system: y -->\nd\n"
    assert without_marked(text, "x") == "a\nc\n<!-- system: y -->\nd\n"
    assert without_marked(text, "z") == text
    assert without_marked("in the system: x\n", "x") == "in the system: x\n"
    with pytest.raises(ValueError, match="'system: y' has no 'end of system'"):
        without_marked(text, "y")


def test_sections_of_removed_scripts_go() -> None:
    section = "<!-- figures: scripts/{}.py -->\n1\n<!-- end of figures -->\n\n"
    text = f"# T\n\n{section.format('x')}{section.format('y')}End.\n"
    assert without_figures(text, ["scripts/x.py"]) == f"# T\n\n{section.format('y')}End.\n"


@pytest.mark.parametrize(
    ("path", "line", "needed"),
    [
        ("a.py", "from foveal.systems.made.model import build", True),
        ("a.py", "from foveal.systems import other, made", True),
        ("a.py", 'measured("made/claim")', True),
        ("a.py", 'files(PACKAGE) / "made.foveal"', True),
        ("a.py", "from tests.unit.made.made import clip", True),
        ("Makefile", "\tpython scripts/claim_made.py", True),
        ("a.py", "# as in MADE, see its card", False),
        ("a.py", 'index.find("made")', False),
        ("a.md", "see src/foveal/systems/made/README.md", False),
    ],
)
def test_paths_and_modules_are_needs_and_names_are_not(path: str, line: str, needed: bool) -> None:
    wanted = need_pattern("made", ["scripts/claim_made.py", "src/foveal/systems/made/model.py"])
    assert bool(needs(path, line, wanted)) == needed
