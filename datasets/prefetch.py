"""A feed whose batches are made in the background, ahead of the step that asks for them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import tensorflow as tf

_THREADS = 2  # batches made at a time: one waits for the disk while the other is put together
_AHEAD = 3  # batches made or held ready, beside the one that is asked for: one slow read does not hold up the learner


class Prefetch:
    """Another feed, and the same batches to the bit: for feeds that read from disk.

    Steps are expected in order: while a learner works on one, the next ones are made. Any other step, say the first one
    after a training was resumed, is right as well, but has to be waited for.
    """

    def __init__(self, feed: Callable[[tf.Tensor], Any]):
        """Makes one batch, to see what they look like.

        Args:
          feed: a batch, any structure of tensors whose shapes never change, for a scalar int64; a function of it alone.
            It is called outside of graphs.
        """
        self._feed = feed
        example = feed(tf.constant(0, tf.int64))
        self._specs = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), example)
        self._batches: dict[int, Future[Any]] = {}
        self.problem: Exception | None = None  # why there is no batch; TensorFlow's own errors have it as text alone
        # Not `tf.data`: at the end of a process, its threads and Python may wait for each other for ever (1 time in 3).
        self._pool = ThreadPoolExecutor(_THREADS)

    def __call__(self, step: tf.Tensor) -> Any:
        """Batch number `step`."""
        specs = tf.nest.flatten(self._specs)
        parts = tf.py_function(self._take, [tf.cast(step, tf.int64)], [spec.dtype for spec in specs])
        shaped = [tf.ensure_shape(part, spec.shape) for part, spec in zip(parts, specs, strict=True)]
        return tf.nest.pack_sequence_as(self._specs, shaped)

    def _take(self, step: tf.Tensor) -> list[tf.Tensor]:
        first = int(step)
        steps = range(first, first + 1 + _AHEAD)
        self._batches = {s: self._batches.get(s) or self._pool.submit(self._make, s) for s in steps}
        return tf.nest.flatten(self._batches[first].result())

    def _make(self, step: int) -> Any:
        try:
            return self._feed(tf.constant(step, tf.int64))
        except Exception as error:
            self.problem = error
            raise
