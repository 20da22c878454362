"""The losses against vectors worked by hand, and their invariances."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.reward_learning.config import LossConfig
from pipeline.reward_learning.losses import (
    balanced_accuracy,
    constraint_loss,
    cross_entropy,
    negative_risk,
    plain_loss,
    positive_unlabelled_loss,
    ranking_loss,
    sketch_loss,
    threshold_loss,
)

_SKETCH = np.float32([0, 0.1, 0.4, 0.7, 0.95, 1])
_PREDICTION = np.float32([0.2, 0.05, 0.35, 0.3, 0.95, 0.8])
_CONFIG = LossConfig()


def _all_pairs(prediction, sketch, config=_CONFIG):
    """L_rank of every ordered pair (t, q)."""
    t, q = np.meshgrid(np.arange(len(sketch)), np.arange(len(sketch)), indexing="ij")
    prediction, sketch = tf.constant(prediction), tf.constant(sketch)
    parts = (tf.gather(x, i) for x in (prediction, sketch) for i in (t, q))
    return ranking_loss(*parts, config).numpy()  # [T, T]


def test_constants_of_the_paper():
    assert LossConfig(0.2, 0.1, 0.85, 0.15, 0.9, 0.1, 10.0) == _CONFIG


def test_ranking_vector():
    losses = _all_pairs(_PREDICTION, _SKETCH)
    assert (_SKETCH[:, None] - _SKETCH[None] > _CONFIG.sketch_gap).sum() == 13
    assert losses.sum() == pytest.approx(0.15, abs=1e-6)
    assert losses[3, 2] == pytest.approx(0.15, abs=1e-6)


def test_threshold_vector():
    losses = threshold_loss(tf.constant(_PREDICTION), tf.constant(_SKETCH), _CONFIG).numpy()
    np.testing.assert_allclose(losses, [0.1, 0, 0, 0, 0, 0.1], atol=1e-6)


def test_comparisons_are_strict():
    config = LossConfig(sketch_gap=0.5, success_above=0.75, failure_below=0.25)  # exact in binary
    assert _all_pairs(np.float32([0, 1]), np.float32([0.75, 0.25]), config).sum() == 0
    at, beyond = tf.constant([0.75, 0.25]), tf.constant([0.8, 0.2])
    wrong = tf.constant([0.0, 1.0])
    assert threshold_loss(wrong, at, config).numpy().sum() == 0
    assert threshold_loss(wrong, beyond, config).numpy().sum() == pytest.approx(1.8)


@given(hnp.arrays(np.float32, 6, elements=st.floats(0, 1, width=16)), st.floats(-1, 1, width=16))
def test_ranking_ignores_a_shift(prediction, shift):
    shifted = (prediction + np.float32(shift)).astype(np.float32)
    np.testing.assert_allclose(_all_pairs(prediction, _SKETCH), _all_pairs(shifted, _SKETCH), atol=1e-5)


@given(hnp.arrays(np.bool_, st.integers(2, 12)))
def test_no_loss_when_a_step_sketch_is_predicted(steps):
    values = steps.astype(np.float32)
    assert _all_pairs(values, values).sum() == 0
    assert threshold_loss(tf.constant(values), tf.constant(values), _CONFIG).numpy().sum() == 0


def test_total_is_mean_over_pairs_plus_lambda_times_mean_over_frames():
    prediction, sketch = tf.constant([[0.3, 0.35], [0.2, 0.8]]), tf.constant([[0.7, 0.4], [0.0, 1.0]])
    parts = sketch_loss(prediction, sketch, _CONFIG)  # the second is not a pair: its order is wrong
    assert parts["loss/ranking"].numpy() == pytest.approx(0.15 / 2)
    assert parts["loss/threshold"].numpy() == pytest.approx((0.1 + 0.1) / 4)
    assert parts["loss"].numpy() == pytest.approx(0.15 / 2 + 10 * 0.05)


def test_gradient_pulls_the_pair_apart():
    prediction = tf.Variable([[0.5, 0.5]])
    with tf.GradientTape() as tape:
        loss = sketch_loss(prediction, tf.constant([[0.7, 0.3]]), _CONFIG)["loss"]
    np.testing.assert_array_equal(tape.gradient(loss, prediction), [[-1, 1]])


# Of single frames

_EXPERT, _UNLABELLED = tf.constant([1.2, -0.3]), tf.constant([-0.5, 0.8])
_LOGITS = hnp.arrays(np.float32, st.integers(1, 8), elements=st.floats(-8, 8, width=16))


@given(_LOGITS)
def test_cross_entropy_is_that_of_the_definition(logits):
    reward = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for label, expected in ((0.0, -np.log(1 - reward)), (1.0, -np.log(reward))):
        got = cross_entropy(tf.constant(logits), tf.fill(logits.shape, label))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_plain_and_positive_unlabelled_vectors():
    assert plain_loss(_EXPERT, _UNLABELLED).numpy() == pytest.approx(1.38141, abs=5e-6)
    for clip in (False, True):  # the bracket is positive: nothing to clip
        assert positive_unlabelled_loss(_EXPERT, _UNLABELLED, 0.5, clip).numpy() == pytest.approx(0.59760, abs=2e-5)
    assert negative_risk(_EXPERT, _UNLABELLED, 0.5).numpy() == pytest.approx(0.31818, abs=5e-6)


@given(_LOGITS, _LOGITS)
def test_without_positives_only_the_unlabelled_count(expert, unlabelled):
    got = positive_unlabelled_loss(tf.constant(expert), tf.constant(unlabelled), 0.0, clip=False)
    assert got.numpy() == pytest.approx(np.mean(np.log1p(np.exp(unlabelled))), rel=1e-3, abs=1e-5)


@given(_LOGITS, st.floats(0, 1, width=16))
def test_clipped_loss_is_bounded_where_the_other_falls_forever(unlabelled, eta):
    def loss(expert, clip):
        return positive_unlabelled_loss(tf.constant([expert]), tf.constant(unlabelled), eta, clip).numpy()

    assert loss(1000.0, clip=True) >= 0
    assert loss(2000.0, clip=False) - loss(1000.0, clip=False) == pytest.approx(-1000 * eta, abs=0.1)  # slope -eta


@pytest.mark.parametrize("eta", [0.2, 0.5, 0.7])
def test_where_all_frames_look_alike_the_optimum_is_eta(eta):
    rewards = np.linspace(0.01, 0.99, 99, dtype=np.float32)
    logits = np.log(rewards / (1 - rewards))
    plain = [plain_loss(tf.constant([x]), tf.constant([x])).numpy() for x in logits]
    assert rewards[np.argmin(plain)] == pytest.approx(0.5, abs=0.01)
    pu = [positive_unlabelled_loss(tf.constant([x]), tf.constant([x]), eta, clip=True).numpy() for x in logits]
    assert rewards[np.argmin(pu)] == pytest.approx(eta, abs=0.011)


def test_the_constraint_is_reversed_while_it_is_told_apart_and_gone_otherwise():
    told_apart, mistaken = tf.constant([2.0, 1.0]), tf.constant([-2.0, -1.0])
    assert balanced_accuracy(told_apart, mistaken) == 1 and balanced_accuracy(mistaken, told_apart) == 0
    assert constraint_loss(told_apart, mistaken).numpy() == -plain_loss(told_apart, mistaken).numpy()
    assert constraint_loss(mistaken, told_apart) == 0
    logits = tf.Variable([2.0, -2.0])
    with tf.GradientTape() as tape:
        loss = constraint_loss(logits[:1], logits[1:])
    expert, other = tape.gradient(loss, logits).numpy()
    assert expert > 0 > other  # going down the gradient brings the two together


def test_the_constraints_gate_is_shut_below_chance_and_open_at_it():
    half_right = tf.constant([1.0, -1.0])  # of each kind one
    assert balanced_accuracy(half_right, half_right) == 0.5
    assert constraint_loss(half_right, half_right) < 0
    worse = tf.constant([1.0, -1.0, -1.0])
    assert balanced_accuracy(worse, half_right) < 0.5
    assert constraint_loss(worse, half_right) == 0
