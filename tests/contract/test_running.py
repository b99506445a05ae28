"""Every working system on clips and files: what it answers, looks at, pays, and exports to."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import foveal
from foveal.bundle import Bundle, ConfigError, declared_axes, decode_config, encode_config
from foveal.cost.torch_counter import count_torch_macs
from foveal.dataset import Sample
from foveal.export.part import make_inputs
from foveal.export.replay import MARGIN, Replay
from foveal.sampling.confidence import ExitRule, confidence
from foveal.systems.index import System
from foveal.train import ClipData, FrameCache
from foveal.train.project import planned_times
from foveal.types import Answer, Array, Call, Canvas, Look, Note, PartSpec, Plan
from foveal.video import ArraySource, open_source
from tests.contract.recount import recount
from tests.contract.subjects import (
    TRAINED,
    WORKING,
    Ran,
    Subject,
    logits_of,
    module_of,
    planned_pictures,
    run,
    source_of,
)
from tests.helpers_video import make_clip

ALL = pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
WITH_NETWORK = pytest.mark.parametrize("row", TRAINED, ids=lambda row: row.name)
FIRST = ExitRule(thresholds=(0.0,))
"""Stop at the first answer."""

Ready = Callable[[System], Subject]


def some_clips(subject: Subject, num: int = 4) -> list[ArraySource]:
    return [source_of(seed, subject.canvas) for seed in range(num)]


def answer_array(ran: Ran) -> Array:
    """Return the last answer as numbers: probabilities, or the scores of its segments."""
    answer = ran.outcome.answer
    if answer.probs is not None:
        return np.asarray(answer.probs)
    assert answer.segments is not None
    return np.array([answer.segments.start_seconds, answer.segments.labels, answer.segments.scores])


def decisions(ran: Ran) -> list[object]:
    """Return what a sample chose: when it looked, what it called, what it kept, when it stopped."""
    kept: list[object] = []
    for event in ran.outcome.trace.events:
        match event.kind:
            case "look":
                kept.append((tuple(event.detail["asked"]), str(event.detail.get("size"))))
            case "call":
                kept.append((event.detail["part"], event.detail["rows"]))
            case "note":
                kept.append((event.detail.get("chosen"), event.detail.get("gates")))
    return [*kept, ran.outcome.trace.exit_index]


# --- the same answer, however it is come by -----------------------------------------------------


@WITH_NETWORK
def test_the_protocol_answers_what_the_training_network_says(row: System, ready: Ready) -> None:
    """With exits off, on clips that are pictures of the canvas."""
    subject = ready(row)
    assert subject.network is not None
    frames = torch.from_numpy(planned_pictures(row, some_clips(subject)))
    wanted = logits_of(subject.network, frames).double().log_softmax(dim=-1).numpy()
    for ran, want in zip(run(subject, subject.torch(), some_clips(subject)), wanted, strict=True):
        assert len(ran.log.of(Plan)) == 1
        answers = [np.log(step.probs) for step in ran.log.of(Answer)]
        assert len(answers) == len(want)
        assert np.abs(np.array(answers) - want).max() < 1e-5


@ALL
def test_a_sample_does_not_depend_on_its_batch_mates(row: System, ready: Ready) -> None:
    subject = ready(row)
    together = run(subject, subject.onnx(), some_clips(subject))
    others = run(subject, subject.onnx(), some_clips(subject)[::-1], max_batch=2)[::-1]
    alone = [run(subject, subject.onnx(), [clip], max_batch=1)[0] for clip in some_clips(subject)]
    for a, b, c in zip(together, others, alone, strict=True):
        assert decisions(a) == decisions(b) == decisions(c)
        assert np.abs(answer_array(a) - answer_array(b)).max() < 1e-5
        assert np.abs(answer_array(a) - answer_array(c)).max() < 1e-5
        assert a.outcome.cost.macs == b.outcome.cost.macs == c.outcome.cost.macs


@ALL
def test_a_run_repeats_bit_for_bit(row: System, ready: Ready) -> None:
    subject = ready(row)
    first, second = (run(subject, subject.onnx(), some_clips(subject)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert decisions(a) == decisions(b)
        assert np.array_equal(answer_array(a), answer_array(b))


# --- what is looked at --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_intra(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file whose every frame stands alone."""
    return make_clip(tmp_path_factory.mktemp("intra") / "clip.mp4", gop=1, num_frames=60)


@ALL
@pytest.mark.parametrize("rule", [None, FIRST], ids=["to the end", "first exit"])
def test_a_frame_the_trace_does_not_name_costs_nothing(
    row: System, rule: ExitRule | None, ready: Ready, all_intra: str
) -> None:
    """It was never converted, and, where no frame needs another, never decoded."""
    subject = ready(row)
    (ran,) = run(subject, subject.onnx(), [open_source(all_intra)], exit_rule=rule)
    looks = [e.detail for e in ran.outcome.trace.events if e.kind == "look"]
    pictures = {
        (second, str(look["view"]), str(look["size"]), str(look.get("box")))
        for look in looks
        if look["view"] in ("canvas", "crop")
        for second in look["seconds"]
    }
    shown = ran.outcome.trace.frame_seconds()
    assert 0 < len(shown) < 60
    assert ran.source.meter.frames_converted == len(pictures)
    assert ran.source.meter.frames_decoded == len(shown)
    assert ran.outcome.cost.frames_used == len(shown)
    assert ran.outcome.cost.frames_decoded == len(shown)


@ALL
def test_a_file_and_its_copy_in_memory_give_equal_pixels(
    row: System, ready: Ready, all_intra: str
) -> None:
    subject = ready(row)
    (ran,) = run(subject, subject.onnx(), [open_source(all_intra)])
    canvases = {look.view for look, _ in ran.log.looks if isinstance(look.view, Canvas)}
    assert canvases
    for canvas in canvases:
        copy = ArraySource(pictures_of(all_intra, canvas), fps=25.0)
        for plan in ran.log.of(Plan):
            copy.plan(plan)
            for look, pixels in ran.log.looks:
                if look.view == canvas and set(look.times) <= set(plan.times):
                    assert np.array_equal(copy.look(look)[0], pixels)


def pictures_of(path: str, canvas: Canvas) -> Array:
    """Return every frame of a file through a canvas, uint8 (T,3,H,W)."""
    source = open_source(path)
    times = tuple((i + 0.5) / 25 for i in range(60))
    source.plan(Plan(times=times))
    pictures, _ = source.look(Look(times=times, view=canvas))
    source.close()
    return pictures


@WITH_NETWORK
@pytest.mark.parametrize("kept", [True, False], ids=["cached", "live"])
def test_a_network_is_judged_on_the_pictures_that_the_protocol_sees(
    row: System, ready: Ready, tmp_path: Path, kept: bool
) -> None:
    subject = ready(row)
    path = make_clip(tmp_path / "clip.mp4", options={"bf": "2"}, num_frames=40)
    (ran,) = run(subject, subject.onnx(), [open_source(path)])
    (plan,) = ran.log.of(Plan)
    data = ClipData(
        (Sample(path=path, label=0, where="clip"),),
        kind="video",
        planned=partial(planned_times, module_of(row, "protocol").steps, subject.cfg),
        views={"frames": subject.canvas},
        cache=FrameCache(tmp_path / "cache", limit_bytes=1 << 40) if kept else None,
    )
    (frames,) = data.batch(np.zeros(1, np.int64), np.zeros(1, np.int64))["frames"]
    assert len(frames) == len(plan.times)
    compared = 0
    for look, pixels in ran.log.looks:
        if look.view == subject.canvas:
            for time, picture in zip(look.times, pixels, strict=True):
                assert np.array_equal(frames[plan.times.index(time)], picture)
                compared += 1
    assert compared > 0


# --- what it costs ------------------------------------------------------------------------------


@ALL
def test_three_counts_of_every_part_agree(row: System, ready: Ready) -> None:
    """Ours and a recount of the exported graph, and PyTorch's own count of the module.

    At the first and the last of the sizes that are declared.
    """
    subject = ready(row)
    for name, spec in subject.bundle.specs.items():
        module = subject.modules[name]
        device = next(module.parameters()).device
        for axes in declared_axes(spec)[:: max(1, len(declared_axes(spec)) - 1)]:
            ours = subject.bundle.macs(name, axes)
            inputs = make_inputs(spec, axes, rows=1, seed=0)
            named = {t.name: array for t, array in zip(spec.inputs, inputs, strict=True)}
            again = recount(subject.bundle.part_bytes(name), named)
            theirs = count_torch_macs(module, *(torch.from_numpy(a).to(device) for a in inputs))
            assert ours > 0
            assert again == pytest.approx(ours, rel=0.01), (name, axes)
            assert theirs == pytest.approx(ours, rel=0.01), (name, axes)


@ALL
def test_the_bill_is_what_was_called_times_what_was_counted(row: System, ready: Ready) -> None:
    subject = ready(row)
    for ran in run(subject, subject.onnx(), some_clips(subject, 2)):
        want: dict[str, int] = {}
        for call in ran.log.of(Call):
            axes = subject.bundle.specs[call.part].bind(tuple(a.shape for a in call.inputs))
            macs = subject.bundle.macs(call.part, axes) * call.rows
            want[call.part] = want.get(call.part, 0) + macs
        assert dict(ran.outcome.cost.macs) == want


@ALL
def test_stopping_earlier_never_costs_more(row: System, ready: Ready) -> None:
    subject = ready(row)
    full = run(subject, subject.onnx(), some_clips(subject))
    early = run(subject, subject.onnx(), some_clips(subject), exit_rule=FIRST)
    for a, b in zip(full, early, strict=True):
        assert b.outcome.cost.total_macs <= a.outcome.cost.total_macs
        assert b.outcome.cost.frames_used <= a.outcome.cost.frames_used


# --- runners ------------------------------------------------------------------------------------


@WITH_NETWORK
@pytest.mark.parametrize("leader", ["torch", "onnx"])
def test_one_runner_follows_the_trace_of_the_other(row: System, leader: str, ready: Ready) -> None:
    subject = ready(row)
    runners = [subject.torch(), subject.onnx()]
    both = Replay(*(runners if leader == "torch" else runners[::-1]))
    run(subject, both, some_clips(subject, 8))
    assert both.difference < MARGIN


@WITH_NETWORK
def test_running_freely_they_differ_only_where_it_is_a_toss_up(row: System, ready: Ready) -> None:
    """With an exit rule that holds for about half of all answers."""
    subject = ready(row)
    full = run(subject, subject.torch(), some_clips(subject, 16))
    sure = [confidence(step.probs) for ran in full for step in ran.log.of(Answer)]
    rule = ExitRule(thresholds=(float(np.median(sure)) + 1e-4,) * 100)
    a, b = (
        run(subject, runner, some_clips(subject, 16), exit_rule=rule)
        for runner in (subject.torch(), subject.onnx())
    )
    tossed = 0
    for one, other in zip(a, b, strict=True):
        if decisions(one) == decisions(other):
            assert np.abs(answer_array(one) - answer_array(other)).max() < 1e-3
            assert np.abs(boxes_of(one) - boxes_of(other)).max(initial=0.0) < 1e-3
        else:
            tossed += 1
            assert smallest_margin(one, rule) < 1e-3
    assert tossed <= 1, f"{tossed} of 16 samples decided otherwise"


def boxes_of(ran: Ran) -> Array:
    return np.array([note.box for note in ran.log.of(Note) if note.box is not None])


def smallest_margin(ran: Ran, rule: ExitRule) -> float:
    """Return how close the closest choice of a sample was: kept against left, on against out."""
    margins = [np.inf]
    for note in ran.log.of(Note):
        if note.saliency is not None and note.chosen is not None:
            scores = np.array(note.saliency)
            kept = np.isin(np.arange(len(scores)), note.chosen)
            margins.append(scores[kept].min() - scores[~kept].max())
    for step, limit in zip(ran.log.of(Answer), rule.thresholds, strict=False):
        margins.append(abs(confidence(step.probs) - limit))
    return float(min(margins))


# --- what is stored -----------------------------------------------------------------------------


@ALL
def test_configuration_and_bundle_survive_being_stored(row: System, ready: Ready) -> None:
    subject = ready(row)
    protocol = module_of(row, "protocol")
    assert decode_config(protocol.Config, encode_config(subject.cfg)) == subject.cfg
    again = Bundle.open(subject.bundle.path)
    assert again.manifest == subject.bundle.manifest
    assert decode_config(protocol.Config, again.manifest.config) == subject.cfg
    declared = {spec.name: as_stored(spec) for spec in protocol.parts(subject.cfg)}
    assert {name: as_stored(spec) for name, spec in again.specs.items()} == declared


def as_stored(spec: PartSpec) -> PartSpec:
    return replace(spec, axes={k: tuple(v) for k, v in spec.axes.items()})


@ALL
def test_an_unknown_option_is_refused(row: System, ready: Ready) -> None:
    subject = ready(row)
    protocol = module_of(row, "protocol")
    stored = encode_config(subject.cfg)
    with pytest.raises(ConfigError, match="no_such_option"):
        decode_config(protocol.Config, {**stored, "no_such_option": 1})
    with pytest.raises(TypeError, match="no_such_option"):
        replace(subject.cfg, no_such_option=1)


@ALL
def test_the_card_names_paper_and_golden_numbers(row: System) -> None:
    card = Path(foveal.__file__).parent / "systems" / row.name / "README.md"
    text = card.read_text(encoding="utf-8")
    assert len(text) > 500
    assert "golden" in text.lower()
    if row in TRAINED and row.kind != "baseline":
        (arxiv,) = re.findall(r"\d{4}\.\d{5}", row.paper)
        assert arxiv in text


def test_every_kind_of_system_has_the_modules_it_needs() -> None:
    for row in TRAINED:
        for name in ("protocol", "model", "recipe"):
            importlib.import_module(f"{row.module}.{name}")
