"""A feed whose batches are made in the background, ahead of the step that asks for them."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_THREADS = 2  # batches made at a time: one waits for the disk while the other is put together
_AHEAD = 2  # batches held ready


class Prefetch:
    """Another feed, and the same batches to the bit: for feeds that read from disk.

    Steps are expected in order: while a learner works on one, the next ones are made. Any other step, say the first one
    after a training was resumed, is right as well, but has to be waited for.
    """

    def __init__(self, feed: Callable[[tf.Tensor], Any]):
        """Makes nothing yet.

        Args:
          feed: a batch, any structure of tensors, for a scalar int64; a function of it alone.
        """
        self._feed = tf.function(feed, input_signature=[tf.TensorSpec((), tf.int64)])
        spec = self._from(tf.constant(0, tf.int64)).element_spec
        self._structure = spec
        self._element = {
            "output_types": [part.dtype for part in tf.nest.flatten(spec)],
            "output_shapes": [part.shape for part in tf.nest.flatten(spec)],
        }
        # An iterator of `tf.data`, as `iter(dataset)` has one inside; here, because a graph can set it to another step.
        with tf.device("CPU"):
            self._iterator = tf.raw_ops.AnonymousIteratorV3(**self._element)
            self._next = tf.Variable(-1, dtype=tf.int64, trainable=False)  # the step that the iterator gives next

    def __call__(self, step: tf.Tensor) -> Any:
        """Batch number `step`."""
        with tf.device("CPU"):
            step = tf.cast(step, tf.int64)
            tf.cond(tf.equal(step, self._next), lambda: tf.constant(True), lambda: self._seek(step))
            self._next.assign(step + 1)
            batch = tf.raw_ops.IteratorGetNext(iterator=self._iterator, **self._element)
        return tf.nest.pack_sequence_as(self._structure, batch)

    def _seek(self, step: tf.Tensor) -> tf.Tensor:
        dataset = tf.data.experimental.to_variant(self._from(step))
        tf.raw_ops.MakeIterator(dataset=dataset, iterator=self._iterator)
        return tf.constant(True)

    def _from(self, step: tf.Tensor) -> tf.data.Dataset:
        steps = tf.data.Dataset.range(step, tf.int64.max)
        return steps.map(self._feed, num_parallel_calls=_THREADS, deterministic=True).prefetch(_AHEAD)
