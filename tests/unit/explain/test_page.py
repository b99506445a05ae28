"""The page: whole, safe, small, the same every time, and nothing of the trace is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from foveal.api import Comparison
from foveal.engine.executor import Executor, Job, Outcome
from foveal.explain import ExplainError, page, write_page
from foveal.explain.page import MAX_ROWS
from foveal.records import Failure, Label, Prediction
from foveal.sampling.confidence import ExitRule
from foveal.types import ActionSegments, Answer, Event
from tests.unit.engine import fake_protocols
from tests.unit.engine.fake_protocols import ALL, CONTEXT, fake_parts
from tests.unit.engine.fakes import FakeRunner, FakeSource
from tests.unit.explain.made import PictureSource, Reader, clip, crops, looks, moved, prediction

LIMIT_BYTES = 5_000_000
CLASSES = ("run", "jump", "wave")


def pictures(info=None, **kept):
    return lambda path: PictureSource(info or clip(), **kept)


def named(outcome: Outcome) -> Prediction:
    """Return the prediction an outcome of the fake systems means."""
    answer = outcome.answer
    if answer.segments is not None:
        s = answer.segments
        rows = zip(s.start_seconds, s.end_seconds, s.labels, s.scores, strict=True)
    else:
        best = int(answer.probs.argmax())
        rows = [(0.0, outcome.clip.duration_seconds, best, float(answer.probs[best]))]
    labels = tuple(
        Label(label=CLASSES[c % 3], prob=p, start_seconds=a, end_seconds=b) for a, b, c, p in rows
    )
    return Prediction(
        path=outcome.name,
        predictions=labels,
        trace=outcome.trace,
        cost=outcome.cost,
        model="fake",
        clip=outcome.clip,
        answer=answer,
    )


def ran(protocol, *, seed=1, rule=None) -> Prediction:
    source = FakeSource(seed)
    job = Job(name=source.info.name, open=lambda: source, steps=partial(protocol, CONTEXT))
    (outcome,) = Executor(FakeRunner(fake_parts()), exit_rule=rule, fetch_threads=0).run([job])
    return named(outcome)


def read_page(results, **kept) -> Reader:
    return Reader(page(results, open_source=kept.pop("open_source", pictures())))


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.__name__)
def test_every_event_of_every_kind_of_system_is_on_the_page(protocol):
    made = ran(protocol, rule=ExitRule(thresholds=(0.6,) * 4))
    events = made.trace.events
    got = read_page([made])
    for kind in ("plan", "look", "call", "note", "answer"):
        assert len(got.find("li", kind)) == sum(e.kind == kind for e in events)
    cards = got.find("figure", "shot")
    assert len(cards) == made.cost.frames_used
    assert len(got.find("img")) == made.cost.frames_used
    marks = {
        role: {
            t
            for e in events
            if e.kind == "look"
            and e.detail["role"] == role
            and e.detail["view"] in ("canvas", "crop")
            for t in e.detail["seconds"]
        }
        for role in ("glance", "focus")
    }
    for role, seconds in marks.items():
        drawn = got.find("path", f"tick {role}")
        assert sum(t.attributes["d"].count("M") for t in drawn) == len(seconds)
        card_class = {"glance": "glanced", "focus": "focused"}[role]
        assert len(got.find("figure", f"shot {card_class}")) == len(seconds)
    (frames_of,) = [t.text for t in got.find("dd") if " of about 16" in t.text]
    assert frames_of.startswith(f"{made.cost.frames_used} ")
    end = got.find("li", "end")[0].text
    assert end.startswith("Stopped here" if made.trace.stopped_early else "The system came")
    charts = got.find("svg", "confidence")
    assert len(charts) == (sum(e.kind == "answer" for e in events) > 1)
    assert f"{10 * sum(e.detail['rows'] for e in events if e.kind == 'call'):,} MACs" in "".join(
        t.text for t in got.find("table", "totals")
    )


def test_an_ocsampler_shows_scores_and_what_they_chose():
    made = ran(fake_protocols.ocsampler)
    got = read_page([made])
    (chosen,) = [e.detail["chosen"] for e in made.trace.events if e.kind == "note"]
    assert got.row("its score")
    assert len(got.find("figure", "shot chosen")) == len(chosen)
    assert len(got.find("div", "score")) == 10
    assert got.find("path", "tick kept")[0].attributes["d"].count("M") == len(chosen)
    assert "its score, by which it chose" in got.find("p", "key")[0].text
    said = " ".join(t.text for t in got.find("p", "aside"))
    assert "Its score of each picture; what it chose by them is orange." in said
    seen = read_page([prediction([looks([1.0])])])
    assert "Its score" not in " ".join(t.text for t in seen.find("p", "aside"))


def test_an_adafocus_shows_a_box_on_every_frame_and_where_it_stopped():
    rule = ExitRule(thresholds=(0.6,) * 4)
    made = ran(fake_protocols.adafocus_v2, rule=rule, seed=14)
    got = read_page([made])
    assert made.trace.stopped_early
    assert made.trace.exit_index == 2
    assert len(got.find("rect", "box")) == made.cost.frames_used
    words = " ".join(t.text for t in got.find("p", "key"))
    assert f"sure enough, after {made.trace.exit_index + 1} answer" in words


def test_a_stop_at_the_first_answer_is_told():
    made = ran(fake_protocols.adafocus_v2, rule=ExitRule(thresholds=(0.0,)))
    (said,) = [t.text for t in read_page([made]).find("p") if t.text.startswith("Stopped at its")]
    assert said.startswith("Stopped at its first answer: ")


def test_hcms_shows_what_it_heard_and_which_gate_opened_when():
    made = ran(fake_protocols.hcms)
    opened = [e.detail["gates"]["picture"] for e in made.trace.events if e.kind == "note"]
    got = read_page([made])
    assert got.row("listened")
    assert got.row("picture gate")
    assert len(got.find("rect", "window")) == 6
    assert got.find("path", "tick open")[0].attributes["d"].count("M") == sum(opened)
    assert got.find("path", "tick closed")[0].attributes["d"].count("M") == 6 - sum(opened)


def test_a_detector_shows_every_segment_where_it_is_in_time():
    got = read_page([ran(fake_protocols.window_detector)])
    bars = [t.attributes["style"] for t in got.find("div", "bar")]
    assert bars == [f"left:{25 * i}%;width:25%" for i in range(3)]


def test_boxes_stand_at_the_right_place_for_both_kinds_of_canvas():
    box = (0.0, 0.5, 0.5, 1.0)
    cropped = {"size": (270, 270), "short_side": 270}  # the middle 270 of 480 px
    straight, moved_in = ("0%", "50%", "50%", "50%"), ("21.88%", "50%", "28.12%", "50%")
    for canvas, at in (({}, straight), (cropped, moved_in)):
        events = [looks([2.0], **canvas), Event("note", {"box": box})]
        (drawn,) = read_page([prediction(events)]).find("rect", "box")
        assert tuple(drawn.attributes[k] for k in ("x", "y", "width", "height")) == at
    veils = [t.attributes for t in read_page([prediction(events)]).find("rect", "veil")]
    width = sum(float(veil["width"].rstrip("%")) for veil in veils)
    assert width == pytest.approx(100 * 210 / 480, abs=0.05)


def test_what_is_veiled_is_in_the_legend_where_there_is_any():
    whole = read_page([prediction([looks([2.0])])])
    middle = read_page([prediction([looks([2.0], size=(270, 270), short_side=270)])])
    assert "never looked at" not in whole.find("p", "key")[0].text
    assert "never looked at" in middle.find("p", "key")[0].text
    assert len(middle.find("i", "veiled")) == 1


def test_boxes_of_one_frame_are_numbered():
    events = [looks([2.0]), crops([2.0], (0, 0, 0.5, 0.5)), crops([2.0], (0.5, 0, 1, 0.5))]
    assert [t.text for t in read_page([prediction(events)]).find("text")] == ["1", "2"]


def test_unknown_stretches_are_greyed_with_the_guess_in_brackets():
    labels = [
        Label(label="kite", prob=0.7, start_seconds=0.0, end_seconds=4.0),
        Label(
            label="nothing it knows",
            prob=0.1,
            start_seconds=4.0,
            end_seconds=10.0,
            known=False,
            guess="harp",
        ),
    ]
    got = read_page([prediction([looks([1.0])], labels=labels)])
    (known,), (unknown,) = got.find("div", "bar known"), got.find("div", "bar unknown")
    assert known.text == "kite 70 %"
    assert unknown.text == "nothing it knows (harp) 10 %"
    assert unknown.attributes["style"] == "left:40%;width:60%"
    assert "harp" not in got.find("p", "headline")[0].text


def test_stretches_that_overlap_are_stacked_and_the_best_label_is_drawn():
    labels = [
        Label(label=name, prob=prob, start_seconds=start, end_seconds=end)
        for name, prob, start, end in (
            ("run", 0.9, 0.0, 6.0),
            ("jog", 0.1, 0.0, 6.0),
            ("jump", 0.8, 5.0, 7.0),
        )
    ]
    got = read_page([prediction([looks([1.0])], labels=labels)])
    assert [t.text for t in got.find("div", "bar")] == ["run 90 %", "jump 80 %"]
    assert len(got.find("div", "lane")) == 2
    assert len(got.find("tr", "known")) == 3


def test_the_headline_names_the_four_longest_in_the_order_they_appeared():
    lengths = {"a": 1.0, "b": 3.0, "c": 0.5, "d": 2.0, "e": 2.5}
    labels, start = [], 0.0
    for name, length in lengths.items():
        labels.append(Label(label=name, prob=0.9, start_seconds=start, end_seconds=start + length))
        start += length
    (headline,) = read_page([prediction([looks([1.0])], labels=labels)]).find("p", "headline")
    assert headline.text == "a 90 % b 90 % d 90 % e 90 % and 1 more"


def test_frames_looked_at_are_told_beside_all_frames_of_the_file():
    got = read_page([prediction([looks([1.0, 2.0, 3.0])])])
    assert "3 of 250" in got.find("dl", "sums")[0].text
    assert "1.2 % of the file" in got.find("dl", "sums")[0].text


def test_confidence_is_a_line_through_every_answer_and_names_the_winner():
    events = [looks([1.0])]
    given = ((2, 0.3), (1, 0.5), (1, 0.9))
    events += [Event("answer", {"label": c, "confidence": p}) for c, p in given]
    made = prediction(events, stopped_early=True)
    probs = np.array([0.05, 0.9, 0.05])
    label = Label(label="wave", prob=0.9, start_seconds=0.0, end_seconds=10.0)
    got = read_page([replace(made, answer=Answer(probs=probs), predictions=(label,))])
    (line,) = got.find("polyline")
    assert line.attributes["points"] == "0,70 500,50 1000,10"
    assert got.find("path", "dot other")[0].attributes["d"] == "M0 70h0"
    assert "“wave” has been ahead since answer 2." in [t.text for t in got.find("p", "aside")]
    first, *_, last = (t.text for t in got.find("li", "answer"))
    assert (first, last) == ("answer class 2, 30 % sure", "answer wave, 90 % sure")


def test_many_frames_become_a_band_as_strong_as_their_share():
    info = clip(duration_seconds=3600.0, num_frames=90_000, keyframe_seconds=None)
    got = read_page([prediction([looks([2.0 * i for i in range(1800)])], info=info)])
    assert not got.find("path", "tick glance")
    bands = got.find("path", "band glance")
    assert {t.attributes["opacity"] for t in bands} == {"0.15"}  # the root of 1 in 50
    assert sum(t.attributes["d"].count("M") for t in bands) == 250
    half = read_page([prediction([looks([1.0 * i for i in range(1800)])], info=info)])
    assert sum(t.attributes["d"].count("M") for t in half.find("path", "band glance")) == 125


def test_attention_is_drawn_on_its_frame_in_a_colour_a_map_and_said_in_words():
    heats = [Event("note", {"time": 1.0, "heat": ((0.1, 0.0), (0.0, 0.9))}) for _ in range(5)]
    got = read_page([prediction([looks([1.0, 2.0]), *heats])])
    drawn = [rect for hue in range(4) for rect in got.find("rect", f"heat hue{hue}")]
    assert len(drawn) == 5 * 2
    assert len(got.find("rect", "heat hue0")) == 2 * 2  # the fifth map takes the first colour
    first = got.find("rect", "heat hue1")[0].attributes
    assert (first["x"], first["y"], first["opacity"]) == ("50%", "50%", "0.55")
    assert "what it attended to" in got.find("p", "key")[0].text
    (line, *_) = got.find("li", "note")
    assert "attended to 2 × 2 cells, most to the one 50–100 % across, 50–100 % down" in line.text


def test_choices_among_other_things_than_frames_have_a_strip_of_their_own():
    events = [looks([1.0]), Event("note", {"saliency": (0.1,) * 49, "chosen": (3, 8)})]
    got = read_page([prediction(events)])
    (strip,) = got.find("figure", "choice")
    assert strip.text == "kept 2 of 49 candidates, by index"
    assert not got.find("figure", "shot chosen")


def test_the_dense_bill_stands_beside():
    made = prediction([looks([1.0])])
    dense = replace(made, cost=replace(made.cost, macs={"glance": 3_000_000_000}, frames_used=16))
    got = read_page([Comparison(prediction=made, dense=dense, agreement=0.96)])
    (totals,) = got.find("table", "totals")
    assert re.search(r"computed1.5 GMACs3 GMACs50 %", totals.text)
    assert len(got.find("div", "stages")) == 2
    assert "96 %" in got.find("dl", "sums")[0].text
    never = read_page([Comparison(prediction=made, dense=dense, agreement=None)])
    assert "dense was never sure" in never.find("dl", "sums")[0].text


def test_the_record_is_on_the_page_as_it_is():
    made = prediction([looks([1.0]), Event("note", {"text": 'say "<cheese>"'})])
    (record,) = read_page([made]).find("pre")
    assert json.loads(record.text) == json.loads(json.dumps(made.to_json()))


HOSTILE = '</bdi><img src=x onerror="alert(1)">&amp;\u202egpj\x1b[31m\udcff$style.mp4'


def test_hostile_names_stay_text():
    labels = [
        Label(label=HOSTILE, prob=0.5, start_seconds=0.0, end_seconds=4.0),
        Label(
            label="nothing it knows",
            prob=0.1,
            start_seconds=4.0,
            end_seconds=10.0,
            known=False,
            guess=HOSTILE,
        ),
    ]
    events = [
        looks([1.0]),
        Event("call", {"part": HOSTILE, "rows": 1, "macs": 5}),
        Event("note", {"text": HOSTILE, "gates": {HOSTILE: True}}),
        Event("answer", {"label": 0, "confidence": 0.5}),
    ]
    made = prediction(events, labels=labels, path=f"a/{HOSTILE}")
    made = replace(made, warnings=(HOSTILE,), cost=replace(made.cost, macs={HOSTILE: 5}))
    failure = Failure(path=HOSTILE, kind=HOSTILE, message=HOSTILE, hint=HOSTILE)
    whole = page([made, failure], open_source=moved)
    got = Reader(whole)
    whole.encode("utf-8")
    assert not got.find("img")
    assert not any("onerror" in tag.attributes for tag in got.tags)
    assert not re.search("[\u202e\x1b\udcff]", whole)
    shown = got.find("h2")[0].text
    assert shown.startswith('bdi><img src=x onerror="alert(1)">&amp;\ufffdgpj\ufffd[31m')


def results_of_every_kind():
    made = [ran(protocol) for protocol in ALL]
    failure = Failure(path="https://example.org/a.mp4", kind="network", message="m", hint="h")
    return [*made, Comparison(prediction=made[0], dense=made[5], agreement=0.5), failure]


def test_nothing_on_the_page_asks_for_anything():
    got = read_page(results_of_every_kind())
    (policy,) = [t for t in got.find("meta") if "http-equiv" in t.attributes]
    assert policy.attributes["http-equiv"] == "Content-Security-Policy"
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")
    assert not {t.name for t in got.tags} & {"script", "iframe", "object", "embed", "form", "base"}
    for tag in got.tags:
        for name, value in tag.attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                assert re.fullmatch(r"data:image/jpeg;base64,[\w+/=]+|data:,|#file-\d+", value)
    (style,) = got.find("style")
    for text in (style.text, *(t.attributes.get("style") or "" for t in got.tags)):
        assert not re.search(r"url\(|@import|https?:|//", text)


def test_the_same_run_gives_the_same_page():
    results = results_of_every_kind()
    assert page(results, open_source=pictures()) == page(results, open_source=pictures())


def test_links_of_the_overview_lead_to_sections():
    got = read_page(results_of_every_kind())
    anchors = {t.attributes["id"] for t in got.tags if "id" in t.attributes}
    links = [t.attributes["href"] for t in got.find("a")]
    assert len(links) == len(anchors) == 10
    assert {link.removeprefix("#") for link in links} == anchors
    assert got.find("h1")[0].text == "10 files, 1 without an answer"


def test_a_file_that_moved_away_still_has_its_page():
    events = [looks([1.0]), crops([1.0], (0.0, 0.0, 0.5, 0.5)), looks([2.0])]
    got = read_page([prediction(events)], open_source=moved)
    assert not got.find("img")
    assert len(got.find("figure", "shot")) == 2
    assert len(got.find("rect", "box")) == 1
    lines = [t.text for t in got.find("p", "aside") if "no such file" in t.text]
    assert lines == [
        "The pictures could not be shown: videos/clip.mp4: there is no such file; check the path."
    ]


def long_prediction(*, num_looks=400, seconds=3600.0, path="long.mp4"):
    info = clip(
        duration_seconds=seconds,
        num_frames=int(seconds * 25),
        keyframe_seconds=tuple(np.arange(0.0, seconds, 0.5)),
    )
    events = []
    for i in range(num_looks):
        times = [seconds * (i + j / 8) / num_looks for j in range(8)]
        events += [
            Event("plan", {"num_times": 8, "keyframes": False}),
            looks(times),
            Event("note", {"saliency": tuple(np.sin(times)), "chosen": (1, 2)}),
            crops(times[1:3], (0.1, 0.1, 0.6, 0.6)),
            Event("call", {"part": "detect", "rows": 8, "macs": 10}),
            Event("answer", {"segments": i, "confidence": 0.5}),
        ]
    starts = np.linspace(0, seconds - 9, num_looks)
    labels = [
        Label(label=f"class {i}", prob=0.5, start_seconds=float(a), end_seconds=float(a + 9))
        for i, a in enumerate(starts)
    ]
    return prediction(events, labels=labels, info=info, path=path)


def test_an_hour_with_hundreds_of_looks_stays_under_5_mb():
    made = long_prediction()
    whole = page([made], open_source=pictures(made.clip))
    assert len(whole.encode()) < LIMIT_BYTES
    got = Reader(whole)
    assert len(got.find("img")) == 120
    assert any("120 of 3,200 frames shown" in t.text for t in got.find("p", "aside"))
    assert len(got.find("li", "gap")) == 1
    assert any("100 more stretches not drawn" in t.text for t in got.find("p", "aside"))


def test_many_long_files_stay_under_5_mb_and_say_what_is_left_out():
    made = [long_prediction(num_looks=150, path=f"{'long ' * 60}{i}.mp4") for i in range(12)]
    whole = page(made, open_source=pictures(made[0].clip))
    assert len(whole.encode()) < LIMIT_BYTES
    got = Reader(whole)
    sections = len(got.find("article"))
    assert 2 <= sections < 12
    assert len(got.find("a")) == sections
    said = [t.text for t in got.find("p", "aside")]
    assert f"Only the first {sections} files in detail, to keep this page small." in said


def test_a_very_long_list_of_files_stays_under_5_mb():
    failure = Failure(path="x" * 300, kind="empty", message="m" * 300, hint="copy it again")
    whole = page([failure] * 20_000, open_source=moved)
    assert len(whole.encode()) < LIMIT_BYTES
    got = Reader(whole)
    assert any(f"{20_000 - MAX_ROWS:,} more files not listed" in t.text for t in got.find("p"))


def test_a_record_too_long_for_the_page_is_named_not_cut():
    made = long_prediction(num_looks=2500)
    got = read_page([made], open_source=moved)
    assert not got.find("pre")
    assert any("too long for this page: use --json" in t.text for t in got.find("p", "aside"))


def test_a_prediction_without_frames_or_answers_has_a_page():
    empty = replace(
        prediction(labels=[], info=clip(duration_seconds=0.0, num_frames=None, fps=0.0)),
        answer=Answer(segments=ActionSegments((), (), (), ())),
    )
    got = read_page([empty], open_source=moved)
    assert got.find("p", "headline")[0].text == "nothing found"
    assert not got.find("figure")


def test_the_page_is_written_or_the_reason_is_given(tmp_path):
    made = prediction([looks([1.0])])
    write_page([made], tmp_path / "out.html", open_source=pictures())
    whole = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert whole == page([made], open_source=pictures())
    assert whole.startswith("<!doctype html>")
    with pytest.raises(ExplainError) as error:
        write_page([made], tmp_path / "no folder" / "out.html", open_source=pictures())
    assert "out.html" in str(error.value)
    assert "folder" in error.value.hint


def test_it_says_that_these_are_the_actual_decisions():
    (oath,) = read_page([prediction([looks([1.0])])]).find("p", "oath")
    assert "actual decisions" in oath.text
    assert "approximation made afterwards" in oath.text


def test_tags_are_called_tags_and_not_actions():
    got = read_page([prediction([looks([1.0])], model="tagger")])
    assert any("Tags" in t.text and "not actions" in t.text for t in got.find("p", "aside"))
