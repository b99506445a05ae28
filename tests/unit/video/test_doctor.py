"""The doctor finds broken files in parallel and survives what kills a decoder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from foveal.video import Finding, NothingFoundError, doctor, write_bad
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
    import av

    path = Path(make_clip(tmp_path / "a.mp4", num_frames=96, gop=96, options={"bf": "0"}))
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


def test_records_have_the_shape_of_the_others() -> None:
    ok = Finding(path="a.mp4", kind="ok").to_json()
    assert ok == {"schema": 1, "path": "a.mp4", "status": "ok", "warnings": []}
    with pytest.raises(ValueError, match="workers"):
        list(doctor([], workers=-1))
