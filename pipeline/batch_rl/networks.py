"""Networks of feed-forward offline agents. Observations arrive as one standardised vector (see `pipeline.networks`)."""

import abc
import dataclasses
from collections.abc import Sequence

import sonnet as snt
import tensorflow as tf

from pipeline.batch_rl import losses
from pipeline.batch_rl.config import CriticConfig, PolicyConfig
from pipeline.batch_rl.losses import Atoms
from pipeline.distributions import GaussianMixture
from pipeline.networks import LayerNormMLP


class Policy(snt.Module, abc.ABC):
    """Observations to actions in units of half the action range."""

    @abc.abstractmethod
    def best(self, observation: tf.Tensor) -> tf.Tensor:
        """float32[B, D] to float32[B, A]: what the policy does when nothing is left to chance. Whoever acts clips."""


class MixturePolicy(Policy):
    """Observation to a mixture of Gaussians over actions in units of half the action range."""

    def __init__(self, action_size: int, config: PolicyConfig):
        """Makes a policy over `action_size` dimensions."""
        super().__init__()
        self._shape = (config.components, action_size)
        self._min_scale = config.min_scale
        self._trunk = LayerNormMLP(config.layer_sizes)
        # Almost zero at the start: every component stands at 0 with scale softplus(0) = 0.69 (RL Unplugged's CRR).
        small = snt.initializers.VarianceScaling(1e-5)
        size = config.components * action_size
        self._logits = snt.Linear(config.components, w_init=small)
        self._mean = snt.Linear(size, w_init=small, b_init=snt.initializers.RandomUniform(-0.1, 0.1))
        self._scale = snt.Linear(size, w_init=small)

    def __call__(self, observation: tf.Tensor) -> GaussianMixture:
        """float32[B, D] to mixtures over float32[B, A]. Means are not squashed: whoever acts clips."""
        hidden = self._trunk(observation)
        return GaussianMixture(
            self._logits(hidden),
            tf.reshape(self._mean(hidden), (-1, *self._shape)),
            tf.reshape(tf.nn.softplus(self._scale(hidden)), (-1, *self._shape)) + self._min_scale,
        )

    def best(self, observation: tf.Tensor) -> tf.Tensor:
        """The mean of the most probable component."""
        return self(observation).best_mean()


class DeterministicPolicy(Policy):
    """Observation to one action within the range."""

    def __init__(self, action_size: int, layer_sizes: Sequence[int]):
        """Makes a policy over `action_size` dimensions."""
        super().__init__()
        self._trunk = LayerNormMLP(layer_sizes)
        self._head = snt.Linear(action_size, w_init=snt.initializers.VarianceScaling(1e-4))  # starts at 0 (Acme's D4PG)

    def __call__(self, observation: tf.Tensor) -> tf.Tensor:
        """float32[B, D] to float32[B, A], in [-1, 1]."""
        return tf.tanh(self._head(self._trunk(observation)))

    def best(self, observation: tf.Tensor) -> tf.Tensor:
        """The one action."""
        return self(observation)


class Critic(snt.Module, abc.ABC):
    """Observation and action to a prediction of the return, whose last axis L is the critic's own business."""

    @abc.abstractmethod
    def __call__(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """float32[B, D] and float32[B, A] to a prediction float32[B, L]."""

    def values(self, observation: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Values float32[B, m] of several actions float32[B, m, A] in each state float32[B, D]."""
        count = actions.shape[1]
        repeated = tf.repeat(observation, count, axis=0)  # [B m, D]
        predicted = self(repeated, tf.reshape(actions, (-1, actions.shape[2])))  # [B m, L]
        return tf.reshape(self.mean(predicted), (-1, count))

    @abc.abstractmethod
    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """The expected return float32[B] of a prediction float32[B, L]."""

    @abc.abstractmethod
    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """What should have been predicted; in the form that `loss` takes.

        Args:
          reward: float32[B].
          discount: float32[B], with gamma inside.
          following: prediction float32[B, L] of where the transition led.
        """

    @abc.abstractmethod
    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """The mean distance, a scalar, of predictions from targets, which are taken as fixed."""


class _DenseCritic(Critic):
    """One trunk and one head."""

    def __init__(self, layer_sizes: Sequence[int], outputs: int):
        super().__init__()
        self._trunk = LayerNormMLP(layer_sizes)
        self._head = snt.Linear(outputs)

    def __call__(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """The head's outputs."""
        return self._head(self._trunk(tf.concat([observation, action], -1)))


class CategoricalCritic(_DenseCritic):
    """Predicts a distribution over returns, as logits on fixed atoms."""

    def __init__(self, atoms: Atoms, config: CriticConfig):
        """Makes a critic whose values lie within the atoms."""
        super().__init__(config.layer_sizes, atoms.count)
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

    def __init__(self, config: CriticConfig):
        """Makes a critic whose values may be any."""
        super().__init__(config.layer_sizes, 1)
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

    def __call__(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """float32[B, 2 L]."""
        return tf.concat([self._one(observation, action), self._other(observation, action)], -1)

    def mean(self, predicted: tf.Tensor) -> tf.Tensor:
        """The lower one."""
        one, other = tf.split(predicted, 2, -1)
        return tf.minimum(self._one.mean(one), self._other.mean(other))

    def target(self, reward: tf.Tensor, discount: tf.Tensor, following: tf.Tensor) -> tf.Tensor:
        """For both, from the one that expects less: float32[B, L]."""
        one, other = tf.split(following, 2, -1)
        lower = tf.where((self._one.mean(one) < self._other.mean(other))[:, None], one, other)
        return self._one.target(reward, discount, lower)

    def loss(self, predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """The sum of both."""
        one, other = tf.split(predicted, 2, -1)
        return self._one.loss(one, target) + self._other.loss(other, target)


class StateValue(snt.Module):
    """Observation to the value of the state."""

    def __init__(self, layer_sizes: Sequence[int]):
        """Makes the module."""
        super().__init__()
        self._trunk = LayerNormMLP(layer_sizes)
        self._head = snt.Linear(1)

    def __call__(self, observation: tf.Tensor) -> tf.Tensor:
        """float32[B, D] to float32[B]."""
        return self._head(self._trunk(observation))[:, 0]


def make_critic(config: CriticConfig, gamma: float) -> Critic:
    """A critic as configured; atoms cover all that rewards in [0, 1] can give."""
    if config.twin:
        single = dataclasses.replace(config, twin=False)
        return TwinCritic(make_critic(single, gamma), make_critic(single, gamma))
    if config.distributional:
        return CategoricalCritic(Atoms(0.0, 1 / (1 - gamma), config.atoms), config)
    return ScalarCritic(config)
