"""What every offline learner is, and the loop that uses it.

```
learner = CrrLearner(config, feed, observation_size, action_size, seed)
while learner.step < steps:
    metrics = learner.run(100)          # 100 updates fused into one call
learner.save(path); learner.restore(path)
policy = learner.acting                 # exported with its normalisation by `pipeline.batch_rl.saved_policy`
```
A learner is a function of (variables, step number): batches and random numbers depend on the seed and the step alone.
So restoring the variables resumes exactly.
"""

import abc
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow as tf

from datasets import files
from datasets.errors import ArmchairError
from datasets.feeds import Batch
from datasets.sequences import SequenceBatch
from pipeline import checkpoints
from pipeline.batch_rl.config import AgentConfig
from pipeline.batch_rl.eye import Eye
from pipeline.batch_rl.policies import Policy
from pipeline.optimisers import Adam

Feed = Callable[[tf.Tensor], Batch | SequenceBatch]
"""Batch number `step`, computed inside the graph: of transitions, or, for learners with a memory, of stretches."""


class Learner(tf.Module, abc.ABC):
    """Base of all learners: counting, fusing and saving. An algorithm defines `METRICS`, `policy` and `update`."""

    METRICS: ClassVar[Mapping[str, str]]
    """Name of each metric that `update` returns -> its meaning and healthy range."""

    policy: Policy

    def __init__(self, config: AgentConfig, feed: Feed, seed: int, pictures: Mapping[str, tuple[int, ...]]):
        """Makes a learner at step 0, and its eye.

        Args:
          config: of the agent.
          feed: gives the batches.
          seed: of the random numbers drawn while learning; initial weights follow TensorFlow's global seed.
          pictures: shape of each camera's, as logged; see `eye.Eye`.
        """
        super().__init__()
        self.eye = Eye(config.eye, pictures)
        self._feed = feed
        self._seed = seed
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    @abc.abstractmethod
    def update(self, batch: SequenceBatch, step: tf.Tensor, key: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update, traced into the graph.

        Args:
          batch: of stretches; single transitions are stretches of one.
          step: how many updates came before, a scalar.
          key: int64[2], the seed of this update's random numbers.

        Returns:
          A scalar for each name in `METRICS`.
        """

    def check_rewards(self, rewards: np.ndarray) -> tuple[float, float]:
        """The lowest and the highest return that rewards float32[N] can give; infinite if they are not used.

        Raises:
          ArmchairError: if the learner cannot learn from such rewards.
        """
        return -math.inf, math.inf

    @property
    def acting(self) -> Policy:
        """The policy as it is exported."""
        return self.policy

    @property
    def step(self) -> int:
        """How many updates were made."""
        return int(self._step.numpy())

    def run(self, count: int) -> dict[str, float]:
        """Makes `count` updates in one call; returns the mean of each metric over them.

        Raises:
          ArmchairError: if the feed cannot read its batches.
        """
        try:
            return {name: float(value) for name, value in self._run(tf.constant(count, tf.int64)).items()}
        except tf.errors.OpError as error:
            if isinstance(problem := getattr(self._feed, "problem", None), ArmchairError):
                raise problem from error
            raise

    @tf.function
    def _run(self, count: tf.Tensor) -> dict[str, tf.Tensor]:
        sums = {name: tf.constant(0.0) for name in self.METRICS}
        for _ in tf.range(count):
            metrics = self._update_once()
            sums = {name: sums[name] + metrics[name] for name in self.METRICS}
        return {name: value / tf.cast(count, tf.float32) for name, value in sums.items()}

    @tf.autograph.experimental.do_not_convert  # that takes longer than tracing itself; see `when`
    def _update_once(self) -> dict[str, tf.Tensor]:
        step = self._step.read_value()
        batch = self._feed(step)
        stretches = SequenceBatch.of(batch) if isinstance(batch, Batch) else batch
        key = tf.stack([tf.constant(self._seed, tf.int64), step])
        seen = self.eye.augment(stretches.observation, tf.random.fold_in(key, 1))
        metrics = self.update(stretches._replace(observation=seen), step, key)
        self._step.assign_add(1)
        return metrics

    def save(self, directory: Path) -> None:
        """Writes all variables (weights, targets, optimisers, step) as one atomic folder."""
        with files.staged_directory(directory) as staged:
            tf.train.Checkpoint(learner=self).write(os.fspath(staged / "variables"))

    def restore(self, directory: Path) -> None:
        """Reads what `save` wrote; the learner must be made of the same config and shapes.

        Raises:
          ArmchairError: if it is damaged, or does not fit.
        """
        with checkpoints.restoring(directory):
            tf.train.Checkpoint(learner=self).read(os.fspath(directory / "variables")).assert_consumed()


def when(condition: bool | tf.Tensor, act: Callable[[], None]) -> None:
    """Does something in each step in which a condition holds: in graphs of updates, `if` asks only once, of Python."""
    if tf.is_tensor(condition):
        tf.cond(condition, act, lambda: None)
    elif condition:
        act()


def descend(
    tape: tf.GradientTape, loss: tf.Tensor, variables: Sequence[tf.Variable], optimiser: Adam, learning_rate: float,
    max_norm: float, due: bool | tf.Tensor = True,
) -> tf.Tensor:  # fmt: skip
    """One step of an optimiser down the gradient, if it is due, clipped to a global norm; returns the norm."""
    gradients, norm = tf.clip_by_global_norm(tape.gradient(loss, variables), max_norm)
    when(due, lambda: optimiser.apply(gradients, learning_rate))
    return norm
