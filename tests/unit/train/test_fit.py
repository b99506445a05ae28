from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.recipe import Batch, Recipe, StepContext
from foveal.train import (
    ArrayData,
    Progress,
    Running,
    TrainError,
    TrainResult,
    fit,
    load_weights,
)
from tests.unit.train import toy

STEPS = (6, 6)  # of the toy's two stages


class StoppedError(Exception):
    """Stands for a killed process."""


CPU = Running(device="cpu")


def train(
    out: Path, *, recipe: Recipe | None = None, checkpoint_steps: int = 500, **options: object
) -> TrainResult:
    return fit(
        recipe or toy.recipe(),
        toy.data(),
        out=out,
        seed=3,
        running=replace(CPU, checkpoint_steps=checkpoint_steps),
        **options,  # type: ignore[arg-type]
    )


def stop_after(num_steps: int) -> Callable[[Progress], None]:
    left = itertools.count(num_steps - 1, -1)

    def log(_progress: Progress) -> None:
        if next(left) == 0:
            raise StoppedError

    return log


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(tmp_path_factory.mktemp("runs") / "whole")


def test_the_curve_has_a_point_for_every_step(whole: TrainResult) -> None:
    found = [(p.stage, p.step) for p in whole.history]
    want = [
        (stage, step)
        for stage, n in zip(("glance", "head"), STEPS, strict=True)
        for step in range(1, n + 1)
    ]
    assert found == want
    assert set(whole.history[-1].values) == {"loss", "accuracy"}


def test_it_learns(tmp_path: Path) -> None:
    result = train(tmp_path, recipe=toy.recipe(steps=80))
    assert result.history[-1].values["accuracy"] == 1.0
    assert not result.network.training
    assert all(p.requires_grad for p in result.network.parameters())


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    whole: TrainResult, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # whatever the process drew before does not matter
    again = train(tmp_path / "again")
    other = fit(toy.recipe(), toy.data(), out=tmp_path / "other", seed=4, running=CPU)
    assert again.history == whole.history
    assert same(again.network, whole.network)
    assert other.history[0] != whole.history[0]


@pytest.mark.parametrize("checkpoint_steps", [1, 4])
@pytest.mark.parametrize("stop", range(1, sum(STEPS) + 1))
def test_a_run_stopped_after_any_step_goes_on_exactly(
    whole: TrainResult, tmp_path: Path, stop: int, checkpoint_steps: int
) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path, checkpoint_steps=checkpoint_steps, log=stop_after(stop))
    resumed = train(tmp_path, checkpoint_steps=checkpoint_steps, resume=True)
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_run_stopped_while_it_writes_goes_on_exactly(
    whole: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Whichever file was to be put in place next, with the new one lying beside it."""
    left = itertools.count(stop - 1, -1)

    def replace_or_stop(source: Path, target: Path) -> None:
        if next(left) == 0:
            raise StoppedError
        source.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr("foveal.train.checkpoint.os.replace", replace_or_stop)
        with pytest.raises(StoppedError):
            train(tmp_path, checkpoint_steps=3)
    resumed = train(tmp_path, checkpoint_steps=3, resume=True)
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == sum(STEPS)


def test_it_goes_on_where_it_stopped_and_not_before(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path, checkpoint_steps=4, log=stop_after(11))  # 6 of glance, 5 of head
    steps: list[tuple[str, int]] = []
    train(tmp_path, resume=True, log=lambda p: steps.append((p.stage, p.step)))
    assert steps == [("head", 5), ("head", 6)]


def test_the_time_left_counts_the_stages_to_come(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    train(tmp_path, log=lambda p: seen.append((p.steps_after, p.num_steps - p.step)))
    assert [after + left for after, left in seen] == list(range(sum(STEPS) - 1, -1, -1))


def test_a_finished_run_is_read_and_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, resume=True, log=stop_after(1))
    assert again.history == first.history
    assert same(again.network, first.network)


def test_a_run_folder_holds_safetensors_and_json_alone(whole: TrainResult) -> None:
    folder = whole.weights.parent
    assert {f.name for f in folder.iterdir()} == {
        "checkpoint-2-0.safetensors",
        "checkpoint.json",
        "glance.safetensors",
        "head.safetensors",
        "history.jsonl",
        "metrics.csv",
    }
    network = toy.Network()
    load_weights(network, whole.weights)
    assert same(network, whole.network)
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["stage"] == "glance"


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    train(tmp_path)
    assert torch.equal(torch.rand(3), want)


def test_a_stage_moves_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """Also with weight decay and momentum left over: what is frozen is not in the optimiser."""
    torch.manual_seed(3)
    before = toy.Network().state_dict()
    after = toy.Network()
    folder = train(tmp_path).weights.parent
    load_weights(after, folder / "glance.safetensors")
    middle = {k: v.clone() for k, v in after.state_dict().items()}
    load_weights(after, folder / "head.safetensors")
    end = after.state_dict()
    first = {k for k in before if not torch.equal(before[k], middle[k])}
    second = {k for k in before if not torch.equal(middle[k], end[k])}
    assert first == {k for k in before if k.startswith("glance")}
    assert second == {"head.1.weight", "head.1.bias"}  # the statistics of glance stayed too


def test_only_named_parameters_get_a_gradient(tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}

    def spy(name: str, loss: object) -> object:
        def wrapped(network: nn.Module, batch: Batch, context: StepContext) -> dict[str, Tensor]:
            seen[name] = {k for k, p in network.named_parameters() if p.requires_grad}
            left_over = {k for k, p in network.named_parameters() if p.grad is not None}
            assert left_over <= seen[name]
            return loss(network, batch, context)  # type: ignore[operator,no-any-return]

        return wrapped

    recipe = toy.recipe()
    stages = tuple(replace(s, loss=spy(s.name, s.loss)) for s in recipe.stages)  # type: ignore[arg-type]
    train(tmp_path, recipe=replace(recipe, stages=stages))
    assert seen["head"] == {"head.1.weight", "head.1.bias"}
    assert {k.split(".")[0] for k in seen["glance"]} == {"glance", "glance_head"}


def test_dropout_and_what_a_loss_draws_have_nothing_in_common(tmp_path: Path) -> None:
    pairs: list[tuple[Tensor, Tensor]] = []

    def loss(network: nn.Module, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        pairs.append((torch.rand(50), torch.rand(50, generator=context.generator)))
        return {"loss": network(batch["frames"]).mean()}

    recipe = toy.recipe()
    stages = (recipe.stages[0], replace(recipe.stages[1], loss=loss))
    train(tmp_path, recipe=replace(recipe, stages=stages))
    draws = torch.stack([torch.stack(pair) for pair in pairs]).flatten(0, 1)
    assert len(draws) == 2 * STEPS[1]
    correlation = torch.corrcoef(draws) - torch.eye(len(draws))
    assert correlation.abs().max() < 0.6


def test_every_sample_is_seen_once_an_epoch(tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    class Watched(ArrayData):
        def batch(self, indices: np.ndarray, seeds: np.ndarray) -> Batch:
            seen.append(indices)
            return super().batch(indices, seeds)

    fit(toy.recipe(), Watched(toy.data().arrays), out=tmp_path, seed=0, running=CPU)
    epochs = [np.concatenate(seen[i : i + 2]) for i in (0, 2, 4)]  # 40 samples, 16 a step
    assert all(len(set(epoch)) == 32 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert sorted(np.concatenate(seen[6:11])) == list(range(40))  # 8 a step


# --- what is refused --------------------------------------------------------------------------


def test_a_folder_with_a_run_is_not_trained_over(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(TrainError, match="holds a run already; resume it, or choose another"):
        train(tmp_path)


def test_another_recipe_does_not_go_on_with_a_run(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(TrainError, match=r"another stages\.\w+\.steps: \d+ there, 7 now"):
        train(tmp_path, recipe=toy.recipe(steps=7), resume=True)


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint-2-0.safetensors", "history.jsonl"])
@pytest.mark.parametrize("content", [b"", b"{}\n"])
def test_a_broken_checkpoint_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    train(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainError, match=r"checkpoint\.json is no whole checkpoint") as caught:
        train(tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_one_clear_error(tmp_path: Path) -> None:
    weights = train(tmp_path).weights
    with pytest.raises(TrainError, match="does not hold the weights of this network") as caught:
        load_weights(nn.Linear(2, 2), weights)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    def loss(network: nn.Module, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        return {"loss": network(batch["frames"]).sum() * float("nan")}

    recipe = toy.recipe()
    stages = (recipe.stages[0], replace(recipe.stages[1], loss=loss))
    with pytest.raises(TrainError, match="stage 'head': the loss is nan at step 1; a lower"):
        train(tmp_path, recipe=replace(recipe, stages=stages))


def test_a_loss_without_a_loss_is_refused(tmp_path: Path) -> None:
    recipe = toy.recipe()
    stages = (replace(recipe.stages[0], loss=lambda *_: {"los": torch.zeros(())}),)
    with pytest.raises(ValueError, match=r"returns \['los'\], no 'loss'"):
        train(tmp_path, recipe=replace(recipe, stages=stages))


def test_more_samples_a_step_than_there_are_is_refused(tmp_path: Path) -> None:
    recipe = toy.recipe()
    stages = (replace(recipe.stages[0], batch_size=41),)
    with pytest.raises(ValueError, match="'glance' takes 41 samples a step, there are 40"):
        train(tmp_path / "run", recipe=replace(recipe, stages=stages))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainError, match="no cuda device that PyTorch can use here; leave device"):
        fit(toy.recipe(), toy.data(), out=tmp_path, seed=0, running=Running(device="cuda"))
