"""A result can be had again: it names its command, commit, versions and hardware."""

from __future__ import annotations

import json
import sys

import pytest

from foveal import results


def test_a_result_names_all_it_takes_to_repeat_it(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "commit", lambda: "0123456789ab")
    monkeypatch.setattr(sys, "argv", ["measure.py", "--data", str(tmp_path / "clips")])
    target = tmp_path / "results" / "task" / "one.json"
    results.write_result(target, title="t", measured={"ms": 1.5}, protocol="p", seeds=[0, 1, 2])
    data = json.loads(target.read_text())
    assert data["commit"] == "0123456789ab"
    assert data["command"] == "python measure.py --data '<clips>'"
    assert data["measured"] == {"ms": 1.5}
    assert data["reported"] is None
    assert data["seeds"] == [0, 1, 2]
    assert {"python", "numpy"} <= set(data["versions"])
    assert data["hardware"]["cores"] >= 1
    assert data["hardware"]["cpu"]
    assert str(tmp_path) not in target.read_text()


def test_outside_a_checkout_there_is_no_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(RuntimeError, match="git checkout"):
        results.commit()
