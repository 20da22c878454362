"""What is seen in frames: vectors, and pictures from memory or from disk, as tensors inside a graph."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from datasets import frames
from datasets.frames import DiskArray


class Observation(NamedTuple):
    """What a policy from pixels gets of B frames."""

    vector: tf.Tensor  # float32[B, D]
    pictures: Mapping[str, tf.Tensor]  # name -> uint8[B, H, W, C]


class Sight:
    """What is seen in any frames, gathered inside the graph, and read from disk where it lies there."""

    def __init__(self, observation: tf.Tensor, pictures: Mapping[str, np.ndarray | DiskArray]):
        """Puts the arrays where TensorFlow can gather from them.

        Args:
          observation: float32[F, D], a vector for each frame.
          pictures: uint8[F, H, W, C] of each camera, by name, if there are some.
        """
        self._observation = tf.convert_to_tensor(observation)  # captured by graphs, never copied into them
        self._pictures = {name: _rows_of(array) for name, array in pictures.items()}
        self.reads_from_disk = any(isinstance(array, DiskArray) for array in pictures.values())

    def __call__(self, frame: tf.Tensor) -> tf.Tensor | Observation:
        """In frames int32[...]: vectors float32[..., D], or with pictures an `Observation` of such shapes."""
        vector = tf.gather(self._observation, frame)
        if not self._pictures:
            return vector
        flat = tf.reshape(frame, (-1,))
        seen = {name: rows(flat) for name, rows in self._pictures.items()}  # [N, H, W, C]
        return Observation(vector, {k: tf.reshape(v, (*frame.shape, *v.shape[1:])) for k, v in seen.items()})


def _rows_of(array: np.ndarray | DiskArray) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function of int32[B] that gives rows [B, ...] of the array; from disk, outside of graphs alone."""
    if isinstance(array, DiskArray):
        return lambda rows: frames.as_tensor(array[rows.numpy()])
    held = frames.as_tensor(array)

    def gather(rows: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU"):  # a graphics card's memory is for the networks
            return tf.gather(held, rows)

    return gather
