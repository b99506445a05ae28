"""How commands end when their reader leaves, the user presses Ctrl-C, or a terminal is narrow."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Folder, Run, environment

MANY = 40
"""More names than are taken in advance."""


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "foveal", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def assert_group_ends(group: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("a process outlived its command")


@pytest.mark.parametrize("form", [("--json",), ()])
def test_a_reader_that_leaves_ends_the_run_quietly(folder: Folder, form: tuple[str, ...]) -> None:
    with start("recognize", *[folder.two] * MANY, *form, "--model", folder.bundle) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == ""
        assert command.wait(60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("verb", ["recognize", "doctor"])
def test_ctrl_c_ends_everything_quietly_and_at_once(
    folder: Folder, tmp_path: Path, verb: str
) -> None:
    options = {
        "recognize": ("--model", folder.bundle),
        "doctor": ("--workers", "2", "--jsonl", tmp_path / "bad.jsonl"),
    }
    with start(verb, "-", "--json", *options[verb]) as command:
        assert command.stdin is not None
        assert command.stdout is not None
        assert command.stderr is not None
        # The list goes on: the command waits for its next line.
        command.stdin.write(f"{folder.two}\n" * MANY)
        command.stdin.flush()
        assert command.stdout.readline()
        os.killpg(command.pid, signal.SIGINT)
        assert command.wait(60) == 128 + signal.SIGINT
        assert command.stderr.read() == ""
        assert_group_ends(command.pid)


@pytest.mark.parametrize("verb", ["recognize", "doctor"])
def test_ctrl_c_says_how_many_files_were_done(folder: Folder, tmp_path: Path, verb: str) -> None:
    options = {
        "recognize": ("--model", folder.bundle),
        "doctor": ("--workers", "1", "--jsonl", tmp_path / "bad.jsonl"),
    }
    with start(verb, "-", *options[verb]) as command:
        assert command.stdin is not None
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdin.write(f"{folder.broken}\n" * MANY)
        command.stdin.flush()
        for _ in range(3):  # a header and two rows
            assert command.stdout.readline()
        os.killpg(command.pid, signal.SIGINT)
        assert command.wait(60) == 128 + signal.SIGINT
        words = command.stderr.read()
        said = re.fullmatch(r"foveal: stopped after (\d+) files?\n", words)
        assert said is not None, words
        assert 1 <= int(said[1]) <= MANY
        assert_group_ends(command.pid)
    if verb == "doctor":  # what was found until then is not lost
        assert (tmp_path / "bad.jsonl").read_text().count("\n") >= 1


def test_output_that_cannot_be_written_is_said(folder: Folder) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "foveal", "systems", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("foveal: No space left on device")
    assert done.stderr.count("\n") == 1


def on_terminal(columns: int, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    """Return what a command shows on a terminal of ``columns``."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = subprocess.Popen(
        [sys.executable, "-m", "foveal", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm-256color", **(env or {})}),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert command.wait(60) in (0, 1)
    return shown.decode()


COLOUR = re.compile(r"\x1b\[[\d;]*3\dm")
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def test_a_terminal_has_colours_a_bar_and_no_line_too_long(folder: Folder) -> None:
    shown = on_terminal(72, "recognize", folder.clips, "--model", folder.bundle)
    assert COLOUR.search(shown)
    assert "0/3" in shown
    lines = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", shown)) if line.strip()]
    assert max(map(len, lines)) <= 72
    assert any("failed: the file is empty" in line for line in lines)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor stays hidden"


def test_no_color_is_respected(folder: Folder) -> None:
    command = ("recognize", folder.clips, "--model", folder.bundle)
    shown = on_terminal(100, *command, env={"NO_COLOR": "1"})
    assert "failed" in shown
    assert not COLOUR.search(shown)


def test_a_terminal_without_unicode_is_shown_escapes(folder: Folder, foveal_command: Run) -> None:
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = foveal_command("recognize", folder.two, "--model", folder.bundle, env=env)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "red" in done.stdout
