"""Distributed distributional deterministic policy gradients, offline."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from datasets.feeds import Batch
from pipeline.batch_rl import losses
from pipeline.batch_rl.config import D4pgConfig
from pipeline.batch_rl.learner import Feed, Learner, copy_to_target, descend, largest_return
from pipeline.batch_rl.networks import DeterministicPolicy, make_critic
from pipeline.optimisers import Adam


class D4pgLearner(Learner):
    """Learns as `D4pgConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "minus the mean value of the policy's own actions",
        "critic_loss": "cross-entropy in nats, at most log(atoms), or half the squared error; falls at first, then "
        "follows the targets",
        "q": "mean value of the logged actions; between 0 and the largest possible return",
        "advantage": "mean value of the policy's actions less that of the logged ones; growing without end, the policy "
        "has left the data, and the critic's values of its actions mean nothing",
        "action_gradient_norm": "mean norm of dQ/da before clipping; near 0 the critic tells no actions apart",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    def __init__(self, config: D4pgConfig, feed: Feed, observation_size: int, action_size: int, seed: int):
        """Builds networks for vectors of the given sizes."""
        super().__init__(feed, seed)
        self._config = config
        self.policy, self._target_policy = (DeterministicPolicy(action_size, config.layer_sizes) for _ in range(2))
        self.critic, self._target_critic = (make_critic(config.critic, config.gamma) for _ in range(2))
        observation = tf.zeros((1, observation_size))
        for policy, critic in ((self.policy, self.critic), (self._target_policy, self._target_critic)):
            critic(observation, policy(observation))
        self._policy_optimiser = Adam(self.policy.trainable_variables)
        self._critic_optimiser = Adam(self.critic.trainable_variables)

    def check_rewards(self, rewards: np.ndarray) -> float:
        """They must say something, and lie where the critic can predict them."""
        return largest_return(rewards, self._config.critic, self._config.gamma)

    def update(self, batch: Batch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and one of the policy, both from the critic as it was."""
        del key  # nothing is drawn
        config = self._config
        if step % config.target_period == 0:
            copy_to_target(self.policy, self._target_policy)
            copy_to_target(self.critic, self._target_critic)
        target = self._target(batch)
        with tf.GradientTape() as critic_tape:
            predicted = self.critic(batch.observation, batch.action)  # [B, L]
            critic_loss = self.critic.loss(predicted, target)
        with tf.GradientTape() as policy_tape:
            action = self.policy(batch.observation)  # [B, A]
            with tf.GradientTape() as action_tape:
                action_tape.watch(action)
                value = self.critic.mean(self.critic(batch.observation, action))  # [B]
            uphill = action_tape.gradient(value, action)  # [B, A]
            policy_loss = losses.policy_gradient_loss(action, uphill, config.max_action_gradient_norm)
        max_norm = config.max_gradient_norm
        policy_norm = descend(
            policy_tape, policy_loss, self.policy, self._policy_optimiser, config.policy_learning_rate, max_norm
        )
        critic_norm = descend(
            critic_tape, critic_loss, self.critic, self._critic_optimiser, config.critic_learning_rate, max_norm
        )
        q = tf.reduce_mean(self.critic.mean(predicted))
        return {
            "policy_loss": -tf.reduce_mean(value),
            "critic_loss": critic_loss,
            "q": q,
            "advantage": tf.reduce_mean(value) - q,
            "action_gradient_norm": tf.reduce_mean(tf.norm(uphill, axis=-1)),
            "policy_gradient_norm": policy_norm,
            "critic_gradient_norm": critic_norm,
        }

    def _target(self, batch: Batch) -> tf.Tensor:
        """What the critic should predict, float32[B, L]."""
        action = self._target_policy(batch.next_observation)  # [B, A]
        following = self._target_critic(batch.next_observation, action)  # [B, L]
        return self.critic.target(batch.reward, self._config.gamma * batch.discount, following)
