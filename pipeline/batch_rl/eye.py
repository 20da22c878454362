"""What a policy sees: pictures and numbers to one vector, by encoders that policy and critic share."""

import dataclasses
from collections.abc import Mapping

import sonnet as snt
import tensorflow as tf

from datasets.sight import Observation
from pipeline import augment
from pipeline.batch_rl.config import EyeConfig
from pipeline.networks import ResidualEncoder, resize

NO_PICTURES: Mapping[str, tuple[int, ...]] = {}
"""Shapes of the pictures of a learner that sees none."""


@snt.allow_empty_variables  # without pictures it has none
class Eye(snt.Module):
    """A residual encoder with a spatial softmax for each camera; its keypoints stand behind the numbers.

    Observations without pictures are vectors already, and pass through.
    """

    def __init__(self, config: EyeConfig, pictures: Mapping[str, tuple[int, ...]]):
        """Makes the encoders and their variables.

        Args:
          config: sizes.
          pictures: shape (H, W, C) of each camera's, by name, as logged; none for learners without pictures.
        """
        super().__init__()
        self._config = config
        self._cameras = sorted(pictures)
        self._encoders = [ResidualEncoder(**dataclasses.asdict(config.encoder)) for _ in self._cameras]
        self.size = 2 * config.encoder.keypoints * len(self._cameras)  # entries that it adds to the vector
        if self._cameras:
            self(Observation(tf.zeros((1, 0)), {c: tf.zeros((1, *pictures[c]), tf.uint8) for c in self._cameras}))

    def __call__(self, observation: tf.Tensor | Observation) -> tf.Tensor:
        """Vectors float32[..., D] and pictures uint8[..., H, W, C] to float32[..., D + size]."""
        if not isinstance(observation, Observation):
            return observation
        vector, pictures = observation
        points = [self._look(encoder, pictures[c]) for encoder, c in zip(self._encoders, self._cameras, strict=True)]
        lead = tf.shape(vector)[:-1]
        return tf.concat([vector, *(tf.reshape(p, tf.concat([lead, [p.shape[-1]]], 0)) for p in points)], -1)

    def augment(self, observation: tf.Tensor | Observation, key: tf.Tensor) -> tf.Tensor | Observation:
        """Shifts every picture at random, by up to `EyeConfig.shift` pixels, as (seed, step) of the key decide."""
        if not isinstance(observation, Observation):
            return observation
        keys = tf.unstack(tf.random.split(key, len(self._cameras)))
        shifted = {c: self._shift(observation.pictures[c], k) for c, k in zip(self._cameras, keys, strict=True)}
        return Observation(observation.vector, shifted)

    def _look(self, encoder: ResidualEncoder, pictures: tf.Tensor) -> tf.Tensor:
        return encoder(resize(tf.reshape(pictures, (-1, *pictures.shape[-3:])), self._config.image_size))

    def _shift(self, pictures: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(pictures, (-1, *pictures.shape[-3:]))
        return tf.reshape(augment.shift(flat, self._config.shift, key), tf.shape(pictures))
