"""The executor: same answers alone and in company, full batches, honest bills, kept promises."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from foveal.engine.executor import Executor, Job, Outcome, ProtocolError
from foveal.records import Failure
from foveal.sampling.confidence import ExitRule
from foveal.sampling.protocol import NO_SOUND, answer, listen, look, note, plan
from foveal.types import Answer, Canvas, FovealError, Look, Plan
from tests.unit.engine import fake_protocols
from tests.unit.engine.fake_protocols import ALL, CONTEXT, FULL, WINDOW, fake_parts
from tests.unit.engine.fakes import FakeRunner, FakeSource

EXIT = ExitRule(thresholds=(0.6,) * 4)


def jobs(protocol, *, count=64, sources=None):
    made = sources if sources is not None else [FakeSource(seed) for seed in range(count)]
    return [
        Job(name=source.info.name, open=lambda s=source: s, steps=partial(protocol, CONTEXT))
        for source in made
    ]


def run(protocol, *, max_batch=16, rule=EXIT, count=64, fetch_threads=0, runner=None):
    executor = Executor(
        runner or FakeRunner(fake_parts()),
        exit_rule=rule,
        max_batch=max_batch,
        max_in_flight=64,
        fetch_threads=fetch_threads,
    )
    done = sorted(executor.run(jobs(protocol, count=count)), key=lambda o: o.index)
    return executor, done


def value(outcome):
    segments = outcome.answer.segments
    return outcome.answer.probs if segments is None else np.array(segments.scores)


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.__name__)
def test_every_system_fits_the_protocol_in_under_25_lines(protocol):
    lines = inspect.getsource(protocol).rstrip().splitlines()
    assert len(lines) < 25


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.__name__)
@pytest.mark.parametrize("fetch_threads", [0, 2])
def test_answer_does_not_depend_on_batch_mates(protocol, fetch_threads):
    _, alone = run(protocol, max_batch=1)
    _, together = run(protocol, max_batch=16, fetch_threads=fetch_threads)
    assert len(alone) == len(together) == 64
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(value(a), value(b))
        assert a.trace.frame_seconds() == b.trace.frame_seconds()
        assert a.trace.exit_index == b.trace.exit_index
        assert a.cost.macs == b.cost.macs


def test_64_unequal_samples_keep_batches_at_least_half_full():
    for protocol in ALL:
        executor, _done = run(protocol)
        runs = sum(s.runs for s in executor.stats.values())
        rows = sum(s.rows for s in executor.stats.values())
        assert rows / runs >= 8, f"{protocol.__name__}: mean batch {rows / runs:.1f} of 16"
    # Unequal on purpose: the budget, the exit and the gates differ from sample to sample.
    _, sampled = run(fake_protocols.ocsampler)
    looks = [e.detail for o in sampled for e in o.trace.events if e.kind == "look"]
    assert len({len(d["seconds"]) for d in looks if d["role"] == "focus"}) > 1
    _, exited = run(fake_protocols.adafocus_v2)
    assert len({o.trace.exit_index for o in exited}) > 2


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.__name__)
def test_bill_is_calls_times_counted_macs(protocol):
    runner = FakeRunner(fake_parts())
    _, done = run(protocol, runner=runner)
    billed: dict[str, int] = {}
    for outcome in done:
        for part, macs in outcome.cost.macs.items():
            billed[part] = billed.get(part, 0) + macs
        calls = [e.detail for e in outcome.trace.events if e.kind == "call"]
        assert outcome.cost.total_macs == sum(10 * c["rows"] for c in calls)
    assert billed == {part: 10 * rows for part, rows in runner.rows.items()}


def test_an_exit_stops_looking_calling_and_decoding():
    sources = [FakeSource(seed) for seed in range(64)]
    executor = Executor(FakeRunner(fake_parts()), exit_rule=EXIT, fetch_threads=0)
    done = list(executor.run(jobs(fake_protocols.adafocus_v2, sources=sources)))
    early = [o for o in done if o.trace.stopped_early]
    assert early
    assert len(early) < len(done)
    for outcome in done:
        source = next(s for s in sources if s.info.name == outcome.name)
        answers = outcome.trace.exit_index + 1
        assert len(set(source.looked)) == answers == outcome.cost.frames_used
        assert outcome.cost.macs == {"glance_policy": 10 * answers, "focus": 10 * answers}
        assert source.closed == 1


def test_without_an_exit_rule_every_answer_is_given():
    _, done = run(fake_protocols.adafocus_v2, rule=None)
    assert {o.trace.exit_index for o in done} == {7}
    assert not any(o.trace.stopped_early for o in done)


@pytest.mark.parametrize("calls", [2, 3, 7, 100])
def test_a_cap_stops_before_the_call_that_would_exceed_it(calls):
    executor = Executor(FakeRunner(fake_parts()), max_macs=10 * calls, fetch_threads=0)
    done = list(executor.run(jobs(fake_protocols.adafocus_v2, count=8)))
    assert len(done) == 8
    for outcome in done:
        # Two calls an answer, eight answers; a glance that no focus follows may be paid for.
        assert outcome.cost.total_macs == 10 * min(calls, 16)
        assert outcome.trace.exit_index == min(calls // 2, 8) - 1
        assert outcome.trace.stopped_early == (calls < 16)
        assert ("stopped at the cap" in " ".join(outcome.warnings)) == (calls < 16)


def test_the_last_answer_under_a_cap_is_the_one_it_would_have_given_there():
    _, whole = run(fake_protocols.adafocus_v2, rule=ExitRule(thresholds=(2.0, 2.0, 0.0)), count=8)
    capped = Executor(FakeRunner(fake_parts()), max_macs=60, fetch_threads=0)
    done = sorted(capped.run(jobs(fake_protocols.adafocus_v2, count=8)), key=lambda o: o.index)
    for one, other in zip(whole, done, strict=True):
        np.testing.assert_array_equal(one.answer.probs, other.answer.probs)


def test_a_cap_below_the_first_answer_is_a_record():
    executor = Executor(FakeRunner(fake_parts()), max_macs=19, fetch_threads=0)
    (failure,) = executor.run(jobs(fake_protocols.adafocus_v2, count=1))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.path) == ("capped", "clip0")
    assert "first answer" in failure.message


class BrokenError(FovealError):
    kind = "broken"


def test_a_failing_source_is_a_record_and_the_others_go_on():
    class BadSource(FakeSource):
        def look(self, look):
            raise BrokenError("clip3 is broken at 4 s", hint="re-encode it")

    def refuse():
        raise BrokenError("clip9 cannot be opened", hint="check the name")

    work = jobs(fake_protocols.static, sources=[FakeSource(0), BadSource(3), FakeSource(1)])
    work.append(Job(name="clip9", open=refuse, steps=partial(fake_protocols.static, CONTEXT)))
    executor = Executor(FakeRunner(fake_parts()), fetch_threads=2)
    done = list(executor.run(work))
    failed = {o.path: o for o in done if isinstance(o, Failure)}
    assert set(failed) == {"clip3", "clip9"}
    assert failed["clip3"].kind == "broken"
    assert failed["clip3"].hint == "re-encode it"
    assert {o.name for o in done if isinstance(o, Outcome)} == {"clip0", "clip1"}


def test_an_unexpected_error_rises_or_becomes_a_record():
    def faulty(context, clip):
        yield from plan([0.0])
        yield from look(0.0, FULL)
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError):
        list(Executor(FakeRunner({}), fetch_threads=0).run(jobs(faulty, count=1)))
    executor = Executor(FakeRunner({}), fetch_threads=1, catch=True)
    (failure,) = executor.run(jobs(faulty, count=1))
    assert isinstance(failure, Failure)
    assert failure.kind == "internal"
    assert "ZeroDivisionError: oh" in failure.message


def test_a_row_that_a_part_cannot_take_fails_its_own_sample_only():
    parts = fake_parts()
    poison = FakeSource(3).info.name

    def picky(x):
        if (x.mean(axis=(1, 2, 3, 4)) == x_of_poison).any():
            raise RuntimeError("cannot take this row")
        return fake_parts()["set_classifier"](x)

    probe = FakeSource(3)
    times = (2.0, 6.0, 10.0, 14.0)
    probe.plan(Plan(times=times))
    rows, _ = probe.look(Look(times=times, view=FULL))
    x_of_poison = rows[None].mean(axis=(1, 2, 3, 4))[0]
    parts["set_classifier"] = picky
    executor = Executor(FakeRunner(parts), fetch_threads=0, max_batch=4, catch=True)
    done = list(executor.run(jobs(fake_protocols.static, count=10)))
    assert [o.path for o in done if isinstance(o, Failure)] == [poison]
    assert sum(isinstance(o, Outcome) for o in done) == 9


def test_a_protocol_must_answer_and_must_not_yield_nonsense():
    def silent(context, clip):
        yield from plan([0.0])

    def nonsense(context, clip):
        yield "frame, please"

    def unplanned(context, clip):
        yield from plan([1.0])
        yield from look(2.0, FULL)

    for protocol, error in (
        (silent, ProtocolError),
        (nonsense, ProtocolError),
        (unplanned, ValueError),
    ):
        with pytest.raises(error):
            list(Executor(FakeRunner({}), fetch_threads=0).run(jobs(protocol, count=1)))


def test_one_call_larger_than_a_batch_goes_through_in_pieces():
    sizes = []

    def part(x):
        sizes.append(len(x))
        return (x * 2,)

    def wide(context, clip):
        yield from plan([0.0])
        rows = np.arange(40, dtype=np.float32)[:, None]
        outputs = yield fake_protocols.call_rows("part", rows).send(None)
        np.testing.assert_array_equal(outputs[0], rows * 2)
        yield from answer(np.ones(2) / 2)

    (outcome,) = Executor(FakeRunner({"part": part}), fetch_threads=0).run(jobs(wide, count=1))
    assert sizes == [16, 16, 8]
    assert outcome.cost.macs == {"part": 400}


def test_samples_in_flight_are_bounded():
    opened = []

    class Counted(FakeSource):
        def close(self):
            opened.remove(self.seed)

    def open_source(source):
        opened.append(source.seed)
        assert len(opened) <= 5
        return source

    work = [
        Job(
            name=f"clip{i}",
            open=partial(open_source, Counted(i)),
            steps=partial(fake_protocols.static, CONTEXT),
        )
        for i in range(40)
    ]
    executor = Executor(FakeRunner(fake_parts()), fetch_threads=0, max_in_flight=5)
    assert len(list(executor.run(work))) == 40
    assert not opened


def test_trace_says_what_happened_in_order():
    def told(context, clip):
        yield from plan([1.0, 2.0])
        yield from look(2.0, Canvas(height=1, width=2), role="glance")
        yield from note(time=2.0, box=(0.0, 0.0, 0.5, 0.5), text="here")
        yield from answer(np.array([0.2, 0.8]))

    (outcome,) = Executor(FakeRunner({}), fetch_threads=0).run(jobs(told, count=1))
    data = outcome.trace.to_json()
    assert [e["kind"] for e in data["events"]] == ["plan", "look", "note", "answer"]
    assert data["events"][1]["seconds"] == [2.0]
    assert data["events"][1]["role"] == "glance"
    assert data["events"][2]["box"] == (0.0, 0.0, 0.5, 0.5)
    assert data["events"][3] == {"kind": "answer", "label": 1, "confidence": 0.8}
    assert data["frames_seconds"] == [2.0]


def test_a_protocol_that_cannot_start_is_a_record_too():
    def refuses(clip):
        raise KeyError("no such setting")

    job = Job(name="clip", open=lambda: FakeSource(0), steps=refuses)
    (failure,) = Executor(FakeRunner({}), fetch_threads=0, catch=True).run([job])
    assert isinstance(failure, Failure)
    assert failure.kind == "internal"


def test_probabilities_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="probs must be finite"):
        Answer(probs=np.array([0.5, np.nan]))


def test_a_warning_of_a_protocol_is_the_records_and_not_the_traces():
    """Once, however often it is given; what it stands beside in a note stays in the trace."""

    def worried(context, clip):
        yield from plan([0.0, 1.0])
        for time in (0.0, 1.0):
            heard = yield from listen(clip, time, WINDOW)
            yield from note(time=time, warning="odd", gates={"sound": bool(heard.any())})
        yield from answer(np.array([0.2, 0.8]))

    class Deaf(FakeSource):
        @property
        def info(self):
            return replace(super().info, has_sound=False)

    deaf, hearing = Deaf(0), FakeSource(1)
    executor = Executor(FakeRunner({}))
    a, b = sorted(executor.run(jobs(worried, sources=[deaf, hearing])), key=lambda o: o.index)
    assert a.warnings == (NO_SOUND, "odd")
    assert b.warnings == ("odd",)
    notes = [event.detail for event in a.trace.events if event.kind == "note"]
    assert notes == [{"time": t, "gates": {"sound": False}} for t in (0.0, 1.0)]
    assert [e.kind for e in b.trace.events] == ["plan", "look", "note", "look", "note", "answer"]
