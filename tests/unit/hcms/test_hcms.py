"""What the sheet asks of HCMS: overwritten memories, gates that save, noise, usage, the bill."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.cost.torch_counter import count_torch_macs
from foveal.engine.executor import Executor, Job
from foveal.engine.torch_runner import TorchRunner
from foveal.explain import page
from foveal.explain.story import read
from foveal.export.bundle import export_parts
from foveal.recipe import StepContext
from foveal.records import Prediction
from foveal.sampling.protocol import NO_SOUND
from foveal.systems.hcms import protocol, recipe
from foveal.systems.hcms.model import (
    Network,
    Sensed,
    always_open,
    build,
    by_chance,
    by_gumbel,
    by_threshold,
)
from foveal.video import ArraySource, open_source
from tests.helpers_video import make_clip, with_sound

TINY = protocol.tiny()
D1, D2, D3 = TINY.widths
FPS, RATE, FRAMES = 4.0, 8000, 8
COSTLY = ("appear", "move")


@cache
def _network(cfg: protocol.Config) -> Network:
    torch.manual_seed(0)
    network = Network(cfg)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=2 * module.in_features**-0.5)
    with torch.no_grad():
        network.gate2.bias.zero_()
        network.gate3.bias.zero_()
        for _ in range(3):
            network.train()(*batch_of(8))
    return network.eval()


def network_of(cfg: protocol.Config = TINY) -> Network:
    """Return a network whose gates open at some steps and stay shut at others."""
    return copy.deepcopy(_network(cfg))


def clips_of(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (N,8,3,32,32) and sound (N, two seconds): noise, louder here and there."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (num, FRAMES, 3, 32, 32), np.uint8)
    loud = rng.uniform(0, 0.5, (num, FRAMES, 1))
    noise = rng.standard_normal((num, FRAMES, RATE // 4)) * loud
    return frames, np.clip(noise, -1, 1).astype(np.float32).reshape(num, -1)


def batch_of(num: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same as a batch: pairs of frames, and the sound of the second of each."""
    frames, sound = clips_of(num, seed)
    pairs = np.arange(TINY.num_steps)[:, None] + np.arange(2)
    windows = sound.reshape(num, FRAMES, -1)[:, pairs[:, 1]]
    return torch.from_numpy(frames[:, pairs.ravel()]), torch.from_numpy(windows)


def sources_of(num: int, *, with_sound: bool = True) -> list[ArraySource]:
    frames, sound = clips_of(num)
    return [
        ArraySource(
            frames[i],
            fps=FPS,
            sound=sound[i] if with_sound else None,
            sound_rate=RATE if with_sound else None,
        )
        for i in range(num)
    ]


def macs_of(network: Network) -> dict[str, int]:
    parts = build(network, network.cfg)
    return {
        spec.name: count_torch_macs(
            parts[spec.name],
            *(torch.zeros(1, *t.shape, dtype=getattr(torch, t.dtype)) for t in spec.inputs),
        )
        for spec in protocol.parts(network.cfg)
    }


def ran_by(network, sources, cfg=None, max_batch=16):
    """Run the protocol on sources and return what came of each, in their order."""
    cfg = cfg or network.cfg
    specs = {spec.name: spec for spec in protocol.parts(cfg)}
    macs = {name: {(): count} for name, count in macs_of(network).items()}
    runner = TorchRunner(build(network, cfg), specs, macs)
    jobs = [
        Job(name=str(i), open=lambda s=source: s, steps=partial(protocol.steps, cfg, {}))
        for i, source in enumerate(sources)
    ]
    done = Executor(runner, max_batch=max_batch, fetch_threads=0).run(jobs)
    return sorted(done, key=lambda one: int(one.name))


def gates_of(outcome) -> np.ndarray:
    """Return what the notes of a trace say: heard, looked, moved, (T,3)."""
    notes = [e.detail["gates"] for e in outcome.trace.events if "gates" in e.detail]
    return np.array([[n[name] for name in protocol.SENSES] for n in notes])


def calls_of(outcome) -> Counter:
    calls = Counter()
    for event in outcome.trace.events:
        if event.kind == "call":
            calls[event.detail["part"]] += event.detail["rows"]
    return calls


def text_of(outcome) -> str:
    (line,) = [e.detail["text"] for e in outcome.trace.events if "text" in e.detail]
    return line


def random_sensed(num=5, seed=0, steps=TINY.num_steps) -> Sensed:
    rng = np.random.default_rng(seed)
    rows = [rng.standard_normal((num, steps, size)) for size in TINY.features]
    return Sensed(*(torch.from_numpy(row.astype(np.float32)) for row in rows))


def first_steps(sensed: Sensed, count: int) -> Sensed:
    return Sensed(sensed.sound[:, :count], sensed.appearance[:, :count], sensed.motion[:, :count])


def shut(number, logits):
    return torch.zeros_like(logits[:, :1])


# --- 1, 2, 3: memories ----------------------------------------------------------------


def test_with_open_gates_it_is_a_stack_of_lstms_with_overwritten_memories():
    """Bit for bit, against a loop that knows no gates."""
    network, seen = network_of(), random_sensed()
    state = [(torch.zeros(5, d), torch.zeros(5, d)) for d in TINY.widths]
    with torch.no_grad():
        for k in range(TINY.num_steps):
            a, v, m = seen.sound[:, k], seen.appearance[:, k], seen.motion[:, k]
            state[0] = network.level1(a, state[0])
            start = [x.clone() for x in state[1]]
            for own, low in zip(start, state[0], strict=True):
                own[:, :D1] = low
            state[1] = network.level2(torch.cat([a, v], 1), tuple(start))
            start = [x.clone() for x in state[2]]
            for own, low in zip(start, state[1], strict=True):
                own[:, :D2] = low
            state[2] = network.level3(torch.cat([a, v, m], 1), tuple(start))
        want = network.classifier(state[2][0])
        assert torch.equal(network.run(seen, always_open).logits, want)
        opened = replace(TINY, gates="open")
        assert torch.equal(network.run(seen, by_threshold(opened)).logits, want)


def test_with_shut_gates_nothing_costly_is_run_or_fetched():
    network = network_of(replace(TINY, thetas=(1.0, 1.0)))
    sources = sources_of(3)
    for outcome, source in zip(ran_by(network, sources), sources, strict=True):
        assert not calls_of(outcome).keys() & set(COSTLY)
        assert outcome.cost.frames_used == 0
        assert source.meter.frames_converted == 0
        assert gates_of(outcome)[:, 1:].sum() == 0
    with torch.no_grad():
        first, _, third = network.run(random_sensed(), shut).memories
    assert torch.equal(third[0][:, :D1], first[0])
    assert torch.equal(third[1][:, :D1], first[1])


@pytest.mark.parametrize("level", [2, 3])
def test_a_shut_gate_leaves_what_is_not_overwritten_as_it_was(level):
    network, seen = network_of(), random_sensed()
    steps, below = 4, TINY.widths[level - 2]
    calls = iter(range(100))

    def last_shut(number, logits):
        step = next(calls) // 2
        return shut(number, logits) if step == steps - 1 else always_open(number, logits)

    with torch.no_grad():
        before = network.run(first_steps(seen, steps - 1), always_open).memories[level - 1]
        after = network.run(first_steps(seen, steps), last_shut).memories
    for old, new, low in zip(before, after[level - 1], after[level - 2], strict=True):
        assert torch.equal(new[:, below:], old[:, below:])
        assert torch.equal(new[:, :below], low)  # the cell as well as the hidden state


# --- 4: noise -------------------------------------------------------------------------


def test_noisy_gates_are_exactly_0_or_1_and_let_gradients_through():
    network, seen = network_of(), random_sensed(64)
    generator = torch.Generator().manual_seed(0)
    ran = network.run(seen, by_gumbel(temperature=0.7, generator=generator))
    values = set(ran.gates.detach().flatten().tolist())
    assert values == {0.0, 1.0}
    for number, gate in enumerate((network.gate2, network.gate3)):
        for step in range(2):  # of one clip, at steps at which the gate is open and shut
            for value in (0.0, 1.0):
                rows = torch.nonzero(ran.gates[:, step, number] == value)[:, 0]
                target = ran.gates[rows[0], step, number]
                (grad,) = torch.autograd.grad(target, gate.weight, retain_graph=True)
                assert torch.isfinite(grad).all()
                assert grad.abs().sum() > 0
    loss = ran.logits[:, 0].sum()
    for gate in (network.gate2, network.gate3):
        (grad,) = torch.autograd.grad(loss, gate.weight, retain_graph=True)
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0


def test_noise_opens_gates_as_often_as_their_logits_say():
    logits = torch.tensor([[0.0, 1.0]]).expand(20_000, 2)
    rule = by_gumbel(temperature=2.0, generator=torch.Generator().manual_seed(0))
    assert rule(0, logits).mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.015)
    chance = by_chance((0.3, 0.2), generator=torch.Generator().manual_seed(0))
    assert chance(0, logits).mean() == pytest.approx(0.3, abs=0.015)
    assert chance(1, logits).mean() == pytest.approx(0.2, abs=0.015)


# --- 5: the network and the protocol --------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"strict": True}, {"readout": "mean"}])
def test_mixing_equals_branching_and_a_batch_its_clips(change):
    network = network_of(replace(TINY, **change))
    with torch.no_grad():
        ran = network.run(network.sense(*batch_of(6)), by_threshold(network.cfg))
    mean = ran.gates.mean(dim=(0, 1))
    assert ((mean > 0.05) & (mean < 0.95)).all()  # else nothing is shown
    for sources, size in ((sources_of(6), 16), (sources_of(6)[::-1], 1)):
        outcomes = ran_by(network, sources, max_batch=size)
        for i, outcome in enumerate(outcomes if size == 16 else outcomes[::-1]):
            assert (gates_of(outcome)[:, 1:] == ran.gates[i].numpy()).all()
            want = ran.logits[i].softmax(0).numpy()
            assert np.abs(outcome.answer.probs - want).max() < 1e-6


def test_strict_gates_move_only_where_they_look():
    free, strict = (
        ran_by(network_of(replace(TINY, strict=way)), sources_of(6)) for way in (False, True)
    )
    assert any((gates[:, 2] & ~gates[:, 1]).any() for gates in map(gates_of, free))
    assert not any((gates[:, 2] & ~gates[:, 1]).any() for gates in map(gates_of, strict))


@pytest.mark.parametrize(
    ("senses", "used"),
    [
        (("sound",), {"listen"}),
        (("appearance",), {"appear"}),
        (("motion",), {"move"}),
        (("sound", "appearance"), {"listen", "appear"}),
    ],
)
def test_senses_that_are_not_in_use_are_neither_run_nor_fetched(senses, used):
    network = network_of(replace(TINY, senses=senses, gates="open"))
    with torch.no_grad():
        want = network(*batch_of(3)).softmax(1).numpy()
    for i, outcome in enumerate(ran_by(network, sources_of(3))):
        assert calls_of(outcome).keys() == used | {"classifier"}
        looks = {e.detail["view"] for e in outcome.trace.events if e.kind == "look"}
        assert looks == {"sound" if s == "sound" else "canvas" for s in senses}
        assert np.abs(outcome.answer.probs - want[i]).max() < 1e-6


def test_a_sample_ends_early_after_two_sure_steps():
    network = network_of(replace(TINY, gates="open"))
    (whole,) = ran_by(network, sources_of(1))
    sure = replace(network.cfg, exit_confidence=1e-3)
    (early,) = ran_by(network, sources_of(1), cfg=sure)
    assert len(gates_of(whole)) == TINY.num_steps
    assert len(gates_of(early)) == protocol.EXIT_STEPS
    assert early.cost.total_macs < whole.cost.total_macs
    (never,) = ran_by(network, sources_of(1), cfg=replace(network.cfg, exit_confidence=1.0))
    assert np.array_equal(never.answer.probs, whole.answer.probs)


# --- 6: usage -------------------------------------------------------------------------


def test_the_usage_loss_is_0_at_the_target_and_pulls_from_both_sides():
    gates = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert recipe.usage_loss(gates, (0.25, 0.25)) == 0
    for target, sign in ((0.1, 1), (0.9, -1)):
        moving = gates.clone().requires_grad_()
        recipe.usage_loss(moving, (target, target)).backward()
        assert (torch.sign(moving.grad) == sign).all()
    # of the batch: one clip that uses all and one that uses nothing are as good as two halves
    uneven = torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])
    assert recipe.usage_loss(uneven, (0.5, 0.5)) == 0


@pytest.mark.parametrize("bias", [-2.0, 2.0])
def test_training_moves_usage_to_its_target(bias):
    network, seen = network_of(), random_sensed(64)
    batch = dict(zip(recipe.SENSED, (seen.sound, seen.appearance, seen.motion), strict=True))
    batch["label"] = torch.arange(64) % TINY.num_classes
    gates = (network.gate2, network.gate3)
    with torch.no_grad():
        for gate in gates:
            gate.bias[1] = bias
    optimizer = torch.optim.Adam([p for g in gates for p in g.parameters()], lr=0.03)
    generator = torch.Generator().manual_seed(0)
    options = recipe.GateOptions(weight=20.0)
    for step in range(60):
        context = StepContext(progress=step / 60, generator=generator)
        optimizer.zero_grad()
        values = recipe.gate_loss(network, batch, context, options=options)
        values["loss"].backward()
        optimizer.step()
    assert abs(values["appearance"] - 0.3) <= 0.15
    assert abs(values["motion"] - 0.2) <= 0.15


def test_the_temperature_falls_to_its_floor():
    options = recipe.GateOptions()
    taus = [options.temperature(p) for p in np.linspace(0, 0.999, 100)]
    assert taus[0] == 5.0
    assert options.temperature(1.5 / 22) == pytest.approx(4.5)
    assert taus == sorted(taus, reverse=True)
    assert recipe.GateOptions(rounds=60).temperature(0.99) == 0.5
    with pytest.raises(ValueError, match="usage"):
        recipe.GateOptions(usage=(1.2, 0.2))
    with pytest.raises(ValueError, match="temperature"):
        recipe.GateOptions(floor=6.0)


# --- 7, 10: the bill ------------------------------------------------------------------


def test_the_bill_is_calls_times_what_one_costs():
    network = network_of()
    macs = macs_of(network)
    for outcome in ran_by(network, sources_of(4)):
        _, looked, moved = gates_of(outcome).sum(axis=0)
        want = TINY.num_steps * (macs["listen"] + macs["motion_gate"])
        want += looked * macs["appear"] + moved * macs["move"] + macs["classifier"]
        assert outcome.cost.total_macs == want
        assert dict(calls_of(outcome))["listen"] == TINY.num_steps


def test_theta_leads_from_always_on_to_sound_alone():
    network = network_of()
    macs = macs_of(network)
    costs = []
    for theta in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        cfg = replace(TINY, thetas=(theta, theta))
        outcomes = ran_by(network, sources_of(8), cfg=cfg)
        costs.append(np.mean([outcome.cost.total_macs for outcome in outcomes]))
    base = TINY.num_steps * (macs["listen"] + macs["motion_gate"]) + macs["classifier"]
    assert costs[0] == base + TINY.num_steps * (macs["appear"] + macs["move"])
    assert costs[-1] == base
    assert all(b <= 1.02 * a for a, b in pairwise(costs))
    assert len(set(costs)) > 2  # some theta lies between


# --- sound that is not there ----------------------------------------------------------


def test_a_clip_without_sound_is_silence_and_the_user_is_warned_once():
    network = network_of()
    frames, _ = batch_of(2)
    with torch.no_grad():
        want = network(frames).softmax(1).numpy()
        assert torch.equal(network.sense(frames).sound[..., -1], torch.ones(2, TINY.num_steps))
        assert network.sense(*batch_of(2)).sound[..., -1].sum() == 0
    for i, outcome in enumerate(ran_by(network, sources_of(2, with_sound=False))):
        assert not gates_of(outcome)[:, 0].any()
        assert outcome.warnings == (NO_SOUND,)  # once, however often it listens
        assert f"nothing was heard in {TINY.num_steps}" in text_of(outcome)
        assert "sound" not in {e.detail.get("view") for e in outcome.trace.events}
        assert np.abs(outcome.answer.probs - want[i]).max() < 1e-6
    for outcome in ran_by(network, sources_of(2)):
        assert gates_of(outcome)[:, 0].all()
        assert outcome.warnings == ()


def beep(seconds: float) -> np.ndarray:
    t = np.arange(int(seconds * 16000)) / 16000
    return (0.4 * np.sin(2 * np.pi * 600 * t)).astype(np.float32)


def test_files_without_sound_silent_ones_and_broken_ones_are_recognised(tmp_path: Path):
    network = network_of()
    plain = make_clip(tmp_path / "plain.mp4", num_frames=50)
    silent = make_clip(tmp_path / "silent.mkv", num_frames=50, sound=np.zeros(32000, np.float32))
    half = make_clip(tmp_path / "half.mp4", num_frames=100, sound=beep(1.0))
    heard = make_clip(tmp_path / "heard.mp4", num_frames=50, sound=beep(2.0))
    broken = garbled_sound(make_clip(tmp_path / "broken.mp4", num_frames=50, sound=beep(2.0)))
    paths = (plain, silent, half, heard, broken)
    outcomes = ran_by(network, [open_source(path) for path in paths])
    flags = [int(gates_of(outcome)[:, 0].sum()) for outcome in outcomes]
    assert flags[0] == flags[1] == flags[4] == 0
    assert 0 < flags[2] < TINY.num_steps
    assert flags[3] == TINY.num_steps
    assert outcomes[0].warnings == (NO_SOUND,)
    assert "nothing was heard in 7" in text_of(outcomes[1])
    assert "heard" not in text_of(outcomes[3])
    assert any("sound cannot be decoded" in line for line in outcomes[4].warnings)
    assert not any("sound" in line for one in outcomes[1:4] for line in one.warnings)


def garbled_sound(path: str) -> str:
    """Spoil every packet of the sound of a file, and nothing else."""
    import av

    with av.open(path) as container:
        stream = container.streams.audio[0]
        places = [(p.pos, p.size) for p in container.demux(stream) if p.size]
    data = bytearray(Path(path).read_bytes())
    for start, size in places:
        data[start : start + size] = b"\xff" * size
    Path(path).write_bytes(data)
    return path


def test_of_a_long_file_that_is_only_listened_to_no_picture_is_read(tmp_path: Path) -> None:
    """Ten minutes, a picture every two seconds: what is read is a window of sound a step."""
    plain = Path(make_clip(tmp_path / "plain.mp4", num_frames=1200, fps=2, gop=4))
    path = with_sound(plain, tmp_path / "long.mp4", beep(1.0))
    for theta, is_read in ((1.0, False), (0.0, True)):
        cfg = replace(TINY, thetas=(theta, theta))
        (outcome,) = ran_by(network_of(cfg), [open_source(path)])
        assert gates_of(outcome)[:, 0].all()  # it was heard in every step
        assert bool(outcome.cost.frames_decoded) == is_read
        if not is_read:
            assert outcome.cost.bytes_read < 0.02 * Path(path).stat().st_size


def test_the_page_shows_when_each_sense_was_used(tmp_path: Path):
    path = make_clip(tmp_path / "clip.mp4", num_frames=50, sound=beep(2.0))
    (outcome,) = ran_by(network_of(), [open_source(path)])
    made = Prediction(
        path=path,
        predictions=(),
        trace=outcome.trace,
        cost=outcome.cost,
        model="hcms",
        clip=outcome.clip,
        answer=outcome.answer,
    )
    story = read(made)
    for number, name in enumerate(protocol.SENSES):
        assert [is_open for _, is_open in story.gates[name]] == [
            bool(used) for used in gates_of(outcome)[:, number]
        ]
    assert len(story.sounds) == TINY.num_steps
    shown = page([made])
    assert all(f"{name} gate" in shown for name in protocol.SENSES)
    assert text_of(outcome) in shown


# --- configurations -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"burst": 1}, "two frames a burst"),
        ({"widths": (32, 32, 48)}, "ascend"),
        ({"networks": "large"}, "networks must be one of"),
        ({"senses": ("motion", "sound")}, "in that order"),
        ({"senses": ("motion",)}, "learned from sound"),
        ({"gates": "shut"}, "no such choice"),
        ({"thetas": (0.5, 1.5)}, "thetas"),
        ({"exit_confidence": 0.0}, "exit_confidence"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_an_ear_is_checked():
    with pytest.raises(ValueError, match="positive"):
        protocol.Ear(hop=0)
    with pytest.raises(ValueError, match="hold"):
        protocol.Ear(high_hz=9000.0)
    ear = protocol.Ear()
    assert ear.num_samples == 15_600
    assert ear.view.num_samples == ear.num_samples
    assert ear.view.lead_seconds == pytest.approx(0.4875)


def test_the_papers_settings_differ_in_their_memories():
    assert protocol.activitynet().widths == (64, 512, 1024)
    assert protocol.fcvid().widths == (256, 1024, 2048)
    assert protocol.operating_points(replace(TINY, gates="open"))[0].name == "always on"


def test_where_gates_stay_open_none_is_taught() -> None:
    opened = recipe.tiny(cfg=replace(protocol.tiny(), gates="open"))
    plain = recipe.tiny()
    assert [stage.name for stage in opened.stages] == ["senses", "open"]
    steps = {stage.name: stage.steps for stage in plain.stages}
    assert opened.stages[1].steps == steps["open"] + steps["gates"]


def test_only_senses_in_use_learn_alone() -> None:
    torch.manual_seed(0)
    cfg = replace(protocol.tiny(), senses=("sound", "motion"), gates="open")
    network = recipe.tiny(cfg=cfg).network()
    frames = torch.randint(0, 256, (2, cfg.num_steps * cfg.burst, 3, 32, 32), dtype=torch.uint8)
    batch = {"frames": frames, "label": torch.tensor([0, 1])}
    context = StepContext(progress=0.0, generator=torch.Generator())
    assert set(recipe.each_loss(network, batch, context)) == {"loss", "sound", "motion"}


# --- silence -----------------------------------------------------------------------------------


def test_silence_is_a_flag_beside_zeros_and_teaches_nothing() -> None:
    network = network_of()
    sound = network.senses.sound
    windows = torch.randn(6, TINY.ear.num_samples, generator=torch.Generator().manual_seed(0))
    quiet = windows.clone()
    quiet[[1, 4]] = 0
    with torch.no_grad():
        found = sound(quiet)
        assert torch.equal(found[[1, 4], :-1], torch.zeros(2, TINY.features[0] - 1))
        assert found[:, -1].tolist() == [0, 1, 0, 0, 1, 0]
        assert torch.equal(found[[0, 2, 3, 5]], sound(windows)[[0, 2, 3, 5]])
    heard, mixed = copy.deepcopy(sound).train(), copy.deepcopy(sound).train()
    heard(windows[[0, 2, 3, 5]])
    mixed(quiet)
    assert all(
        torch.equal(one, other)
        for one, other in zip(heard.state_dict().values(), mixed.state_dict().values(), strict=True)
    )


def test_a_network_that_learnt_without_any_sound_can_be_exported() -> None:
    network = network_of().train()
    frames, _ = batch_of(4)
    before = copy.deepcopy(network.senses.sound.state_dict())
    for _ in range(30):
        loss = recipe.each_loss(
            network,
            {"frames": frames, "label": torch.arange(4)},
            StepContext(progress=0.0, generator=torch.Generator()),
        )["loss"]
        loss.backward()
    after = network.senses.sound.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    modules, specs = build(network.eval(), TINY), protocol.parts(TINY)
    assert {one.part.spec.name for one in export_parts(modules, specs)} == set(modules)
