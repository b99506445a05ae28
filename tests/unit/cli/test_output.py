"""Nothing is written over what is read, and nothing is left half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from foveal.api import InputError
from foveal.cli.output import output_path, write_whole

PAGES = (".html", ".htm")


def test_new_names_and_earlier_outputs_may_be_written(tmp_path: Path) -> None:
    earlier = tmp_path / "page.HTML"
    earlier.touch()
    for path in (earlier, tmp_path / "new.html", tmp_path / "no suffix"):
        assert output_path(str(path), suffixes=PAGES, inputs=["http://x/a.html"]) == path


def test_inputs_and_other_files_are_kept(tmp_path: Path) -> None:
    video, page = tmp_path / "a.avi", tmp_path / "a.html"
    video.touch()
    page.symlink_to(video)
    with pytest.raises(InputError, match=r"does not end in \.html or \.htm"):
        output_path(str(video), suffixes=PAGES)
    with pytest.raises(InputError, match="one of the inputs"):
        output_path(str(page), suffixes=PAGES, inputs=["none.mp4", str(video)])


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    file, link = tmp_path / "page.html", tmp_path / "link.html"
    file.write_text("before")
    file.chmod(0o640)
    link.symlink_to(file)
    with pytest.raises(UnicodeEncodeError):
        write_whole(link, "half\udc80")
    assert file.read_text() == "before"
    write_whole(link, "after")
    assert (file.read_text(), link.is_symlink()) == ("after", True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "link.html"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no such/page\.html"):
        write_whole(tmp_path / "no such" / "page.html", "")
    write_whole(Path("/dev/null"), "a device is written to, not replaced")
    assert Path("/dev/null").is_char_device()
