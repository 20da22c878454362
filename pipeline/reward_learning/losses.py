"""Losses that turn sketches into a reward model: ranking within an episode, and thresholds.

Cabi et al., arXiv 1909.12200, section on reward learning (form and constants recalled, unverified). For frames t and
q of the *same* episode, sketch s in [0, 1] and prediction r in [0, 1]:

    L_rank    = max(0, r(q) - r(t) + mu_r)  if s(t) - s(q) > mu_s
    L_success = max(0, tau_r1 - r)          if s > tau_s
              + max(0, r - tau_r2)          if s < tau_u
    L         = L_rank + lambda L_success

People agree on order, not on scale: hence the ranking. They agree on what is solved: hence the thresholds, which pin
the two ends. All comparisons of sketches are strict.
"""

import tensorflow as tf

from pipeline.reward_learning.config import LossConfig


def ranking_loss(
    prediction_t: tf.Tensor, prediction_q: tf.Tensor, sketch_t: tf.Tensor, sketch_q: tf.Tensor, config: LossConfig
) -> tf.Tensor:
    """L_rank of pairs of frames of one episode; float32, the shape of the arguments.

    Args:
      prediction_t: predicted rewards of the better frames.
      prediction_q: of the worse frames.
      sketch_t: sketched values of the better frames.
      sketch_q: of the worse frames; where the gap is not above mu_s, the loss is 0.
      config: gives mu_s and mu_r.
    """
    is_pair = tf.cast(sketch_t - sketch_q > config.sketch_gap, prediction_t.dtype)
    return is_pair * tf.nn.relu(prediction_q - prediction_t + config.margin)


def threshold_loss(prediction: tf.Tensor, sketch: tf.Tensor, config: LossConfig) -> tf.Tensor:
    """L_success of single frames; float32, the shape of the arguments."""
    is_success = tf.cast(sketch > config.success_above, prediction.dtype)
    is_failure = tf.cast(sketch < config.failure_below, prediction.dtype)
    too_low = tf.nn.relu(config.success_target - prediction)
    too_high = tf.nn.relu(prediction - config.failure_target)
    return is_success * too_low + is_failure * too_high


def total_loss(prediction: tf.Tensor, sketch: tf.Tensor, config: LossConfig) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """L of a batch: the mean over pairs of L_rank plus lambda times the mean over all its frames of L_success.

    Args:
      prediction: float32[B, 2]; first the better frame of each pair.
      sketch: float32[B, 2].
      config: the constants.

    Returns:
      The loss, and its parts to be logged.
    """
    ranking = tf.reduce_mean(ranking_loss(prediction[:, 0], prediction[:, 1], sketch[:, 0], sketch[:, 1], config))  # []
    threshold = tf.reduce_mean(threshold_loss(prediction, sketch, config))  # []
    loss = ranking + config.threshold_weight * threshold
    return loss, {"loss": loss, "loss/ranking": ranking, "loss/threshold": threshold}
