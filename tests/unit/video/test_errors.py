"""Every way a file can be broken has its own kind, one line, and no traceback."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from foveal.types import Canvas, FovealError, Look, Plan
from foveal.video import FileSource, VideoError, errors, open_source, probe
from foveal.video.errors import shown
from foveal.video.opening import open_video
from tests.helpers_video import FPS, make_clip, make_sound, read_number

CANVAS = Canvas(height=48, width=80)


def zero_bytes(folder: Path) -> Path:
    path = folder / "zero.mp4"
    path.touch()
    return path


def plain_text(folder: Path) -> Path:
    path = folder / "notes.mp4"
    path.write_text("not a video at all\n" * 100)
    return path


def still_image(folder: Path) -> Path:
    path = folder / "image.png"
    av.VideoFrame(32, 32, "rgb24").save(str(path))
    return path


def playlist(folder: Path) -> Path:
    target = make_clip(folder / "secret.mp4", num_frames=3)
    path = folder / "list.m3u8"
    path.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{target}\n#EXT-X-ENDLIST\n"
    )
    return path


def concat_script(folder: Path) -> Path:
    target = make_clip(folder / "secret.mp4", num_frames=3)
    path = folder / "list.ffconcat"
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    return path


def index_cut_off(folder: Path) -> Path:
    whole = Path(make_clip(folder / "whole.mp4"))
    path = folder / "half.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # the index is at the end
    return path


def pictures_cut_off(folder: Path) -> Path:
    options = {"movflags": "faststart"}
    whole = Path(make_clip(folder / "whole.mp4", container_options=options))
    data = whole.read_bytes()
    path = folder / "head.mp4"
    path.write_bytes(data[: data.index(b"mdat") + 8])
    return path


def init_only(folder: Path) -> Path:
    options = {"movflags": "frag_keyframe+empty_moov"}
    data = Path(make_clip(folder / "whole.mp4", container_options=options)).read_bytes()
    path = folder / "init.mp4"
    path.write_bytes(data[: data.index(b"moof") - 4])
    return path


def sound_only(folder: Path) -> Path:
    return Path(make_sound(folder / "sound.wav", np.zeros(8000, np.float32)))


def subtitles(folder: Path) -> Path:
    path = folder / "lines.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n\n" * 3)
    return path


def pictures_garbled(folder: Path) -> Path:
    data = bytearray(Path(make_clip(folder / "whole.mp4")).read_bytes())
    start = data.index(b"mdat") + 4
    size = struct.unpack_from(">I", data, start - 8)[0] - 8
    data[start : start + size] = bytes(b ^ 0x5A for b in data[start : start + size])
    path = folder / "garbled.mp4"
    path.write_bytes(data)
    return path


def unknown_codec(folder: Path) -> Path:
    data = Path(make_clip(folder / "whole.mp4")).read_bytes()
    path = folder / "unknown.mp4"
    path.write_bytes(data.replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))
    return path


BROKEN: list[tuple[str, Callable[[Path], Path]]] = [
    ("missing", lambda folder: folder / "absent.mp4"),
    ("missing", lambda folder: folder / "a\0b.mp4"),
    ("missing", lambda folder: zero_bytes(folder) / "below"),
    ("unreadable", lambda folder: folder),
    ("unreadable", lambda folder: Path(os.devnull)),
    ("empty", zero_bytes),
    ("not_video", plain_text),
    ("not_video", still_image),
    ("not_video", playlist),
    ("not_video", concat_script),
    ("truncated", index_cut_off),
    ("truncated", pictures_cut_off),
    ("no_frames", init_only),
    ("audio_only", sound_only),
    ("no_video_stream", subtitles),
    ("undecodable", pictures_garbled),
    ("undecodable", unknown_codec),
]


def look_at_both_ends(path: str) -> None:
    source = FileSource(path)
    source.plan(Plan(times=(0.0, 1.0)))
    source.look(Look(times=(0.0, 1.0), view=CANVAS))


@pytest.mark.parametrize(("kind", "make"), BROKEN)
def test_each_cause_has_its_kind_and_one_line(
    kind: str, make: Callable[[Path], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(make(tmp_path))
    with pytest.raises(VideoError) as caught:
        look_at_both_ends(path)
    assert caught.value.kind == kind
    line = str(caught.value)
    assert shown(path) in line
    assert "\n" not in line
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")  # FFmpeg's own lines stay away from the user


def test_all_kinds_are_tried_here_or_elsewhere() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    kinds = {c.kind for c in classes if issubclass(c, VideoError) and c is not VideoError}
    elsewhere = {"network", "no_sound", "nothing_found", "crashed", "outside"}
    assert kinds == {kind for kind, _ in BROKEN} | elsewhere


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=3)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # root may read everything
    with pytest.raises(VideoError, match="permission denied") as caught:
        probe(path)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(
    "name",
    [
        "-y.mp4",
        "file:clip.mp4",
        "concat:a|b.mp4",
        "pipe:0.mp4",
        "%03d.mp4",
        'it\'s "quoted" & $HOME.mp4',
        "two\nlines.mp4",
        "http:.mp4",
        "snow \N{SNOWMAN}.mp4",
        os.fsdecode(b"latin \xe9.mp4"),
    ],
)
def test_hostile_names_are_only_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(make_clip(tmp_path / "plain.mp4", num_frames=3))
    monkeypatch.chdir(tmp_path)
    whole.rename(name)
    source = open_source(name)
    source.plan(Plan(times=(0.08,)))
    rows, _ = source.look(Look(times=(0.08,), view=CANVAS))
    assert read_number(rows[0]) == 2
    os.unlink(name)
    with pytest.raises(VideoError) as caught:
        probe(name)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


def test_a_reference_to_another_file_is_not_followed(tmp_path: Path) -> None:
    outside = make_clip(tmp_path / "outside.mp4", num_frames=3)
    data = Path(outside).read_bytes()
    reference = b"url " + b"\0\0\0\0" + outside.encode() + b"\0"
    entry = struct.pack(">I", len(reference) + 4) + reference
    own = struct.pack(">I4sI", 12, b"url ", 1)
    path = tmp_path / "refers.mp4"
    path.write_bytes(
        data[: data.index(b"mdat") - 4] + data[data.index(b"moov") - 4 :].replace(own, entry)
    )
    with pytest.raises(VideoError):
        look_at_both_ends(str(path))


def test_a_cut_off_file_shows_its_last_picture_and_says_so(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    whole = make_clip(tmp_path / "a.mp4", num_frames=150, container_options=options)
    data = Path(whole).read_bytes()
    start = data.index(b"mdat")
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: start + (len(data) - start) * 2 // 3])
    for threads in (1, 3):
        source = FileSource(str(path), threads=threads)
        times = (0.0, 1.0, 5.9)
        source.plan(Plan(times=times))
        rows, seconds = source.look(Look(times=times, view=CANVAS))
        assert [read_number(row) for row in rows[:2]] == [0, 25]
        assert 60 < read_number(rows[2]) < 130
        assert seconds[2] == pytest.approx(read_number(rows[2]) / FPS)
        assert any("stands for what comes after" in line for line in source.warnings)


def test_a_damaged_stretch_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    data = bytearray(Path(make_clip(tmp_path / "a.mp4", num_frames=96, gop=24)).read_bytes())
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = list(container.demux(video=0))
        first, last = packets[24].pos, packets[47].pos
    assert first is not None
    assert last is not None
    data[first:last] = bytes(last - first)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    source = FileSource(str(path), threads=1)
    times = (0.4, 40 / FPS, 60 / FPS)
    source.plan(Plan(times=times))
    rows, _ = source.look(Look(times=times, view=CANVAS))
    assert read_number(rows[0]) == 10
    assert read_number(rows[2]) == 60
    assert read_number(rows[1]) < 40
    assert source.warnings


def test_shown_names_fit_one_line_and_any_encoding() -> None:
    assert shown("plain name.mp4") == "plain name.mp4"
    assert shown("a\nb\x1b[31m.mp4") == "a\\nb\\x1b[31m.mp4"
    assert shown("latin \udce9.mp4") == "latin \\udce9.mp4"


def test_importing_the_package_does_not_load_pyav() -> None:
    code = "import sys, foveal.video; print('av' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_only_the_chosen_stream_is_read(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", sound=np.zeros(32000, np.float32))
    opened = open_video(path)
    kinds = [packet.stream.type for packet in opened.container.demux() if packet.size]
    assert kinds.count("video") == 60
    assert kinds.count("audio") <= 1  # what opening had already read
    opened.close()
    source = FileSource(path)
    assert source.info.has_sound
    source.plan(Plan(times=(2.0,)))
    source.look(Look(times=(2.0,), view=CANVAS))
    assert source.meter.packets_read <= 24


def test_errors_are_foveal_errors() -> None:
    assert issubclass(VideoError, FovealError)
