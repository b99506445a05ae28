"""From every answer of every clip to operating points: solved, crossed, marked, judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from foveal.api import Model
from foveal.bundle import MeasuredPoint
from foveal.calibration.measure import Measured, SegmentsError, measure
from foveal.calibration.points import front, measured_points, verdicts
from foveal.dataset import Sample, open_sample
from foveal.engine.executor import Executor, Job, Outcome
from foveal.metrics import fit_temperature, mean_average_precision
from foveal.sampling.budget import exit_shares, solve_thresholds
from foveal.sampling.operating import OperatingPoint, ladder, stop_after
from foveal.sampling.protocol import Steps
from foveal.types import Answer, Array, ClipInfo
from tests.helpers_bundle import (
    COLOURS,
    MACS_PER_FRAME,
    NUM_EXITS,
    write_colour_bundle,
    write_exits_bundle,
    write_votes,
)
from tests.unit.budget.made import measured

EXITS = OperatingPoint(name="exits", family="exits", solve="max_prob")


def made(*, num_clips: int = 200, num_answers: int = 4, seed: int = 0) -> Measured:
    """Clips whose answers grow surer and righter, at 10 MACs an answer."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_clips)
    ease = rng.random(num_clips)
    answers: list[tuple[Answer, ...]] = []
    for n in range(num_clips):
        votes = np.zeros(3)
        mine: list[Answer] = []
        for _ in range(num_answers):
            shown = labels[n] if rng.random() < 0.4 + 0.6 * ease[n] else rng.integers(3)
            votes[shown] += rng.uniform(0.9, 1.5)
            mine.append(Answer(probs=np.exp(votes) / np.exp(votes).sum(), logits=votes.copy()))
        answers.append(tuple(mine))
    steps = np.arange(1, num_answers + 1)[:, None] * np.ones(num_clips, np.int64)
    return Measured(
        names=tuple(f"clip {n}" for n in range(num_clips)),
        truth=labels[:, None] == np.arange(3),
        answers=tuple(answers),
        macs=10 * steps.astype(np.int64),
        ms=3.0 * steps,
        compute_ms=2.0 * steps,
        rows={"head": steps.astype(np.int64)},
        failures=(),
    )


def label_of(found: Measured) -> Array:
    return found.truth.argmax(axis=1)


def probs_at(found: Measured, index: int) -> Array:
    return np.stack([np.asarray(clip[index].probs) for clip in found.answers])


def sureness(found: Measured) -> Array:
    """The largest probability of every answer, (A,N)."""
    return np.stack([probs_at(found, i).max(axis=1) for i in range(found.num_answers)])


def test_exits_are_solved_on_the_confidence_that_a_system_brings() -> None:
    found = made()
    sure = np.random.default_rng(5).random((found.num_answers, len(found.names)))
    told = tuple(
        tuple(replace(answer, sure=float(sure[i, n])) for i, answer in enumerate(clip))
        for n, clip in enumerate(found.answers)
    )
    points = measured_points(replace(EXITS, solve="own"), replace(found, answers=told))
    rules = [one.point.exit_rule for one in points]
    assert rules
    for rule in rules:
        assert rule is not None
        assert rule.criterion == "own"
        first = rule.thresholds[0]
        assert first > sure.max() or first in sure[0]
    with pytest.raises(ValueError, match="how sure it is"):
        measured_points(replace(EXITS, solve="own"), found)


def test_a_fixed_stop_has_the_figures_of_its_answer() -> None:
    found = made()
    point = OperatingPoint(name="first 2", family="static", exit_rule=stop_after(2))
    (one,) = measured_points(point, found)
    probs = probs_at(found, 1)
    assert one.accuracy == (probs.argmax(axis=1) == label_of(found)).mean()
    assert one.temperature == fit_temperature(probs, label_of(found))
    assert (one.mean_macs, one.max_macs, one.held_macs, one.first_macs) == (20.0, 20, 20.0, 10)
    assert (one.p50_ms, one.p95_ms, one.held_ms, one.p95_compute_ms) == (6.0, 6.0, 6.0, 4.0)
    assert one.rows == {"head": 2.0}


def test_without_a_rule_the_last_answer_counts() -> None:
    found = made()
    (one,) = measured_points(OperatingPoint(name="all", family="static"), found)
    assert one.mean_macs == 40.0
    assert one.accuracy == (probs_at(found, 3).argmax(axis=1) == label_of(found)).mean()


def test_exits_are_solved_for_a_ladder_of_budgets() -> None:
    points = measured_points(EXITS, made(num_clips=400))
    assert len(points) >= 6
    costs = [p.mean_macs for p in points]
    assert costs == sorted(costs)
    assert costs[0] < 14
    assert costs[-1] > 33
    for p in points:
        assert p.point.solve is None
        assert p.point.exit_rule is not None
        assert (p.max_macs, p.first_macs) == (40, 10)  # any clip may stay to the end
        assert p.mean_macs <= p.held_macs <= 40
    assert len({p.point.name for p in points}) == len(points)


def test_figures_are_of_the_other_half_and_the_rule_is_of_all() -> None:
    found = made(num_clips=60)
    sure = sureness(found)
    for p in measured_points(EXITS, found):
        rule = p.point.exit_rule
        assert rule is not None
        spent = np.zeros(60)
        for half in (0, 1):
            # What the rule of the other half spends here, found by hand for each clip.
            best = None
            for r in np.geomspace(0.05, 8.0, 60):
                shares = exit_shares(float(r), num_exits=4)
                whole = np.minimum(solve_thresholds(sure, shares)[:-1], 1e8)
                if tuple(whole) == rule.thresholds:
                    best = solve_thresholds(sure[:, 1 - half :: 2], shares)
                    break
            assert best is not None
            for n in range(half, 60, 2):
                spent[n] = 10 * (1 + next(i for i in range(4) if sure[i, n] >= best[i] or i == 3))
        assert p.mean_macs == pytest.approx(spent.mean())


def test_the_mean_that_is_promised_leaves_room_for_other_clips() -> None:
    few = measured_points(EXITS, made(num_clips=40))[4]
    many = measured_points(EXITS, made(num_clips=1000))[4]
    assert few.held_macs - few.mean_macs > 2 * (many.held_macs - many.mean_macs) > 0


def test_other_clips_stay_below_it_ninety_nine_times_in_a_hundred() -> None:
    over = []
    for seed in range(30):
        others = made(num_clips=150, seed=1000 + seed)
        sure = sureness(others)
        for p in measured_points(EXITS, made(num_clips=150, seed=seed)):
            assert p.point.exit_rule is not None
            thresholds = np.array([*p.point.exit_rule.thresholds, -np.inf])
            spent = 10 * (1 + (sure >= thresholds[:, None]).argmax(axis=0))
            over.append(spent.mean() > p.held_macs)
    assert len(over) > 200
    assert np.mean(over) <= 0.01


def test_the_time_that_is_promised_is_that_of_a_slow_clip() -> None:
    found = made(num_clips=1000)
    times = np.arange(1000.0)[None] + np.arange(4)[:, None]
    (one,) = measured_points(
        OperatingPoint(name="all", family="static"), replace(found, ms=times, compute_ms=times / 2)
    )
    assert one.p95_ms == pytest.approx(0.95 * 999 + 3)
    rank = 950 + 2.326 * (2 * 1000 * 0.95 * 0.05) ** 0.5
    assert one.held_ms == np.ceil(rank) - 1 + 3
    (few,) = measured_points(OperatingPoint(name="all", family="static"), made(num_clips=20))
    assert few.held_ms == few.p95_ms == 12.0


# --- the front, and what is not worth it --------------------------------------------------------


def marked(*points: MeasuredPoint) -> list[str]:
    return [p.point.name for p in front(points) if p.is_on_front]


def test_the_front_is_what_nothing_beats() -> None:
    dear, cheap = measured("dear", 0.9, 2.0), measured("cheap", 0.8, 1.0)
    assert marked(cheap, dear) == ["dear", "cheap"]
    assert marked(cheap, dear, measured("worse", 0.8, 1.5)) == ["dear", "cheap"]
    assert marked(cheap, dear, measured("better", 0.9, 1.0)) == ["better"]
    assert marked(dear, measured("equal", 0.9, 2.0)) == ["dear", "equal"]
    assert marked(dear, measured("chance", 0.95, 1.0, family="random")) == ["dear"]
    names = [p.point.name for p in front([cheap, dear, measured("mid", 0.7, 1.5)])]
    assert names == ["dear", "mid", "cheap"]


def test_a_plain_point_that_dominates_is_named() -> None:
    exits = [measured(f"exits {i}", 0.7 + 0.01 * i, 1.0 + i, family="exits") for i in range(3)]
    (line,) = verdicts([*exits, measured("one", 0.8, 1.0)])
    assert line.startswith("static points dominate exits: none of 3 is better")
    assert "'one' is 80.0 % right at 1 GMACs where 'exits 2' is 72.0 % right at 3" in line
    assert (
        verdicts([*exits, measured("one", 0.715, 1.0), measured("chance", 1, 0.1, family="random")])
        == []
    )


def test_macs_that_save_no_time_are_told() -> None:
    policy = measured("policy", 0.9, 1.0, family="policy", p95_ms=30.0)
    (line,) = verdicts([policy, measured("plain", 0.9, 2.0)])
    assert "that policies save are no time on this machine" in line
    quick = replace(policy, p50_ms=4.0, p95_ms=5.0, held_ms=5.0)
    assert verdicts([quick, measured("plain", 0.9, 2.0)]) == []


# --- measuring ----------------------------------------------------------------------------------


def samples_of(folder: Path) -> dict[str, Sample]:
    return {
        path.name: Sample(
            path=str(path), label=list(COLOURS).index(path.parent.name), where=path.name
        )
        for path in sorted(folder.glob("*/*.mp4"))
    }


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    folder = tmp_path_factory.mktemp("votes")
    write_votes(folder, num_clips=24, seed=0)
    return samples_of(folder)


def ticks() -> Iterator[float]:
    return iter(count(0.0, 0.001))


def test_every_answer_is_billed_as_stopping_there_would_be(
    tmp_path: Path, votes: dict[str, Sample]
) -> None:
    model = Model(write_exits_bundle(tmp_path / "exits.foveal"), threads=1)
    clock = ticks()
    (found,) = measure(
        votes,
        kind="video",
        runner=model.runner,
        settings={"all": model.steps},
        clock=lambda: next(clock),
    ).values()
    each = MACS_PER_FRAME
    assert found.macs.tolist() == [[each * (i + 1)] * 24 for i in range(NUM_EXITS)]
    assert set(found.rows) == {"colour"}
    assert (np.diff(found.ms, axis=0) > 0).all()
    assert (found.compute_ms < found.ms).all()
    assert (found.compute_ms > 0).all()
    for p in measured_points(EXITS, found)[::3]:
        really = run_for_real(model.at(p.point), votes)
        sure = np.array([[np.asarray(a.probs).max() for a in clip] for clip in found.answers])
        assert p.point.exit_rule is not None
        thresholds = np.array([*p.point.exit_rule.thresholds, -np.inf])
        stops = (sure >= thresholds).argmax(axis=1)
        for n, name in enumerate(found.names):
            assert really[name].cost.total_macs == found.macs[stops[n], n]
            np.testing.assert_array_equal(
                really[name].answer.probs, found.answers[n][stops[n]].probs
            )


def run_for_real(model: Model, samples: dict[str, Sample]) -> dict[str, Outcome]:
    jobs = [
        Job(name=name, open=partial(open_sample, one, kind="video"), steps=model.steps)
        for name, one in samples.items()
    ]
    done = Executor(model.runner, exit_rule=model.exit_rule).run(jobs)
    return {outcome.name: outcome for outcome in done if isinstance(outcome, Outcome)}


def test_settings_take_turns_so_that_a_busy_moment_meets_all(
    tmp_path: Path, votes: dict[str, Sample]
) -> None:
    model = Model(write_exits_bundle(tmp_path / "exits.foveal"), threads=1)
    turns: list[tuple[str, str]] = []

    def told(setting: str, clip: ClipInfo) -> Steps:
        turns.append((Path(clip.name).name, setting))
        return model.steps(clip)

    few = dict(list(votes.items())[:3])
    settings = {name: partial(told, name) for name in ("a", "b")}
    found = measure(few, kind="video", runner=model.runner, settings=settings)
    one, two, three = few
    assert turns == [(one, "a"), (one, "b"), (two, "b"), (two, "a"), (three, "a"), (three, "b")]
    np.testing.assert_array_equal(found["a"].macs, found["b"].macs)
    assert found["a"].names == found["b"].names == tuple(few)


def test_a_system_that_answers_with_segments_says_so_at_once(
    tmp_path: Path, votes: dict[str, Sample]
) -> None:
    model = Model(write_colour_bundle(tmp_path / "each.foveal", answer="each"), threads=1)
    seen: list[int] = []
    with pytest.raises(SegmentsError):
        measure(
            votes,
            kind="video",
            runner=model.runner,
            settings={"all": model.steps},
            progress=lambda: seen.append(1),
        )
    assert seen == []


def test_a_clip_that_cannot_be_read_is_left_out(tmp_path: Path, votes: dict[str, Sample]) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = Sample(path=str(tmp_path / "broken.mp4"), label=0, where="broken.mp4")
    model = Model(write_exits_bundle(tmp_path / "exits.foveal"), threads=1)
    (found,) = measure(
        {"a broken one": broken, **votes},
        kind="video",
        runner=model.runner,
        settings={"all": model.steps},
    ).values()
    assert found.names == tuple(votes)
    assert [failure.path for failure in found.failures] == ["a broken one"]
    assert found.macs.shape == (NUM_EXITS, 24)


# --- points by themselves -----------------------------------------------------------------------


@pytest.mark.parametrize("most", range(1, 40))
def test_a_ladder_descends_from_the_most_to_one(most: int) -> None:
    counts = ladder(most)
    assert (counts[0], counts[-1]) == (most, 1)
    assert list(counts) == sorted(set(counts), reverse=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"family": "magic"},
        {"solve": "max_prob", "exit_rule": stop_after(1)},
    ],
)
def test_a_point_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"point|family|name"):
        OperatingPoint(**{"name": "a", "family": "static", **wrong})  # type: ignore[arg-type]


def test_nothing_is_fitted_where_clips_show_several_classes() -> None:
    found = made()
    truth = found.truth.copy()
    truth[:, 0] = True
    found = replace(found, truth=truth, several=True)
    (one,) = measured_points(OperatingPoint(name="all", family="static"), found)
    probs = probs_at(found, 3)
    assert one.accuracy == mean_average_precision(probs, truth)[0]
    assert (one.temperature, one.known_from) == (1.0, 0.0)
    assert one.confidence == pytest.approx(probs.max(axis=1).mean())
