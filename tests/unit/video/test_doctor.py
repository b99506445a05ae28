"""The doctor finds broken files in parallel and survives what kills a decoder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.video import Finding, NothingFoundError, doctor, probe, write_bad
from foveal.video import doctor as doctor_function
from foveal.video.doctor import examine
from tests.helpers_video import make_clip

module = doctor_function.__globals__


def examine_or_die(path: str, *, full: bool = False) -> Finding:
    """Stand in for a native decoder that takes its process down on one file."""
    if "deadly" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return examine(path, full=full)


def test_findings_come_in_order_with_their_kinds(tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mp4", num_frames=30)
    (tmp_path / "empty.mp4").touch()
    names = [good, str(tmp_path / "empty.mp4"), str(tmp_path / "absent.mp4")]
    nothing = NothingFoundError("x: this folder holds no video", hint="look elsewhere")
    found = list(doctor([*names, ("x", nothing), good], workers=2))
    assert [f.kind for f in found] == ["ok", "empty", "missing", "nothing_found", "ok"]
    assert [f.path for f in found] == [*names, "x", good]
    assert all(f.message and f.hint for f in found if not f.ok)
    out = tmp_path / "bad.jsonl"
    assert write_bad(found, str(out)) == 3
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["error"]["kind"] for r in records] == ["empty", "missing", "nothing_found"]
    assert {r["status"] for r in records} == {"error"}


def test_a_crash_costs_one_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module, "examine", examine_or_die)
    good = [make_clip(tmp_path / f"{i}.mp4", num_frames=5) for i in range(3)]
    deadly = str(tmp_path / "deadly.mp4")
    found = list(doctor([good[0], deadly, good[1], good[2]], workers=2))
    assert [f.kind for f in found] == ["ok", "crashed", "ok", "ok"]
    assert "deadly" in found[1].message


def test_full_checks_find_what_a_quick_look_misses(tmp_path: Path) -> None:
    path = Path(make_clip(tmp_path / "a.mp4", num_frames=96, gop=24, options={"bf": "0"}))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = list(container.demux(video=0))
    first, last = packets[30].pos, packets[40].pos
    assert first is not None
    assert last is not None
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    assert examine(str(path)).warnings == ()
    assert any("damaged" in line for line in examine(str(path), full=True).warnings)
    assert examine(make_clip(tmp_path / "b.mp4"), full=True).warnings == ()


@pytest.mark.parametrize("percent", [30, 50, 80, 95])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_download_that_stopped_is_truncated(tmp_path: Path, name: str, percent: int) -> None:
    start_first = {"movflags": "faststart"} if name == "a.mp4" else None
    path = Path(make_clip(tmp_path / name, num_frames=250, gop=25, container_options=start_first))
    assert examine(str(path)) == Finding(path=str(path), kind="ok")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])
    found = examine(str(path))
    assert found.kind == "truncated"
    assert "the last picture that can be decoded is at" in found.message
    assert "of 10.00 s" in found.message


def test_a_file_whose_end_was_never_filled_is_truncated(tmp_path: Path) -> None:
    start_first = {"movflags": "faststart"}
    path = Path(
        make_clip(tmp_path / "a.mp4", num_frames=250, gop=25, container_options=start_first)
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert examine(str(path)).kind == "truncated"


def test_a_last_picture_that_stands_for_long_is_no_fault(tmp_path: Path) -> None:
    usual = make_clip(tmp_path / "usual.mp4", options={"bf": "0"})
    path = str(tmp_path / "long.mp4")
    with av.open(usual) as before, av.open(path, "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        packets = [packet for packet in before.demux(video=0) if packet.size]
        packets[-1].duration *= 100
        for packet in packets:
            packet.stream = copy
            after.mux(packet)
    assert probe(path).duration_seconds > probe(usual).duration_seconds + 3.9
    assert examine(path) == Finding(path=path, kind="ok")


def test_sound_that_goes_on_after_the_pictures_is_no_fault(tmp_path: Path) -> None:
    sound = np.zeros(16000 * 8, np.float32)
    path = Path(make_clip(tmp_path / "a.mkv", num_frames=50, gop=25, sound=sound))
    assert examine(str(path)).kind == "ok"


def test_records_have_the_shape_of_the_others() -> None:
    ok = Finding(path="a.mp4", kind="ok").to_json()
    assert ok == {"schema": 1, "path": "a.mp4", "status": "ok", "warnings": []}
    with pytest.raises(ValueError, match="workers"):
        list(doctor([], workers=-1))
