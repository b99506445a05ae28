"""One answer everywhere: training, evaluation, the command line, Python and the bundle agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import foveal
from foveal.cli.app import main
from foveal.dataset import Sample
from foveal.evaluation import evaluate
from foveal.systems.index import System
from foveal.tasks.classification import run as run_clips
from foveal.train import ClipData
from foveal.train.project import planned_times
from foveal.types import Array
from tests.contract.subjects import TRAINED, Subject, module_of, recipe_of
from tests.helpers_video import make_clip

NUM_CLIPS = 3
ROUNDING = 1e-6
Ready = Callable[[System], Subject]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders named as the classes of every subject are, of clips that differ."""
    folder = tmp_path_factory.mktemp("faces")
    for i in range(NUM_CLIPS):
        (folder / f"class {i}").mkdir()
        size = {"width": 96 + 32 * i, "height": 96, "num_frames": 24 + 9 * i}
        make_clip(folder / f"class {i}" / f"{i}.mp4", options={"bf": "2"}, **size)
    return folder


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.mp4"))


def while_training(row: System, subject: Subject, paths: list[Path]) -> Array:
    """Return the probabilities (B,K) that a validation of the last stage gives."""
    recipe = recipe_of(row)
    data = ClipData(
        tuple(Sample(path=str(path), label=0, where="clip") for path in paths),
        kind="video",
        planned=partial(planned_times, module_of(row, "protocol").steps, subject.cfg),
        views={"frames": subject.canvas, **recipe.judged},
    )
    numbers = np.arange(len(paths))
    batch = {name: torch.as_tensor(x) for name, x in data.batch(numbers, numbers).items()}
    assert subject.network is not None
    with torch.inference_mode():
        logits = recipe.stages[-1].judge(subject.network, batch)
    return np.asarray(functional.softmax(logits.double(), dim=-1).numpy())


@pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
def test_every_face_gives_the_same_frames_and_the_same_answer(
    row: System,
    ready: Ready,
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject, paths = ready(row), files_in(clips)
    bundle = str(subject.bundle.path)
    names = [f"class {i}" for i in range(subject.cfg.num_classes)]
    model = foveal.load(bundle, threads=1)

    judged = evaluate(bundle, clips, out=tmp_path / "judged", threads=1)
    rows = [json.loads(line) for line in (judged.out / "clips.jsonl").read_text().splitlines()]
    evaluated = {Path(one["path"]).name: one for one in rows}
    command = ["recognize", *map(str, paths), "--model", bundle, "--json", "--threads", "1"]
    assert main([*command, "--top-k", str(len(names))]) == 0
    records = map(json.loads, capsys.readouterr().out.splitlines())  # as they are done
    recognised = {Path(one["path"]).name: one for one in records}
    trained = while_training(row, subject, paths)
    samples = [(str(p), Sample(path=str(p), label=0, where="clip")) for p in paths]
    runners = (model.runner, subject.torch())
    onnx, network = (
        sorted(run_clips(samples, kind="video", runner=runner, steps=model.steps), key=index_of)
        for runner in runners
    )
    for i, path in enumerate(paths):
        called = model.recognize(path, top_k=len(names))
        shown, told = recognised[path.name], evaluated[path.name]
        probs = np.array(told["probs"])
        # one runner: the same frames, and the same numbers but for what a batch's size rounds
        assert told["trace"]["frames_seconds"] == shown["trace"]["frames_seconds"]
        assert told["trace"]["frames_seconds"] == called.to_json()["trace"]["frames_seconds"]
        assert told["trace"]["frames_seconds"] == onnx[i].trace.to_json()["frames_seconds"]
        assert by_name(shown["predictions"]) == pytest.approx(
            by_name(called.to_json()["predictions"]), abs=ROUNDING
        )
        assert np.abs(probs - onnx[i].answer.probs).max() < ROUNDING
        assert by_name(shown["predictions"]) == {
            name: pytest.approx(p, abs=ROUNDING) for name, p in zip(names, probs, strict=True)
        }
        # another runner, and the network as training judges it
        assert onnx[i].trace.frame_seconds() == network[i].trace.frame_seconds()
        assert np.abs(network[i].answer.probs - probs).max() < 1e-3
        assert np.abs(trained[i] - probs).max() < 1e-3


def index_of(outcome: Any) -> int:
    return int(outcome.index)


def by_name(predictions: list[dict[str, Any]]) -> dict[str, float]:
    return {one["label"]: one["prob"] for one in predictions}
