"""What long videos are judged and timed by: lists without a shared person, and the claim."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from foveal.systems.baselines.protocol import small

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def speed():
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import speed_long

        yield speed_long
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


@pytest.fixture
def videos(speed, tmp_path):
    """Return a folder whose truth names a short video of everybody."""
    people = sorted({p for split in speed.splits() for part in split.values() for p in part})
    folder = tmp_path / "videos" / "short"
    folder.mkdir(parents=True)
    rows = ["path,label,start,end,subject,variant,seconds,sources"]
    rows += [f"run/{name}_0.mp4,run,4.0,8.5,{name},0,30,a b" for name in people]
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "videos"


def test_only_those_who_train_give_their_action_alone(speed, videos, tmp_path):
    for split in range(3):
        with speed.write_list(videos, split, tmp_path).open(newline="") as file:
            rows = list(csv.DictReader(file))
        people = {
            name: {r["group"] for r in rows if r["split"] == name}
            for name in ("train", "validation", "test")
        }
        assert {name: len(found) for name, found in people.items()} == {
            "train": 6,
            "validation": 1,
            "test": 2,
        }
        assert not people["train"] & (people["validation"] | people["test"])
        alone = [row for row in rows if row["start"]]
        assert {row["group"] for row in alone} == people["train"]
        assert {(row["start"], row["end"]) for row in alone} == {("4.0", "8.5")}
        assert len(rows) == 9 + 6


def test_the_share_in_the_action_is_of_the_last_look(speed):
    looks = [SimpleNamespace(kind="look", detail={"seconds": s}) for s in ([0.0], [3.9, 4, 8, 8.5])]
    events = (looks[0], SimpleNamespace(kind="note", detail={}), looks[1])
    found = SimpleNamespace(trace=SimpleNamespace(events=events))
    assert speed.in_action(found, {"start": "4.0", "end": "8.5"}) == 0.5


def test_five_videos_of_one_person_are_timed(speed):
    rows = [{"subject": who, "path": f"{who}{i}"} for i in range(10) for who in ("a", "b")]
    assert [row["path"] for row in speed.to_time(rows)] == ["a0", "a2", "a4", "a6", "a8"]


@pytest.mark.parametrize(
    ("speedup", "right", "growth", "holds"),
    [
        (5.0, 0.58, 1.0, True),
        (4.9, 0.70, 1.0, False),
        (9.0, 0.57, 1.0, False),
        (9.0, 0.70, 1.2, False),
    ],
)
def test_a_claim_needs_time_accuracy_and_memory(speed, speedup, right, growth, holds):
    def told(accuracy, times):
        return {"accuracy": {"mean": accuracy}, "speedup": {"mean": times}}

    ways = {speed.DENSE: told(0.6, 1.0), "mine": told(right, speedup)}
    assert speed.holds({"ways": ways, "memory": {"growth": growth}}, "mine") == holds


def test_figures_are_kept_by_bundle_and_way(speed, tmp_path, monkeypatch):
    (tmp_path / "model.foveal").write_bytes(b"one")
    calls = []

    def seen(model, path):
        calls.append(path)
        looked = SimpleNamespace(kind="look", detail={"seconds": [1.0]})
        cost = SimpleNamespace(frames_decoded=5, frames_used=2, total_macs=3e6)
        return SimpleNamespace(
            predictions=[SimpleNamespace(label="run", guess=None)],
            cost=cost,
            trace=SimpleNamespace(events=(looked,)),
        )

    monkeypatch.setattr(speed, "at", lambda run, settings: None)
    monkeypatch.setattr(speed, "seen", seen)
    rows = [
        {"path": "a", "label": "run", "start": "0", "end": "2"},
        {"path": "b", "label": "walk", "start": "2", "end": "3"},
    ]
    first = speed.judged(tmp_path, "way", None, rows)
    assert first == {
        "accuracy": 0.5,
        "frames_decoded": 5,
        "frames_used": 2,
        "mmacs": 3.0,
        "in_action": 0.5,
    }
    assert speed.judged(tmp_path, "way", None, rows) == first
    assert calls == ["a", "b"]
    speed.judged(tmp_path, "other", {"num_frames": 3}, rows)
    assert len(calls) == 4
    (tmp_path / "model.foveal").write_bytes(b"two")
    speed.judged(tmp_path, "way", None, rows)
    assert len(calls) == 6
    assert len({json.dumps(json.loads(p.read_text())) for p in tmp_path.glob("judged-*")}) == 1


def test_beside_a_system_stands_what_chooses_nothing(speed):
    model = SimpleNamespace(name="baselines", config=small())
    assert speed.plain_of(model) == ("dense 16", {"num_frames": 16, "when": "uniform"})
