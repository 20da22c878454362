"""Behaviour cloning."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses
from pipeline.batch_rl.config import BcConfig
from pipeline.batch_rl.eye import NO_PICTURES
from pipeline.batch_rl.learner import Feed, Learner, descend
from pipeline.batch_rl.policies import MixturePolicy
from pipeline.optimisers import Adam


class BcLearner(Learner):
    """Learns as `BcConfig` says."""

    METRICS: ClassVar[Mapping[str, str]] = {
        "policy_loss": "mean of -log pi(a|s), in nats; falls, and below 0 once the policy is sharp",
        "policy_gradient_norm": "before clipping; below the clip (40) most of the time",
    }

    def __init__(
        self, config: BcConfig, feed: Feed, observation_size: int, action_size: int, seed: int,
        pictures: Mapping[str, tuple[int, ...]] = NO_PICTURES,
    ):  # fmt: skip
        """Builds networks for vectors of the given sizes, and for pictures of these shapes."""
        super().__init__(config, feed, seed, pictures)
        self.policy = MixturePolicy(action_size, config.policy, config.memory.size)
        self.policy(tf.zeros((1, observation_size + self.eye.size)))
        self._acting = (*self.policy.trainable_variables, *self.eye.trainable_variables)
        self._optimiser = Adam(self._acting)
        self._config = config

    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of maximum likelihood."""
        with tf.GradientTape() as tape:
            made = self.policy.unroll(self.eye(batch.before), batch.rows)
            loss = losses.imitation_loss(made.log_prob(batch.rows(batch.action)))
        config = self._config
        norm = descend(tape, loss, self._acting, self._optimiser, config.learning_rate, config.max_gradient_norm)
        return {"policy_loss": loss, "policy_gradient_norm": norm}
