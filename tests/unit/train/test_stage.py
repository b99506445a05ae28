from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from foveal.recipe import Group, Optimizer, Stage
from foveal.train import (
    ArrayData,
    Progress,
    learning_rate_factor,
    make_optimizer,
    set_modes,
    terminal_line,
)
from tests.unit.train import toy

STAGE = toy.recipe().stages[1]


def trains(*groups: Group) -> Stage:
    return replace(STAGE, trains=groups)


def test_prefixes_are_whole_names() -> None:
    network = toy.Network()
    make_optimizer(network, trains(Group(prefixes=("glance",))))
    learning = {k for k, p in network.named_parameters() if p.requires_grad}
    assert learning == {"glance.0.weight", "glance.0.bias", "glance.1.weight", "glance.1.bias"}


def test_the_first_group_takes_and_the_rest_goes_to_the_empty_prefix() -> None:
    network = toy.Network()
    optimizer = make_optimizer(
        network,
        trains(
            Group(prefixes=("glance.0.bias", "head"), lr_scale=2, weight_decay=0.0),
            Group(prefixes=("",), weight_decay=0.1),
        ),
    )
    first, rest = optimizer.param_groups
    assert [len(first["params"]), len(rest["params"])] == [3, 5]
    assert (first["lr_scale"], first["weight_decay"]) == (2, 0.0)
    assert (rest["lr_scale"], rest["weight_decay"]) == (1, 0.1)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("heda", "prefix 'heda' names no .*, in stage 'head'; did you mean 'head'"),
        ("glance.o.weight", "did you mean .*'glance.0.weight'"),
        ("glance.", "did you mean .*'glance'[?]"),
        ("policy_network", "no name is similar"),
    ],
)
def test_a_prefix_that_names_nothing_is_an_error_with_near_misses(
    prefix: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer(toy.Network(), trains(Group(prefixes=("head", prefix))))
    with pytest.raises(ValueError, match=f"{prefix}' names no module"):
        set_modes(toy.Network(), replace(STAGE, eval_modules=(prefix,)))


def test_a_group_that_is_left_with_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"nothing is left for the group \('head\.1',\)"):
        make_optimizer(
            toy.Network(), trains(Group(prefixes=("head",)), Group(prefixes=("head.1",)))
        )


@pytest.mark.parametrize(
    ("kind", "want"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_optimisers(kind: Literal["sgd", "adam", "adamw"], want: type) -> None:
    stage = replace(STAGE, optimizer=Optimizer(kind=kind, lr=0.1, nesterov=True, betas=(0.8, 0.9)))
    optimizer = make_optimizer(toy.Network(), stage)
    assert type(optimizer) is want
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.1
    assert group["nesterov"] if kind == "sgd" else group["betas"] == (0.8, 0.9)


def test_frozen_modules_are_in_eval_mode() -> None:
    network = toy.Network()
    set_modes(network, STAGE)
    assert {name for name, m in network.named_modules() if m.training} == {
        "",
        "head",
        "head.0",
        "head.1",
    }
    set_modes(network, replace(STAGE, eval_modules=("",)))
    assert not any(m.training for m in network.modules())


def factors(stage: Stage, num_steps: int, steps_per_epoch: int = 1) -> list[float]:
    return [
        learning_rate_factor(stage, i, num_steps=num_steps, steps_per_epoch=steps_per_epoch)
        for i in range(num_steps)
    ]


def test_schedules() -> None:
    cosine = replace(STAGE, warmup_steps=0)
    want = [0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert factors(cosine, 4) == want
    by_epoch = replace(cosine, schedule_every="epoch")
    assert factors(by_epoch, 8, steps_per_epoch=2) == [w for w in want for _ in range(2)]
    assert factors(replace(cosine, schedule="constant"), 3) == [1, 1, 1]
    warm = replace(cosine, warmup_steps=3)
    assert factors(warm, 7) == [0.25, 0.5, 0.75, *want]


def test_the_learning_rate_drops_to_a_tenth_where_it_is_told() -> None:
    flat = replace(STAGE, warmup_steps=0, schedule="constant", drops=(0.5, 0.75))
    assert factors(flat, 4) == pytest.approx([1, 1, 0.1, 0.01])
    epochs = replace(flat, drops=(41 / 70, 61 / 70))  # three steps an epoch
    found = factors(epochs, 210, steps_per_epoch=3)
    assert [found.index(value) for value in sorted(set(found), reverse=True)] == [0, 123, 183]
    assert factors(replace(flat, schedule="cosine"), 4)[2] == pytest.approx(0.1 * 0.5)
    for drops in ((0.5, 0.2), (1.0,), (0.0,)):
        with pytest.raises(ValueError, match="drops must ascend"):
            replace(flat, drops=drops)


def test_norms_and_biases_can_be_groups_of_their_own() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GRUCell(4, 4), nn.LayerNorm(4)
    )
    groups = (
        Group(prefixes=("",), only="norms", weight_decay=0.0),
        Group(prefixes=("",), only="biases", lr_scale=2.0),
        Group(prefixes=("",)),
    )
    optimizer = make_optimizer(network, trains(*groups))
    names = {id(p): name for name, p in network.named_parameters()}
    assert [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups] == [
        ["1.weight", "1.bias", "3.weight", "3.bias"],
        ["0.bias", "2.bias_ih", "2.bias_hh"],
        ["0.weight", "2.weight_ih", "2.weight_hh"],
    ]
    with pytest.raises(ValueError, match="nothing is left"):
        make_optimizer(nn.Linear(2, 2), trains(Group(prefixes=("",), only="norms")))


# --- data and progress ------------------------------------------------------------------------


def test_a_batch_is_a_copy() -> None:
    frames = np.zeros((4, 2), np.uint8)
    data = ArrayData({"frames": frames, "label": np.arange(4)})
    batch = data.batch(np.array([3, 1]), np.zeros(2, np.int64))
    assert batch["label"].tolist() == [3, 1]
    assert batch["frames"].dtype == torch.uint8
    batch["frames"].fill_(1)
    assert frames.sum() == 0


def test_a_sample_is_augmented_by_its_seed_whatever_stands_beside_it() -> None:
    data = ArrayData(
        {"x": np.zeros((4, 2), np.float32)},
        augment=lambda b, g: {"x": b["x"] + torch.rand(b["x"].shape, generator=g)},
    )
    seeds = np.arange(5, 9)
    together, again = (data.batch(np.arange(4), seeds)["x"] for _ in range(2))
    assert torch.equal(together, again)
    assert len(together.unique()) == together.numel()
    alone = data.batch(np.array([2]), seeds[2:3])["x"]
    assert torch.equal(alone, together[2:3])


@pytest.mark.parametrize("arrays", [{}, {"x": np.zeros(0)}, {"x": np.zeros(3), "y": np.zeros(4)}])
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="the same number of samples"):
        ArrayData(arrays)


def at(step: int, *, steps_after: int = 0) -> Progress:
    return Progress(
        stage="head",
        step=step,
        num_steps=1000,
        steps_after=steps_after,
        values={"loss": 1.23456},
        ms_per_step=100.0,
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line() -> None:
    assert str(at(100)) == "head 100/1000  loss 1.235  100.0 ms/step  1:30 left"
    assert str(at(100, steps_after=300)).endswith("ms/step  about 2:00 left in all")
    assert str(at(100, steps_after=71_100)).endswith("about 2:00:00 left in all")
    assert at(1000, steps_after=300).seconds_left == 30.0
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        log = terminal_line(stream)
        for step in (1, 2, 1000):
            log(at(step))
    assert pipe.getvalue().splitlines() == [str(at(1)), str(at(1000))]
    assert terminal.getvalue() == f"\r\x1b[K{at(1)}\r\x1b[K{at(1000)}\n"
