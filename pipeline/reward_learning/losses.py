"""The losses of reward learning. Pure functions of logits or predictions; each cites its equation.

Ranking within an episode, and thresholds: Cabi et al., arXiv 1909.12200, section on reward learning (form and constants
recalled, unverified). For frames t and q of the *same* episode, sketch s in [0, 1] and prediction r in [0, 1]:

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


def sketch_loss(prediction: tf.Tensor, sketch: tf.Tensor, config: LossConfig) -> dict[str, tf.Tensor]:
    """L of a batch: the mean over pairs of L_rank plus lambda times the mean over all its frames of L_success.

    Args:
      prediction: float32[B, 2]; first the better frame of each pair.
      sketch: float32[B, 2].
      config: the constants.

    Returns:
      The loss, and its parts.
    """
    ranking = tf.reduce_mean(ranking_loss(prediction[:, 0], prediction[:, 1], sketch[:, 0], sketch[:, 1], config))  # []
    threshold = tf.reduce_mean(threshold_loss(prediction, sketch, config))  # []
    loss = ranking + config.threshold_weight * threshold
    return {"loss": loss, "loss/ranking": ranking, "loss/threshold": threshold}


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """BCE(sigmoid(l), y) = -y log R - (1 - y) log(1 - R), stable; float32, the shape of the arguments."""
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)


def plain_loss(expert: tf.Tensor, unlabelled: tf.Tensor) -> tf.Tensor:
    """ORIL's eq. 1: E_E[-log R] + E_U[-log(1 - R)].

    Args:
      expert: logits float32[B] of frames of demonstrations.
      unlabelled: logits float32[B'] of unlabelled frames.

    Returns:
      float32[].
    """
    return tf.reduce_mean(tf.nn.softplus(-expert)) + tf.reduce_mean(tf.nn.softplus(unlabelled))


def negative_risk(expert: tf.Tensor, unlabelled: tf.Tensor, eta: float) -> tf.Tensor:
    """The estimate of the negatives' loss in ORIL's eq. 5: E_U[-log(1 - R)] - eta E_E[-log(1 - R)]; float32[].

    It stands for (1 - eta) times a loss, so it cannot truly be negative; where it is, the model knows the expert frames
    by heart.
    """
    return tf.reduce_mean(tf.nn.softplus(unlabelled)) - eta * tf.reduce_mean(tf.nn.softplus(expert))


def positive_unlabelled_loss(expert: tf.Tensor, unlabelled: tf.Tensor, eta: float, clip: bool) -> tf.Tensor:
    """ORIL's eq. 5: eta E_E[-log R] + E_U[-log(1 - R)] - eta E_E[-log(1 - R)].

    Args:
      expert: logits float32[B] of frames of demonstrations.
      unlabelled: logits float32[B'] of unlabelled frames.
      eta: assumed share of positives among the unlabelled.
      clip: keep the last two terms together from falling below 0 (the non-negative estimator of PU learning).

    Returns:
      float32[].
    """
    negative = negative_risk(expert, unlabelled, eta)
    return eta * tf.reduce_mean(tf.nn.softplus(-expert)) + (tf.nn.relu(negative) if clip else negative)


def balanced_accuracy(expert: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """How well two kinds of frames are told apart, each kind counting half; 0.5 is chance.

    Args:
      expert: logits float32[B] of frames of demonstrations.
      other: logits float32[B'] of frames of other episodes.

    Returns:
      float32[], through which no gradient flows.
    """
    right = tf.reduce_mean(tf.cast(expert >= 0, tf.float32)), tf.reduce_mean(tf.cast(other < 0, tf.float32))
    return 0.5 * (right[0] + right[1])


def constraint_loss(expert: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """TRAIL's constraint (arXiv 1910.01077), on frames that differ in nothing of importance; arguments as above.

    Returns:
      Minus the plain loss, float32[], while the two are told apart no worse than by chance; else 0.
    """
    gate = tf.cast(balanced_accuracy(expert, other) >= 0.5, tf.float32)
    return -gate * plain_loss(expert, other)
