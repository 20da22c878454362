"""Networks of feed-forward offline agents. Observations arrive as one standardised vector (see `pipeline.networks`)."""

import abc
from collections.abc import Sequence

import sonnet as snt
import tensorflow as tf

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


class CategoricalCritic(snt.Module):
    """Observation and action to a distribution over returns, as logits on fixed atoms."""

    def __init__(self, atoms: Atoms, config: CriticConfig):
        """Makes a critic whose values lie within the atoms."""
        super().__init__()
        self.atoms = atoms
        self._trunk = LayerNormMLP(config.layer_sizes)
        self._head = snt.Linear(atoms.count)

    def __call__(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """float32[B, D] and float32[B, A] to logits float32[B, L]."""
        return self._head(self._trunk(tf.concat([observation, action], -1)))

    def values(self, observation: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Values float32[B, m] of several actions float32[B, m, A] in each state float32[B, D]."""
        count = actions.shape[1]
        repeated = tf.repeat(observation, count, axis=0)  # [B m, D]
        logits = self(repeated, tf.reshape(actions, (-1, actions.shape[2])))  # [B m, L]
        return tf.reshape(self.atoms.mean(logits), (-1, count))
