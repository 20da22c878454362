"""Critics: what actions are worth, as a number or a distribution. Shapes are named as in `networks`."""

import abc
import dataclasses
from collections.abc import Sequence

import sonnet as snt
import tensorflow as tf

from pipeline.batch_rl import losses
from pipeline.batch_rl.config import CriticConfig
from pipeline.batch_rl.losses import Atoms
from pipeline.batch_rl.networks import Body, Rows


class Critic(snt.Module, abc.ABC):
    """Observation and action to a prediction of the return, whose last axis P is the critic's own business.

    With a memory, it has a state as `Body`, which observations and actions drive.
    """

    state_size: int

    @abc.abstractmethod
    def __call__(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor | None = None) -> tf.Tensor:
        """float32[N, D], float32[N, A] and the states before, float32[N, S], to predictions float32[N, P]."""

    @abc.abstractmethod
    def unroll(self, observation: tf.Tensor, action: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, tf.Tensor]:
        """From the beginning, float32[L, B, D] and float32[L, B, A].

        Returns:
          Predictions float32[N, P] in the rows that are wanted, and all states, as `states` gives them.
        """

    @abc.abstractmethod
    def states(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """float32[L + 1, B, S]: before the first of L steps, and after each. L may be 0."""

    @abc.abstractmethod
    def advance(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The state float32[B, S] after a step from the given one, by float32[B, D] and float32[B, A]."""

    def values(self, observation: tf.Tensor, actions: tf.Tensor, state: tf.Tensor | None = None) -> tf.Tensor:
        """Values float32[N, m] of several actions float32[N, m, A] in each observation float32[N, D] and state."""
        # Not as one large batch: branches of the graph run side by side, and none of them is long.
        return tf.stack([self.mean(self(observation, action, state)) for action in tf.unstack(actions, axis=1)], 1)

    @abc.abstractmethod
    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """The expected return float32[N] of a prediction float32[N, P]."""

    @abc.abstractmethod
    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """What should have been predicted; in the form that `loss` takes.

        Args:
          reward: float32[N].
          discount: float32[N], with gamma inside.
          following: prediction float32[N, P] of where the transition led.
        """

    @abc.abstractmethod
    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """The mean distance, a scalar, of predictions from targets, which are taken as fixed."""


class _DenseCritic(Critic):
    """One body and one head."""

    def __init__(self, layer_sizes: Sequence[int], outputs: int, memory: int):
        super().__init__()
        self._body = Body(layer_sizes, memory)
        self._head = snt.Linear(outputs)
        self.state_size = self._body.state_size

    def __call__(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor | None = None) -> tf.Tensor:
        """The head's outputs."""
        hidden, _ = self._body(tf.concat([observation, action], -1), state)
        return self._head(hidden)

    def unroll(self, observation: tf.Tensor, action: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, tf.Tensor]:
        """The head's outputs, and the body's states."""
        hidden, states = self._body.unroll(tf.concat([observation, action], -1))
        return self._head(rows(hidden)), states

    def states(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """The body's."""
        return self._body.states(tf.concat([observation, action], -1))

    def advance(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The body's."""
        return self._body(tf.concat([observation, action], -1), state)[1]


class CategoricalCritic(_DenseCritic):
    """Predicts a distribution over returns, as logits on fixed atoms."""

    def __init__(self, atoms: Atoms, config: CriticConfig, memory: int):
        """Makes a critic whose values lie within the atoms."""
        super().__init__(config.layer_sizes, atoms.count, memory)
        self.atoms = atoms

    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """Of the distribution."""
        return self.atoms.mean(predicted)

    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """Probabilities, put back on the atoms."""
        return losses.project(self.atoms, tf.nn.softmax(following), reward, discount)

    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Cross-entropy in nats."""
        return losses.critic_loss(predicted, target)


class ScalarCritic(_DenseCritic):
    """Predicts the expected return alone."""

    def __init__(self, config: CriticConfig, memory: int):
        """Makes a critic whose values may be any."""
        super().__init__(config.layer_sizes, 1, memory)
        self._expectile = config.expectile

    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """The prediction itself."""
        return predicted[:, 0]

    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """r + d Q."""
        return reward[:, None] + discount[:, None] * following

    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Half the squared error, or its expectile."""
        return losses.expectile_loss(predicted, target, self._expectile)


class TwinCritic(Critic):
    """Two critics that differ in their first weights, one prediction beside the other; the lower value counts."""

    def __init__(self, one: Critic, other: Critic):
        """Joins two critics of a kind."""
        super().__init__()
        self._one, self._other = one, other
        self.state_size = one.state_size + other.state_size

    def __call__(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor | None = None) -> tf.Tensor:
        """float32[N, 2 P]."""
        states = (None, None) if state is None else tf.split(state, 2, -1)
        both = zip((self._one, self._other), states, strict=True)
        return tf.concat([critic(observation, action, of_its_own) for critic, of_its_own in both], -1)

    def unroll(self, observation: tf.Tensor, action: tf.Tensor, rows: Rows) -> tuple[tf.Tensor, tf.Tensor]:
        """float32[N, 2 P], and states float32[L + 1, B, 2 S]."""
        one, other = (critic.unroll(observation, action, rows) for critic in (self._one, self._other))
        return tf.concat([one[0], other[0]], -1), tf.concat([one[1], other[1]], -1)

    def states(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """float32[L + 1, B, 2 S]."""
        return tf.concat([critic.states(observation, action) for critic in (self._one, self._other)], -1)

    def advance(self, observation: tf.Tensor, action: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """float32[B, 2 S]."""
        both = zip((self._one, self._other), tf.split(state, 2, -1), strict=True)
        return tf.concat([critic.advance(observation, action, of_its_own) for critic, of_its_own in both], -1)

    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """The lower one."""
        one, other = tf.split(predicted, 2, -1)
        return tf.minimum(self._one.mean(one), self._other.mean(other))

    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """For both, from the one that expects less: float32[N, P]."""
        one, other = tf.split(following, 2, -1)
        lower = tf.where((self._one.mean(one) < self._other.mean(other))[:, None], one, other)
        return self._one.target(reward, discount, lower)

    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """The sum of both."""
        one, other = tf.split(predicted, 2, -1)
        return self._one.loss(one, target) + self._other.loss(other, target)


class StateValue(snt.Module):
    """Observation to the value of the state."""

    def __init__(self, layer_sizes: Sequence[int], memory: int = 0):
        """Makes the module."""
        super().__init__()
        self._body = Body(layer_sizes, memory)
        self._head = snt.Linear(1)

    def unroll(self, observation: tf.Tensor, rows: Rows) -> tf.Tensor:
        """float32[L, B, D], seen from the beginning, to float32[N] in the rows that are wanted."""
        hidden, _ = self._body.unroll(observation)
        return self._head(rows(hidden))[:, 0]


def make_critic(config: CriticConfig, gamma: float, memory: int = 0) -> Critic:
    """A critic as configured, with so many cells of memory; atoms cover all that rewards in [0, 1] can give."""
    if config.twin:
        single = dataclasses.replace(config, twin=False)
        return TwinCritic(make_critic(single, gamma, memory), make_critic(single, gamma, memory))
    if config.distributional:
        return CategoricalCritic(Atoms(0.0, 1 / (1 - gamma), config.atoms), config, memory)
    return ScalarCritic(config, memory)
