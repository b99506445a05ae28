from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bundle import ConfigError, decode_config, encode_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int
    kernel: Literal["area", "bilinear"] = "area"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner
    alternatives: tuple[Inner | float, ...] = ()
    box: tuple[float, float] = (0.0, 1.0)
    gates: Mapping[str, bool] = field(default_factory=dict)
    limit: int | None = None
    extra: Any = None
    rate: float = 1.0
    name: str = "x"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must be >= 0, got {self.rate}")


GOOD: dict[str, Any] = {"inner": {"size": 3}}


def test_lists_become_tuples_and_integers_become_floats() -> None:
    data = {**GOOD, "box": [0, 1], "alternatives": [{"size": 1}, 2], "gates": {"a": True}}
    outer = decode_config(Outer, data)
    assert outer.box == (0.0, 1.0)
    assert type(outer.box[0]) is float
    assert outer.alternatives == (Inner(size=1), 2.0)
    assert outer.gates == {"a": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": {"size": 1, "kernal": "area"}}, r"config\.inner\.kernal: .*mean 'kernel'\?"),
        ({"zzz": 1}, r"config\.zzz: unknown key; known keys: inner, "),
        ({"inner": {}}, r"config\.inner\.size: this key is missing"),
        ({"inner": 3}, r"config\.inner: expected an object with the fields of Inner, got 3"),
        ({"inner": {"size": True}}, r"config\.inner\.size: expected an integer, got True"),
        ({"inner": {"size": 1.5}}, r"config\.inner\.size: expected an integer, got 1\.5"),
        ({"inner": {"size": 1, "kernel": "x"}}, r"one of 'area', 'bilinear', got 'x'"),
        ({"box": [0]}, r"config\.box: expected 2 values, got 1"),
        ({"box": "ab"}, r"config\.box: expected a list, got 'ab'"),
        ({"alternatives": ["a"]}, r"config\.alternatives\[0\]: .* or expected a finite number"),
        ({"gates": {"a": 1}}, r"config\.gates\.a: expected true or false, got 1"),
        ({"gates": []}, r"config\.gates: expected an object"),
        ({"limit": "3"}, r"config\.limit: expected an integer, got '3'"),
        ({"rate": float("nan")}, r"config\.rate: expected a finite number"),
        ({"rate": None}, r"config\.rate: expected a finite number"),
        ({"rate": -1}, r"config: rate must be >= 0"),
        ({"name": 3}, r"config\.name: expected a string, got 3"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        decode_config(Outer, {**GOOD, **change})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(ConfigError) as caught:
        decode_config(Outer, {**GOOD, "name": list(range(10_000))})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [float("inf"), {1: 2}, b"x", object(), 1j])
def test_what_json_cannot_hold_is_not_encoded(value: object) -> None:
    with pytest.raises(ConfigError, match="config"):
        encode_config({"key": value})


inners = st.builds(Inner, size=st.integers(), kernel=st.sampled_from(["area", "bilinear"]))
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=0)


@given(
    st.builds(
        Outer,
        inner=inners,
        alternatives=st.lists(inners | finite).map(tuple),
        box=st.tuples(finite, finite),
        gates=st.dictionaries(st.text(), st.booleans()),
        limit=st.none() | st.integers(),
        rate=finite,
        name=st.text(),
    )
)
def test_decode_undoes_encode(outer: Outer) -> None:
    assert decode_config(Outer, encode_config(outer)) == outer
