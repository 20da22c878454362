"""The losses against vectors worked by hand, and their invariances."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.reward_learning.config import LossConfig
from pipeline.reward_learning.losses import ranking_loss, threshold_loss, total_loss

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
    loss, parts = total_loss(prediction, sketch, _CONFIG)  # the second is not a pair: its order is wrong
    assert parts["loss/ranking"].numpy() == pytest.approx(0.15 / 2)
    assert parts["loss/threshold"].numpy() == pytest.approx((0.1 + 0.1) / 4)
    assert loss.numpy() == pytest.approx(0.15 / 2 + 10 * 0.05)


def test_gradient_pulls_the_pair_apart():
    prediction = tf.Variable([[0.5, 0.5]])
    with tf.GradientTape() as tape:
        loss, _ = total_loss(prediction, tf.constant([[0.7, 0.3]]), _CONFIG)
    np.testing.assert_array_equal(tape.gradient(loss, prediction), [[-1, 1]])
