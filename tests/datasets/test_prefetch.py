import numpy as np
import pytest
import tensorflow as tf

from datasets.prefetch import Prefetch

WORD = tf.constant([3, 1, 4, 1, 5, 9, 2, 6])


def _plain(step):
    """Some structure of tensors, made by Python as well as by TensorFlow."""
    drawn = tf.random.stateless_uniform((4,), tf.stack([tf.constant(7, tf.int64), step]), maxval=8, dtype=tf.int32)
    doubled = tf.ensure_shape(tf.numpy_function(lambda rows: 2 * rows, [drawn], tf.int32), (4,))
    return {"step": step, "parts": (tf.gather(WORD, drawn), doubled)}


def _assert_same(one, other):
    tf.nest.assert_same_structure(one, other)
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("steps", [range(30), [5, 6, 7, 3, 4, 5, 5, 5, 1_000_000, 0]], ids=["in order", "as one likes"])
@pytest.mark.parametrize("fused", [False, True])
def test_every_batch_is_the_plain_feed_s(steps, fused):
    feed = Prefetch(_plain)
    ask = tf.function(feed) if fused else feed
    for step in steps:
        _assert_same(ask(tf.constant(step, tf.int64)), _plain(tf.constant(step, tf.int64)))


def test_a_loop_in_one_graph_gets_batch_after_batch():
    feed = Prefetch(_plain)

    @tf.function
    def run(first, count):
        sums = tf.zeros((4,), tf.int32)
        for step in tf.range(first, first + count):
            batch = feed(step)
            tf.debugging.assert_equal(batch["step"], step)
            sums += batch["parts"][1]
        return sums

    for first, count in [(0, 20), (20, 5), (3, 9)]:  # from the start, on, and back
        expected = sum(_plain(tf.constant(step, tf.int64))["parts"][1].numpy() for step in range(first, first + count))
        np.testing.assert_array_equal(run(tf.constant(first, tf.int64), tf.constant(count, tf.int64)), expected)


def test_the_next_batches_are_made_before_they_are_asked_for():
    made = []

    def note(step):
        made.append(int(step))
        return step

    feed = Prefetch(lambda step: tf.ensure_shape(tf.numpy_function(note, [step], tf.int64), ()))
    assert not made
    feed(tf.constant(10, tf.int64))
    deadline = tf.timestamp() + 20
    while 12 not in made and tf.timestamp() < deadline:
        pass
    assert {10, 11, 12} <= set(made)
    assert max(made) < 20  # some ahead, not all


def test_static_shapes_survive():
    batch = tf.function(Prefetch(_plain)).get_concrete_function(tf.TensorSpec((), tf.int64)).structured_outputs
    assert batch["parts"][0].shape == (4,)
