"""Critic-regularised regression."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from datasets.feeds import Batch
from pipeline.batch_rl import losses
from pipeline.batch_rl.config import CrrConfig
from pipeline.batch_rl.learner import Feed, Learner, copy_to_target, descend, largest_return
from pipeline.batch_rl.networks import MixturePolicy, make_critic
from pipeline.optimisers import Adam


class CrrLearner(Learner):
    """Learns as `CrrConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "mean of -f log pi(a|s); its size has no meaning of its own",
        "critic_loss": "cross-entropy in nats, at most log(atoms), or half the squared error; falls at first, then "
        "follows the targets",
        "q": "mean value of the logged actions; between 0 and the largest possible return",
        "advantage": "mean over the batch; near 0, where the policy is as good as the data",
        "weight": "mean f; about 1 for exp. Towards 1 without spread: CRR has become behaviour cloning",
        "weight_deviation": "standard deviation of f over the batch; 0 means that the critic tells no actions apart",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    def __init__(self, config: CrrConfig, feed: Feed, observation_size: int, action_size: int, seed: int):
        """Builds networks for vectors of the given sizes."""
        super().__init__(feed, seed)
        self._config = config
        self.policy, self._target_policy = (MixturePolicy(action_size, config.policy) for _ in range(2))
        self.critic, self._target_critic = (make_critic(config.critic, config.gamma) for _ in range(2))
        observation, action = tf.zeros((1, observation_size)), tf.zeros((1, action_size))
        for policy in (self.policy, self._target_policy):
            policy(observation)
        for critic in (self.critic, self._target_critic):
            critic(observation, action)
        self._policy_optimiser = Adam(self.policy.trainable_variables)
        self._critic_optimiser = Adam(self.critic.trainable_variables)

    def check_rewards(self, rewards: np.ndarray) -> float:
        """They must say something, and lie where the critic can predict them."""
        return largest_return(rewards, self._config.critic, self._config.gamma)

    def update(self, batch: Batch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the critic and one of the policy, both from the critic as it was."""
        config = self._config
        if step % config.target_period == 0:
            copy_to_target(self.policy, self._target_policy)
            copy_to_target(self.critic, self._target_critic)
        for_target, for_policy = tf.unstack(tf.random.split(key, 2))
        target = self._target(batch, for_target)
        with tf.GradientTape() as critic_tape:
            predicted = self.critic(batch.observation, batch.action)  # [B, L]
            critic_loss = self.critic.loss(predicted, target)
        with tf.GradientTape() as policy_tape:
            mixture = self.policy(batch.observation)
            log_prob = mixture.log_prob(batch.action)  # [B]
        # Outside the tapes: the critic judges actions, and learns nothing from the policy's loss.
        q = self.critic.mean(predicted)  # [B]
        q_samples = self.critic.values(batch.observation, mixture.sample(config.samples, for_policy))  # [B, m]
        advantage = losses.advantage(config.advantage, q, q_samples)
        weight = losses.weights(config.weight, advantage, config.beta, config.cap)
        with policy_tape:
            policy_loss = losses.weighted_imitation_loss(log_prob, weight)
        max_norm = config.max_gradient_norm
        policy_norm = descend(
            policy_tape, policy_loss, self.policy, self._policy_optimiser, config.policy_learning_rate, max_norm
        )
        critic_norm = descend(
            critic_tape, critic_loss, self.critic, self._critic_optimiser, config.critic_learning_rate, max_norm
        )
        return {
            "policy_loss": policy_loss,
            "critic_loss": critic_loss,
            "q": tf.reduce_mean(q),
            "advantage": tf.reduce_mean(advantage),
            "weight": tf.reduce_mean(weight),
            "weight_deviation": tf.math.reduce_std(weight),
            "policy_gradient_norm": policy_norm,
            "critic_gradient_norm": critic_norm,
        }

    def _target(self, batch: Batch, key: tf.Tensor) -> tf.Tensor:
        """What the critic should predict, float32[B, L]."""
        action = self._target_policy(batch.next_observation).sample(1, key)[:, 0]  # [B, A]
        following = self._target_critic(batch.next_observation, action)  # [B, L]
        return self.critic.target(batch.reward, self._config.gamma * batch.discount, following)
