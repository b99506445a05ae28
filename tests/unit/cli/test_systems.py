from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from foveal.cli.app import main
from foveal.systems import index

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def make_claims() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_claims", ROOT / "scripts/make_claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["systems", "--json"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_the_claims_in_the_package_are_those_of_the_results(make_claims: ModuleType) -> None:
    found = make_claims.claims(ROOT / "results")
    assert make_claims.CLAIMS.read_text(encoding="utf-8") == make_claims.text(found)


def test_every_working_system_but_the_baselines_has_a_claim(make_claims: ModuleType) -> None:
    found = make_claims.claims(ROOT / "results")
    working = {row.name for row in index.ALL if row.status == "working" and row.kind != "baseline"}
    assert set(found) == working


def test_json_has_all_eighteen_and_the_two_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert [row["name"] for row in rows] == [row.name for row in index.ALL]
    assert len(rows) == 20
    for row in rows:
        assert list(row) == [
            "name", "title", "kind", "task", "question", "paper", "licence", "status", "claim",
        ]  # fmt: skip
        assert row["status"] in ("working", "planned")
        claim = row["claim"]
        if row["status"] == "planned":
            assert claim is None
        if claim is not None:
            assert isinstance(claim, dict)
            assert list(claim) == ["text", "holds", "result"]
            assert isinstance(claim["holds"], bool)
            assert (ROOT / claim["result"]).is_file()


def test_the_table_names_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.cli import systems

    claims = {
        "tagger": {"text": "beats uniform", "holds": True, "result": "results/t.json"},
        "baselines": {"text": "beats all", "holds": False, "result": "results/b.json"},
    }
    monkeypatch.setattr(systems, "measured_claims", lambda: claims)
    assert main(["systems"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100  # also where no terminal says how wide it is
    out = re.sub(r"\s+", " ", printed)
    for row in index.ALL:
        assert row.name in out
        assert row.question in out
        assert row.paper in out or row.paper == "none"
        assert row.licence in out
    assert "Claim holds: beats uniform (results/t.json)" in out
    assert "Claim does not hold: beats all (results/b.json)" in out
    assert "\x1b" not in out


def test_the_count_is_of_the_papers_as_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """`Eighteen` in the README; our own systems are none of them."""
    num_working = sum(row.status == "working" for row in index.PAPERS)
    assert main(["systems"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"{num_working} of the 18 papers work, the others are planned; our own are tagger and "
        "baselines."
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(index.PAPERS) == 18
    assert "Eighteen published systems" in readme
    assert "the eighteen papers, and which of them work" in readme


PLANNED = next(row.name for row in index.ALL if row.status == "planned")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.json": PLANNED}, f"'{PLANNED}', which is not a working system"),
        ({"a.json": "tagger", "b.json": "tagger"}, "tagger has two claims"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(
    make_claims: ModuleType, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, system in files.items():
        claim = {"system": system, "text": "t", "holds": True}
        (tmp_path / name).write_text(json.dumps({"claim": claim}))
    with pytest.raises(ValueError, match=message):
        make_claims.claims(tmp_path)


def test_results_without_the_claim_of_a_system_are_passed_over(
    make_claims: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "speed.json").write_text('{"claim": {"text": "fast", "holds": true}}')
    (tmp_path / "none.json").write_text('{"claim": null}')
    (tmp_path / "old.json").write_text("{}")
    assert make_claims.claims(tmp_path) == {}
