"""Levels and gates that learn from what senses make of clips these have not learnt from."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foveal.recipe import StepContext
from foveal.systems.hcms import protocol, recipe
from foveal.systems.hcms.model import Network, Sensed
from foveal.train import ArrayData, Running, fit

CFG = replace(protocol.tiny(num_classes=4), num_folds=2)
NUM_FRAMES = CFG.num_steps * CFG.burst


def network_of(cfg: protocol.Config = CFG) -> Network:
    torch.manual_seed(0)
    return Network(cfg).eval()


def batch_of(numbers: list[int]) -> dict[str, torch.Tensor]:
    """Return clips whose pixels and sound go by their numbers."""
    rngs = [np.random.default_rng(number) for number in numbers]
    frames = [rng.integers(0, 256, (NUM_FRAMES, 3, 32, 32), np.uint8) for rng in rngs]
    sound = [rng.uniform(-1, 1, (CFG.num_steps, CFG.ear.num_samples)) for rng in rngs]
    return {
        "frames": torch.from_numpy(np.stack(frames)),
        "sound": torch.from_numpy(np.stack(sound).astype(np.float32)),
        "label": torch.tensor(numbers) % 4,
        "number": torch.tensor(numbers),
    }


def context() -> StepContext:
    return StepContext(progress=0.0, generator=torch.Generator().manual_seed(0))


def same(one: Sensed, other: Sensed) -> bool:
    return all(torch.equal(getattr(one, sense), getattr(other, sense)) for sense in protocol.SENSES)


def test_a_folds_senses_learn_from_the_clips_of_the_other_folds_alone() -> None:
    network = network_of()
    recipe.folds_loss(network, batch_of([0, 2, 4]), context())["loss"].backward()
    first, second = network.fold_senses
    assert all(p.grad is None for p in first.parameters())
    assert all(p.grad is not None for p in second.parameters())
    others = [p for name, p in network.named_parameters() if not name.startswith("fold_senses")]
    assert all(p.grad is None for p in others)


@pytest.mark.parametrize("with_sound", [True, False])
def test_levels_learn_from_senses_that_do_not_know_the_clip(with_sound: bool) -> None:
    network, batch = network_of(), batch_of([3, 0, 1, 2, 6])
    if not with_sound:
        del batch["sound"]
    with torch.no_grad():
        found = recipe.learnt_from(network, batch)
        for i, senses in enumerate(network.fold_senses):
            mine = batch["number"] % 2 == i
            sound = batch["sound"][mine] if with_sound else None
            wanted = senses(batch["frames"][mine], sound)
            for sense in protocol.SENSES:
                assert torch.equal(getattr(found, sense)[mine], getattr(wanted, sense))
        assert not same(found, recipe.sensed(network, batch))
        plain = network_of(replace(CFG, num_folds=0))
        assert same(recipe.learnt_from(plain, batch), recipe.sensed(plain, batch))


@pytest.mark.parametrize("loss", [recipe.open_loss, recipe.gate_loss])
def test_what_levels_learn_does_not_depend_on_senses_that_know_the_clip(loss) -> None:
    network, batch = network_of(), batch_of([3, 0, 1])
    before = loss(network, batch, context())["loss"]
    torch.nn.init.zeros_(network.senses.heads[0].weight)
    for parameter in network.senses.parameters():
        torch.nn.init.zeros_(parameter.data)
    assert torch.equal(before, loss(network, batch, context())["loss"])
    for parameter in network.fold_senses.parameters():
        torch.nn.init.zeros_(parameter.data)
    assert not torch.equal(before, loss(network, batch, context())["loss"])


def test_features_are_as_far_as_they_are_wrong() -> None:
    wanted = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
    assert recipe.far(wanted, wanted) == 0
    mean = wanted.mean(dim=(0, 1)).expand_as(wanted)
    assert recipe.far(mean, wanted).item() == pytest.approx(1.0, abs=1e-4)


def test_the_loss_of_the_folds_is_the_label_and_the_distance() -> None:
    network, batch = network_of(), batch_of([0, 1, 2])
    for senses in network.fold_senses:
        senses.load_state_dict(network.senses.state_dict())
    near = recipe.folds_loss(network, batch, context(), like=0.5)
    assert near["distance"].item() == pytest.approx(0.0, abs=1e-6)
    wanted = torch.zeros(())
    for rows in ([1], [0, 2]):  # what the first and the second fold learn from
        some = {name: values[rows] for name, values in batch.items()}
        wanted = wanted + recipe.each_loss(network, some, context())["loss"]
    assert near["label"].item() == pytest.approx(wanted.item(), rel=1e-5)
    network = network_of()
    found = recipe.folds_loss(network, batch, context(), like=0.5)
    assert found["distance"] > 0.1
    both = found["label"] + 0.5 * found["distance"]
    assert found["loss"].item() == pytest.approx(both.item(), rel=1e-6)


def test_stored_features_are_those_of_the_stage() -> None:
    network, batch = network_of(), batch_of([5, 2, 7])
    arrays = {name: rows.numpy() for name, rows in batch.items() if name != "number"}
    known = recipe.sensed_data(network, arrays, rows=2)
    unknown = recipe.sensed_data(network, arrays, numbers=batch["number"].numpy(), rows=2)
    with torch.no_grad():
        for found, wanted in (
            (known, recipe.sensed(network, batch)),
            (unknown, recipe.learnt_from(network, batch)),
        ):
            for name, sense in zip(recipe.SENSED, protocol.SENSES, strict=True):
                rows = torch.from_numpy(found[name])
                assert torch.allclose(rows, getattr(wanted, sense), atol=1e-5)


def test_folds_are_a_stage_after_the_senses() -> None:
    assert [stage.name for stage in recipe.tiny().stages] == ["senses", "open", "gates"]
    folded = recipe.tiny(cfg=CFG)
    assert [stage.name for stage in folded.stages] == ["senses", "folds", "open", "gates"]
    opened = recipe.tiny(cfg=replace(CFG, gates="open"))
    assert [stage.name for stage in opened.stages] == ["senses", "folds", "open"]
    with pytest.raises(ValueError, match="num_folds"):
        replace(CFG, num_folds=1)
    pretrained = recipe.paper(cfg=replace(protocol.activitynet(), num_folds=2)).pretrained
    assert sum(name.startswith("fold_senses.") for name in pretrained) == 4


def test_a_run_with_folds_moves_in_each_stage_what_that_names(tmp_path: Path) -> None:
    batch = batch_of(list(range(8)))
    data = ArrayData({name: rows.numpy() for name, rows in batch.items() if name != "number"})
    run = recipe.tiny(cfg=CFG, steps=(2, 2, 2))
    stages = tuple(replace(stage, batch_size=4) for stage in run.stages)
    fit(
        replace(run, stages=stages),
        data,
        out=tmp_path / "run",
        seed=0,
        validation=data,
        running=Running(device="cpu", tensorboard=False),
    )
    left = [load_file(tmp_path / "run" / f"{stage.name}.safetensors") for stage in stages]
    levels = {"level1", "level2", "level3", "classifier"}
    wanted = ({"fold_senses"}, levels, levels | {"gate2", "gate3"})
    for (before, after), named in zip(pairwise(left), wanted, strict=True):
        moved = {name.partition(".")[0] for name in before if not before[name].equal(after[name])}
        assert moved == named
