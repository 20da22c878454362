"""Losses of offline reinforcement learning, as pure functions of tensors.

Papers: CRR is Wang et al., *Critic Regularized Regression*, NeurIPS 2020 (arXiv 2006.15134); the categorical critic is
Bellemare et al., *A Distributional Perspective on Reinforcement Learning*, ICML 2017 (arXiv 1707.06887), as used by
D4PG, Barth-Maron et al., ICLR 2018 (arXiv 1804.08617).
"""

import dataclasses

import tensorflow as tf

from pipeline.batch_rl.config import AdvantageMode, WeightMode


@dataclasses.dataclass(frozen=True)
class Atoms:
    """The fixed support of a categorical value distribution: `count` returns, evenly spaced in [minimum, maximum]."""

    minimum: float
    maximum: float
    count: int

    @property
    def spacing(self) -> float:
        """Distance between two neighbours."""
        return (self.maximum - self.minimum) / (self.count - 1)

    @property
    def values(self) -> tf.Tensor:
        """float32[L]."""
        return tf.linspace(float(self.minimum), float(self.maximum), self.count)

    def mean(self, logits: tf.Tensor) -> tf.Tensor:
        """Expected value, float32[...], of distributions given as logits, float32[..., L]."""
        return tf.linalg.matvec(tf.nn.softmax(logits), self.values)


def project(atoms: Atoms, probabilities: tf.Tensor, reward: tf.Tensor, discount: tf.Tensor) -> tf.Tensor:
    """Distribution of `reward + discount * Z`, put back on the atoms (Bellemare et al. 2017, equation 7).

    Each shifted atom, clipped to the support, gives its probability to its two neighbours in proportion to their
    closeness. Written as one weighted count a row, which is many times faster on a CPU than the [B, L, L] comparison.

    Args:
      atoms: the support of Z and of the result.
      probabilities: of Z, float32[B, L].
      reward: float32[B].
      discount: float32[B], with gamma inside.

    Returns:
      float32[B, L]; each row sums to 1 as its input row does. NaN in a row's reward, discount or probabilities shows.
    """
    shifted = reward[:, None] + discount[:, None] * atoms.values  # [B, L]
    place = (tf.clip_by_value(shifted, atoms.minimum, atoms.maximum) - atoms.minimum) / atoms.spacing  # [B, L]
    # The topmost place belongs to the last interval. The count below checks no bounds, and NaN may be any integer.
    lower = tf.clip_by_value(tf.cast(place, tf.int32), 0, atoms.count - 2)  # [B, L]
    upper_part = tf.clip_by_value(place - tf.cast(lower, tf.float32), 0, 1)
    return tf.raw_ops.DenseBincount(
        input=tf.concat([lower, lower + 1], -1), size=atoms.count, binary_output=False,
        weights=tf.concat([probabilities * (1 - upper_part), probabilities * upper_part], -1),
    )  # fmt: skip


def critic_loss(logits: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of critic logits, float32[B, L], to a target distribution, float32[B, L], taken as fixed."""
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(target), logits))


def expectile_loss(value: tf.Tensor, target: tf.Tensor, expectile: float) -> tf.Tensor:
    """Asymmetric squared error (Kostrikov et al. 2022, equation 5, as a mean).

    Args:
      value: float32[...].
      target: float32[...], taken as fixed.
      expectile: tau in (0, 1), the weight of errors from below; 1 - tau is that of errors from above. 0.5 gives half
        the squared error.

    Returns:
      A scalar. Its minimum over a constant value is the targets' expectile.
    """
    below = tf.stop_gradient(target) - value
    return tf.reduce_mean(tf.where(below > 0, expectile, 1 - expectile) * tf.square(below))


_REDUCE = {
    AdvantageMode.MEAN: tf.reduce_mean, AdvantageMode.MAX: tf.reduce_max, AdvantageMode.MIN: tf.reduce_min,
}  # fmt: skip


def advantage(mode: AdvantageMode, q: tf.Tensor, q_samples: tf.Tensor) -> tf.Tensor:
    """Advantage, float32[B], of actions with value q, float32[B], over m samples' values, float32[B, m]."""
    return q - _REDUCE[mode](q_samples, -1)


def policy_gradient_loss(action: tf.Tensor, uphill: tf.Tensor, max_norm: float) -> tf.Tensor:
    """Deterministic policy gradient (Silver et al. 2014, as in D4PG), as a loss whose gradient it is.

    Args:
      action: pi(s), float32[B, A].
      uphill: dQ(s, a)/da there, float32[B, A]; taken as fixed.
      max_norm: to which each row of it is clipped.

    Returns:
      The mean of ||a + g - a||^2 / 2, where only the last a has a gradient: -g da.
    """
    goal = tf.stop_gradient(action + tf.clip_by_norm(uphill, max_norm, axes=-1))
    return tf.reduce_mean(tf.reduce_sum(tf.square(goal - action), -1)) / 2


def td3_bc_loss(value: tf.Tensor, error: tf.Tensor, alpha: float) -> tf.Tensor:
    """TD3+BC (Fujimoto and Gu 2021, equations 4 and 5): the value, scaled by its own size, against the likeness.

    Args:
      value: Q(s, pi(s)), float32[B].
      error: mean squared distance of pi(s) from the logged actions, a scalar.
      alpha: weight of the value.
    """
    size = tf.stop_gradient(tf.reduce_mean(tf.abs(value)))
    return error - alpha * tf.math.divide_no_nan(tf.reduce_mean(value), size)


def weights(mode: WeightMode, advantage: tf.Tensor, beta: float, cap: float) -> tf.Tensor:
    """Weights f, float32[B], without a gradient.

    Args:
      mode: `EXP`: min(exp(A / beta), cap); `BINARY`: 1 where A > 0, else 0; `ALL`: 1.
      advantage: A, float32[B].
      beta: temperature, in units of the return; for `EXP`.
      cap: largest weight; for `EXP`.
    """
    if mode is WeightMode.EXP:
        f = tf.minimum(tf.exp(advantage / beta), cap)
    elif mode is WeightMode.BINARY:
        f = tf.cast(advantage > 0, tf.float32)
    else:
        f = tf.ones_like(advantage)
    return tf.stop_gradient(f)


def imitation_loss(log_prob: tf.Tensor) -> tf.Tensor:
    """Behaviour cloning: mean of -log pi(a|s), from float32[B]."""
    return -tf.reduce_mean(log_prob)


def weighted_imitation_loss(log_prob: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """CRR: mean of -f(s, a) log pi(a|s), from float32[B] each. The weights are taken as fixed."""
    return -tf.reduce_mean(tf.stop_gradient(weight) * log_prob)
