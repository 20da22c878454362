"""Behaviour cloning."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.config import BcConfig
from pipeline.batch_rl.learner import Feed, Learner, descend
from pipeline.batch_rl.networks import MixturePolicy
from pipeline.optimisers import Adam


class BcLearner(Learner):
    """Learns as `BcConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "mean of -log pi(a|s), in nats; falls, and below 0 once the policy is sharp",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
    }

    def __init__(self, config: BcConfig, feed: Feed, observation_size: int, action_size: int, seed: int):
        """Builds networks for vectors of the given sizes."""
        super().__init__(feed, seed)
        self.policy = MixturePolicy(action_size, config.policy, config.memory.size)
        self.policy(tf.zeros((1, observation_size)))
        self._optimiser = Adam(self.policy.trainable_variables)
        self._config = config

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of maximum likelihood."""
        with tf.GradientTape() as tape:
            made = self.policy.unroll(batch.observation[:-1], batch.rows)
            loss = losses.imitation_loss(made.log_prob(batch.rows(batch.action)))
        config = self._config
        norm = descend(tape, loss, self.policy, self._optimiser, config.learning_rate, config.max_gradient_norm)
        return {"policy_loss": loss, "policy_gradient_norm": norm}
