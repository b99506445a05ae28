"""``foveal doctor`` from the arguments to the list of broken files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest

from foveal.cli.app import main
from tests.e2e.conftest import Folder, records
from tests.helpers_video import make_clip

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_broken_file_is_found_shown_and_listed(folder: Folder, capsys: Capture) -> None:
    assert main(["doctor", str(folder.clips), "--workers", "2"]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.search(r"broken\.mp4 +the file is empty \(0 bytes\); copy", captured.out)
    assert "two.mp4" not in captured.out
    assert "3 files examined, 1 broken.\nThe broken ones are listed in bad.jsonl.\n" in captured.out
    (line,) = Path("bad.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "schema": 1,
        "path": str(folder.broken),
        "status": "error",
        "error": {
            "kind": "empty",
            "message": f"{folder.broken}: the file is empty (0 bytes)",
            "hint": "copy or download it again",
        },
    }


def test_sound_files_leave_no_list(folder: Folder, capsys: Capture) -> None:
    assert main(["doctor", str(folder.two), str(folder.grey), "--full", "--workers", "1"]) == 0
    assert capsys.readouterr().out == "2 files examined, 0 broken.\n"
    assert not Path("bad.jsonl").exists()
    Path("bad.jsonl").write_text("{}\n")
    assert main(["doctor", str(folder.two), "--workers", "1"]) == 0
    assert "bad.jsonl is of an earlier run." in capsys.readouterr().out


def test_json_has_every_file(folder: Folder, capsys: Capture) -> None:
    command = ["doctor", str(folder.clips), "nowhere.mp4", "--json", "--jsonl", "list.jsonl"]
    assert main([*command, "--workers", "2"]) == 1
    captured = capsys.readouterr()
    found = records(captured.out)
    assert found[str(folder.two)] == {
        "schema": 1, "path": str(folder.two), "status": "ok", "warnings": [],
    }  # fmt: skip
    assert found["nowhere.mp4"]["error"]["kind"] == "missing"
    assert {r["status"] for r in found.values()} == {"ok", "error"}
    assert len(found) == 4
    listed = records(Path("list.jsonl").read_text())
    assert listed == {path: r for path, r in found.items() if r["status"] == "error"}


def test_a_list_that_cannot_be_written_is_one_line_after_the_findings(
    folder: Folder, capsys: Capture
) -> None:
    command = ["doctor", str(folder.broken), "nowhere.mp4", "--jsonl", "no/such/list.jsonl"]
    assert main([*command, "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "the file is empty" in captured.out
    assert "nowhere.mp4" in captured.out
    assert captured.out.endswith("2 files examined, 2 broken.\n")
    assert captured.err == (
        "foveal: no/such/list.jsonl: the list of the broken ones cannot be written "
        "(No such file or directory); name another place with --jsonl FILE\n"
    )


@pytest.mark.parametrize("out", ["a.avi", "notes.txt"])
def test_the_list_replaces_no_video_and_no_other_file(
    folder: Folder, capsys: Capture, out: str
) -> None:
    Path(out).write_bytes(b"precious")
    assert main(["doctor", str(folder.broken), "--jsonl", out]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert f"{out}: this file is there and does not end in .jsonl or .json" in captured.err
    assert Path(out).read_bytes() == b"precious"


def test_half_a_file_is_broken_and_a_damaged_one_is_told_of_full(
    tmp_path: Path, capsys: Capture
) -> None:
    start_first = {"movflags": "faststart"}
    half, damaged = tmp_path / "half.mp4", tmp_path / "damaged.mp4"
    for path in (half, damaged):
        make_clip(path, gop=60, options={"bf": "0"}, container_options=start_first)
    data = half.read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert main(["doctor", str(half), "--workers", "1"]) == 1
    (line,) = Path("bad.jsonl").read_text().splitlines()
    assert json.loads(line)["error"]["kind"] == "truncated"
    assert "--full" not in capsys.readouterr().out
    spoilt = bytearray(damaged.read_bytes())
    with av.open(str(damaged)) as container:
        begin, end = [packet.pos for packet in container.demux(video=0)][30:50:19]
    assert begin is not None
    assert end is not None
    spoilt[begin:end] = bytes(end - begin)
    damaged.write_bytes(spoilt)
    assert main(["doctor", str(damaged), "--workers", "1"]) == 0
    assert "--full decodes all of them.\n" in capsys.readouterr().out
