"""Policies: from what is seen, and remembered, to actions. Shapes are named as in `networks`."""

import abc
from collections.abc import Sequence
from typing import Any

import sonnet as snt
import tensorflow as tf

from pipeline.batch_rl.config import PolicyConfig
from pipeline.batch_rl.networks import Body, Rows
from pipeline.distributions import GaussianMixture


class Policy(snt.Module, abc.ABC):
    """Observations to actions in units of half the action range, from the state before to the state after."""

    @property
    @abc.abstractmethod
    def state_size(self) -> int:
        """S."""

    def initial_state(self, seeds: tf.Tensor) -> tf.Tensor:
        """float32[B, S] at the beginning of an episode, for a policy that draws from its seed, int64[B]."""
        return tf.zeros((tf.size(seeds), self.state_size))

    @abc.abstractmethod
    def __call__(self, observation: tf.Tensor, state: tf.Tensor | None = None) -> tuple[Any, tf.Tensor]:
        """What the policy makes of float32[B, D] and the state before (None to begin with), and the state after."""

    @abc.abstractmethod
    def unroll(self, observation: tf.Tensor, rows: Rows) -> Any:
        """What it makes of float32[L, B, D], seen from the beginning, in the rows that are wanted."""

    @abc.abstractmethod
    def best(self, made: Any) -> tf.Tensor:
        """What the policy does when nothing is left to chance, float32[N, A], from what it made.

        Whoever acts clips.
        """


class BodyPolicy(Policy):
    """A body and a head."""

    def __init__(self, layer_sizes: Sequence[int], memory: int):
        """Makes the body."""
        super().__init__()
        self._body = Body(layer_sizes, memory)

    @property
    def state_size(self) -> int:
        """The body's."""
        return self._body.state_size

    def __call__(self, observation: tf.Tensor, state: tf.Tensor | None = None) -> tuple[Any, tf.Tensor]:
        """What the head makes of it, and the body's state."""
        hidden, state = self._body(observation, state)
        return self._head(hidden), state

    def unroll(self, observation: tf.Tensor, rows: Rows) -> Any:
        """What the head makes of it."""
        hidden, _ = self._body.unroll(observation)
        return self._head(rows(hidden))

    @abc.abstractmethod
    def _head(self, hidden: tf.Tensor) -> Any:
        """From float32[N, H]."""


class MixturePolicy(BodyPolicy):
    """Observation to a mixture of Gaussians over actions in units of half the action range."""

    def __init__(self, action_size: int, config: PolicyConfig, memory: int = 0):
        """Makes a policy over `action_size` dimensions."""
        super().__init__(config.layer_sizes, memory)
        self._shape = (config.components, action_size)
        self._min_scale = config.min_scale
        each = config.components * action_size
        self._sizes = (config.components, each, each)

        def biases(shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
            """Only means lie apart, so that components learn different things."""
            return tf.concat([tf.zeros(config.components), tf.random.uniform((each,), -0.1, 0.1), tf.zeros(each)], 0)

        # Almost zero at the start: every component stands near 0 with scale softplus(0) = 0.69 (RL Unplugged's CRR).
        small = snt.initializers.VarianceScaling(1e-5)
        self._parameters = snt.Linear(sum(self._sizes), w_init=small, b_init=biases)

    def _head(self, hidden: tf.Tensor) -> GaussianMixture:
        """Mixtures over float32[N, A]. Means are not squashed: whoever acts clips."""
        logits, mean, scale = tf.split(self._parameters(hidden), self._sizes, -1)
        return GaussianMixture(
            logits,
            tf.reshape(mean, (-1, *self._shape)),
            tf.reshape(tf.nn.softplus(scale), (-1, *self._shape)) + self._min_scale,
        )

    def best(self, made: GaussianMixture) -> tf.Tensor:
        """The mean of the most probable component."""
        return made.best_mean()


class DeterministicPolicy(BodyPolicy):
    """Observation to one action within the range."""

    def __init__(self, action_size: int, layer_sizes: Sequence[int], memory: int = 0):
        """Makes a policy over `action_size` dimensions."""
        super().__init__(layer_sizes, memory)
        self._action = snt.Linear(action_size, w_init=snt.initializers.VarianceScaling(1e-4))  # at 0 (Acme's D4PG)

    def _head(self, hidden: tf.Tensor) -> tf.Tensor:
        """float32[N, A], in [-1, 1]."""
        return tf.tanh(self._action(hidden))

    def best(self, made: tf.Tensor) -> tf.Tensor:
        """The one action."""
        return made
