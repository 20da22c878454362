"""Metrics of predicted rewards against values worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.reward_learning.config import LossConfig
from pipeline.reward_learning.quality import (
    CalibrationBin,
    RatedEpisode,
    calibration,
    judge,
    ordered_pairs,
    pair_accuracy,
    roc_auc,
)

_CURVES = hnp.arrays(np.float32, st.integers(2, 30), elements=st.floats(0, 1, width=16))


def test_ordered_pairs_by_hand():
    reference = np.float32([0, 0.5, 1.0])
    assert ordered_pairs(np.float32([0.1, 0.2, 0.3]), reference, 0.2) == (3, 3)
    assert ordered_pairs(np.float32([0.3, 0.2, 0.1]), reference, 0.2) == (0, 3)
    assert ordered_pairs(np.float32([0.1, 0.1, 0.3]), reference, 0.2) == (2, 3)  # a tie is wrong
    assert ordered_pairs(np.float32([0.1, 0.1, 0.3]), reference, 0.5) == (1, 1)  # gaps are strict


@given(_CURVES)
def test_a_monotone_prediction_is_perfect_and_a_reversed_one_hopeless(reference):
    perfect = pair_accuracy([(reference**3, reference)], 0.2)
    if perfect is None:
        assert np.ptp(reference) <= 0.2
    else:
        assert perfect.value == perfect.low == 1
        assert pair_accuracy([(-reference, reference)], 0.2).value == 0


def test_pair_accuracy_pools_pairs_and_ignores_episodes_without_any():
    rising = np.linspace(0, 1, 11, dtype=np.float32)
    flat = np.zeros(11, np.float32)
    alone = pair_accuracy([(rising, rising), (-rising, rising)], 0.2)
    assert alone.value == pytest.approx(0.5)
    assert (alone.low, alone.high, alone.episodes) == (0, 1, 2)
    assert pair_accuracy([(rising, rising), (-rising, rising), (rising, flat)], 0.2).episodes == 2
    assert pair_accuracy([(rising, flat)], 0.2) is None
    assert pair_accuracy([], 0.2) is None


def test_roc_auc_by_hand():
    positive = np.array([False, True, False, True])
    assert roc_auc(np.array([0.1, 0.9, 0.2, 0.8]), positive) == 1
    assert roc_auc(np.array([0.1, 0.15, 0.2, 0.8]), positive) == 0.75
    assert roc_auc(np.full(4, 0.5), positive) == 0.5
    assert roc_auc(np.array([0.1]), np.array([True])) is None


def test_calibration_counts_every_frame_once():
    predicted = np.float32([0.01, 0.05, 0.55, 0.99, 1.0])
    bins = calibration(predicted, np.array([False, False, True, True, False]))
    assert [(b.low, b.frames, b.solved) for b in bins] == [(0, 2, 0), (0.5, 1, 1), (0.9, 2, 0.5)]
    assert bins[0] == CalibrationBin(0, 2, pytest.approx(0.03), 0)


def test_judge_says_what_it_does_not_know():
    rising = np.linspace(0, 1, 20, dtype=np.float32)
    sketched = judge([RatedEpisode("a", rising, (rising,), None, None)], "m", LossConfig())
    assert sketched.pair_accuracy_sketch.value == sketched.auc_sketch == 1
    assert sketched.pair_accuracy_true is sketched.auc_solved is None
    assert sketched.summary()["order as by true progress"] == "not known"
    simulated = judge([RatedEpisode("a", rising, (), rising**2, rising > 0.9)], "m", LossConfig())
    assert simulated.pair_accuracy_true.value == simulated.auc_solved == 1
    assert simulated.pair_accuracy_sketch is simulated.auc_sketch is None
    assert (simulated.episodes, simulated.sketched) == (1, 0)
