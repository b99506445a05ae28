"""Bad arguments are named, and the tie and threshold rules are what the docstrings say."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.sampling.choose import segment_centres, tag_stretches, top_k_in_order
from foveal.sampling.confidence import ExitRule, confidence


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="need >= 1 segment"):
        segment_centres(1.0, 0)
    with pytest.raises(ValueError, match=r"k must be in 1\.\.3, got 4"):
        top_k_in_order(np.zeros(3), 4)
    with pytest.raises(ValueError, match="2 stretches need 3 edges, got 2"):
        tag_stretches(np.array([0.0, 1.0]), np.ones((2, 3)) / 3)
    with pytest.raises(ValueError, match="criterion must be"):
        confidence(np.ones(2) / 2, criterion="entropy")
    with pytest.raises(ValueError, match="NaN"):
        ExitRule(thresholds=(float("nan"),))
    with pytest.raises(ValueError, match="criterion must be"):
        ExitRule(thresholds=(0.5,), criterion="logits")


def test_joined_stretches_weigh_their_members_by_length():
    probs = np.array([[0.9, 0.1], [0.6, 0.4]])
    segments = tag_stretches(np.array([0.0, 1.0, 4.0]), probs, top_k=1)
    assert segments.labels == (0,)
    assert segments.scores == pytest.approx(((0.9 + 3 * 0.6) / 4,))


def test_an_infinite_threshold_switches_an_exit_off():
    rule = ExitRule(thresholds=(float("inf"), 0.5))
    sure = np.array([1.0, 0.0])
    assert not rule.holds(0, sure)
    assert rule.holds(1, sure)
