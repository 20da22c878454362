"""Gaussian mixtures with diagonal covariance: the action distribution of offline policies."""

import math
from typing import NamedTuple

import tensorflow as tf

_LOG_2PI = math.log(2 * math.pi)


class GaussianMixture(NamedTuple):
    """A batch of mixtures of K Gaussians over A dimensions; the density is joint over the dimensions."""

    logits: tf.Tensor  # float32[B, K]
    mean: tf.Tensor  # float32[B, K, A]
    scale: tf.Tensor  # float32[B, K, A], positive

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """Log density, float32[B], of values float32[B, A]."""
        z = (value[:, None, :] - self.mean) / self.scale  # [B, K, A]
        gaussian = -tf.reduce_sum(0.5 * tf.square(z) + tf.math.log(self.scale) + 0.5 * _LOG_2PI, -1)  # [B, K]
        return tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + gaussian, axis=-1)

    def sample(self, count: int, seed: tf.Tensor) -> tf.Tensor:
        """Samples, float32[B, count, A], that depend on the seed (int[2]) alone."""
        for_component, for_noise = tf.unstack(tf.random.split(seed, 2))
        component = tf.random.stateless_categorical(self.logits, count, for_component, dtype=tf.int32)  # [B, count]
        component = tf.minimum(component, self.logits.shape[1] - 1)  # from NaN logits it draws K, which is no component
        mean = tf.gather(self.mean, component, batch_dims=1)  # [B, count, A]
        scale = tf.gather(self.scale, component, batch_dims=1)
        return mean + scale * tf.random.stateless_normal(tf.shape(mean), for_noise)

    def best_mean(self) -> tf.Tensor:
        """The mean of the most probable component, float32[B, A]: how a policy acts deterministically.

        Not the mean of the mixture, which lies between its modes: there, where no action of the data is, a robot
        that may pass an obstacle on either side would drive into it.
        """
        return tf.gather(self.mean, tf.argmax(self.logits, -1), batch_dims=1)
