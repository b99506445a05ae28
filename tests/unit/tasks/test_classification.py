"""How often a system is right: counted by hand on clips whose colour is their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from foveal.dataset import Sample
from foveal.engine.runners import OnnxRunner
from foveal.sampling.confidence import ExitRule
from foveal.systems.baselines import protocol
from foveal.tasks.classification import Evaluation, NothingReadError, evaluate
from foveal.tasks.trainable import NoSystemError, find_trainable
from foveal.types import Cost
from tests.helpers_bundle import (
    COLOURS,
    GREY,
    MACS_PER_FRAME,
    SIDE,
    write_clip,
    write_colour_bundle,
)

RED, GREEN, BLUE = range(3)
SHOWN = {
    "red": COLOURS["red"],
    "green": COLOURS["green"],
    "blue": COLOURS["blue"],
    "grey": GREY,
    "rouge": COLOURS["red"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clips")
    for name, colour in SHOWN.items():
        write_clip(made / f"{name}.mp4", [colour])
    (made / "broken.mp4").touch()
    write_colour_bundle(made / "colour.foveal")
    return made


def judged(
    folder: Path,
    labelled: Sequence[tuple[str, int]],
    *,
    answer: str = "mean",
    max_in_flight: int = 16,
    exit_rule: ExitRule | None = None,
) -> Evaluation:
    bundle = write_colour_bundle(folder / "colour.foveal")
    config = protocol.tiny(num_classes=3, num_frames=4)
    canvas = replace(config.canvas, height=SIDE, width=SIDE)  # type: ignore[type-var]
    config = replace(config, canvas=canvas, part="colour", answer=answer)  # type: ignore[arg-type]
    return evaluate(
        [
            Sample(path=str(folder / f"{name}.mp4"), label=label, where=name)
            for name, label in labelled
        ],
        kind="video",
        runner=OnnxRunner(bundle, threads=1),
        steps=partial(protocol.steps, config, {}),
        max_in_flight=max_in_flight,
        exit_rule=exit_rule,
    )


def test_right_and_wrong_are_counted(folder: Path) -> None:
    found = judged(folder, [("red", RED), ("green", BLUE), ("blue", BLUE), ("rouge", RED)])
    assert found.right.tolist() == [True, False, True, True]
    assert found.truth.argmax(axis=1).tolist() == [RED, BLUE, BLUE, RED]
    assert found.accuracy == 0.75
    assert found.mean_class_accuracy == 0.75  # all of the red, half of the blue
    assert found.failures == ()
    more = judged(folder, [("red", RED), ("rouge", RED), ("green", BLUE)])
    assert more.accuracy == pytest.approx(2 / 3)
    assert more.mean_class_accuracy == 0.5  # green is not among the labels


def test_a_tie_goes_to_the_lower_class(folder: Path) -> None:
    found = judged(folder, [("grey", RED), ("grey", GREEN), ("grey", BLUE)])
    assert np.ptp(found.probs) == 0
    assert found.right.tolist() == [True, False, False]


def test_what_cannot_be_read_is_a_failure_and_counts_for_nothing(folder: Path) -> None:
    rows = [("broken", RED), ("red", RED), ("absent", GREEN), ("green", RED)]
    for in_flight in (1, 16):
        found = judged(folder, rows, max_in_flight=in_flight)
        assert found.truth.argmax(axis=1).tolist() == [RED, RED]
        assert found.right.tolist() == [True, False]
        assert found.accuracy == 0.5
        kinds = {Path(f.path).name: f.kind for f in found.failures}
        assert kinds == {"broken.mp4": "empty", "absent.mp4": "missing"}
        told = found.to_json()
        assert (told["num_clips"], told["num_unreadable"]) == (2, 2)


def test_the_bill_is_that_of_what_was_run(folder: Path) -> None:
    found = judged(folder, [("red", RED), ("blue", BLUE), ("broken", RED)])
    assert [cost.total_macs for cost in found.costs] == [4 * MACS_PER_FRAME] * 2
    told = found.to_json()
    assert told["gmacs_per_clip"] == pytest.approx(4 * MACS_PER_FRAME / 1e9)
    assert told["frames_used_per_clip"] == 4
    assert 4 <= told["frames_decoded_per_clip"] <= 10
    assert told["accuracy"] == told["mean_class_accuracy"] == 1.0


def test_where_nothing_can_be_read_the_first_reason_is_given(folder: Path) -> None:
    with pytest.raises(NothingReadError, match=r"broken\.mp4: the file is empty"):
        judged(folder, [("broken", RED), ("absent", RED)])
    with pytest.raises(NothingReadError, match=r"absent\.mp4: no such file"):
        judged(folder, [("absent", RED), ("broken", RED)])


def test_segments_are_no_classification(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"red\.mp4: the answer holds segments"):
        judged(folder, [("red", RED)], answer="each")


def test_of_several_classes_any_is_right_and_all_are_ranked() -> None:
    found = Evaluation(
        probs=np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6], [0.3, 0.4, 0.2]]),
        truth=np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]], bool),
        costs=(Cost(macs={}),) * 3,
        failures=(),
        several=True,
    )
    assert found.right.tolist() == [True, False, True]
    told = found.to_json()
    assert told["mean_average_precision"] == found.mean_average_precision == 1.0
    assert "mean_class_accuracy" not in told


@pytest.mark.parametrize("name", ["ocsampler", "adafocus_v2"])
def test_a_system_of_one_class_a_clip_is_not_taught_several(name: str) -> None:
    assert find_trainable(name).name == name
    with pytest.raises(NoSystemError, match=f"{name} learns one class a clip") as told:
        find_trainable(name, several=True)
    assert "nsnet" in told.value.hint
    assert find_trainable("nsnet", several=True).name == "nsnet"
