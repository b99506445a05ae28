"""``foveal recognize`` from the arguments to the exit code, on real files."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from foveal.cli.app import main
from foveal.types import STAGES
from tests.e2e.conftest import Folder, Run, records
from tests.helpers_bundle import COLOURS, MACS_PER_FRAME, write_clip, write_colour_bundle

Capture = pytest.CaptureFixture[str]

BILL = {
    "macs": int,
    "macs_by_part": dict,
    "frames_decoded": int,
    "frames_used": int,
    "packets_read": int,
    "bytes": int,
    "ms": dict,
}
RECORD = {
    "schema": int,
    "path": str,
    "status": str,
    "predictions": list,
    "trace": dict,
    "cost": dict,
    "model": str,
    "duration_seconds": float,
    "num_frames": int,
    "warnings": list,
}
FAILED = {"schema": int, "path": str, "status": str, "error": dict}


def assert_form(data: dict[str, Any], form: dict[str, type]) -> None:
    assert {key: type(value) for key, value in data.items()} == form


# --- one file -------------------------------------------------------------------------------


def test_one_file_in_a_process_of_its_own(folder: Folder, foveal_command: Run) -> None:
    done = foveal_command("recognize", folder.two, "--model", folder.bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert re.search(r"0:00\.0 - 0:00\.5 +red +100\.0 %", done.stdout)
    assert re.search(r"0:01\.5 - 0:02\.0 +blue +100\.0 %", done.stdout)
    assert re.search(r"Looked at 4 of 20 frames, \d+ decoded, 0\.00000307 GMACs\.", done.stdout)
    stages = ", ".join(rf"{stage} [\d.,]+ m?s" for stage in ("start", *STAGES))
    assert re.search(rf"\d+\.\d\d s in all: {stages}\.", done.stdout)


def test_what_it_does_not_know_is_said_with_the_guess(folder: Folder, capsys: Capture) -> None:
    assert main(["recognize", str(folder.grey), "--model", str(folder.bundle)]) == 0
    assert re.search(
        r"nothing it knows \((red|green|blue)\) +at most 3\d\.\d %", capsys.readouterr().out
    )


def test_a_broken_file_is_one_line_on_standard_error(folder: Folder, capsys: Capture) -> None:
    assert main(["recognize", str(folder.broken), "--model", str(folder.bundle)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err
        == f"foveal: {folder.broken}: the file is empty (0 bytes); copy or download it again\n"
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("none.foveal", "no such file"),
        ("clips/two.mp4", "is not a bundle"),
        ("clips", "there is no model.foveal in this folder"),
    ],
)
def test_a_wrong_model_is_one_line_and_no_file_is_touched(
    folder: Folder, capsys: Capture, model: str, said: str
) -> None:
    """A model that cannot be used is a file that failed, whatever is the matter with it."""
    assert main(["recognize", str(folder.two), "--model", str(folder.root / model)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


# --- JSON -----------------------------------------------------------------------------------


def test_every_key_of_a_record_and_of_a_failed_one(folder: Folder, capsys: Capture) -> None:
    code = main(["recognize", str(folder.clips), "--json", "--model", str(folder.bundle)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (1, "")
    found = records(captured.out)
    assert set(found) == {str(folder.two), str(folder.grey), str(folder.broken)}

    two = found[str(folder.two)]
    assert_form(two, RECORD)
    assert (two["schema"], two["status"], two["model"]) == (1, "ok", "baselines")
    assert (two["duration_seconds"], two["num_frames"]) == (2.0, 20)
    assert [p["label"] for p in two["predictions"]] == ["red", "red", "blue", "blue"]
    for prediction in two["predictions"]:
        assert list(prediction) == ["label", "prob", "start_seconds", "end_seconds"]
    assert_form(two["cost"], BILL)
    assert two["cost"]["macs"] == 4 * MACS_PER_FRAME
    assert two["cost"]["macs_by_part"] == {"colour": 4 * MACS_PER_FRAME}
    assert two["cost"]["frames_used"] == 4 == len(two["trace"]["frames_seconds"])
    assert tuple(two["cost"]["ms"]) == STAGES
    assert list(two["trace"]) == ["frames_seconds", "exit_index", "stopped_early", "events"]
    assert [e["kind"] for e in two["trace"]["events"]] == ["plan", "look", "call", "answer"]

    grey = found[str(folder.grey)]["predictions"][0]
    assert grey["label"] == "nothing it knows"
    assert list(grey)[-1] == "guess"

    broken = found[str(folder.broken)]
    assert_form(broken, FAILED)
    assert (broken["schema"], broken["status"]) == (1, "error")
    assert list(broken["error"]) == ["kind", "message", "hint"]
    assert broken["error"]["kind"] == "empty"


def test_the_check_is_one_more_key(folder: Folder, capsys: Capture) -> None:
    command = ["recognize", str(folder.two), str(folder.broken), "--json", "--check"]
    assert main([*command, "--model", str(folder.bundle)]) == 1
    found = records(capsys.readouterr().out)
    assert_form(found[str(folder.broken)], FAILED)
    two = found[str(folder.two)]
    assert_form(two, {**RECORD, "check": dict})
    check = two["check"]
    assert_form(check, {"agreement": float, "macs_saved": float, "ms_saved": float, "dense": dict})
    assert_form(check["dense"], BILL)
    assert check["agreement"] == 1.0
    assert check["macs_saved"] == 0.75
    assert check["dense"]["frames_used"] == 16


def test_guesses_count_for_the_agreement(folder: Folder, capsys: Capture) -> None:
    # On grey each probability is a third: below the threshold, and enough to be counted.
    command = ["recognize", str(folder.grey), "--check", "--json"]
    assert main([*command, "--model", str(folder.bundle)]) == 0
    (record,) = records(capsys.readouterr().out).values()
    assert record["check"]["agreement"] == 1.0


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_labels_a_stretch(folder: Folder, capsys: Capture, k: int) -> None:
    command = ["recognize", str(folder.two), "--json", "--top-k", str(k)]
    assert main([*command, "--model", str(folder.bundle)]) == 0
    (record,) = records(capsys.readouterr().out).values()
    starts = [p["start_seconds"] for p in record["predictions"]]
    assert starts == sorted(starts)
    assert all(starts.count(start) == k for start in starts)


def test_fewer_labels_than_asked_for_are_a_warning(folder: Folder, capsys: Capture) -> None:
    command = ["recognize", str(folder.two), "--json", "--model", str(folder.bundle)]
    for k, warnings in ((3, []), (7, ["7 labels a stretch were asked for, the model gives 3"])):
        assert main([*command, "--top-k", str(k)]) == 0
        (record,) = records(capsys.readouterr().out).values()
        assert record["warnings"] == warnings


# --- many files -----------------------------------------------------------------------------


def test_many_files_are_rows_and_totals(folder: Folder, capsys: Capture) -> None:
    assert main(["recognize", str(folder.clips), "--model", str(folder.bundle)]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.search(r"two\.mp4 +4/20 .* (red|blue) 100\.0 %, ", captured.out)
    assert re.search(r"broken\.mp4 +failed: the file is empty", captured.out)
    assert "3 files, 1 failed.\n" in captured.out
    assert "Looked at 8 of 30 frames" in captured.out


def test_names_come_from_patterns_folders_and_standard_input(
    folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder.grey}\n\n{folder.two}\n"))
    model = ["--json", "--model", str(folder.bundle)]
    assert main(["recognize", "-", *model]) == 0
    assert set(records(capsys.readouterr().out)) == {str(folder.grey), str(folder.two)}
    assert main(["recognize", f"{folder.clips}/t*.mp4", str(folder.grey.parent), *model]) == 0
    assert set(records(capsys.readouterr().out)) == {str(folder.grey), str(folder.two)}


def test_a_list_without_names_is_no_input(
    folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["recognize", "-", "--json", "--model", str(folder.bundle)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("foveal: no input; ")


def test_what_names_no_video_is_a_record_and_the_others_go_on(
    folder: Folder, tmp_path: Path, capsys: Capture
) -> None:
    missing, pattern = str(tmp_path / "no.mp4"), str(tmp_path / "*.mkv")
    names = [missing, pattern, str(tmp_path), str(folder.two)]
    assert main(["recognize", *names, "--json", "--model", str(folder.bundle)]) == 1
    found = records(capsys.readouterr().out)
    kinds = {path: r.get("error", {}).get("kind") for path, r in found.items()}
    assert kinds == {
        missing: "missing",
        pattern: "nothing_found",
        str(tmp_path): "nothing_found",
        str(folder.two): None,
    }


def test_hostile_names_neither_break_a_row_nor_a_record(
    folder: Folder, tmp_path: Path, foveal_command: Run
) -> None:
    source = folder.two.read_bytes()
    names = ["[red]markup.mp4", "two\nlines.mp4", "\x1b[2Jclear.mp4", "caf\udce9.mp4", "-json.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(source)
    model = ("--model", folder.bundle)
    done = foveal_command("recognize", ".", *model, cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    for shown in ("[red]markup", r"two\nlines", r"\x1b[2Jclear", r"caf\xe9", "-json"):
        assert re.search(rf"^\./{re.escape(shown)}\.mp4 +4/20 ", done.stdout, flags=re.MULTILINE)
    done = foveal_command("recognize", "--json", *model, "--", *names, cwd=tmp_path)
    assert done.returncode == 0
    assert set(records(done.stdout)) == {*names[:-1], "./-json.mp4"}


def test_a_name_that_is_no_text_is_read_from_standard_input(
    folder: Folder, tmp_path: Path, foveal_command: Run
) -> None:
    name = str(tmp_path / "caf\udce9.mp4")
    Path(name).write_bytes(folder.two.read_bytes())
    done = foveal_command(
        "recognize", "-", "--json", "--model", folder.bundle, stdin=f"{name}\n{folder.two}\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(records(done.stdout)) == {name, str(folder.two)}


# --- over the network -----------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(folder: Folder) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(folder.root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_url_is_a_file_like_any_other(server: str, folder: Folder, capsys: Capture) -> None:
    there, gone = f"{server}/clips/two.mp4", f"{server}/clips/gone.mp4"
    assert main(["recognize", there, gone, "--json", "--model", str(folder.bundle)]) == 1
    found = records(capsys.readouterr().out)
    assert [p["label"] for p in found[there]["predictions"]] == ["red", "red", "blue", "blue"]
    assert found[gone]["error"]["kind"] == "network"
    assert "404" in found[gone]["error"]["message"]


# --- explain --------------------------------------------------------------------------------


def test_explain_writes_one_page_for_all_files(
    folder: Folder, tmp_path: Path, capsys: Capture
) -> None:
    page = tmp_path / "page.html"
    command = ["recognize", str(folder.clips), "--json", "--check", "--explain", str(page)]
    assert main([*command, "--model", str(folder.bundle)]) == 1
    captured = capsys.readouterr()
    assert len(records(captured.out)) == 3
    assert captured.err == f"Page: {page}\n"
    html = page.read_text(encoding="utf-8")
    for path in (folder.two, folder.grey, folder.broken):
        assert path.name in html


@pytest.mark.parametrize("page", ["no/such/folder/page.html", "clips"])
def test_a_page_that_cannot_be_written_is_said_before_the_work(
    folder: Folder, capsys: Capture, page: str
) -> None:
    out = str(folder.root / page)
    assert (
        main(["recognize", str(folder.two), "--explain", out, "--model", str(folder.bundle)]) == 2
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no page can be written there" in captured.err


@pytest.mark.parametrize(
    ("verb", "said"),
    [("recognize", "does not end in .html or .htm"), ("demo", "does not end in .html or .htm")],
)
def test_a_page_replaces_no_video(
    folder: Folder, tmp_path: Path, capsys: Capture, verb: str, said: str
) -> None:
    video = tmp_path / "a.avi"
    video.write_bytes(b"precious")
    inputs = [str(folder.two)] if verb == "recognize" else []
    assert main([verb, "--explain", str(video), *inputs]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err
    assert video.read_bytes() == b"precious"


def test_a_page_replaces_no_input(folder: Folder, tmp_path: Path, capsys: Capture) -> None:
    video = tmp_path / "a.html"  # a video by its content
    video.write_bytes(folder.two.read_bytes())
    assert main(["recognize", str(video), "--explain", f"{tmp_path}/./a.html"]) == 2
    assert "this is one of the inputs" in capsys.readouterr().err
    assert video.read_bytes() == folder.two.read_bytes()


# --- faults ---------------------------------------------------------------------------------


def test_a_fault_of_ours_in_one_file_is_its_record(
    folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("foveal.systems.baselines.protocol.frame_times", fail)
    for extra in ([], ["--check"]):
        command = ["recognize", str(folder.two), "--json", "--model", str(folder.bundle), *extra]
        assert main(command) == 1
        (record,) = records(capsys.readouterr().out).values()
        assert record["error"]["kind"] == "internal"
        assert "ZeroDivisionError: two lines" in record["error"]["message"]


def test_a_fault_of_ours_elsewhere_is_one_line(
    folder: Folder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("foveal.api.load", fail)
    command = ["recognize", str(folder.two), "--model", str(folder.bundle)]
    monkeypatch.delenv("FOVEAL_DEBUG", raising=False)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ZeroDivisionError: deep inside" in said
    monkeypatch.setenv("FOVEAL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(command)


@pytest.mark.parametrize("cut", [True, False])
def test_a_bundle_that_is_cut_and_a_damaged_one_end_alike(
    folder: Folder, tmp_path: Path, capsys: Capture, cut: bool
) -> None:
    raw = bytearray(folder.bundle.read_bytes())
    raw[raw.index(b"Softmax")] ^= 1
    (tmp_path / "odd.foveal").write_bytes(raw[: len(raw) // 2] if cut else raw)
    assert main(["recognize", str(folder.two), "--model", str(tmp_path / "odd.foveal")]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "odd.foveal" in captured.err


def test_a_damaged_part_is_said_once_a_file(tmp_path: Path, capsys: Capture) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [COLOURS["red"]])
    bundle = write_colour_bundle(tmp_path / "odd.foveal")
    raw = bytearray(Path(str(bundle.path)).read_bytes())
    raw[raw.index(b"Softmax")] ^= 1
    (tmp_path / "odd.foveal").write_bytes(raw)
    assert main(["recognize", str(clip), "--json", "--model", str(bundle.path)]) != 0
    captured = capsys.readouterr()
    told = captured.err or json.loads(captured.out)["error"]["message"]
    assert "odd.foveal" in told
