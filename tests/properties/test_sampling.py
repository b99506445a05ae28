"""Samplers and stretches hold for any input, not only for the examples in the docstrings."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foveal.sampling.choose import nearest_edges, segment_centres, tag_stretches, top_k_in_order
from foveal.sampling.confidence import ExitRule, confidence, softmax

finite = st.floats(-50, 50, allow_nan=False, width=32)


@given(st.floats(0, 1e5), st.integers(1, 200))
def test_segment_centres_are_inside_sorted_and_as_many_as_asked(duration, count):
    times = segment_centres(duration, count)
    assert len(times) == count
    assert all(0 <= t <= duration for t in times)
    assert list(times) == sorted(times)


@given(hnp.arrays(np.float32, st.integers(1, 40), elements=finite), st.data())
def test_top_k_takes_the_highest_in_time_order(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    kept = top_k_in_order(scores, k)
    assert len(set(kept.tolist())) == k
    assert kept.tolist() == sorted(kept.tolist())
    left = np.setdiff1d(np.arange(len(scores)), kept)
    if len(left):
        assert scores[kept].min() >= scores[left].max()
        ties = [i for i in left if scores[i] == scores[kept].min()]
        assert all(i > kept[scores[kept] == scores[i]].max() for i in ties)


@given(hnp.arrays(np.float32, st.integers(2, 30), elements=finite))
def test_confidences_are_in_range_and_agree_at_the_extremes(logits):
    probs = softmax(logits)
    assert abs(probs.sum() - 1) < 1e-9
    assert 0 <= confidence(probs, criterion="margin") <= confidence(probs) <= 1
    assert confidence(probs, criterion="neg_entropy") <= 1e-12
    sure = np.eye(len(logits))[0]
    assert confidence(sure) == confidence(sure, criterion="margin") == 1
    assert confidence(sure, criterion="neg_entropy") == 0


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 6)), elements=finite),
    st.integers(1, 8),
    st.floats(0.1, 1e4),
)
def test_stretches_cover_the_clip_once_and_neighbours_differ(logits, top_k, duration):
    probs = softmax(logits)
    times = np.array(segment_centres(duration, len(probs)))
    segments = tag_stretches(nearest_edges(times, duration), probs, top_k=top_k)
    firsts = [
        (s, e, label)
        for i, (s, e, label) in enumerate(
            zip(segments.start_seconds, segments.end_seconds, segments.labels, strict=True)
        )
        if i % min(top_k, probs.shape[1]) == 0
    ]
    assert firsts[0][0] == 0
    assert firsts[-1][1] == duration
    for (_, end, label), (start, _, following) in itertools.pairwise(firsts):
        assert end == start
        assert label != following
    assert all(0 <= score <= 1 for score in segments.scores)


@given(st.lists(st.floats(0, 1), min_size=0, max_size=5), st.integers(0, 8), st.floats(0, 1))
def test_an_exit_holds_only_at_its_threshold_and_never_beyond_the_list(thresholds, index, prob):
    probs = np.array([prob, 1 - prob])
    rule = ExitRule(thresholds=tuple(thresholds))
    expected = index < len(thresholds) and max(prob, 1 - prob) >= thresholds[index]
    assert rule.holds(index, probs) == expected
