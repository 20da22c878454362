"""Critic-regularised regression."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import CrrConfig
from pipeline.batch_rl.critic_weighted import CriticWeightedPolicy
from pipeline.batch_rl.policies import MixturePolicy, Policy


class CrrLearner(ActorCritic):
    """Learns as `CrrConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "mean of -f log pi(a|s); its size has no meaning of its own",
        **ActorCritic.METRICS,
        "advantage": "mean over the batch; near 0, where the policy is as good as the data",
        "weight": "mean f; about 1 for exp. Towards 1 without spread: CRR has become behaviour cloning",
        "weight_deviation": "standard deviation of f over the batch; 0 means that the critic tells no actions apart",
    }

    _config: CrrConfig
    policy: MixturePolicy
    _target_policy: MixturePolicy

    def _make_policy(self, action_size: int) -> MixturePolicy:
        """A mixture of Gaussians."""
        return MixturePolicy(action_size, self._config.policy, self._config.memory.size)

    @property
    def acting(self) -> Policy:
        """The policy alone, or with the critic beside it."""
        at_test = self._config.at_test
        return CriticWeightedPolicy(self.policy, self.critic, at_test) if at_test.samples else self.policy

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and one of the policy, both from the critic as it was."""
        config = self._config
        self._refresh_targets(step)
        for_target, for_policy = tf.unstack(tf.random.split(key, 2))
        target = self._target(batch, for_target)
        judged = self._judge(batch, target)
        with tf.GradientTape() as policy_tape:
            mixture = self.policy.unroll(judged.observation, batch.rows)
            log_prob = mixture.log_prob(batch.rows(batch.action))  # [N]
        # Outside the tapes: the critic judges actions, and learns nothing from the policy's loss.
        sampled = mixture.sample(config.samples, for_policy)  # [N, m, A]
        q_samples = self.critic.values(batch.rows(judged.observation), sampled, judged.state)  # [N, m]
        advantage = losses.advantage(config.advantage, judged.q, q_samples)
        weight = losses.weights(config.weight, advantage, config.beta, config.cap)
        with policy_tape:
            policy_loss = losses.weighted_imitation_loss(log_prob, weight)
        return {
            "policy_loss": policy_loss,
            "critic_loss": judged.loss,
            "q": tf.reduce_mean(judged.q),
            "advantage": tf.reduce_mean(advantage),
            "weight": tf.reduce_mean(weight),
            "weight_deviation": tf.math.reduce_std(weight),
            **self._descend(policy_tape, policy_loss, judged.tape, judged.loss),
        }

    def _target(self, batch: SequenceBatch, key: tf.Tensor) -> tf.Tensor:
        """What the critic should predict, float32[N, P]."""
        following = self._foresee(batch)
        action = self._target_policy.unroll(following, batch.where_they_lead).sample(1, key)[:, 0]  # [N, A]
        return self._bootstrap(batch, following, action)
