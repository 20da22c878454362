"""Metrics of predicted rewards against values worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from pipeline.reward_learning.quality import (
    CalibrationBin,
    RatedEpisode,
    average_precision,
    calibration,
    false_positive_mass,
    judge,
    ordered_pairs,
    pair_accuracy,
    precision_and_recall,
    rank_correlation,
    roc_auc,
)

_CURVES = hnp.arrays(np.float32, st.integers(2, 30), elements=st.floats(0, 1, width=16))
_PAIRS = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.just(2)), elements=st.integers(-9, 9))
_YES, _NO = np.ones(3, bool), np.zeros(3, bool)


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


def test_average_precision_by_hand():
    positive = np.array([True, False, True, False])
    assert average_precision(np.array([0.9, 0.8, 0.7, 0.6]), positive) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([0.9, 0.6, 0.8, 0.7]), positive) == 1
    assert average_precision(np.array([0.5, 0.5, 0.1]), np.array([True, False, True])) == pytest.approx(7 / 12)
    assert average_precision(np.full(4, 0.5), positive) == 0.5  # ties: the share of positives, in whatever order
    assert average_precision(np.arange(3), _YES) == 1
    assert average_precision(np.arange(3), _NO) is None


def test_precision_and_recall_by_hand():
    solved = np.array([True, False, True, False])
    assert precision_and_recall(np.array([0.9, 0.6, 0.5, 0.2]), solved) == (0.5, 0.5)  # 0.5 itself is not above
    assert precision_and_recall(np.full(4, 0.5), solved) == (None, 0)
    assert precision_and_recall(np.full(3, 0.9), _NO) == (0, None)
    assert precision_and_recall(np.full(3, 0.9), _YES) == (1, 1)
    assert precision_and_recall(np.full(3, 0.1), _NO) == (None, None)


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1, 2, 3]), np.array([10, 30, 20])) == pytest.approx(0.5)
    assert rank_correlation(np.array([1, 2]), np.array([5, -5])) == pytest.approx(-1)
    assert rank_correlation(np.array([1, 1, 2]), np.array([3, 3, 9])) == pytest.approx(1)  # ties on both sides
    assert rank_correlation(np.array([1, 2]), np.array([5, 5])) is None
    assert rank_correlation(np.array([5, 5]), np.array([1, 2])) is None
    assert rank_correlation(np.array([1]), np.array([1])) is None


def test_false_positive_mass_by_hand():
    predicted = np.float32([0.5, 0.25, 0.25])
    assert false_positive_mass(predicted, np.array([True, False, False])) == 0.5
    assert false_positive_mass(predicted, _YES) == 0
    assert false_positive_mass(predicted, _NO) == 1
    assert false_positive_mass(np.zeros(3), _NO) is None  # nothing is promised anywhere


@given(_PAIRS)
def test_only_the_order_counts_for_rank_metrics(pairs):
    scores, other = pairs.T
    positive = other > 0
    for metric, reference in ((roc_auc, positive), (average_precision, positive), (rank_correlation, other)):
        value = metric(scores, reference)
        assert metric(scores**3 + 2 * scores, reference) == value
        assert value is None or abs(value) <= 1 + 1e-12


def test_calibration_counts_every_frame_once():
    predicted = np.float32([0.01, 0.05, 0.55, 0.99, 1.0])
    bins = calibration(predicted, np.array([False, False, True, True, False]))
    assert [(b.low, b.frames, b.solved) for b in bins] == [(0, 2, 0), (0.5, 1, 1), (0.9, 2, 0.5)]
    assert bins[0] == CalibrationBin(0, 2, pytest.approx(0.03), 0)


def test_judge_says_what_it_does_not_know():
    rising = np.linspace(0, 1, 20, dtype=np.float32)
    sketched = judge([RatedEpisode("a", rising, (rising,), None, None)], "m")
    assert sketched.pair_accuracy_sketch.value == sketched.auc_sketch == 1
    assert sketched.pair_accuracy_true is sketched.auc_solved is None
    assert sketched.summary()["order as by true progress"] == "not known"
    simulated = judge([RatedEpisode("a", rising, (), rising**2, rising > 0.9)], "m")
    assert simulated.pair_accuracy_true.value == simulated.auc_solved == 1
    assert simulated.pair_accuracy_sketch is simulated.auc_sketch is None
    assert (simulated.episodes, simulated.sketched) == (1, 0)


def test_judge_knows_the_truth_by_frames_and_by_episodes():
    success = RatedEpisode("a", np.float32([0.25, 0.75]), (), None, np.array([False, True]))
    lost_again = RatedEpisode("b", np.float32([1, 0.5, 0.25]), (), None, np.array([True, False, False]))
    failure = RatedEpisode("c", np.float32([0, 0.25]), (), None, np.array([False, False]))
    quality = judge([success, lost_again, failure], "m")
    assert quality.auc_solved == quality.average_precision == quality.precision == quality.recall == 1
    assert quality.mean_solved == pytest.approx(1.75 / 2)
    assert quality.mean_unsolved == pytest.approx(1.25 / 5)
    assert quality.auc_episode_max == 0.5  # solved at the end: only the first, which is between the others
    assert quality.auc_episode_mean == 0.5
    assert quality.return_correlation == pytest.approx(stats.spearmanr([1, 1.75, 0.25], [1, 1, 0]).statistic)
    assert quality.false_positive_mass == pytest.approx(1.25 / 3)
    assert quality.summary()["false-positive mass"] == "0.4167"


def test_what_the_truth_does_not_tell_is_none():
    rising = np.linspace(0, 1, 20, dtype=np.float32)
    assert set(judge([RatedEpisode("a", rising, (), None, None)], "m").numbers().values()) == {None}
    assert set(judge([], "m").numbers().values()) == {None}
    unsolved = judge([RatedEpisode(name, rising, (), None, rising > 2) for name in "ab"], "m")
    assert unsolved.auc_solved is unsolved.average_precision is unsolved.recall is unsolved.mean_solved is None
    assert unsolved.auc_episode_max is unsolved.auc_episode_mean is unsolved.return_correlation is None
    assert (unsolved.precision, unsolved.false_positive_mass) == (0, 1)
    assert unsolved.mean_unsolved == pytest.approx(0.5)
    solved = judge([RatedEpisode("a", rising, (), None, rising > -1)], "m")
    assert (solved.average_precision, solved.precision, solved.false_positive_mass) == (1, 1, 0)
    assert solved.mean_unsolved is solved.auc_solved is None
