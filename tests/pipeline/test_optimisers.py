"""Adam: against the published recursion, and through a checkpoint."""

import numpy as np
import tensorflow as tf

from pipeline.optimisers import Adam


def _reference(x, gradients, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    mean = square = np.zeros_like(x)
    for t, g in enumerate(gradients, start=1):
        mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g**2
        x = x - rate * (mean / (1 - beta1**t)) / (np.sqrt(square / (1 - beta2**t)) + epsilon)
    return x


def test_adam_follows_the_paper():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 2)), rng.normal(size=(20, 3, 2))
    x = tf.Variable(start, dtype=tf.float32)
    adam = Adam([x])
    step = tf.function(adam.apply)
    for g in gradients:
        step([tf.constant(g, tf.float32)], 0.1)
    np.testing.assert_allclose(x, _reference(start, gradients, 0.1), rtol=2e-4, atol=2e-5)


def test_weight_decay_shrinks_matrices_only():
    matrix, bias = tf.Variable(tf.ones((2, 2))), tf.Variable(tf.ones(2))
    Adam([matrix, bias], weight_decay=0.5).apply([tf.zeros((2, 2)), tf.zeros(2)], 0.1)
    np.testing.assert_allclose(matrix, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1)


def test_checkpoint_restores_the_state(tmp_path):
    def make():
        x = tf.Variable([1.0, 2.0])
        return x, Adam([x])

    (x, adam), (y, other) = make(), make()
    adam.apply([tf.constant([0.3, -1.0])], 0.1)
    path = tf.train.Checkpoint(x=x, adam=adam).write(str(tmp_path / "ckpt"))
    tf.train.Checkpoint(x=y, adam=other).read(path).assert_consumed()
    for a in (adam, other):
        a.apply([tf.constant([0.1, 0.1])], 0.1)
    np.testing.assert_array_equal(x, y)
