from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.cli.text import clean, clock, count, gmacs, milliseconds, percent

ANY_TEXT = st.text(st.characters(codec=None))


@given(ANY_TEXT)
def test_whatever_a_file_is_called_its_name_is_one_visible_line(name: str) -> None:
    shown = clean(name)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert clean(shown) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.mp4", "plain name.mp4"),
        ("日本語 é.mp4", "日本語 é.mp4"),
        ("two\nlines\ttab\r.mp4", r"two\nlines\ttab\r.mp4"),
        ("\x1b[31mred\x07.mp4", r"\x1b[31mred\x07.mp4"),
        ("gpj.\u202e4pm", r"gpj.\u202e4pm"),
        ("a\u2028b", r"a\u2028b"),
        (b"caf\xe9.mp4".decode("utf-8", "surrogateescape"), r"caf\xe9.mp4"),
        ("\ud800.mp4", r"\ud800.mp4"),
        ("[red]not markup[/red].mp4", "[red]not markup[/red].mp4"),
    ],
)
def test_names_are_shown_as_they_are_where_that_is_safe(name: str, shown: str) -> None:
    assert clean(name) == shown


@given(ANY_TEXT)
def test_a_name_survives_json_in_ascii(name: str) -> None:
    line = json.dumps({"path": name})
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {"path": name}


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_later_time_never_reads_earlier(a: float, b: float) -> None:
    def tenths(shown: str) -> int:
        total = 0
        *wholes, seconds = shown.split(":")
        for whole in wholes:
            total = 60 * total + int(whole)
        whole, _, tenth = seconds.partition(".")
        assert int(whole) < 60
        return 10 * (60 * total + int(whole)) + int(tenth)

    assert abs(tenths(clock(a)) - 10 * a) <= 0.501
    assert (tenths(clock(a)) - tenths(clock(b))) * (a - b) >= 0


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(0.0), "0.0 %"),
        (percent(1.0), "100.0 %"),
        (gmacs(99.96e9), "100.0"),
        (gmacs(1_000), "0.00000100"),
        (milliseconds(0.0), "0.0 ms"),
        (milliseconds(9999.4), "9,999 ms"),
        (count(0, "file"), "0 files"),
    ],
)
def test_numbers_at_their_borders(shown: str, expected: str) -> None:
    assert shown == expected
