"""What is trained on and judged: splits without a shared subject, and frames drawn where said."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
ACTION = slice(25, 50)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import weizmann_task

    yield weizmann_task
    sys.modules.pop("weizmann_task")
    sys.modules.pop("untrim_weizmann")


def video(task, pictures, *, subject="ann", label=3):
    return task.Video(
        file=Path("run") / f"{subject}_0.mp4",
        label=label,
        subject=subject,
        start_seconds=1.0,
        end_seconds=2.0,
        pictures=pictures,
        fps=25,
    )


def dim_to_bright(num_frames=100):
    level = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(50 + level, (num_frames, 3, 8, 8))


def test_no_split_shares_a_subject_between_its_parts():
    splits = json.loads((SCRIPTS / "weizmann_splits.json").read_text())["splits"]
    for split in splits:
        parts = [set(split[part]) for part in ("train", "calibration", "test")]
        assert [len(part) for part in parts] == [6, 1, 2]
        assert not any(a & b for a, b in combinations(parts, 2))
    tests = [set(split["test"]) for split in splits]
    assert not any(a & b for a, b in combinations(tests, 2))
    # What is tuned on one split is not what another is judged on.
    tuned = {split["calibration"][0] for split in splits}
    assert not tuned & set().union(*tests)


def test_one_frame_is_drawn_from_each_part_in_order(task):
    data = task.TrainingVideos([video(task, dim_to_bright())], num_frames=10)
    drawn = set()
    for seed in range(5):
        batch = data.batch(np.array([0, 0]), np.array([2 * seed, 2 * seed + 1]))
        assert batch["frames"].shape == (2, 10, 3, 8, 8)
        assert batch["label"].tolist() == [3, 3]
        level = batch["frames"].float().mean(dim=(2, 3, 4))
        assert (level.diff(dim=1) > 0).all()
        drawn |= {tuple(row) for row in level.tolist()}
    assert len(drawn) == 10


def test_the_seeds_alone_decide(task):
    data = task.TrainingVideos([video(task, dim_to_bright())], num_frames=4, trimmed=0.5)
    first, again, other = (
        data.batch(np.zeros(3, int), seed + 10 * np.arange(3))["frames"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("trimmed", [0.0, 0.5, 1.0])
def test_trimmed_clips_show_the_action_alone(task, trimmed):
    pictures = np.full((100, 3, 8, 8), 60, np.uint8)
    pictures[ACTION] = 190
    data = task.TrainingVideos([video(task, pictures)], num_frames=8, trimmed=trimmed)
    frames = data.batch(np.zeros(200, int), np.arange(200))["frames"]
    level = frames.float().mean(dim=(2, 3, 4))
    alike = (level.amax(dim=1) - level.amin(dim=1) < 1).float().mean().item()
    assert abs(alike - trimmed) <= (0.1 if trimmed == 0.5 else 0)


def test_only_frames_of_the_action_count_as_it(task):
    one = video(task, dim_to_bright())
    assert [one.shows_action(t) for t in (0.98, 1.0, 1.98, 2.0)] == [False, True, True, False]
    assert one.action == ACTION
