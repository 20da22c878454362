"""What learners have in common that train a policy beside a critic: target copies, and the steps of both."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from datasets.errors import ArmchairError
from pipeline.batch_rl.config import CrrConfig, D4pgConfig
from pipeline.batch_rl.learner import Feed, Learner, descend
from pipeline.batch_rl.networks import Policy, make_critic
from pipeline.optimisers import Adam


class ActorCritic(Learner):
    """Base of CRR and D4PG. An algorithm adds its own to `METRICS`, and defines `update` by these parts."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "critic_loss": "cross-entropy in nats, at most log(atoms), or half the squared error; falls at first, then "
        "follows the targets",
        "q": "mean value of the logged actions; at most the largest possible return",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    _config: CrrConfig | D4pgConfig
    _target_policy: Policy

    def __init__(
        self, config: CrrConfig | D4pgConfig, policy: Policy, target_policy: Policy, feed: Feed,
        observation_size: int, action_size: int, seed: int,
    ):  # fmt: skip
        """Builds critics for vectors of the given sizes, and every variable of the policies."""
        super().__init__(feed, seed)
        self._config = config
        self.policy, self._target_policy = policy, target_policy
        self.critic, self._target_critic = (make_critic(config.critic, config.gamma) for _ in range(2))
        observation, action = tf.zeros((1, observation_size)), tf.zeros((1, action_size))
        for actor in (self.policy, self._target_policy):
            actor.best(observation)
        for critic in (self.critic, self._target_critic):
            critic(observation, action)
        self._policy_optimiser = Adam(self.policy.trainable_variables)
        self._critic_optimiser = Adam(self.critic.trainable_variables)

    def check_rewards(self, rewards: np.ndarray) -> float:
        """What rewards float32[N] can add up to, at most.

        Raises:
          ArmchairError: if all are 0, or a distributional critic's atoms do not cover them.
        """
        if not rewards.any():
            raise ArmchairError(
                "every reward is 0, so there is nothing to learn: choose other rewards or other episodes"
            )
        if self._config.critic.distributional and (rewards.min() < 0 or rewards.max() > 1):
            raise ArmchairError(
                f"rewards range from {rewards.min():.3g} to {rewards.max():.3g}, but a distributional critic is made "
                "for [0, 1]: scale them, take a reward model's, or make it --method.critic.no-distributional"
            )
        return max(float(rewards.max()), 0.0) / (1 - self._config.gamma)

    def _refresh_targets(self, step: tf.Tensor) -> None:
        """Gives the target copies the weights, whenever it is time."""
        if step % self._config.target_period == 0:
            online = self.policy.variables + self.critic.variables
            targets = self._target_policy.variables + self._target_critic.variables
            for variable, source in zip(targets, online, strict=True):
                variable.assign(source)

    def _descend(
        self, policy_tape: tf.GradientTape, policy_loss: tf.Tensor, critic_tape: tf.GradientTape, critic_loss: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One step of each; returns the norms of their gradients."""
        config = self._config
        return {
            "policy_gradient_norm": descend(
                policy_tape, policy_loss, self.policy, self._policy_optimiser, config.policy_learning_rate,
                config.max_gradient_norm,
            ),
            "critic_gradient_norm": descend(
                critic_tape, critic_loss, self.critic, self._critic_optimiser, config.critic_learning_rate,
                config.max_gradient_norm,
            ),
        }  # fmt: skip
