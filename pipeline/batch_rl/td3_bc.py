"""TD3 with behaviour cloning."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import Td3BcConfig
from pipeline.batch_rl.eye import NO_PICTURES
from pipeline.batch_rl.learner import Feed
from pipeline.batch_rl.policies import DeterministicPolicy


class Td3BcLearner(ActorCritic):
    """Learns as `Td3BcConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "minus alpha, as the value is scaled by its own size, plus `action_error`",
        **ActorCritic.METRICS,
        "advantage": "mean value of the policy's actions less that of the logged ones; small and positive",
        "action_error": "mean squared distance of the policy's actions from the logged ones, in units of half the "
        "range; near that of behaviour cloning. Much larger, the policy has left the data: lower alpha",
    }

    _config: Td3BcConfig
    policy: DeterministicPolicy
    _target_policy: DeterministicPolicy

    def __init__(
        self, config: Td3BcConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds networks for vectors of the given sizes."""
        policy, target_policy = (
            DeterministicPolicy(action_size, config.layer_sizes, config.memory.size) for _ in range(2)
        )
        super().__init__(config, policy, target_policy, feed, observation_size, action_size, seed, pictures)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and, every `target_period`, one of the policy, both from the critic as it was."""
        config = self._config
        self._refresh_targets(step)
        target = self._target(batch, key)
        with tf.GradientTape() as critic_tape:
            observation = self.eye(batch.before)  # [L, B, D]
            predicted, states = self.critic.unroll(observation, batch.action, batch.rows)  # [N, P], [L + 1, B, S]
            critic_loss = self.critic.loss(predicted, target)
        before = batch.rows(states[:-1])  # [N, S]
        with tf.GradientTape() as policy_tape:
            action = self.policy.unroll(observation, batch.rows)  # [N, A]
            value = self.critic.mean(self.critic(batch.rows(observation), action, before))  # [N]
            error = tf.reduce_mean(tf.square(action - batch.rows(batch.action)))
            policy_loss = losses.td3_bc_loss(value, error, config.alpha)
        return {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "q": (q := tf.reduce_mean(self.critic.mean(predicted))),
            "advantage": tf.reduce_mean(value) - q,
            "action_error": error,
            **self._descend(policy_tape, policy_loss, critic_tape, critic_loss, step % config.target_period == 0),
        }

    def _target(self, batch: SequenceBatch, key: tf.Tensor) -> tf.Tensor:
        """What the critic should predict."""
        config = self._config
        following = self._foresee(batch)
        action = self._target_policy.unroll(following, batch.where_they_lead)  # [N, A]
        noise = config.noise * tf.random.stateless_normal(tf.shape(action), key)
        action += tf.clip_by_value(noise, -config.noise_clip, config.noise_clip)
        return self._bootstrap(batch, following, tf.clip_by_value(action, -1, 1))
