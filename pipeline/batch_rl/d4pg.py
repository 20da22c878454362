"""Distributed distributional deterministic policy gradients, offline."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import D4pgConfig
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

    def _make_policy(self, action_size: int) -> DeterministicPolicy:
        """One action for each state."""
        return DeterministicPolicy(action_size, self._config.layer_sizes, self._config.memory.size)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and one of the policy, both from the critic as it was."""
        del key  # nothing is drawn
        config = self._config
        self._refresh_targets(step)
        target = self._target(batch)
        judged = self._judge(batch, target)
        with tf.GradientTape() as policy_tape:
            action = self.policy.unroll(judged.observation, batch.rows)  # [N, A]
            with tf.GradientTape() as action_tape:
                action_tape.watch(action)
                value = self.critic.mean(self.critic(batch.rows(judged.observation), action, judged.state))  # [N]
            uphill = action_tape.gradient(value, action)  # [N, A]
            policy_loss = losses.policy_gradient_loss(action, uphill, config.max_action_gradient_norm)
        q = tf.reduce_mean(judged.q)
        return {
            "policy_loss": -tf.reduce_mean(value),
            "critic_loss": judged.loss,
            "q": q,
            "advantage": tf.reduce_mean(value) - q,
            "action_gradient_norm": tf.reduce_mean(tf.norm(uphill, axis=-1)),
            **self._descend(policy_tape, policy_loss, judged.tape, judged.loss),
        }

    def _target(self, batch: SequenceBatch) -> tf.Tensor:
        """What the critic should predict, float32[N, P]."""
        following = self._foresee(batch)
        return self._bootstrap(batch, following, self._target_policy.unroll(following, batch.where_they_lead))
