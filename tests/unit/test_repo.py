"""Rules about the repository itself: shape, light imports, README, wheel, one version."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.readme_commands import commands

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 600
MAX_SILENCED = 1  # lines of src that silence a checker; this number may only fall
MAX_WHEEL_BYTES = 13 * 2**20  # the tagger's bundle may take 12 MB of it
HEAVY = ("torch", "torchvision", "timm", "onnx", "matplotlib")


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the working tree that git tracks and that match ``patterns``."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, text=True
    )
    paths = [ROOT / name for name in listed.split("\0") if name]
    found = [path for path in paths if path.exists()]
    assert found, f"git tracks nothing under {patterns}"
    return found


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


# --- shape ----------------------------------------------------------------------------------


def test_source_files_are_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in tracked("src/*.py")
    }
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT).as_posix()}:{node.name}": node.end_lineno - node.lineno + 1
        for path in tracked("src/*.py")
        for node in functions(ast.parse(path.read_text(encoding="utf-8")))
        if node.end_lineno is not None and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_checkers_are_rarely_silenced() -> None:
    silenced = [
        f"{path.relative_to(ROOT).as_posix()}: {line.strip()}"
        for path in tracked("src/*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#\s*(type:\s*ignore|noqa|ruff:)", line)
    ]
    assert len(silenced) <= MAX_SILENCED, silenced


def test_no_file_names_a_place_on_one_machine() -> None:
    # Written in pieces, so that this file does not find itself.
    places = "|".join(re.escape(root + "/") for root in ("/work", "/root", "/home", "../shared"))
    pattern = re.compile(rf"(?<![\w.:/-])(?:{places})".encode())
    guilty = [
        p.relative_to(ROOT).as_posix() for p in tracked(".") if pattern.search(p.read_bytes())
    ]
    assert guilty == []


# --- light imports --------------------------------------------------------------------------


def test_all_light_modules_import_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "check_light.py"), "--block"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    count = re.match(r"(\d+) modules imported", done.stdout)
    assert count is not None
    assert int(count[1]) > 20


@pytest.mark.parametrize(
    "code",
    [
        "import foveal",
        "import sys, foveal.cli\n"
        "sys.argv = ['foveal', '--help']\n"
        "try: foveal.cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code",
    ],
    ids=["import", "help"],
)
def test_first_contact_loads_no_heavy_module(code: str) -> None:
    probe = f"{code}\nimport sys; print('loaded', [m for m in {HEAVY} if m in sys.modules])"
    done = run_python(probe)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"


# --- README, version, wheel -----------------------------------------------------------------


def test_readme_has_one_light_and_one_full_command() -> None:
    light, full = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert light == "pip install . && foveal demo"
    assert full == "pip install -e '.[dev]' && make check"


@pytest.mark.parametrize("lines", [(), ("a",), ("a", "b", "c"), ("a", "# only said")])
def test_any_other_number_of_commands_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="two commands"):
        commands("\n".join(["# T", "", "```sh", *lines, "```", ""]))


def test_the_version_is_written_once() -> None:
    import foveal

    assert foveal.__version__ == importlib.metadata.version("foveal") == PROJECT["version"]
    literal = re.compile(r"__version__\s*=\s*[\"']|" + re.escape(f'"{PROJECT["version"]}"'))
    guilty = [p.name for p in tracked("src/*.py") if literal.search(p.read_text(encoding="utf-8"))]
    assert guilty == []


def test_the_changelog_is_open() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_wheel_is_small_and_holds_every_tracked_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(tmp_path), str(ROOT)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("foveal-*.whl")
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in tracked("src/foveal")}
    assert wanted - held == set()
    assert any(
        name.startswith("foveal/systems/tagger/") and name.endswith(".foveal") for name in held
    )
