"""URLs: served bytes are read like a file, and failures are of kind network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from foveal.types import Canvas, Look, Plan
from foveal.video import FileSource, VideoError, opening, probe
from foveal.video.doctor import examine
from tests.helpers_video import make_clip, read_number

CANVAS = Canvas(height=48, width=80)


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        if self.path == "/silent.mp4":
            time.sleep(2)
        elif self.path == "/locked.mp4":
            self.send_error(401)
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    make_clip(tmp_path / "a.mp4")
    (tmp_path / "page.html").write_text("<html>nothing here</html>")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    httpd = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_url_is_read_like_a_file(server: str) -> None:
    source = FileSource(f"{server}/a.mp4")
    assert source.info.size_bytes is None
    assert source.info.keyframe_seconds == pytest.approx([i * 0.48 for i in range(5)])
    for keyframes, number in ((False, 20), (True, 24)):
        source.plan(Plan(times=(0.8,), keyframes=keyframes))
        rows, _ = source.look(Look(times=(0.8,), view=CANVAS))
        assert read_number(rows[0]) == number
    source.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/absent.mp4", "network"),
        ("/away", "not_video"),  # a redirect to a file of this machine is not followed
        ("/page.html", "not_video"),
        ("/list.m3u8", "not_video"),
    ],
)
def test_what_cannot_be_fetched_says_why(server: str, path: str, kind: str) -> None:
    with pytest.raises(VideoError) as caught:
        probe(server + path)
    assert caught.value.kind == kind
    assert server + path in str(caught.value)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(VideoError) as caught:
        probe("http://127.0.0.1:9/a.mp4")
    assert caught.value.kind == "network"


def test_a_server_without_range_requests(server: str, tmp_path: Path) -> None:
    # The index is at the end, the pictures before it are more than what is kept in memory.
    make_clip(tmp_path / "long.mp4", options={"qp": "0"}, width=640, height=480)
    with pytest.raises(VideoError) as caught:
        probe(f"{server}/long.mp4")
    assert caught.value.kind == "network"
    assert caught.value.message.endswith(
        ("broke off while it was read", "the server does not send single parts of a file")
    )
    assert caught.value.hint == ("download it first, or use a server that supports range requests")


def test_a_server_that_is_silent(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "TIMEOUTS", (0.5, 0.5))
    with pytest.raises(VideoError, match="the server did not send anything in time"):
        probe(f"{server}/silent.mp4")


def test_a_password_is_not_shown(server: str) -> None:
    name = server.replace("://", "://me:p@ss@") + "/locked.mp4"
    hidden = server.replace("://", "://***@") + "/locked.mp4"
    found = examine(name)
    assert found.path == hidden
    assert found.message.startswith(f"{hidden}: cannot be fetched (Server returned 401")
    assert "p@ss" not in str(found)


@pytest.mark.parametrize("scheme", ["ftp", "rtsp", "file", "s3"])
def test_other_schemes_are_told_apart_from_files(scheme: str) -> None:
    with pytest.raises(VideoError, match="only http and https URLs can be read") as caught:
        probe(f"{scheme}:///etc/hostname")
    assert caught.value.kind == "network"
