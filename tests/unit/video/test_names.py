from __future__ import annotations

import io
from pathlib import Path

import pytest

from foveal.video import NothingFoundError, expand, is_url


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "sub/c.avi", ".git/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_videos_sorted_without_hidden_ones(tree: Path) -> None:
    assert list(expand([str(tree)])) == [str(tree / n) for n in ("a.MKV", "b.mp4", "sub/c.avi")]


def test_files_urls_and_unknown_names_pass_as_they_are(tree: Path) -> None:
    names = [
        "notes.txt",
        "https://example.org/*.mp4",
        "ftp://x/*.mp4",
        "HTTP://x/y",
        "absent.mp4",
        "-y.mp4",
    ]
    assert list(expand(names)) == names
    assert is_url("HTTPS://a/b")
    assert not is_url("http:.mp4")


def test_patterns(tree: Path) -> None:
    assert list(expand(["*.mp4"])) == ["b.mp4"]
    assert list(expand(["**/*.avi"])) == ["sub/c.avi"]
    assert list(expand(["s*"])) == ["sub/c.avi"]
    (tree / "[1].mp4").touch()
    assert list(expand(["[1].mp4"])) == ["[1].mp4"]  # a file of that name wins


def test_a_list_on_stdin(tree: Path) -> None:
    lines = io.StringIO("b.mp4\r\n\nsub\nwith space.mp4\n-\n")
    assert list(expand(["a.MKV", "-"], stdin=lines)) == [
        "a.MKV",
        "b.mp4",
        "sub/c.avi",
        "with space.mp4",
    ]
    with pytest.raises(ValueError, match="stdin"):
        list(expand(["-"]))


def test_a_list_ended_by_nuls(tree: Path) -> None:
    lines = io.StringIO("b.mp4\0two\nlines.mp4\0\0sub\0-\0a.MKV\n")
    assert list(expand(["-"], stdin=lines)) == ["b.mp4", "two\nlines.mp4", "sub/c.avi", "a.MKV"]


@pytest.mark.parametrize("name", ["h/x\0y.mp4", "h*\0.mp4", "\0"])
def test_a_name_that_cannot_be_one_is_an_error_of_its_own(tree: Path, name: str) -> None:
    found = list(expand(["-"], stdin=io.StringIO(f"b.mp4\n{name}\na.MKV\n")))
    assert (found[0], found[-1], len(found)) == ("b.mp4", "a.MKV", 3)


def test_what_names_nothing_is_an_error_of_its_own_and_the_rest_goes_on(tree: Path) -> None:
    found = list(expand(["empty", "*.webm", "b.mp4"]))
    assert found[2] == "b.mp4"
    for item, name in zip(found, ("empty", "*.webm"), strict=False):
        assert isinstance(item, tuple)
        assert item[0] == name
        assert isinstance(item[1], NothingFoundError)
        assert item[1].kind == "nothing_found"
        assert name in item[1].message


def test_names_come_as_they_are_found(tree: Path) -> None:
    assert next(iter(expand(["b.mp4", "-"], stdin=None))) == "b.mp4"
