"""Implicit Q-learning."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.actor_critic import ActorCritic
from pipeline.batch_rl.config import IqlConfig, WeightMode
from pipeline.batch_rl.critics import StateValue
from pipeline.batch_rl.eye import NO_PICTURES
from pipeline.batch_rl.learner import Feed, descend
from pipeline.batch_rl.policies import MixturePolicy
from pipeline.optimisers import Adam


class IqlLearner(ActorCritic):
    """Learns as `IqlConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "mean of -f log pi(a|s); its size has no meaning of its own",
        **ActorCritic.METRICS,
        "value_loss": "expectile of the state values' error; falls at first, then follows the critic",
        "value_gradient_norm": "before clipping; below the clip (40)",
        "advantage": "mean over the batch; below 0 for expectiles above 0.5",
        "weight": "mean f; about 1",
        "weight_deviation": "standard deviation of f over the batch; 0 means that the critic tells no actions apart",
    }

    _FOLLOWS = False

    _config: IqlConfig
    policy: MixturePolicy

    def __init__(
        self, config: IqlConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds networks for vectors of the given sizes."""
        super().__init__(config, feed, observation_size, action_size, seed, pictures)
        self.value = StateValue(config.critic.layer_sizes, config.memory.size)
        self.value.unroll(tf.zeros((1, 1, observation_size + self.eye.size)), lambda hidden: hidden[0])
        self._value_optimiser = Adam(self.value.trainable_variables)

    def _make_policy(self, action_size: int) -> MixturePolicy:
        """A mixture of Gaussians."""
        return MixturePolicy(action_size, self._config.policy, self._config.memory.size)

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of each network, all from the networks as they were."""
        del key  # nothing is drawn
        config = self._config
        self._refresh_targets(step)
        following = self.value.unroll(self._foresee(batch), batch.where_they_lead)  # [N]
        target = batch.rows(batch.reward) + config.gamma * batch.rows(batch.discount) * following
        judged = self._judge(batch, target[:, None])
        predicted, _ = self._target_critic.unroll(self._target_eye(batch.before), batch.action, batch.rows)
        q = self._target_critic.mean(predicted)  # [N]
        with tf.GradientTape() as value_tape:
            value = self.value.unroll(judged.observation, batch.rows)  # [N]
            value_loss = losses.expectile_loss(value, q, config.expectile)
        advantage = q - value
        weight = losses.weights(WeightMode.EXP, advantage, config.beta, config.cap)
        with tf.GradientTape() as policy_tape:
            log_prob = self.policy.unroll(judged.observation, batch.rows).log_prob(batch.rows(batch.action))  # [N]
            policy_loss = losses.weighted_imitation_loss(log_prob, weight)
        return {
            "policy_loss": policy_loss,
            "critic_loss": judged.loss,
            "q": tf.reduce_mean(judged.q),
            "value_loss": value_loss,
            "value_gradient_norm": descend(
                value_tape, value_loss, self.value.trainable_variables, self._value_optimiser,
                config.critic_learning_rate, config.max_gradient_norm,
            ),
            "advantage": tf.reduce_mean(advantage),
            "weight": tf.reduce_mean(weight),
            "weight_deviation": tf.math.reduce_std(weight),
            **self._descend(policy_tape, policy_loss, judged.tape, judged.loss),
        }  # fmt: skip
