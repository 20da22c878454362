"""TD3 with behaviour cloning."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import Td3BcConfig
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

    def _make_policy(self, action_size: int) -> DeterministicPolicy:
        """One action for each state."""
        return DeterministicPolicy(action_size, self._config.layer_sizes, self._config.memory.size)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and, every `target_period`, one of the policy, both from the critic as it was."""
        config = self._config
        self._refresh_targets(step)
        target = self._target(batch, key)
        judged = self._judge(batch, target)
        with tf.GradientTape() as policy_tape:
            action = self.policy.unroll(judged.observation, batch.rows)  # [N, A]
            value = self.critic.mean(self.critic(batch.rows(judged.observation), action, judged.state))  # [N]
            error = tf.reduce_mean(tf.square(action - batch.rows(batch.action)))
            policy_loss = losses.td3_bc_loss(value, error, config.alpha)
        return {
            "policy_loss": policy_loss,
            "critic_loss": judged.loss,
            "q": (q := tf.reduce_mean(judged.q)),
            "advantage": tf.reduce_mean(value) - q,
            "action_error": error,
            **self._descend(policy_tape, policy_loss, judged.tape, judged.loss, step % config.target_period == 0),
        }

    def _target(self, batch: SequenceBatch, key: tf.Tensor) -> tf.Tensor:
        """What the critic should predict."""
        config = self._config
        following = self._foresee(batch)
        action = self._target_policy.unroll(following, batch.where_they_lead)  # [N, A]
        noise = config.noise * tf.random.stateless_normal(tf.shape(action), key)
        action += tf.clip_by_value(noise, -config.noise_clip, config.noise_clip)
        return self._bootstrap(batch, following, tf.clip_by_value(action, -1, 1))
