import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from datasets.errors import StoreError
from datasets.prefetch import Prefetch

WORD = tf.constant([3, 1, 4, 1, 5, 9, 2, 6])


def _number(step) -> tf.Tensor:
    return tf.constant(step, tf.int64)


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


class _Watched:
    """A feed that tells which batches it made, and waits if it is told to."""

    def __init__(self):
        self.made, self.free = [], threading.Event()
        self.free.set()

    def __call__(self, step):
        assert self.free.wait(20)
        self.made.append(int(step))
        return 10 * step

    def wait_for(self, count):
        deadline = time.monotonic() + 20
        while len(self.made) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.made) == count


def test_batches_are_made_once_and_before_they_are_asked_for():
    watched = _Watched()
    feed = Prefetch(watched)
    assert watched.made == [0]  # to see its shape
    for step in range(20):
        feed(_number(step))
    watched.wait_for(1 + 23)
    assert sorted(watched.made[1:]) == list(range(23))
    watched.free.clear()
    for step in range(20, 23):  # they are ready
        assert int(feed(_number(step))) == 10 * step
    watched.free.set()
    assert int(feed(_number(23))) == 230


@pytest.mark.parametrize("fused", [False, True])
def test_what_goes_wrong_in_the_background_is_told(fused):
    def fails(step):
        if step == 7:
            raise StoreError("frame 10 is not there")
        return step

    feed = Prefetch(fails)
    ask = tf.function(feed) if fused else feed
    for step in range(7):
        assert int(ask(_number(step))) == step
    with pytest.raises(Exception, match="frame 10 is not there"):
        ask(_number(7))


def test_static_shapes_survive():
    batch = tf.function(Prefetch(_plain)).get_concrete_function(tf.TensorSpec((), tf.int64)).structured_outputs
    assert batch["parts"][0].shape == (4,)


ENDING = """
import time
import tensorflow as tf
from datasets.prefetch import Prefetch

def slow(step):
    time.sleep(0.2)
    return step

feed = Prefetch(slow)
print(int(tf.function(feed)(tf.constant(3, tf.int64))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", "del feed", "raise SystemExit(3)"])
def test_a_process_can_end_while_batches_are_made(ending):
    done = subprocess.run(
        [sys.executable, "-c", ENDING + ending], check=False, stdout=subprocess.PIPE, text=True, timeout=120
    )
    assert done.stdout == "3\n" and done.returncode == (3 if "3" in ending else 0)


@pytest.mark.slow
def test_a_learner_without_threads_to_spare_still_gets_its_batches():
    """In a graph whose only thread waits for a batch, that batch is made elsewhere."""
    one_thread = "import tensorflow as tf; tf.config.threading.set_inter_op_parallelism_threads(1)"
    done = subprocess.run(
        [sys.executable, "-c", one_thread + ENDING], check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    assert done.stdout == "3\n"
