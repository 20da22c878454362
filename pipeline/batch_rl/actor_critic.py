"""What learners have in common that have a critic, and that train a policy beside it."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.sequences import SequenceBatch
from pipeline.batch_rl.config import ActorCriticConfig, ValueConfig
from pipeline.batch_rl.critics import make_critic
from pipeline.batch_rl.eye import NO_PICTURES, Eye
from pipeline.batch_rl.learner import Feed, Learner, descend, when
from pipeline.optimisers import Adam


class CriticLearner(Learner):
    """Base of all that have a critic, with its target copy and its optimiser."""

    _config: ValueConfig

    def __init__(
        self, config: ValueConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds critics for vectors of the given sizes, and for pictures of these shapes."""
        super().__init__(config, feed, seed, pictures)
        self._config = config
        self._target_eye = Eye(config.eye, pictures)
        self.critic, self._target_critic = (
            make_critic(config.critic, config.gamma, config.memory.size) for _ in range(2)
        )
        for critic in (self.critic, self._target_critic):
            critic(tf.zeros((1, observation_size + self.eye.size)), tf.zeros((1, action_size)))
        self._judging = (*self.critic.trainable_variables, *self.eye.trainable_variables)
        self._critic_optimiser = Adam(self._judging)
        self._online = [*self.critic.variables, *self.eye.variables]
        self._targets = [*self._target_critic.variables, *self._target_eye.variables]
        self._follow(1.0)

    def check_rewards(self, rewards: np.ndarray) -> tuple[float, float]:
        """The lowest and the highest return that rewards float32[N] can give, if they go on for ever.

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
        horizon = 1 / (1 - self._config.gamma)
        return horizon * min(float(rewards.min()), 0.0), horizon * max(float(rewards.max()), 0.0)

    def _refresh_targets(self, step: tf.Tensor) -> None:
        """Brings the target copies nearer to the weights, whenever it is time."""
        when(step % self._config.target_period == 0, lambda: self._follow(self._config.target_rate))

    def _follow(self, rate: float) -> None:
        for target, source in zip(self._targets, self._online, strict=True):
            target.assign(source if rate == 1 else target + rate * (source - target))

    def _foresee(self, batch: SequenceBatch) -> tf.Tensor:
        """What the target networks get to see: float32[L, B, D], or from the first observation on [L + 1, B, D]."""
        memory = self._config.memory
        return self._target_eye(batch.observation if memory.size and memory.target_sees_all else batch.after)

    def _bootstrap(self, batch: SequenceBatch, following: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """What the critic should predict, if these actions follow where the transitions lead.

        Args:
          batch: of stretches.
          following: what `_foresee` made of it.
          action: float32[N, A].
        """
        logged = batch.action[batch.action.shape[0] + 1 - following.shape[0] :]
        states = self._target_critic.states(following[:-1], logged)  # [L, B, S], or [L + 1, B, S]
        predicted = self._target_critic(batch.where_they_lead(following), action, batch.where_they_lead(states))
        discount = self._config.gamma * batch.rows(batch.discount)
        return self.critic.target(batch.rows(batch.reward), discount, predicted)

    def _descend_critic(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """One step; returns the norm of the gradient."""
        config = self._config
        return descend(
            tape, loss, self._judging, self._critic_optimiser, config.critic_learning_rate, config.max_gradient_norm
        )


class Judged(NamedTuple):
    """What an update of the critic starts from, and that of a policy beside it."""

    tape: tf.GradientTape
    loss: tf.Tensor  # a scalar, on the tape
    q: tf.Tensor  # float32[N]: values of the logged actions
    observation: tf.Tensor  # float32[L, B, D]: what the eye sees where they were taken
    state: tf.Tensor  # float32[N, S]: of the critic, before each of them


class ActorCritic(CriticLearner):
    """Base of those with a policy. An algorithm adds its own to `METRICS`, and defines `update` by these parts."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "critic_loss": "cross-entropy in nats, at most log(atoms), or half the squared error; falls at first, then "
        "follows the targets",
        "q": "mean value of the logged actions; at most the largest possible return",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
        "critic_gradient_norm": "before clipping; below the clip (40)",
    }

    _FOLLOWS: ClassVar[bool] = True
    """Whether the critic's targets ask for the actions of a target policy, `_target_policy`."""

    _config: ActorCriticConfig

    def __init__(
        self, config: ActorCriticConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds critics and policies for vectors of the given sizes, and for pictures of these shapes."""
        super().__init__(config, feed, observation_size, action_size, seed, pictures)
        seen = tf.zeros((1, observation_size + self.eye.size))
        self.policy = self._make_policy(action_size)
        self.policy(seen)
        self._policy_optimiser = Adam(self.policy.trainable_variables)
        if self._FOLLOWS:
            self._target_policy = self._make_policy(action_size)
            self._target_policy(seen)
            self._online += self.policy.variables
            self._targets += self._target_policy.variables
            self._follow(1.0)

    @abc.abstractmethod
    def _make_policy(self, action_size: int) -> Any:
        """A policy with fresh weights."""

    def _judge(self, batch: SequenceBatch, target: tf.Tensor) -> "Judged":
        """What the critic makes of the logged actions, and how far that is from the target."""
        with tf.GradientTape() as tape:
            observation = self.eye(batch.before)  # [L, B, D]
            predicted, states = self.critic.unroll(observation, batch.action, batch.rows)
            loss = self.critic.loss(predicted, target)
        return Judged(tape, loss, self.critic.mean(predicted), observation, batch.rows(states[:-1]))

    def _descend(
        self, policy_tape: tf.GradientTape, policy_loss: tf.Tensor, critic_tape: tf.GradientTape,
        critic_loss: tf.Tensor, policy_due: bool | tf.Tensor = True,
    ) -> dict[str, tf.Tensor]:  # fmt: skip
        """One step of each, of the policy only if it is due; returns the norms of their gradients."""
        config = self._config
        return {
            "policy_gradient_norm": descend(
                policy_tape, policy_loss, self.policy.trainable_variables, self._policy_optimiser,
                config.policy_learning_rate, config.max_gradient_norm, policy_due,
            ),
            "critic_gradient_norm": self._descend_critic(critic_tape, critic_loss),
        }  # fmt: skip
