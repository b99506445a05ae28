"""One class a clip or several: losses against NumPy, what is right, and the answer of frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from foveal.layers import (
    class_probs,
    has_class,
    is_right,
    label_loss,
    label_losses,
    mean_answer,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-1.0, -1.0, -1.0]])
ONE = torch.tensor([0, 2, 1])
SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])


def test_the_loss_of_several_is_binary_and_summed_over_classes() -> None:
    x, y = LOGITS.double().numpy(), SEVERAL.double().numpy()
    p = 1 / (1 + np.exp(-x))
    wanted = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
    assert label_losses(LOGITS, SEVERAL).numpy() == pytest.approx(wanted, rel=1e-5)
    assert label_loss(LOGITS, SEVERAL).item() == pytest.approx(wanted.mean(), rel=1e-5)


def test_the_loss_of_one_is_the_cross_entropy() -> None:
    assert torch.equal(label_loss(LOGITS, ONE), functional.cross_entropy(LOGITS, ONE))
    assert label_losses(LOGITS, ONE).mean().item() == pytest.approx(
        functional.cross_entropy(LOGITS, ONE).item()
    )


def test_right_is_who_names_any_class_of_the_clip() -> None:
    assert is_right(LOGITS, ONE).tolist() == [True, False, False]
    assert is_right(LOGITS, SEVERAL).tolist() == [True, False, True]  # the tie goes to class 0


def test_which_classes_a_clip_has() -> None:
    assert torch.equal(has_class(ONE, 3), functional.one_hot(ONE, 3).bool())
    assert torch.equal(has_class(SEVERAL, 3), SEVERAL.bool())


@pytest.mark.parametrize("several", [False, True])
def test_the_mean_answer_has_the_mean_probabilities_of_its_frames(several: bool) -> None:
    frames = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)) * 4
    wanted = class_probs(frames, several=several).mean(dim=1)
    found = class_probs(mean_answer(frames, several=several), several=several)
    assert torch.allclose(found, wanted, atol=1e-6)
    far = mean_answer(frames * 1e3, several=several)
    assert far.isfinite().all()
