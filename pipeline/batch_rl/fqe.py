"""Fitted Q evaluation: what a policy is worth, from logged data alone."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl.actor_critic import CriticLearner
from pipeline.batch_rl.config import FqeConfig
from pipeline.batch_rl.learner import Feed


class FqeLearner(CriticLearner):
    """Learns as `FqeConfig` says.

    The policy is fixed, so its action in every frame is known beforehand. Observations of its batches are vectors with
    that action behind: float32[B, D + A].
    """

    METRICS: ClassVar[Mapping[str, str]] = {
        "critic_loss": "cross-entropy in nats, or half the squared error; falls at first, then follows the targets",
        "q": "mean value of the logged actions",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    def __init__(self, config: FqeConfig, feed: Feed, observation_size: int, action_size: int, seed: int):
        """Builds critics for vectors of the given sizes, the observation's without the action."""
        super().__init__(config, feed, observation_size, action_size, seed)
        self._sizes = (observation_size, action_size)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic."""
        del key  # nothing is drawn
        self._refresh_targets(step)
        observation, chosen = tf.split(batch.observation, self._sizes, -1)  # [L + 1, B, D], [L + 1, B, A]
        plain = batch._replace(observation=observation)
        target = self._bootstrap(plain, plain.where_they_lead(chosen[1:]))
        with tf.GradientTape() as tape:
            predicted, _ = self.critic.unroll(observation[:-1], batch.action, batch.rows)  # [N, P]
            loss = self.critic.loss(predicted, target)
        return {
            "critic_loss": loss,
            "q": tf.reduce_mean(self.critic.mean(predicted)),
            "critic_gradient_norm": self._descend_critic(tape, loss),
        }

    @tf.function(reduce_retracing=True)
    def value(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Values float32[B] of actions float32[B, A] in observations float32[B, D]."""
        return self.critic.mean(self.critic(observation, action))
