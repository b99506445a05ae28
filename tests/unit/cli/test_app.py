from __future__ import annotations

import re
import subprocess
import sys

import pytest

from foveal.cli.app import COMMANDS, main, plain

OPTIONS = {
    "recognize": (
        "--model",
        "--top-k",
        "--json",
        "--check",
        "--explain",
        "--threads",
        "--max-gmacs",
        "--hard",
        "--max-ms",
        "--min-confidence",
        "--reprofile",
        "INPUT",
    ),
    "doctor": ("--full", "--jsonl", "--workers", "--json", "PATH"),
    "systems": ("--json",),
    "haystack": ("--preset", "--split", "--count", "--start", "--seed", "OUT"),
    "import": (
        "--out",
        "--config",
        "--set",
        "--classes",
        "--numbered-classes",
        "--key",
        "--licence",
    ),
    "train": (
        "--out",
        "--system",
        "--recipe",
        "--set",
        "--pretrained",
        "--text-model",
        "--resume",
        "DATA",
    ),
    "evaluate": (
        "--split",
        "--out",
        "--format",
        "--videos",
        "--json",
        "--threads",
        "RUN_OR_BUNDLE",
        "DATA",
    ),
    "calibrate": (
        "--split",
        "--out",
        "--format",
        "--videos",
        "--threads",
        "RUN_OR_BUNDLE",
        "DATA",
    ),
    "curve": ("--out", "RESULT"),
    "export": ("--out", "--int8", "--force", "RUN"),
    "verify": ("--json", "BUNDLE_OR_RUN", "DATA"),
    "demo": ("--keep", "--explain"),
}


def fresh(code: str) -> set[str]:
    """Return the modules that ``code`` loads in a fresh process."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert {command.name for command in COMMANDS} == set(OPTIONS)
    for command in COMMANDS:
        assert f"{command.name:<10} {command.summary}" in out


@pytest.mark.parametrize("name", OPTIONS)
def test_the_help_of_a_command_has_its_options_and_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    for option in OPTIONS[name]:
        assert option in out
    assert re.search(rf"examples:\n  foveal {name}", out)
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"foveal \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_without_a_command_the_help_stands_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "recognize" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recognise", "a.mp4"], "no command 'recognise'; did you mean 'recognize'?"),
        (["--fast"], "no command '--fast'"),
        (["recognize"], "required: INPUT"),
        (["recognize", "--top-k", "0", "a.mp4"], "at least 1, got '0'"),
        (["recognize", "--threads", "x", "a.mp4"], "at least 1, got 'x'"),
        (["recognize", "--jso", "a.mp4"], "unrecognized arguments: --jso"),
        (["doctor"], "required: PATH"),
        (["systems", "more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_arguments_are_said_and_leave_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--json", "--", "-a.mp4"], ["--json", "./-a.mp4"]),
        (["--", "-", "--json", "b"], ["-", "./--json", "b"]),
        (["a", "--json"], ["a", "--json"]),
    ],
)
def test_names_after_two_dashes_are_never_options(arguments: list[str], names: list[str]) -> None:
    assert plain(arguments) == names


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    loaded = fresh(
        "import foveal, foveal.cli.app as app\ntry: app.main(['--help'])\nexcept SystemExit: pass"
    )
    assert "foveal.cli.app" in loaded
    heavy = {"torch", "numpy", "av", "onnxruntime", "rich", "pydantic", "typer", "foveal.types"}
    assert not loaded & heavy


def test_listing_the_systems_as_json_needs_no_arrays() -> None:
    loaded = fresh("import foveal.cli.app as app\napp.main(['systems', '--json'])")
    assert not loaded & {"torch", "numpy", "av", "onnxruntime", "rich"}


@pytest.mark.parametrize(
    ("arguments", "hinted"),
    [
        (["-dash.avi"], True),
        (["a.mp4", "-dash.avi", "--json"], True),
        (["--nonsense"], False),
        (["--nonsense", "--", "-dash.avi"], False),
    ],
)
def test_a_name_that_looks_like_an_option_has_a_hint(
    arguments: list[str], hinted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["recognize", *arguments])
    assert left.value.code == 2
    hint = "-dash.avi was taken for an option; to name a file so, write ./-dash.avi, or -- before"
    assert (hint in capsys.readouterr().err) is hinted
