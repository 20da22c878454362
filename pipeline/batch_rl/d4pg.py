"""Distributed distributional deterministic policy gradients, offline."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import D4pgConfig
from pipeline.batch_rl.eye import NO_PICTURES
from pipeline.batch_rl.learner import Feed
from pipeline.batch_rl.policies import DeterministicPolicy


class D4pgLearner(ActorCritic):
    """Learns as `D4pgConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "minus the mean value of the policy's own actions",
        **ActorCritic.METRICS,
        "advantage": "mean value of the policy's actions less that of the logged ones; growing without end, the policy "
        "has left the data, and the critic's values of its actions mean nothing",
        "action_gradient_norm": "mean norm of dQ/da before clipping; near 0 the critic tells no actions apart",
    }

    _config: D4pgConfig
    policy: DeterministicPolicy
    _target_policy: DeterministicPolicy

    def __init__(
        self, config: D4pgConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds networks for vectors of the given sizes."""
        policy, target_policy = (
            DeterministicPolicy(action_size, config.layer_sizes, config.memory.size) for _ in range(2)
        )
        super().__init__(config, policy, target_policy, feed, observation_size, action_size, seed, pictures)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and one of the policy, both from the critic as it was."""
        del key  # nothing is drawn
        config = self._config
        self._refresh_targets(step)
        target = self._target(batch)
        with tf.GradientTape() as critic_tape:
            observation = self.eye(batch.before)  # [L, B, D]
            predicted, states = self.critic.unroll(observation, batch.action, batch.rows)  # [N, P], [L + 1, B, S]
            critic_loss = self.critic.loss(predicted, target)
        before = batch.rows(states[:-1])  # [N, S]
        with tf.GradientTape() as policy_tape:
            action = self.policy.unroll(observation, batch.rows)  # [N, A]
            with tf.GradientTape() as action_tape:
                action_tape.watch(action)
                value = self.critic.mean(self.critic(batch.rows(observation), action, before))  # [N]
            uphill = action_tape.gradient(value, action)  # [N, A]
            policy_loss = losses.policy_gradient_loss(action, uphill, config.max_action_gradient_norm)
        q = tf.reduce_mean(self.critic.mean(predicted))
        return {
            "policy_loss": -tf.reduce_mean(value),
            "critic_loss": critic_loss,
            "q": q,
            "advantage": tf.reduce_mean(value) - q,
            "action_gradient_norm": tf.reduce_mean(tf.norm(uphill, axis=-1)),
            **self._descend(policy_tape, policy_loss, critic_tape, critic_loss),
        }

    def _target(self, batch: SequenceBatch) -> tf.Tensor:
        """What the critic should predict, float32[N, P]."""
        following = self._foresee(batch)
        return self._bootstrap(batch, following, self._target_policy.unroll(following, batch.where_they_lead))
