"""Fitted Q evaluation: what a policy is worth, from logged data alone."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from datasets.sight import Observation
from pipeline.batch_rl.actor_critic import CriticLearner
from pipeline.batch_rl.config import FqeConfig
from pipeline.batch_rl.eye import NO_PICTURES
from pipeline.batch_rl.learner import Feed


class FqeLearner(CriticLearner):
    """Learns as `FqeConfig` says.

    The policy is fixed, so its action in every frame is known beforehand. Observations of its batches are vectors with
    that action behind: float32[B, D + A].
    """

    METRICS: ClassVar[Mapping[str, str]] = {
        "critic_loss": "cross-entropy in nats, or half the squared error; falls at first, then follows the targets",
        "q": "mean value of the logged actions; at most the largest possible return",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    def __init__(
        self, config: FqeConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds critics for vectors of the given sizes, the observation's without the action."""
        super().__init__(config, feed, observation_size, action_size, seed, pictures)
        self._sizes = (observation_size, action_size)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic."""
        del key  # nothing is drawn
        self._refresh_targets(step)
        plain, chosen = self._split(batch.observation)  # [L + 1, B, D], [L + 1, B, A]
        batch = batch._replace(observation=plain)
        target = self._bootstrap(batch, self._foresee(batch), batch.where_they_lead(chosen))
        with tf.GradientTape() as tape:
            observation = self.eye(batch.before)
            predicted, _ = self.critic.unroll(observation, batch.action, batch.rows)  # [N, P]
            loss = self.critic.loss(predicted, target)
        return {
            "critic_loss": loss,
            "q": tf.reduce_mean(self.critic.mean(predicted)),
            "critic_gradient_norm": self._descend_critic(tape, loss),
        }

    def _split(self, observation: tf.Tensor | Observation) -> tuple[tf.Tensor | Observation, tf.Tensor]:
        """What is seen, and the policy's action."""
        if isinstance(observation, Observation):
            vector, action = tf.split(observation.vector, self._sizes, -1)
            return Observation(vector, observation.pictures), action
        return tuple(tf.split(observation, self._sizes, -1))

    @tf.function(reduce_retracing=True)
    def along(self, observation: tf.Tensor | Observation, action: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What `value` takes, of all frames of an episode.

        Args:
          observation: of T frames, without the policy's actions.
          action: the T - 1 logged actions, float32[T - 1, A].

        Returns:
          What is seen, float32[T, D], and the states before each action, float32[T, S].
        """
        seen = self.eye(observation)
        return seen, self.critic.states(seen[:-1, None], action[:, None])[:, 0]

    @tf.function(reduce_retracing=True)
    def value(self, seen: tf.Tensor, action: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Values float32[N] of actions float32[N, A] where this is seen, float32[N, D], in states float32[N, S]."""
        return self.critic.mean(self.critic(seen, action, state))
