"""ResKD's losses: against the official code's numbers, and each equation once more in NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foveal.systems.reskd import protocol
from foveal.systems.reskd.model import Classifier, Network, OverTime, PerFrame, resize
from foveal.systems.reskd.recipe import classification_loss, feature_loss, logit_map_loss

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "reskd" / "losses.npz"
ROUNDED = 1e-6
"""Some outputs of the official code were stored as float32."""


def case(name: str) -> dict[str, Tensor]:
    """Return the arrays of one case, floats as float64."""
    with np.load(GOLDEN) as file:
        found = {
            k.removeprefix(f"{name}."): file[k] for k in file.files if k.startswith(f"{name}.")
        }
    assert found
    return {
        k: torch.from_numpy(np.asarray(v, np.float64 if v.dtype.kind == "f" else None))
        for k, v in found.items()
    }


def close(got: Tensor, want: Tensor, tolerance: float = 1e-9) -> None:
    assert got.shape == want.shape
    scale = max(float(want.abs().max()), 1.0)
    assert float((got.detach() - want).abs().max()) <= tolerance * scale


def as_map(array: Tensor) -> Tensor:
    """Return (B*T,C,h,w) or (B,C,T,h,w) as the latter, one frame a clip."""
    return array[:, :, None] if array.ndim == 4 else array


def with_head(channels: int, weight: Tensor, bias: Tensor) -> Classifier:
    cfg = replace(protocol.tiny(), num_classes=len(weight))
    classifier = Classifier(cfg, "conv4").double().eval()
    classifier.head = nn.Linear(channels, len(weight)).double()
    classifier.head.weight.data.copy_(weight)
    classifier.head.bias.data.copy_(bias)
    return classifier


# --- against the official code ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_path.c0", "two_path.c1", "two_path.c2"])
def test_both_paths_give_the_official_maps(name: str) -> None:
    g = case(name)
    size, clip = int(g["low_resolution"]), as_map(g["x"]).transpose(1, 2)
    canvas = replace(protocol.tiny().canvas, height=size, width=size)
    network = Network(replace(protocol.tiny(), canvas=canvas)).double()
    in_time = g["x"].ndim == 5
    for side, classifier in (("student", network.student), ("teacher", network.teacher)):
        weight = g[f"{side}_w"]
        conv: nn.Module
        if in_time:
            conv = nn.Conv3d(3, len(weight), (1, 3, 3), stride=(1, 4, 4), padding=(0, 1, 1))
        else:
            conv = nn.Conv2d(3, len(weight), 3, stride=4, padding=1)
        conv.weight.data, conv.bias.data = weight, g[f"{side}_b"]
        classifier.backbone = (OverTime if in_time else PerFrame)(conv)
        classifier.head = nn.Linear(len(weight), 2).double()
    seen = network.compare(clip)
    close(network._small(clip).transpose(1, 2), as_map(g["student_input"]), ROUNDED)
    close(seen.student_map, as_map(g["student_map"]))
    close(seen.upsampled, as_map(g["student_map_upsampled"]))
    close(seen.teacher_map, as_map(g["teacher_map"]), ROUNDED)
    assert seen.upsampled.shape[3:] == (int(g["high_feat"]),) * 2
    assert not seen.teacher_map.requires_grad


@pytest.mark.parametrize(
    "name", ["loss_2d.c0", "loss_2d.c1", "loss_2d.c2", "loss_3d.c0", "loss_3d.c1"]
)
def test_feature_distillation_gives_the_official_losses(name: str) -> None:
    g = case(name)
    maps, target = g["student_map"], g["teacher_map"]
    if "segments" in g:  # rows are frames; ours are clips with their frames
        t = int(g["segments"])
        maps, target = (x.unflatten(0, (-1, t)).transpose(1, 2) for x in (maps, target))
    head = with_head(maps.shape[1], g["fc_w"], g["fc_b"])
    logits = head.classify(maps).detach().requires_grad_()
    close(logits, g["logits"])
    labelled = classification_loss(logits, g["labels"])
    close(labelled, g["loss_cls"])
    upsampled = resize(maps, (7, 7)).requires_grad_()
    taught = feature_loss(upsampled, target, weight=float(g["w_kd"]))
    close(taught, g["loss_kd"])
    if "grad_logits" in g:
        (labelled + taught).backward()
        close(logits.grad, g["grad_logits"])
        rows = upsampled.transpose(1, 2).flatten(0, 1), upsampled.grad.transpose(1, 2).flatten(0, 1)
        close(rows[0], g["upsampled"])
        close(rows[1], g["grad_upsampled"], ROUNDED)


@pytest.mark.parametrize("name", ["loss_logit_map.c0", "loss_logit_map.c1"])
def test_logit_map_distillation_gives_the_official_losses(name: str) -> None:
    g = case(name)
    student = with_head(g["fc_w"].shape[1], g["fc_w"], g["fc_b"])
    teacher = with_head(g["teacher_fc_w"].shape[1], g["teacher_fc_w"], g["teacher_fc_b"])
    logits = student.classify(g["student_map"])
    close(logits, g["logits"])
    close(classification_loss(logits, g["labels"]), g["loss_cls"])
    size = (g["teacher_map"].shape[3], g["teacher_map"].shape[4])
    upsampled = resize(g["student_map"], size)
    close(upsampled, g["upsampled"], ROUNDED)
    upsampled = upsampled.requires_grad_()
    taught = logit_map_loss(
        student.class_map(upsampled),
        teacher.class_map(g["teacher_map"]).detach(),
        weight=float(g["w_kd"]),
        temperature=float(g["temperature"]),
    )
    close(taught, g["loss_kd"])
    taught.backward()
    close(upsampled.grad, g["grad_upsampled"])
    close(student.head.weight.grad, g["grad_fc_w_from_kd"])


# --- the equations once more ------------------------------------------------------------------


def test_half_the_size_is_the_mean_of_blocks() -> None:
    x = torch.rand(2, 3, 4, 224, 224)
    blocks = x.numpy().reshape(2, 3, 4, 112, 2, 112, 2).mean(axis=(4, 6))
    assert np.abs(resize(x, (112, 112)).numpy() - blocks).max() < 1e-6
    alone = torch.stack([resize(x[:, :, t : t + 1], (112, 112))[:, :, 0] for t in range(4)], dim=2)
    assert torch.allclose(resize(x, (112, 112)), alone, rtol=0, atol=1e-6)
    # At other sizes too a clip is its frames, one by one, and as long as before.
    assert resize(x, (96, 96)).shape == (2, 3, 4, 96, 96)
    one = resize(x[:, :, 2:3], (96, 96))
    assert torch.allclose(resize(x, (96, 96))[:, :, 2:3], one, rtol=0, atol=1e-6)


def test_losses_written_out() -> None:
    rng = np.random.default_rng(0)
    u, f = rng.normal(size=(2, 3, 2, 5, 5)), rng.normal(size=(2, 3, 2, 5, 5))
    got = feature_loss(torch.from_numpy(u), torch.from_numpy(f), weight=7.0)
    assert float(got) == pytest.approx(7.0 * np.mean((u - f) ** 2), rel=1e-12)

    logits, many_hot = rng.normal(size=(3, 4)), np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    want = -(many_hot * log_p).sum(axis=1).mean()
    got = classification_loss(torch.from_numpy(logits), torch.from_numpy(many_hot.astype(float)))
    assert float(got) == pytest.approx(want, rel=1e-12)


def test_logit_maps_by_hand_on_two_places_and_three_classes() -> None:
    """Weight times T squared over K, times the mean over places of the true divergence."""
    student = np.array([[0.2, -1.0, 0.5], [2.0, 0.0, -2.0]])
    teacher = np.array([[1.0, 0.0, -1.0], [0.0, 0.3, 0.1]])

    def soft(x: np.ndarray) -> np.ndarray:
        e = np.exp(x / 2.0)
        return e / e.sum(axis=1, keepdims=True)

    q, p = soft(teacher), soft(student)
    divergence = (q * np.log(q / p)).sum(axis=1)
    want = 200.0 * 2.0**2 / 3 * divergence.mean()
    got = logit_map_loss(torch.from_numpy(student), torch.from_numpy(teacher), weight=200.0)
    assert float(got) == pytest.approx(want, rel=1e-12)
    # A constant added at a place changes no probability, and agreement costs nothing.
    moved = torch.from_numpy(teacher) + torch.tensor([[3.0], [-5.0]], dtype=torch.float64)
    assert abs(float(logit_map_loss(moved, torch.from_numpy(teacher), weight=200.0))) < 1e-12
