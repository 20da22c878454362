"""A policy at test time that lets the critic choose among its own suggestions."""

import tensorflow as tf

from pipeline.batch_rl.config import CriticWeightedConfig
from pipeline.batch_rl.critics import Critic
from pipeline.batch_rl.networks import Rows
from pipeline.batch_rl.policies import MixturePolicy, Policy
from pipeline.distributions import GaussianMixture

_LARGEST = 2**24
"""Whole numbers below it are exact in float32, of which states consist."""


class CriticWeightedPolicy(Policy):
    """CRR's: of some sampled actions one, drawn with probability softmax(Q / beta).

    Wang et al. 2020 (arXiv 2006.15134), as in Acme. Draws depend on the episode's seed and on how many steps it has
    lasted. Both are in the state, behind those of policy and critic, which go on with the chosen action.
    """

    def __init__(self, policy: MixturePolicy, critic: Critic, config: CriticWeightedConfig):
        """Joins a trained policy with its critic."""
        super().__init__()
        self._policy, self._critic, self._config = policy, critic, config

    @property
    def state_size(self) -> int:
        """Of policy and critic, and two more."""
        return self._policy.state_size + self._critic.state_size + 2

    def initial_state(self, seeds: tf.Tensor) -> tf.Tensor:
        """Nothing is remembered, no step made."""
        draw = tf.stack([tf.cast(seeds % _LARGEST, tf.float32), tf.zeros(tf.shape(seeds))], -1)
        return tf.concat([tf.zeros((tf.size(seeds), self.state_size - 2)), draw], -1)

    def __call__(self, observation: tf.Tensor, state: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The chosen action, float32[B, A], and the state after it."""
        if state is None:
            state = self.initial_state(tf.zeros(tf.shape(observation)[0], tf.int64))
        of_policy, of_critic, draw = tf.split(state, [self._policy.state_size, self._critic.state_size, 2], -1)
        mixture, of_policy = self._policy(observation, of_policy)
        rows = (mixture, observation, of_critic, tf.cast(draw, tf.int64))
        action = tf.map_fn(self._choose, rows, fn_output_signature=tf.float32)  # each row by its own seed
        of_critic = self._critic.advance(observation, action, of_critic)
        return action, tf.concat([of_policy, of_critic, draw + tf.constant([0.0, 1.0])], -1)

    def unroll(self, observation: tf.Tensor, rows: Rows) -> tf.Tensor:
        """Step after step, from the seed 0: float32[L, B, D] to the chosen actions in the rows that are wanted."""
        state = self.initial_state(tf.zeros(tf.shape(observation)[1], tf.int64))
        action, _ = self(observation[0], state)
        actions, _ = tf.scan(lambda before, seen: self(seen, before[1]), observation, (tf.zeros_like(action), state))
        return rows(actions)

    def best(self, made: tf.Tensor) -> tf.Tensor:
        """The chosen action."""
        return made

    def _choose(self, row: tuple[GaussianMixture, tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """float32[A], of what one row tells."""
        mixture, observation, state, key = row
        for_samples, for_choice = tf.unstack(tf.random.split(key, 2))
        samples = GaussianMixture(*(part[None] for part in mixture)).sample(self._config.samples, for_samples)
        values = self._critic.values(observation[None], samples, state[None])  # [1, m]
        chosen = tf.random.stateless_categorical(values / self._config.beta, 1, for_choice)[0, 0]
        return samples[0, chosen]
